#!/usr/bin/env python3
"""Runs clang-tidy over the sources that a build folder compiles, several at once.

  check_tidy.py BUILD [--jobs=N] [--deep] [FILE...]     exit 1 if it found anything

The analyzer looks into each function, but follows few calls: a second a file instead of ten.
--deep has it follow them all; for the odd hour, and for releases. A file whose text, headers,
flags and checks are those of its last good run isn't read again: BUILD/tidy-cache remembers them.
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctext

PROGRAM = "clang-tidy-14"
FOLDERS = ("src", "components")
LIMIT_S = 300  # for one file
SHALLOW = [f"--extra-arg={a}" for a in ("-Xclang", "-analyzer-config", "-Xclang", "mode=shallow")]

FINDING = re.compile(r"^(\S+?):\d+:\d+: (?:error|warning): .*\[([\w.-]+)[^\]]*\]$", re.MULTILINE)
PATH = re.compile(r"^([^\s:]+)(?=:\d+:\d+: )", re.MULTILINE)
# False alarms: (file, check): what the analyzer can't see.
EXCEPTIONS = {
    ("src/base/buf.c", "clang-analyzer-core.NonNullParamChecker"): "head > 0 only with memory",
    ("src/base/id.c", "clang-analyzer-core.UndefinedBinaryOperatorResult"): "both words are set",
    ("src/block/binding.c", "clang-analyzer-core.NullDereference"): "no instance: cause is set",
    ("src/block/deliver.c", "clang-analyzer-core.NullDereference"): "no memory: r is negative",
    ("src/cli/run_process.c", "clang-analyzer-deadcode.DeadStores"): "AUTO reads it at the end",
    ("src/cli/run_watch.c", "clang-analyzer-core.NullDereference"): "r >= 0 only with an answer",
    ("src/format/cel.c", "clang-analyzer-core.UndefinedBinaryOperatorResult"): "matches() has two",
    ("src/lib/proa.c", "clang-analyzer-core.CallAndMessage"): "up is set only with on_start",
}


def own_headers(root):
    """A digest of every header of ours: one that changed has every file read again."""
    digest = hashlib.sha256((root / ".clang-tidy").read_bytes())
    for header in ctext.sources(root, (*FOLDERS, "include"), (".h",)):
        digest.update(header.read_bytes())
    return digest.digest()


def flags_of(entry):
    words = shlex.split(entry["command"])
    return [w for w in words if w.startswith(("-D", "-I", "-std", "-f"))]


def units(build, root, only, how):
    """(file, digest) of each file of ours that the build compiles."""
    common = own_headers(root) + " ".join(how).encode()
    seen = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = (Path(entry["directory"]) / entry["file"]).resolve()
        try:
            shown = file.relative_to(root).as_posix()
        except ValueError:
            continue
        if not shown.startswith(FOLDERS) or file.suffix != ".c" or not file.exists():
            continue
        if only and shown not in only or build in file.parents:
            continue
        flags = " ".join(flags_of(entry)).encode()
        seen[shown] = hashlib.sha256(common + flags + file.read_bytes()).hexdigest()
    return sorted(seen.items())


def examine(build, root, shown, how):
    """What clang-tidy has against a file, or the empty text."""
    args = [PROGRAM, "-p", str(build), "--quiet", *how, str(root / shown)]
    try:
        done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{shown}: clang-tidy took more than {LIMIT_S} s\n"
    text = PATH.sub(lambda m: os.path.relpath(os.path.join(build, m[1]), root), done.stdout)
    found = [f for f in FINDING.findall(text) if f not in EXCEPTIONS]
    failed = done.returncode != 0 and not FINDING.search(text)
    return text if found else done.stderr if failed else ""


def main():
    options = [a for a in sys.argv[1:] if a.startswith("--")]
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if not names:
        sys.exit(__doc__)
    root, build = ctext.repository(), Path(names[0]).resolve()
    jobs = next((int(o[7:]) for o in options if o.startswith("--jobs=")), os.cpu_count() or 1)
    cache = build / "tidy-cache"
    cache.mkdir(exist_ok=True)
    how = [] if "--deep" in options else SHALLOW
    found = units(build, root, set(names[1:]), how)
    todo = [(shown, digest) for shown, digest in found if not (cache / digest).exists()]

    def run(unit):
        shown, digest = unit
        problems = examine(build, root, shown, how)
        if not problems:
            (cache / digest).touch()
        return problems

    with ThreadPoolExecutor(jobs) as pool:
        problems = [p for p in pool.map(run, todo) if p]
    print("".join(problems), end="")
    print(f"clang-tidy: {len(found)} files, {len(todo)} read, {len(problems)} with problems")
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main())
