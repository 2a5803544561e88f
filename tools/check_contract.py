#!/usr/bin/env python3
"""Prints the contract, row by row, with the test that covers each; refuses a row without one.

  check_contract.py [--table] [--fix] [ROOT]
      --table: all rows; else only what is wrong, and the count
      --fix:   first takes the mark `?` from the rows that a test covers by now

The rows stand in test/contract/<section>.txt, one a line:

  GET /v1.0/state/{store}/{key}          any test that mentions it covers it (`/…/` of the section
                                         says what 'it' is: see FORMS)
  S15 encrypted text loses its quotes = test_encrypted_text_is_unquoted, …      these tests cover it
  S50 renegotiation alone ! HTTPEndpoint renegotiation   docs/compatibility.md says, with these
                                         words, what is different on purpose
  ? POST /v1.0/jobs/{name}               not there yet: a test that covers it takes the mark away

What the product has of its own accord (routes, gRPC methods, flags, error codes) must be a row too,
so that nothing is added without a test.
"""

import functools
import re
import sys
from collections import namedtuple
from pathlib import Path

import ctext

Row = namedtuple("Row", "section name tests said missing line")
Test = namedtuple("Test", "file name body")

PYTHON_TEST = re.compile(r"^([ \t]+|)def (test_\w+)\(", re.MULTILINE)
C_TEST = re.compile(r"^TEST(?:_CO|_LOOP)?\((\w+)\)", re.MULTILINE)
CASE = re.compile(r'\{ "(\w+)", [^{}]*?,\s+\1 \}')  # a row of a conformance suite
GRPC = re.compile(r"grpc", re.IGNORECASE)  # a file that says so means methods by their names
WHOLE = (".js", ".mjs", ".go", ".java")  # the SDKs' suites: a file is one test


def route_form(name):
    """The path with anything for {…}: between quotes or as a part of a longer text."""
    path = name.split(" ", 1)[1]
    parts = [r"[^\s\"'/]+" if p.startswith("{") else r"\S*" if p == "*" else re.escape(p)
             for p in path.split("/")]  # fmt: skip
    return "/".join(parts) + r"(?![\w/-])"


def word_form(name):
    return r"(?<![\w.-])" + re.escape(name.split(" ")[0]) + r"(?![\w-])"


def surprise_form(name):
    number = name.split(" ")[0].lower()
    return rf"(?:\A|_){number}(?:_|\Z)"


# Section → from the row's name to a regular expression; "name" searches tests' names.
FORMS = {
    "routes": (route_form, "body"),
    "methods": (word_form, "grpc"),
    "flags": (word_form, "body"),
    "environment": (word_form, "body"),
    "errors": (word_form, "body"),
    "metrics": (word_form, "body"),
    "resources": (word_form, "body"),
    "components": (word_form, "body"),
    "loglines": (lambda name: re.escape(name), "body"),
    "surprises": (surprise_form, "name"),
}


def anchor(row):
    """A part of the row's name that is in each text its form matches: looked for first, being quick."""
    name = row.name if row.section == "loglines" else row.name.split(" ")[row.section == "routes"]
    return max(re.split(r"\{[^}]*\}|\*", name) if row.section == "routes" else [name], key=len)


@functools.cache
def speaks_grpc(file):
    return bool(GRPC.search(file.read_text()))


def python_tests(file, text):
    found = list(PYTHON_TEST.finditer(text))
    if found and file.name.startswith("test_"):  # tables in front of the tests that walk over them
        yield Test(file, "(its tables)", text[:found[0].start()])
    for i, match in enumerate(found):
        end = found[i + 1].start() if i + 1 < len(found) else len(text)
        yield Test(file, match.group(2), text[match.start():end])


def c_tests(file, text):
    found = sorted([*C_TEST.finditer(text), *CASE.finditer(text)], key=lambda m: m.start())
    for i, match in enumerate(found):
        end = found[i + 1].start() if i + 1 < len(found) else len(text)
        # What stands before the first test (tables, helpers) belongs to all of the file.
        yield Test(file, match.group(1), text[match.start():end])


def tests(root):
    out = []
    for file in sorted((root / "test").rglob("*")):
        if "node_modules" in file.parts or not file.is_file():
            continue
        if file.suffix == ".py":
            out += python_tests(file, file.read_text())
        elif file.suffix == ".c" and "fuzz" not in file.parts:
            out += c_tests(file, file.read_text())
        elif file.suffix in WHOLE:
            out.append(Test(file, file.stem, file.read_text()))
    return out


def rows(root):
    for file in sorted((root / "test" / "contract").glob("*.txt")):
        for n, line in enumerate(file.read_text().splitlines(), 1):
            line = line.split(" # ")[0].strip()
            if not line or line.startswith("#"):
                continue
            missing = line.startswith("? ")
            line = line[2:] if missing else line
            name, _, said = line.partition(" ! ")
            name, _, named = name.partition(" = ")
            yield Row(file.stem, name.strip(), [t.strip() for t in named.split(",") if t.strip()],
                      said.strip(), missing, f"{file.relative_to(root)}:{n}")  # fmt: skip


