#!/usr/bin/env python3
"""A conformance suite on a component that a process of its own serves: test/integration/plugin.py.

  run.py SUITE TYPE [CASE]      exit 77 (skipped) without grpcio
"""
import os
import subprocess
import sys
import tempfile

PLUGIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "integration", "plugin.py")


def main(suite, type_, *case):
    python = os.environ.get("PROA_GRPC_PYTHON", sys.executable)
    there = os.path.exists(python)
    if not there or subprocess.run([python, "-c", "import grpc"], stderr=subprocess.DEVNULL, check=False).returncode:
        print("skipped: grpcio isn't there (test/integration/requirements.txt)")
        return 77
    with tempfile.TemporaryDirectory(prefix="proa-") as folder:
        name = type_.split(".", 1)[1]
        plugin = subprocess.Popen([python, PLUGIN, f"{folder}/{name}.sock"], stdout=subprocess.PIPE)
        try:
            plugin.stdout.readline()
            return subprocess.run([suite, type_, *case], check=False,
                                  env={**os.environ, "DAPR_COMPONENTS_SOCKETS_FOLDER": folder}).returncode
        finally:
            plugin.terminate()
            plugin.wait(30)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
