"""The suites of run_tests.py, in the order in which they run: cheap gates first."""

import os
import shutil
import sys
from collections import namedtuple

from testrun import FAILED, PASSED, SANITIZERS, SKIPPED, Build, command

Suite = namedtuple("Suite", "name about run")

UNIT = (
    "base", "fiber", "loop", "format", "http", "policy", "sim", "component", "block", "api", "telemetry",
    "runtime", "cli", "lib", "conformance",
)  # fmt: skip
THREADED = ("fiber", "loop", "http", "block", "telemetry")
GATES = ("layers", "banned", "size", "co", "format", "docs", "contract")
SDKS = {"python": "Python", "javascript": "JavaScript", "go": "Go", "java": "Java"}
POLYGLOT = ("Demo", "Inventory", "Payments", "Shipping", "Notifications")  # of test_polyglot.py
CHAOS_ROUNDS = "8"
# An empty str may be NULL: NULL + 0, which C2y defines, isn't worth a report. And the name by which
# gcc tells a program of ASan, for the tests that give it more stack.
CLANG_SANITIZERS = "-fno-sanitize=pointer-overflow -D__SANITIZE_ADDRESS__=1"


def suite_of(test):
    return (test.get("suite") or [""])[0].split(":")[-1]


def gates(machine):
    """The gates over the tree, and their self-test: each must refuse a violation."""
    steps = [("gates' self-test", "test_gates.py")]
    steps += [(f"check_{gate}", f"check_{gate}.py") for gate in GATES]
    return machine.parallel(
        lambda s: machine.step(s[0], [sys.executable, f"tools/{s[1]}"], 300, "gates"), steps
    )


def grpc_python(machine):
    """grpcio from PyPI, for the daprd that test_internal.py plays: without it that file says so."""
    venv = machine.build / "test" / "grpc-venv"
    requirements = machine.root / "test" / "integration" / "requirements.txt"
    done = venv / "requirements.txt"
    if done.exists() and done.read_text() == requirements.read_text():
        return
    for step in (
        [sys.executable, "-m", "venv", venv],
        [venv / "bin" / "python3", "-m", "pip", "install", "-q", "-r", requirements],
    ):
        code, output, _ = command(step, 180)
        if code != 0:
            said = (output.strip().splitlines() or ["it says nothing"])[-1]
            print(f"      no grpcio: {said[:100]}", flush=True)
            return
    done.write_text(requirements.read_text())


def h2spec(machine):
    """h2spec from Go's modules, for test_h2spec.py: without it that file says so."""
    source = machine.root / "test" / "integration" / "h2spec"
    into = machine.build / "test" / "h2spec"
    sums, done = source / "go.sum", into / "go.sum"
    if done.exists() and done.read_text() == sums.read_text():
        return
    if not shutil.which("go"):
        print("      no h2spec: there is no go in PATH", flush=True)
        return
    args = ["go", "build", "-o", into / "h2spec", "github.com/summerwind/h2spec/cmd/h2spec"]
    code, output, _ = command(args, 180, source)
    if code != 0:
        said = (output.strip().splitlines() or ["it says nothing"])[-1]
        print(f"      no h2spec: {said[:100]}", flush=True)
        return
    done.write_text(sums.read_text())


def normal(machine):
    """Everything Meson knows, as developers build it."""
    build = Build(machine, "test", ["--buildtype=debugoptimized"])
    wrong = build.configure()
    if wrong:
        return [wrong]
    # Chaos takes long and mostly waits for the disk: with the others it would disturb their clocks.
    made = build.make()
    grpc_python(machine)
    h2spec(machine)
    chaos = {"CHAOS_ROUNDS": CHAOS_ROUNDS}
    os.environ.update(chaos)
    quick = [t for t in build.tests() if suite_of(t) != "chaos"]
    slow = [t for t in build.tests() if suite_of(t) == "chaos"]
    one_more = machine.jobs + 1  # the longest ones mostly wait: for leases, back-offs, a server's end
    return [made] + build.run(quick, slower=2, at_once=one_more) + build.run(slow, slower=2)


