#!/usr/bin/env python3
"""Refuses C that clang-format would write differently.

  check_format.py [ROOT]      names the files; exit 1 if there is any
  check_format.py --fix       formats them
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctext

# Another version formats otherwise: this one is Debian 12's.
PROGRAM = "clang-format-14"


def differs(file):
    """Text that stands out of form is told by a line on stderr."""
    done = subprocess.run([PROGRAM, "--dry-run", "--ferror-limit=1", str(file)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        return f"{file}: {done.stderr.strip()}"
    return str(file) if done.stderr.strip() else None


def main():
    root = ctext.repository()
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if names:
        root = Path(names[0])
    if not shutil.which(PROGRAM):
        sys.exit(f"check_format.py: {PROGRAM} is missing: tools/install-deps.sh test")
    files = ctext.sources(root)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        wrong = [f for f in pool.map(differs, files) if f]
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
