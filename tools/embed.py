#!/usr/bin/env python3
"""Turns files into one C array: embed.py OUTPUT.c ROOT FILE...

Each FILE becomes a row of embedded_files[] (dashboard/embedded.h) whose path is its place below
ROOT with a slash before it. index.html is listed as "/" too, so a server needs no rule for it.
"""

import sys
from pathlib import Path

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_TOTAL = 150 * 1024  # the page is meant to stay small: past this, cut something


def c_bytes(data):
    """The bytes as rows of decimal numbers: every C compiler takes those at any length."""
    rows = (data[i : i + 24] for i in range(0, len(data), 24))
    return ",\n".join("    " + ",".join(map(str, row)) for row in rows)


def main(output, root, names):
    arrays, rows, total = [], [], 0
    for i, name in enumerate(names):
        file = Path(name)
        data = file.read_bytes()
        total += len(data)
        if file.suffix not in TYPES:
            sys.exit(f"embed.py: {name}: no content type for '{file.suffix}': add it to TYPES")
        if not data:
            sys.exit(f"embed.py: {name} is empty")
        path = "/" + file.resolve().relative_to(Path(root).resolve()).as_posix()
        arrays.append(f"static const unsigned char file_{i}[] = {{\n{c_bytes(data)}\n}};\n")
        paths = [path, "/"] if path == "/index.html" else [path]
        for p in paths:
            rows.append(f'    {{ "{p}", "{TYPES[file.suffix]}", file_{i}, sizeof(file_{i}) }},\n')
    if total > MAX_TOTAL:
        sys.exit(f"embed.py: {total} bytes, over the limit of {MAX_TOTAL}: make the page smaller")
    text = '/* Made by tools/embed.py: do not edit. */\n#include "dashboard/embedded.h"\n\n'
    text += "\n".join(arrays)
    text += "\nconst struct embedded_file embedded_files[] = {\n" + "".join(rows) + "};\n"
    text += "const size_t n_embedded_files = sizeof(embedded_files) / sizeof(embedded_files[0]);\n"
    Path(output).write_text(text)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: embed.py OUTPUT.c ROOT FILE...")
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