def sdk(machine):
    """Each official SDK: installed in a folder of the build, then its tests, apps of each protocol apart;
    with all of them examples/polyglot too, which borrows their packages."""
    build = Build(machine, "test", ["--buildtype=debugoptimized"])
    wrong = build.configure()
    if wrong:
        return [wrong]
    made = build.make(["src/cli/proa", "examples/orders/storefront", "examples/orders/orders"])
    folder, polyglot = machine.build / "sdk", machine.build / "polyglot"
    env = {"PROA": str(build.dir / "src" / "cli" / "proa"), "SDK_DIR": str(folder),
           "PROA_BUILD": str(build.dir), "PROA_SOURCE": str(machine.root),
           "POLYGLOT_DIR": str(polyglot)}  # fmt: skip

    def install(source, *into):
        args = [sys.executable, "tools/install_sdk.py", source, "--into", *into]
        return machine.step(f"install {os.path.basename(source)}", args, 600, "sdk")

    def run(test):
        args = [sys.executable, f"test/sdk/{test[0]}.py", "-v", test[1]]
        return machine.step(" ".join(test), args, 400, "sdk", env=env)

    installed = machine.parallel(lambda l: install(f"test/sdk/{l}", folder), SDKS)
    tests = [("test_sdk", f"{name}.{test}") for name, i in zip(SDKS.values(), installed)
             if i.outcome == PASSED for test in ("test_http_app", "test_grpc_app")]  # fmt: skip
    if all(i.outcome == PASSED for i in installed):
        services = sorted(str(p.parent) for p in machine.root.glob("examples/polyglot/*/README.md"))
        more = machine.parallel(lambda s: install(s, polyglot, "--share", folder), services)
        installed += more
        if all(i.outcome == PASSED for i in more):
            tests += [("test_polyglot", name) for name in POLYGLOT]
    return [made] + installed + machine.parallel(run, tests)


def clang_build(machine):
    """Clang, its warnings (WUR bites there), the sanitizers and libFuzzer: one folder for all."""
    return Build(
        machine, "asan",
        ["--buildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false",
         "-Dfuzz=true", "-Dc_args=" + CLANG_SANITIZERS], compiler="clang-14",
    )  # fmt: skip


def sanitized(machine):
    build = clang_build(machine)
    wrong = build.configure()
    if wrong:
        return [wrong]
    tests = build.tests(lambda t: suite_of(t) in UNIT and build.program(t))
    made = build.make(["src/cli/proa", *build.targets(tests)])  # all of src/, for the warnings
    return [made] + build.run(tests, slower=5)


def threads(machine):
    build = Build(machine, "tsan", ["--buildtype=debugoptimized", "-Db_sanitize=thread"])
    wrong = build.configure()
    if wrong:
        return [wrong]
    tests = build.tests(lambda t: suite_of(t) in THREADED and build.program(t))
    made = build.make(build.targets(tests))
    return [made] + build.run(tests, slower=10)


def portable(machine):
    """The fiber switch of each kind of CPU: ucontext here, and aarch64 under qemu."""
    ucontext = Build(machine, "ucontext", ["--buildtype=release", "-Dfiber_switch=ucontext"])
    arm = Build(machine, "aarch64", ["--cross-file", "cross/aarch64.ini"],
                source="test/unit/fiber/portable")  # fmt: skip
    results = []
    wrong = ucontext.configure()
    if not wrong:
        tests = ucontext.tests(lambda t: suite_of(t) == "fiber")
        results += [ucontext.make(ucontext.targets(tests))] + ucontext.run(tests, slower=3)
    wrong_too = arm.configure()
    if not wrong_too:
        results.append(arm.make())
        results.append(machine.step("aarch64 fibers under qemu",
                                    ["meson", "test", "-C", arm.dir, "--no-rebuild", "-t", "5"],
                                    600, "aarch64"))  # fmt: skip
    return results + [w for w in (wrong, wrong_too) if w]


