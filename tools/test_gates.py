#!/usr/bin/env python3
"""The gates' self-test: each is shown a small tree that is right and one that isn't."""

import contextlib
import json
import sys
import tempfile
import unittest
from pathlib import Path

import check_banned
import check_co
import check_contract
import check_docs
import check_format
import check_layers
import check_size
import check_tidy
import ctext
import testrun


@contextlib.contextmanager
def tree(**files):
    """A folder with src/<module>/x.c and the like; `__` in a name is a slash, `_c` ends in .c."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in files.items():
            stem, suffix = name.rsplit("_", 1)
            path = root / (stem.replace("__", "/") + "." + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield root


class Layers(unittest.TestCase):
    def problems(self, name, include):
        with tree(**{name: f'#include "{include}"\n'}) as root:
            return check_layers.check(root)

    def test_upwards_is_fine(self):
        self.assertEqual(self.problems("src__http__x_c", "loop/stream.h"), [])
        self.assertEqual(self.problems("components__state__a__x_c", "component/state.h"), [])
        own = "components/common/sqlite/db.h"
        self.assertEqual(self.problems("components__state__a__x_c", own), [])
        self.assertEqual(self.problems("src__block__call__x_c", "block/app/app.h"), [])
        self.assertEqual(self.problems("src__block__x_c", "block/call/invoke.h"), [])

    def test_downwards_and_sideways_are_refused(self):
        for name, include in (
            ("src__base__x_c", "loop/worker.h"),
            ("src__format__x_c", "fiber/fiber.h"),
            ("src__policy__x_c", "loop/worker.h"),
            ("src__block__x_c", "api/api.h"),
            ("src__block__x_c", "components/state/sqlite/row.h"),
            ("components__state__a__x_c", "components/state/b/row.h"),
            ("components__state__a__x_c", "block/state.h"),
            ("src__http__x_c", "common.pb-c.h"),
            ("src__http__x_c", "../base/str.h"),
            ("src__http__x_c", "unheard/of.h"),
            ("src__block__core__x_c", "block/app/app.h"),
            ("src__block__call__x_c", "block/state.h"),
            ("src__block__other__x_c", "block/state.h"),
            ("include__proa_h", "base/str.h"),
        ):
            with self.subTest(name=name, include=include):
                self.assertEqual(len(self.problems(name, include)), 1)


class Banned(unittest.TestCase):
    def problems(self, code, name="src__http__x_c"):
        with tree(**{name: f"void f(void)\n{{\n    {code};\n}}\n"}) as root:
            return check_banned.check(root)

    def test_each_is_refused(self):
        for code in (
            "strcpy(a, b)", "sprintf(a, b)", "x = atoi(s)", "sleep(1)", "p = malloc(3)", "free(p)",
            "fd = open(p, O_RDONLY)", "fd = socket(1, 2, 0)", "pipe(fds)", "n = strtol(a, b, 10)",
            "(void)system(s)", "p = alloca (3)",
        ):  # fmt: skip
            with self.subTest(code=code):
                self.assertEqual(len(self.problems(code)), 1)

    def test_what_only_looks_so_is_not(self):
        for code in (
            "fd = open(p, O_RDONLY | O_CLOEXEC)", "self->free(p)", "fiber_sleep(1)", "/* free(p) */",
            'log("malloc(3)")', "mem_free(p)",
        ):  # fmt: skip
            with self.subTest(code=code):
                self.assertEqual(self.problems(code), [])

    def test_base_has_the_memory(self):
        self.assertEqual(self.problems("p = malloc(3)", "src__base__mem_c"), [])
        self.assertEqual(len(self.problems("strcpy(a, b)", "src__base__mem_c")), 1)


class Size(unittest.TestCase):
    def problems(self, text):
        with tree(src__http__x_c=text) as root:
            return check_size.check(root)

    def test_long_function(self):
        body = "    a();\n"
        self.assertEqual(self.problems("void f(void)\n{\n" + body * 97 + "}\n"), [])
        self.assertEqual(len(self.problems("void f(void)\n{\n" + body * 98 + "}\n")), 1)

    def test_tangled_function(self):
        branch = "    if (a && b)\n        c();\n"
        self.assertEqual(self.problems("void f(void)\n{\n" + branch * 7 + "}\n"), [])
        self.assertEqual(len(self.problems("void f(void)\n{\n" + branch * 8 + "}\n")), 1)

    def test_long_file_and_line(self):
        self.assertEqual(len(self.problems("int a;\n" * 801)), 1)
        self.assertEqual(len(self.problems("/* " + "x" * 100 + " */\n")), 1)


class Co(unittest.TestCase):
    HEADER = "CO int waits(void);\nstruct ops {\n    CO int (*get)(void *x);\n};\n"

    def problems(self, code):
        with tree(src__loop__x_h=self.HEADER, src__http__x_c=code) as root:
            return check_co.check(root)

    def test_unmarked_callers_are_refused(self):
        self.assertEqual(len(self.problems("int f(void)\n{\n    return waits();\n}\n")), 1)
        self.assertEqual(len(self.problems("int f(void)\n{\n    return o->get(o);\n}\n")), 1)
        chain = "CO static int g(void)\n{\n    return waits();\n}\nint f(void)\n{\n    g();\n}\n"
        self.assertEqual(len(self.problems(chain)), 1)

    def test_marked_callers_and_first_functions_are_fine(self):
        self.assertEqual(self.problems("CO int f(void)\n{\n    return waits();\n}\n"), [])
        spawned = "static void f(void *a)\n{\n    waits();\n}\n"
        spawned += 'void g(void)\n{\n    fiber_spawn("f", f, NULL);\n}\n'
        self.assertEqual(self.problems(spawned), [])


class Format(unittest.TestCase):
    def test_out_of_form_is_refused(self):
        style = (ctext.repository() / ".clang-format").read_text()
        with tree(src__x_c="int f(void)\n{\n    return 1;\n}\n", src__y_c="int  g ( );\n") as root:
            (root / ".clang-format").write_text(style)
            wrong = check_format.differing([root / "src/x.c", root / "src/y.c"])
            self.assertEqual(wrong, [str(root / "src/y.c")])


class Tidy(unittest.TestCase):
    def found(self, code, how=check_tidy.SHALLOW):
        with tree(src__x_c=code) as root:
            (root / ".clang-tidy").write_text((ctext.repository() / ".clang-tidy").read_text())
            command = f"clang-14 -c {root}/src/x.c"
            entry = {"directory": str(root), "file": "src/x.c", "command": command}
            (root / "build").mkdir()
            (root / "build/compile_commands.json").write_text(json.dumps([entry]))
            [(shown, _)] = check_tidy.units(root / "build", root, set(), how)
            return check_tidy.examine(root / "build", root, shown, how)

    def test_a_bug_is_found(self):
        self.assertEqual(self.found("int f(int *p)\n{\n    return p ? *p : 0;\n}\n"), "")
        self.assertIn("src/x.c:3", self.found("int f(int *p)\n{\n    return p ? 0 : *p;\n}\n"))
        self.assertNotEqual(self.found("int f(void) { return nowhere; }\n"), "")


class Runner(unittest.TestCase):
    def step(self, code, timeout=60):
        with tempfile.TemporaryDirectory() as folder:
            machine = testrun.Machine(Path(folder), Path(folder), 1, 1)
            return machine.step("x", [sys.executable, "-c", code], timeout)

    def test_only_success_passes(self):
        self.assertEqual(self.step("").outcome, testrun.PASSED)
        self.assertEqual(self.step("raise SystemExit(3)").outcome, testrun.FAILED)
        self.assertEqual(self.step("import os; os.abort()").outcome, testrun.FAILED)
        self.assertEqual(self.step("while True: pass", timeout=1).outcome, testrun.FAILED)

    def test_what_was_left_out_is_told(self):
        skipped = self.step("print('no such thing here'); raise SystemExit(77)")
        self.assertEqual((skipped.outcome, skipped.reason), (testrun.SKIPPED, "no such thing here"))
        lines = "x\nSKIPPED: no data\n[  SKIPPED ] name\n"
        self.assertEqual(testrun.SKIP_LINE.findall(lines), ["no data", "name"])


class Docs(unittest.TestCase):
    def test_a_link_that_leads_nowhere(self):
        page = "[b](b.md) [c](https://example.org) [d](#here)\n"
        with tree(docs__a_md=page, docs__b_md="\n") as root:
            self.assertEqual(check_docs.check(root), [])
            (root / "docs/b.md").unlink()
            self.assertEqual(len(check_docs.check(root)), 1)


    def test_a_program_that_does_not_compile(self):
        for line, n in (("int x = one;", 0), ("int x = two;", 1)):
            page = f"```c\n#include <proa.h>\n{line}\n```\n"
            with tree(README_md=page, include__proa_h="enum { one = 1 };\n") as root:
                self.assertEqual(len(check_docs.check(root)), n)


class Contract(unittest.TestCase):
    TEST = "def test_save(self):\n    s.post('/v1.0/state/' + store)\n    s.get('/v1.0/metadata')\n"

    def problems(self, rows, page="different: it is so\n", section="routes", **more):
        name = f"test__contract__{section}_txt"
        with tree(**{name: rows}, test__a_py=self.TEST, docs__compatibility_md=page, **more) as root:
            return check_contract.check(root)[0]

    def test_a_row_needs_a_test_or_a_reason(self):
        self.assertEqual(self.problems("GET /v1.0/metadata\n"), [])
        self.assertEqual(len(self.problems("GET /v1.0/healthz\n")), 1)
        self.assertEqual(self.problems("GET /v1.0/healthz = test_save\n"), [])
        self.assertEqual(len(self.problems("GET /v1.0/healthz = test_load\n")), 1)
        self.assertEqual(self.problems("GET /v1.0/healthz ! it is so\n"), [])
        self.assertEqual(len(self.problems("GET /v1.0/healthz ! it isn't\n")), 1)

    def test_what_is_not_there_yet_is_marked_and_only_that(self):
        self.assertEqual(self.problems("? GET /v1.0/healthz\n"), [])
        self.assertEqual(len(self.problems("? GET /v1.0/metadata\n")), 1)

    def test_what_the_product_has_is_a_row(self):
        code = '    { GET, "/v1.0/metadata", f, "metadata", "v1", "GetMetadata" },\n'
        self.assertEqual(self.problems("GET /v1.0/metadata\n", src__api__routes_c=code), [])
        self.assertEqual(len(self.problems("", src__api__routes_c=code)), 1)

    def test_a_surprise_is_known_by_its_number(self):
        for name, n in (("test_s14_text", 0), ("test_api_s14_text", 0), ("test_s141_text", 1)):
            with tree(test__contract__surprises_txt="S14 text\n",
                      test__a_py=f"def {name}(self):\n    pass\n") as root:  # fmt: skip
                self.assertEqual(len(check_contract.check(root)[0]), n, name)


if __name__ == "__main__":
    unittest.main()
