#!/usr/bin/env python3
"""Checks that code shown in a document is code that is compiled: every ```c block of DOC must stand,
line by line, in one of the FILES (a line with only `…` skips over some lines).

  check_doc_code.py DOC FILE...
"""
import pathlib
import re
import sys


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def stands_in(piece, source):
    n = len(piece)
    return any(source[i:i + n] == piece for i in range(len(source) - n + 1))


def pieces(block):
    piece = []
    for line in lines(block):
        if line in ('…', '/* … */'):
            yield piece
            piece = []
        else:
            piece.append(line)
    yield piece


def main(doc, *files):
    text = pathlib.Path(doc).read_text()
    sources = [lines(pathlib.Path(f).read_text()) for f in files]
    blocks = re.findall(r'^```(?:c|ini)\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    if not blocks:
        sys.exit(f'{doc}: no code to check')
    for block in blocks:
        for piece in pieces(block):
            if piece and not any(stands_in(piece, s) for s in sources):
                sys.exit(f'{doc}: this is not in the sources:\n' + '\n'.join(piece))
    print(f'{doc}: {len(blocks)} blocks stand in the sources')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
