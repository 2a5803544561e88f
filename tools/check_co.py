#!/usr/bin/env python3
"""Refuses a function that may suspend and doesn't say so: whoever calls a CO function is CO itself.

  check_co.py [ROOT]          one line for each; exit 1 if there is any

CO stands at declarations and definitions of functions, function types and members that point to
functions. A call of a CO function, or of a member whose name is CO wherever it is declared, may
stand only in a CO function, or in one that starts a fiber: one that is handed to a *_spawn().
Text, not types: a member's name that is CO in one struct and plain in another isn't judged.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import ctext

CO_DECLARED = re.compile(r"\bCO\b([^;{}]*?)[;{]", re.DOTALL)
MEMBER = re.compile(r"[^(]*\(\s*\*\s*(\w+)\s*\)\s*\(")
SLOT = re.compile(r"^[ \t]+([^\n;{}()=]*)\(\s*\*\s*(\w+)\s*\)\s*\(", re.MULTILINE)
SPAWN = re.compile(r"\b\w*_spawn\s*\(")
# Unmarked callers that are right, and why.
EXCEPTIONS = {
    ("src/fiber/sched.c", "start"): "the frame below every fiber's first function",
    # worker_call() suspends a fiber and blocks any other thread: these start and end listeners,
    # which main() does too.
    ("src/loop/listener.c", "start_all"): "off the workers, too",
    ("src/loop/listener.c", "close_port"): "off the workers, too",
    ("src/loop/listener.c", "listener_close"): "off the workers, too",
    ("src/runtime/load.c", "new_instance"): "frees what was never opened: close isn't called",
}


class Tree:
    """What is CO in the tree, by name."""

    def __init__(self, root, files):
        self.public = set()
        self.static = defaultdict(set)
        self.members, self.plain_members = set(), set()
        self.entries = defaultdict(set)
        for file in files:
            shown = file.relative_to(root).as_posix()
            code = ctext.strip_all(file.read_text())
            self.declarations(shown, code)
            for match in SPAWN.finditer(code):
                at = match.end() - 1
                self.entries[shown] |= set(re.findall(r"\w+", code[at : ctext.close_of(code, at)]))

    def declarations(self, shown, code):
        for match in CO_DECLARED.finditer(code):
            head = match.group(1)
            member = MEMBER.match(head)
            name = ctext.name_of(head)
            if member:
                self.members.add(member.group(1))
            elif name and "static" in head.split("(")[0]:
                self.static[shown].add(name)
            elif name:
                self.public.add(name)
        for match in SLOT.finditer(code):
            if not re.search(r"\bCO\b", match.group(1)):
                self.plain_members.add(match.group(2))

    def suspends(self, shown, name, member, own):
        """Does a call of this name, in this file, suspend?"""
        if member:
            return name in self.members and name not in self.plain_members
        if name in self.static[shown]:
            return True
        return name in self.public and name not in own


def marked(function, shown, tree):
    """Is it CO, by its own head or its declaration, or the first function of a fiber?"""
    return (
        re.search(r"\bCO\b|\bTEST\w*\s*\(", function.head)
        or function.name in tree.static[shown]
        or function.name in tree.public
        or function.name in tree.entries[shown]
    )


def check(root):
    files = ctext.sources(root, ("src", "components"))
    tree, problems = Tree(root, files), []
    header = Path(root) / "include" / "proa.h"  # its words are for readers who don't know CO
    exported = set(re.findall(r"\bproa_\w+", header.read_text())) if header.exists() else set()
    for file in files:
        shown = file.relative_to(root).as_posix()
        functions = list(ctext.functions(file))
        statics = {f.name for f in functions if "static" in f.head.split("(")[0]}
        for f in functions:
            if f.name in exported or marked(f, shown, tree) or (shown, f.name) in EXCEPTIONS:
                continue
            for line, name, member in ctext.calls(f.body):
                if tree.suspends(shown, name, member, statics):
                    where = f"{shown}:{f.body_line + line}"
                    problems.append(f"{where}: {f.name}() calls {name}(), which is CO: mark it CO")
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ctext.repository()
    problems = check(root)
    print("\n".join(problems) or "CO: every function that may suspend says so")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
