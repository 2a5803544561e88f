#!/usr/bin/env python3
"""The gRPC API from outside: what apps and the official SDKs ask of a sidecar.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly. Messages are built
by hand, byte by byte, so that the wire format is what is tested.
"""
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import unittest

import harness
from harness import component
from wire import field, parse

SERVICE = "dapr.proto.runtime.v1.Dapr"
STORE = component("s", "state.in-memory")


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class GrpcCase(harness.Case):
    def channel_of(self, port):
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.addCleanup(channel.close)
        return channel

    def start(self, *resources, **more):
        self.s = self.sidecar("app", resources=resources, **more)
        self.channel = self.channel_of(self.s.grpc)
        return self.s

    def rpc(self, method, data=b"", service=SERVICE, timeout=20, metadata=None, channel=None):
        call = (channel or self.channel).unary_unary(f"/{service}/{method}")
        return parse(call(data, timeout=timeout, metadata=metadata))

    def refused(self, method, data=b"", **more):
        with self.assertRaises(grpc.RpcError) as e:
            self.rpc(method, data, **more)
        return e.exception

    def assertCode(self, error, code, text):
        self.assertEqual(error.code().name, code, error.details())
        self.assertIn(text, error.details())


class Skeleton(GrpcCase):
    def test_state_comes_back_as_the_bytes_that_were_saved_s14(self):
        self.start(STORE)
        value = b"\x00\xff not JSON"
        self.rpc("SaveState", field(1, "s") + field(2, field(1, "k") + field(2, value)))
        r = self.rpc("GetState", field(1, "s") + field(2, "k"))
        self.assertEqual(r[1], [value])
        self.assertTrue(r[2][0])
        self.assertEqual(self.rpc("GetState", field(1, "s") + field(2, "none")), {})

    def test_what_is_not_there_says_so(self):
        self.start()
        self.assertCode(self.refused("InvokeActor"), "UNIMPLEMENTED", "actors aren't there yet")
        self.assertCode(self.refused("Nonsense"), "UNIMPLEMENTED", "unknown method Nonsense")


if __name__ == "__main__":
    harness.main()
