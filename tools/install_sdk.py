#!/usr/bin/env python3
"""Installs what a program in Python, JavaScript, Go or Java needs, and compiles it, in a copy of its folder.

  install_sdk.py FOLDER --into DIR [--share DIR]

The copy is DIR/<name of FOLDER>; there it does what a user would by hand: .venv, node_modules, bin/
(Go), target/ (Java). What a folder needs is pinned by the file that says its language: requirements.txt,
package.json, go.mod or pom.xml. A second run does nothing while the folder is the same. --share: where
earlier copies may be; one of the same language that has all that is needed lends its packages.
Exit status 77: this machine has no toolchain for it; the last line says what is missing.
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPED = 77  # as Meson and automake have it
LANGUAGES = {"requirements.txt": "python", "package.json": "javascript", "go.mod": "go", "pom.xml": "java"}
TOOLCHAINS = {
    "python": (["python3", "--version"], (3, 10)),
    "javascript": (["node", "--version"], (18, 0)),
    "go": (["go", "version"], (1, 19)),
    "java": (["javac", "-version"], (11, 0)),
}
NEW_GO = (1, 22)  # go.mod; an older one takes go119.mod, with an SDK that it can build
MADE = (".venv", "node_modules", "bin", "target", "__pycache__")  # by whoever worked in the folder itself


class Missing(Exception):
    """The machine lacks something that a package of its system would bring."""


def language_of(folder):
    found = [language for name, language in LANGUAGES.items() if (folder / name).exists()]
    if not found:
        sys.exit(f"install_sdk.py: {folder} has none of: {', '.join(LANGUAGES)}")
    return found[0]


def version_of(language):
    args, least = TOOLCHAINS[language]
    if not shutil.which(args[0]):
        raise Missing(f"no {args[0]} in PATH")
    said = subprocess.run(args, capture_output=True, text=True, check=True)
    found = re.search(r"(\d+)\.(\d+)", said.stdout + said.stderr)
    version = (int(found[1]), int(found[2]))
    if version < least:
        raise Missing(f"{args[0]} is {found[0]}, the SDK needs {least[0]}.{least[1]}")
    return version


def needs(program):
    if not shutil.which(program):
        raise Missing(f"no {program} in PATH")
    return program


def run(cwd, *args):
    subprocess.run([str(a) for a in args], cwd=cwd, check=True)


# ---- sharing: copies that have the packages already ----

def requirements(folder):
    lines = (folder / "requirements.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def node_dependencies(folder):
    return set(json.loads((folder / "package.json").read_text())["dependencies"].items())


def borrow(into, share, packages, wanted):
    """Links the folder `packages` of a copy that has what is wanted; False: there is none."""
    stamps = sorted(share.glob("*.stamp")) if share else []
    for lender in (stamp.with_suffix("") for stamp in stamps):
        if lender == into or not (lender / packages).is_dir():
            continue
        if wanted(into) <= wanted(lender):
            (into / packages).symlink_to(lender / packages)
            return True
    return False


# ---- the languages ----

def python(into, _version, share):
    if borrow(into, share, ".venv", requirements):
        return
    run(into, "python3", "-m", "venv", ".venv")
    run(into, ".venv/bin/pip", "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt")


def javascript(into, _version, share):
    if not borrow(into, share, "node_modules", node_dependencies):
        run(into, needs("npm"), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund")


def go(into, version, _share):
    module = [] if version >= NEW_GO else ["-modfile=go119.mod"]
    run(into, "go", "build", *module, "-o", "bin/", "./...")
    if list(into.glob("*_test.go")):
        run(into, "go", "test", *module, "-c", "-o", "bin/tests", ".")


def java(into, _version, _share):
    run(into, needs("mvn"), "-q", "-B", "-Dstyle.color=never", "compiler:compile", "dependency:copy-dependencies")


INSTALLERS = {"python": python, "javascript": javascript, "go": go, "java": java}


def fingerprint(folder, version):
    """What the copy was made of: the toolchain, this file, and each of the folder's."""
    digest = hashlib.sha256(repr(version).encode() + Path(__file__).read_bytes())
    files = (p for p in folder.rglob("*") if p.is_file())
    for path in sorted(p for p in files if not set(MADE) & set(p.relative_to(folder).parts)):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install(folder, directory, share):
    language = language_of(folder)
    version = version_of(language)
    into, stamp = directory / folder.name, directory / f"{folder.name}.stamp"
    want = fingerprint(folder, version)
    borrowed_are_there = into.is_dir() and all(p.exists() for p in into.iterdir())
    if borrowed_are_there and stamp.exists() and stamp.read_text() == want:
        return
    print(f"Installing what {folder.name} needs", flush=True)
    shutil.rmtree(into, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, into, ignore=shutil.ignore_patterns(*MADE))
    INSTALLERS[language](into, version, share)
    stamp.write_text(want)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--into", required=True, type=Path, metavar="DIR")
    parser.add_argument("--share", type=Path, metavar="DIR")
    args = parser.parse_args()
    try:
        install(args.folder.resolve(), args.into.resolve(), args.share and args.share.resolve())
    except Missing as reason:
        print(reason)
        return SKIPPED
    except subprocess.CalledProcessError as problem:
        print(f"install_sdk.py: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