def covering(row, all_tests, by_name):
    """The tests of a row; for a row that names them, those that are there."""
    if row.tests:
        return [t for name in row.tests for t in by_name.get(name, [])[:1]]
    form, where = FORMS[row.section]
    pattern = re.compile(form(row.name))
    if where == "name":
        return [t for t in all_tests if pattern.search(t.name)]
    part = anchor(row)
    return [t for t in all_tests if part in t.body and (where == "body" or speaks_grpc(t.file))
            and pattern.search(t.body)]  # fmt: skip


def judge(row, found, by_name, compatibility):
    """What is wrong with a row, or None."""
    absent = [t for t in row.tests if t not in by_name]
    if absent:
        return f"no test is called {', '.join(absent)}"
    if row.said:
        here = " ".join(row.said.split()) in compatibility
        return None if here else f"docs/compatibility.md doesn't say “{row.said}”"
    if row.missing:
        return f"is covered by {found[0].name}: take its ? away" if found else None
    return None if found else "no test covers it"


# ---- what the product itself has ----

ROUTE = re.compile(r'^\s*\{ ([A-Z| ]+), "(/[^"]+)"', re.MULTILINE)
METHOD = re.compile(r'\{\s*(?:\.name = )?"([A-Z]\w+)"')
FLAG = re.compile(r'^\s*\{ "([a-z][a-z0-9-]+)",', re.MULTILINE)
CODE = re.compile(r'(?<!S\()"(ERR_[A-Z_]+[A-Z])"')  # S("ERR_…") is a prefix: the table of categories
FAMILY = re.compile(r'\.name = "((?:dapr|proa)_\w+)"')


def shape(route):
    verb, path = route.split(" ", 1)
    return verb, re.sub(r"\{[^}]*\}", "{}", path)


def product(root):
    """(section, name) of what the sources offer."""
    def text(path):
        file = root / path
        return file.read_text() if file.exists() else ""

    for match in ROUTE.finditer(text("src/api/routes.c")):
        for verb in match.group(1).split("|"):
            if not match.group(2).startswith("/proa/"):
                yield "routes", f"{verb.strip()} {match.group(2)}"
    for match in METHOD.finditer(text("src/api/grpc_methods.c")):
        yield "methods", match.group(1)
    for match in FLAG.finditer(text("src/runtime/options.c")):
        yield "flags", "--" + match.group(1)
    for file in ctext.sources(root, ("src",), (".c",)):
        code = file.read_text()
        for match in CODE.finditer(code):
            yield "errors", match.group(1)
        for match in FAMILY.finditer(code):
            if match.group(1).startswith("dapr_"):
                yield "metrics", match.group(1)


def unlisted(root, listed):
    known = {(r.section, shape(r.name) if r.section == "routes" else r.name.split(" ")[0])
             for r in listed}  # fmt: skip
    for section, name in sorted(set(product(root))):
        key = shape(name) if section == "routes" else name
        if (section, key) not in known:
            yield f"test/contract/{section}.txt: has no row “{name}”"


def check(root):
    """([problem], [(row, its tests)])"""
    listed, all_tests = list(rows(root)), tests(root)
    by_name = {}
    for test in all_tests:
        by_name.setdefault(test.name, []).append(test)
    page = root / "docs" / "compatibility.md"
    compatibility = " ".join(page.read_text().split()) if page.exists() else ""
    problems, table = [], []
    for row in listed:
        if row.section not in FORMS:
            problems.append(f"{row.line}: no section is called {row.section}")
            continue
        found = covering(row, all_tests, by_name)
        wrong = judge(row, found, by_name, compatibility)
        if wrong:
            problems.append(f"{row.line}: {row.name}: {wrong}")
        table.append((row, found))
    return problems + list(unlisted(root, listed)), table


def fix(root):
    """Takes the ? from what is covered."""
    for problem in check(root)[0]:
        match = re.match(r"(\S+):(\d+): .*: take its \? away$", problem)
        if match:
            file = root / match.group(1)
            lines = file.read_text().split("\n")
            at = int(match.group(2)) - 1
            lines[at] = lines[at].removeprefix("? ")
            file.write_text("\n".join(lines))


def show(table, root):
    section = None
    for row, found in table:
        if row.section != section:
            section = row.section
            print(f"\n{section}")
        first = f"{found[0].file.relative_to(root)} {found[0].name}" if found else ""
        more = f" (+{len(found) - 1})" if len(found) > 1 else ""
        by = "not there yet" if row.missing else f"differs: {row.said}" if row.said else first + more
        print(f"  {row.name[:70]:70}  {by}")


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    root = Path(names[0]).resolve() if names else Path(ctext.repository())
    if "--fix" in sys.argv:
        fix(root)
    problems, table = check(root)
    if "--table" in sys.argv:
        show(table, root)
    print("\n".join(problems))
    missing = sum(row.missing for row, _ in table)
    said = sum(bool(row.said) for row, _ in table)
    print(f"contract: {len(table)} rows: {len(table) - missing - said} tested, {said} different on "
          f"purpose, {missing} not there yet")  # fmt: skip
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
