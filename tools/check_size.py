#!/usr/bin/env python3
"""Refuses files, functions and lines that have grown too large to read.

  check_size.py [ROOT]        one line for each; exit 1 if there is any
  check_size.py --table       the distribution, and the largest of each

Cyclomatic complexity is 1 + the decisions in a function: if, for, while, case, &&, ||, ?:.
"""

import re
import sys
from pathlib import Path

import ctext

FILE_LINES = 800
FUNCTION_LINES = 100
COMPLEXITY = 15
COLUMNS = 100
DECISION = re.compile(r"\b(?:if|for|while|case)\b|&&|\|\||\?")
# Few, each for a reason that a reader would accept: a flat table that happens to be a switch.
EXCEPTIONS = {
    ("src/base/clock.c", "clock_parse_rfc3339"): "one row of checks per field of the format",
    ("src/base/log.c", "utf8_len"): "the table of RFC 3629, as ranges",
    ("src/format/json_chars.h", "utf8_len"): "the table of RFC 3629, as ranges",
    ("components/common/sqlite/conn.c", "sqlite_code"): "one case per code of SQLite",
    ("src/component/bind.c", "bind_row"): "one case per kind of row",
    ("test/unit/fiber/fiber_portable.c", "registers"): "one comparison per register",
    ("test/unit/format/test_cel_suite.c", "run_case"): "one branch per kind of expectation",
}


def complexity(function):
    return 1 + len(DECISION.findall(function.body))


def check_lines(text, shown):
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        yield f"{shown}: {len(lines)} lines, at most {FILE_LINES}: split it by what it does"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{shown}:{number}: {len(line)} columns, at most {COLUMNS}"


def check_function(function, shown, used):
    length = function.end - function.line + 1
    where = f"{shown}:{function.line}: {function.name}()"
    if length > FUNCTION_LINES:
        yield f"{where}: {length} lines, at most {FUNCTION_LINES}"
    score = complexity(function)
    if score <= COMPLEXITY:
        return
    if (shown, function.name) in EXCEPTIONS:
        used.add((shown, function.name))
    else:
        yield f"{where}: cyclomatic {score}, at most {COMPLEXITY}: take a piece out"


def check(root):
    problems, used = [], set()
    for file in ctext.sources(root):
        shown = file.relative_to(root).as_posix()
        text = file.read_text()
        problems += check_lines(text, shown)
        for function in ctext.functions(file, text):
            problems += check_function(function, shown, used)
    for shown, name in sorted(set(EXCEPTIONS) - used):
        if (Path(root) / shown).exists():
            problems.append(f"tools/check_size.py: {name}() of {shown} needs no exception any more")
    return problems


def table(root):
    rows = []
    for file in ctext.sources(root, ("src", "components")):
        for function in ctext.functions(file):
            lines = function.end - function.line + 1
            rows.append((lines, complexity(function), function.name, file.name))
    for title, at in (("lines", 0), ("cyclomatic", 1)):
        values = sorted(row[at] for row in rows)
        parts = [f"p{p} {values[len(values) * p // 100]}" for p in (50, 90, 95, 99)]
        print(f"{title} of {len(rows)} functions: {', '.join(parts)}, most {values[-1]}")
    for lines, score, name, file in sorted(rows, reverse=True)[:10]:
        print(f"  {lines:4} lines  {score:3}  {name} ({file})")


def main():
    if "--table" in sys.argv:
        return table(ctext.repository())
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ctext.repository()
    problems = check(root)
    print("\n".join(problems) or "size: every file and function within its limits")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
