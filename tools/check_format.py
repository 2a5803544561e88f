#!/usr/bin/env python3
"""Refuses C that clang-format would write differently.

  check_format.py [ROOT]      names the files; exit 1 if there is any
  check_format.py --fix       formats them
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctext

# Another version formats otherwise: this one is Debian 12's.
PROGRAM = "clang-format-14"


AT_ONCE = 32  # files a process: starting one costs more than reading a file


def differing(files):
    """Those that stand out of form: each is told by lines on stderr."""
    done = subprocess.run([PROGRAM, "--dry-run", "--ferror-limit=0", *map(str, files)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        return [f"{files[0]} …: {done.stderr.strip()}"]
    told = set(re.findall(r"^(.+?):\d+:\d+: ", done.stderr, re.MULTILINE))
    return [str(f) for f in files if str(f) in told]


def main():
    root = ctext.repository()
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if names:
        root = Path(names[0])
    if not shutil.which(PROGRAM):
        sys.exit(f"check_format.py: {PROGRAM} is missing: tools/install-deps.sh test")
    files = ctext.sources(root)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        parts = [files[i:i + AT_ONCE] for i in range(0, len(files), AT_ONCE)]
        wrong = [f for part in pool.map(differing, parts) for f in part]
    if wrong and "--fix" in sys.argv:
        subprocess.run([PROGRAM, "-i", *wrong], check=True)
        print(f"format: {len(wrong)} files formatted")
        return 0
    for file in wrong:
        print(f"{os.path.relpath(file, root)}: not as {PROGRAM} writes it: make format")
    if not wrong:
        print(f"format: {len(files)} files in form")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