def fuzzers(machine, build):
    """The names of the fuzz programs, from Meson's own list."""
    targets = build.introspect("--targets")
    files = [t["filename"][0] for t in targets if t["name"].endswith("_fuzz")]
    return sorted(os.path.relpath(f, build.dir) for f in files)


def fuzz_one(machine, build, program):
    name = os.path.basename(program)
    if not (build.dir / program).exists():
        return machine.result(name, FAILED, 0, "not built", folder="fuzz")
    short = name.removesuffix("_fuzz")
    folder = machine.build / "fuzz-corpus" / short
    folder.mkdir(parents=True, exist_ok=True)
    corpora = [folder]
    for seeds in (machine.root / "test" / "fuzz" / "corpus" / short,):
        corpora += [seeds] if seeds.is_dir() else []
    words = machine.root / "test" / "fuzz" / f"{short}.dict"
    options = [f"-dict={words}"] if words.exists() else []
    args = [build.dir / program, f"-max_total_time={machine.fuzz_seconds}", "-rss_limit_mb=2048",
            "-error_exitcode=1",  # its own, 77, is what a skipped test ends with
            "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={machine.logs}/fuzz/",
            *options, *corpora]  # fmt: skip
    return machine.step(name, args, machine.fuzz_seconds * 3 + 60, "fuzz")


def fuzz(machine):
    build = clang_build(machine)
    wrong = build.configure()
    if wrong:
        return [wrong]
    programs = fuzzers(machine, build)
    if not programs:
        return [machine.result("fuzz", SKIPPED, 0, "", "no fuzzers in this tree")]
    made = build.make(programs)
    made.name = "build fuzzers"
    (machine.logs / "fuzz").mkdir(exist_ok=True)
    runs = machine.parallel(lambda p: fuzz_one(machine, build, p), programs, at_once=2)
    return [made] + runs


def tidy(machine):
    """clang-tidy with .clang-tidy's list, over the files that clang_build() compiles."""
    build = clang_build(machine)
    wrong = build.configure()
    if wrong:
        return [wrong]
    made = build.make(["src/cli/proa"])  # also for the headers that the build writes
    made.name = "build with clang"
    args = [sys.executable, "tools/check_tidy.py", build.dir, f"--jobs={machine.jobs}"]
    return [made, machine.step("clang-tidy", args, 900, "gates")]


def sanitized_integration(machine):
    """The integration tests with the sanitizers' sidecar; what measures memory is left out."""
    build, tests = clang_build(machine), Build(machine, "test", ["--buildtype=debugoptimized"])
    wrong = build.configure() or tests.configure()
    if wrong:
        return [wrong]
    made = build.make(["src/cli/proa"])
    made.name = "build with clang"
    grpc_python(machine)
    h2spec(machine)
    env = {
        "PROA": str(build.dir / "src" / "cli" / "proa"),
        "PROA_SANITIZED": "1",
        "ASAN_OPTIONS": SANITIZERS["ASAN_OPTIONS"] + ":detect_stack_use_after_return=1",
    }
    chosen = tests.tests(lambda t: suite_of(t) == "integration" and not tests.program(t))
    for test in chosen:
        test["env"] = {**test["env"], **env}
    return [made] + tests.run(chosen, slower=4)


ALL = [
    Suite("gates", "layers, banned calls, sizes, CO, format, and that each of them bites", gates),
    Suite("test", "every test, built with gcc", normal),
    Suite("sdk", "the official Dapr SDKs of four languages, unchanged", sdk),
    Suite("asan", "unit and conformance tests, built with clang, under ASan and UBSan", sanitized),
    Suite("tsan", "fibers, loop, HTTP and blocks under ThreadSanitizer", threads),
    Suite("portable", "fibers with ucontext, and on aarch64 under qemu", portable),
    Suite("fuzz", "each fuzzer for a moment", fuzz),
    Suite("tidy", "clang-tidy over the sources", tidy),
]
ON_DEMAND = [
    Suite("asan-integration", "integration tests with a sidecar under ASan and UBSan: 10 minutes",
          sanitized_integration),
]  # fmt: skip
