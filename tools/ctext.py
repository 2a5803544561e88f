"""C source as text, for the gates: files, code without comments, functions, calls.

Not a compiler: it knows enough of this project's formatted C to find every function and what it
calls, in a second for the whole tree and with nothing installed. The gates' self-test
(test_gates.py) shows that each of them finds what it is for.
"""

import bisect
import re
import subprocess
from collections import namedtuple
from pathlib import Path

FOLDERS = ("include", "src", "components", "test", "bench", "examples")

# head and body are code without comments and texts; both keep their line breaks.
Function = namedtuple("Function", "name file line end head body body_line")

NOISE = re.compile(
    r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
# What looks like a call in front of a function's name and isn't.
ATTRIBUTE = re.compile(r"\b(?:__attribute__|PRINTF|AUTO|_Alignas|__asm__)\s*\(")
CALL = re.compile(r"(->|\.)?\s*\b([A-Za-z_]\w*)\s*\(")
KEYWORDS = {
    "if", "for", "while", "switch", "return", "sizeof", "do", "else", "case", "defined",
    "__typeof__", "typeof", "offsetof", "_Static_assert", "_Alignof", "__alignof__",
}  # fmt: skip


def sources(root, folders=FOLDERS, suffixes=(".c", ".h")):
    """The C files below the folders, without what a build made, as sorted paths."""
    out = []
    for folder in folders:
        for file in (Path(root) / folder).rglob("*"):
            if file.suffix in suffixes and file.is_file() and "node_modules" not in file.parts:
                out.append(file)
    return sorted(out)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def blank_noise(match):
    text = match.group(0)
    return text[0] + blank(match)[2:] + text[0] if text[0] in "\"'" else blank(match)


def strip(text):
    """The text with comments, contents of texts blanked: every line and column stays in place."""
    return NOISE.sub(blank_noise, text)


def strip_all(text):
    """strip() and preprocessor lines blanked too."""
    return DIRECTIVE.sub(blank, strip(text))


def close_of(code, at):
    """Where the bracket that opens at `at` closes."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    want, depth = pairs[code[at]], 0
    for i in range(at, len(code)):
        if code[i] == code[at]:
            depth += 1
        elif code[i] == want:
            depth -= 1
            if depth == 0:
                return i
    return len(code) - 1


def name_of(head):
    """The declared function's name in the text before its body or semicolon, or None."""
    while match := ATTRIBUTE.search(head):
        end = close_of(head, match.end() - 1)
        head = head[: match.start()] + " " * (end + 1 - match.start()) + head[end + 1 :]
    match = re.search(r"\b([A-Za-z_]\w*)\s*\(", head)
    if not match or match.group(1) in KEYWORDS:
        return None
    name = match.group(1)
    if name.isupper():  # TEST(it_works): the test's own name
        inner = re.match(r"\s*([A-Za-z_]\w*)", head[match.end() :])
        return inner.group(1) if inner else None
    return name


def pieces(code):
    """Top level of a file: (head, head_start, body_start or None, end) one by one."""
    start, i = 0, 0
    while i < len(code):
        c = code[i]
        if c in "([":
            i = close_of(code, i)
        elif c == "{":
            end = close_of(code, i)
            yield code[start:i], start, i, end
            i = end
            start = i + 1
        elif c == ";":
            yield code[start:i], start, None, i
            start = i + 1
        i += 1


def functions(path, text=None):
    """Every function with a body in a file."""
    text = Path(path).read_text() if text is None else text
    code = strip_all(text)
    starts = [0] + [m.end() for m in re.finditer("\n", code)]

    def line_at(offset):
        return bisect.bisect_right(starts, offset)

    for head, start, body, end in pieces(code):
        if body is None or "=" in head or not head.rstrip().endswith((")", "WUR")):
            continue
        name = name_of(head)
        if name:
            first = start + len(head) - len(head.lstrip())
            yield Function(
                name, str(path), line_at(first), line_at(end), head.strip(),
                code[body : end + 1], line_at(body),
            )  # fmt: skip


def calls(body):
    """(line from 0, name, through a pointer or member?) for each call in a body."""
    for match in CALL.finditer(body):
        if match.group(2) not in KEYWORDS:
            yield body.count("\n", 0, match.start(2)), match.group(2), bool(match.group(1))


def repository():
    """The project's folder: the one above tools/."""
    return Path(__file__).resolve().parent.parent


def tracked(root):
    """The files git knows, or None outside of a clone."""
    done = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    return set(done.stdout.split("\0")) - {""} if done.returncode == 0 else None
