#!/usr/bin/env python3
"""Refuses a document whose links lead nowhere, whose programs don't compile, or that is longer than
people read. A program is a block of C that includes <proa.h>.

  check_docs.py [ROOT]        one line for each; exit 1 if there is any
"""

import re
import subprocess
import sys
from pathlib import Path

import ctext

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"^```c\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMPILE = ["cc", "-std=gnu17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
           "-fsyntax-only", "-x", "c", "-"]  # fmt: skip
MAX_LINES = 150  # a page of docs/ is about one screen; this is where it is surely two


def check_program(code, shown, root):
    done = subprocess.run([*COMPILE, f"-I{root}/include"], input=code, capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        yield f"{shown}: the program doesn't compile:\n{done.stderr.strip()}"


def check_file(file, root):
    shown = file.relative_to(root)
    text = file.read_text()
    if text.count("\n") > MAX_LINES and shown.parts[0] == "docs":
        yield f"{shown}: {text.count(chr(10))} lines, at most {MAX_LINES}"
    for match in PROGRAM.finditer(text):
        if "#include <proa.h>" in match.group(1):
            yield from check_program(match.group(1), shown, root)
    without_code = re.sub(r"^```.*?^```", ctext.blank, text, flags=re.MULTILINE | re.DOTALL)
    for match in LINK.finditer(without_code):
        target = match.group(1).split("#")[0]
        if not target or "://" in target or target.startswith("mailto:"):
            continue
        if not (file.parent / target).exists():
            line = text.count("\n", 0, match.start()) + 1
            yield f"{shown}:{line}: {match.group(1)} leads nowhere"


def check(root):
    files = sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"),
                    *(root / "examples").rglob("*.md"), *(root / "bench").glob("*.md")])  # fmt: skip
    return [problem for file in files for problem in check_file(file, root)]


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ctext.repository()
    problems = check(root)
    print("\n".join(problems) or "docs: every link leads somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
