#!/usr/bin/env python3
"""Refuses functions that this project doesn't use, each with what to use instead.

  check_banned.py [ROOT]      one line for each; exit 1 if there is any
"""

import re
import sys
from pathlib import Path

import ctext

EVERYWHERE = {
    "strcpy": "str.h, or snprintf() with the size of what it fills",
    "strcat": "buf_add()",
    "sprintf": "snprintf() or buf_printf()",
    "vsprintf": "vsnprintf()",
    "strtok": "str_split() and its like: it keeps its state in a global",
    "strtok_r": "str.h: it writes into what it reads",
    "atoi": "a parser that tells a bad number from 0 (format/number.h)",
    "atol": "a parser that tells a bad number from 0 (format/number.h)",
    "atof": "a parser that tells a bad number from 0 (format/number.h)",
    "alloca": "the arena",
    "gets": "nothing: it can't be used safely",
    "system": "posix_spawn() or fork() and execve() with an argument vector",
    "localtime": "clock.h, or localtime_r() where a person reads it",
    "gmtime": "clock.h, or gmtime_r()",
    "sleep": "fiber_sleep(); in a test, wait for the thing itself",
}
# In what ships; a test reads what it wrote itself, and its children are its own.
SHIPPED_ONLY = {
    "usleep": "fiber_sleep()",  # a test may poll for what it waits for
    "strtol": "format/number.h: it takes blanks, signs and rests",
    "strtoul": "format/number.h: it takes blanks, signs and rests",
    "strtoll": "format/number.h: it takes blanks, signs and rests",
    "strtoull": "format/number.h: it takes blanks, signs and rests",
    "popen": "posix_spawn() or fork() and execve() with an argument vector",
    "mktemp": "mkstemp()",
    "tmpnam": "mkstemp()",
}
# Memory is src/base's alone in what ships; a test or a bench may ask libc.
MEMORY = {"malloc", "calloc", "realloc", "free", "strdup", "strndup", "asprintf", "vasprintf"}
SHIPPED = ("src", "components")
# What opens a descriptor: the flag that must stand among its arguments, or what does it instead.
CLOEXEC = {
    "open": ("O_CLOEXEC",),
    "openat": ("O_CLOEXEC",),
    "socket": ("SOCK_CLOEXEC",),
    "socketpair": ("SOCK_CLOEXEC",),
    "accept4": ("SOCK_CLOEXEC",),
    "pipe2": ("O_CLOEXEC",),
    "dup3": ("O_CLOEXEC",),
    "epoll_create1": ("EPOLL_CLOEXEC",),
    "eventfd": ("EFD_CLOEXEC",),
    "memfd_create": ("MFD_CLOEXEC",),
    "mkostemp": ("O_CLOEXEC",),
    "accept": (),
    "pipe": (),
    "dup": (),
    "creat": (),
    "mkstemp": (),
    "inotify_init": (),
}
VLA = re.compile(r"\b(?:char|int|size_t|uint8_t|uint64_t|str)\s+\w+\[[a-z_]\w*\];")
# A descriptor that a child is meant to get, or a place where libc's allocator is the point.
EXCEPTIONS = {
    # (file, function that is called): why
}


def arguments(code, at):
    start = code.index("(", at)
    return code[start + 1 : ctext.close_of(code, start)]


def why_not(name, member, args, shipped, in_base):
    """The reason against a call, or None."""
    if member:
        return None  # a slot of ours that is called so
    if name in EVERYWHERE:
        return f"{name}(): use {EVERYWHERE[name]}"
    if name in SHIPPED_ONLY and shipped:
        return f"{name}(): use {SHIPPED_ONLY[name]}"
    if name in MEMORY and shipped and not in_base:
        return f"{name}(): memory comes from base/mem.h or an arena"
    if name in CLOEXEC and shipped:
        flags = CLOEXEC[name]
        if not flags:
            return f"{name}(): use the call of its family that takes a CLOEXEC flag"
        if not any(flag in args for flag in flags):
            return f"{name}() without {flags[0]}: a child would inherit it"
    return None


def check_file(file, shown, problems):
    code = ctext.strip_all(file.read_text())
    shipped = shown.startswith(SHIPPED)
    in_base = shown.startswith("src/base/")
    own = {f.name for f in ctext.functions(file, code)}
    for match in ctext.CALL.finditer(code):
        name = match.group(2)
        if name in own or (shown, name) in EXCEPTIONS:
            continue
        before = code[: match.start(2)].rstrip()
        if before.endswith(("*", "]")) and not match.group(1):
            continue  # a declaration
        reason = why_not(name, match.group(1), arguments(code, match.end(2)), shipped, in_base)
        if reason:
            problems.append(f"{shown}:{code.count(chr(10), 0, match.start(2)) + 1}: {reason}")


def check(root):
    problems = []
    for file in ctext.sources(root):
        check_file(file, file.relative_to(root).as_posix(), problems)
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ctext.repository()
    problems = check(root)
    print("\n".join(problems) or "banned: none of them is called")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
