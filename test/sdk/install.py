#!/usr/bin/env python3
"""Puts the official SDKs, and the programs of this folder that use them, into a folder of the build.

  install.py LANGUAGE --into DIR      LANGUAGE: python javascript go java

DIR/LANGUAGE is what test_sdk.py looks for. Versions are pinned beside the programs; a second run does
nothing while those files are the same. Exit status 77: this machine has no toolchain for it; the last
line says what is missing.
"""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77  # as Meson and automake have it
TOOLCHAINS = {
    "python": (["python3", "--version"], (3, 10)),
    "javascript": (["node", "--version"], (18, 0)),
    "go": (["go", "version"], (1, 19)),
    "java": (["javac", "-version"], (11, 0)),
}
NEW_GO = (1, 22)  # go.mod; an older one takes go119.mod, with an SDK that it can build


class Missing(Exception):
    """The machine lacks something that a package of its system would bring."""


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


def run(*args, cwd=HERE, **env):
    subprocess.run([str(a) for a in args], cwd=cwd, env={**os.environ, **env}, check=True)


def python(into, _version):
    run("python3", "-m", "venv", into)
    run(into / "bin" / "pip", "install", "-q", "--disable-pip-version-check",
        "-r", HERE / "python" / "requirements.txt")


def javascript(into, _version):
    into.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "javascript" / name, into)
    run(needs("npm"), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", cwd=into)


def go(into, version):
    into.mkdir()
    module = [] if version >= NEW_GO else ["-modfile=go119.mod"]
    cwd = HERE / "go"
    run("go", "build", *module, "-o", into / "app", "./app", cwd=cwd)
    run("go", "test", *module, "-c", "-o", into / "tests", ".", cwd=cwd)


def java(into, _version):
    run(needs("mvn"), "-q", "-B", "-f", HERE / "java" / "pom.xml", f"-Dsdk.dir={into}",
        "compiler:compile", "dependency:copy-dependencies")


INSTALLERS = {"python": python, "javascript": javascript, "go": go, "java": java}


def fingerprint(language, version):
    """What the folder was made of: the toolchain and each file."""
    digest = hashlib.sha256(repr(version).encode())
    for path in sorted(p for p in (HERE / language).rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install(language, directory):
    version = version_of(language)
    into, stamp = directory / language, directory / f"{language}.stamp"
    want = fingerprint(language, version)
    if stamp.exists() and stamp.read_text() == want:
        return
    shutil.rmtree(into, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    INSTALLERS[language](into, version)
    stamp.write_text(want)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=INSTALLERS)
    parser.add_argument("--into", required=True, type=Path, metavar="DIR")
    args = parser.parse_args()
    try:
        install(args.language, args.into.resolve())
    except Missing as reason:
        print(reason)
        return SKIPPED
    except subprocess.CalledProcessError as problem:
        print(f"install.py: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
