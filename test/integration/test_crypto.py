#!/usr/bin/env python3
"""Crypto from outside: whole messages that stream through, and the subtle APIs, over HTTP and gRPC."""
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import base64
import hashlib
import json
import unittest

import harness
from harness import component
from wire import field, parse

SERVICE = "dapr.proto.runtime.v1.Dapr"
KEY = {"dapr-key-name": "symmetric", "dapr-key-wrap-algorithm": "A256KW"}
# RFC 8037 appendix A
ED25519 = {"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
           "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def b64(data):
    return base64.b64encode(data).decode()


class CryptoCase(harness.Case):
    def setUp(self):
        keys = os.path.join(self.directory(), "keys")
        os.makedirs(keys)
        for name, data in {"symmetric": bytes(range(32)), "other": bytes(32),
                           "ed.json": json.dumps(ED25519).encode()}.items():
            with open(os.path.join(keys, name), "wb") as f:
                f.write(data)
        self.s = self.sidecar("app", resources=[component("c", "crypto.dapr.localstorage", path=keys)],
                              args=["--max-body-size", "32Mi"])

    def encrypt(self, data, **headers):
        return self.s.call("PUT", "/v1.0-alpha1/crypto/c/encrypt", data, {**KEY, **headers})

    def decrypt(self, data, **headers):
        return self.s.call("PUT", "/v1.0-alpha1/crypto/c/decrypt", data, headers)


class Http(CryptoCase):
    def test_messages_come_back(self):
        for n in (0, 1, 65535, 65536, 65537, 200000, 8 << 20):
            for cipher in ("AES-GCM", "chacha20-poly1305"):
                with self.subTest(n=n, cipher=cipher):
                    data = os.urandom(n)
                    r = self.encrypt(data, **{"dapr-data-encryption-cipher": cipher})
                    self.assertEqual((r.status, r.headers["content-type"]), (200, "application/octet-stream"))
                    self.assertTrue(r.body.startswith(b'dapr.io/enc/v1\n{"k":"symmetric","kw":1,'))
                    back = self.decrypt(r.body)
                    self.assertEqual(back.status, 200)
                    self.assertTrue(back.body == data)

    def test_what_was_changed_is_refused(self):
        body = bytearray(self.encrypt(b"text").body)
        body[-1] ^= 1
        self.assertError(self.decrypt(bytes(body)), 500, "ERR_CRYPTO",
                         "failed to perform operation: error processing segment 0: failed to decrypt segment")
        self.assertError(self.decrypt(b"nonsense"), 500, "ERR_CRYPTO",
                         "failed to perform operation: invalid header: scheme name not found")

    def test_the_key_can_be_left_out_and_given(self):
        body = self.encrypt(b"text", **{"dapr-omit-decryption-key-name": "true"}).body
        self.assertError(self.decrypt(body), 500, "ERR_CRYPTO")
        self.assertEqual(self.decrypt(body, **{"dapr-key-name": "symmetric"}).body, b"text")
        for key in ("other", "nobody"):
            self.assertError(self.decrypt(body, **{"dapr-key-name": key}), 500, "ERR_CRYPTO",
                             "failed to perform operation: failed to validate the document's signature")

    def test_requests_that_lack_something(self):
        self.assertError(self.s.call("PUT", "/v1.0-alpha1/crypto/c/encrypt", b"x"), 400, "ERR_BAD_REQUEST",
                         "invalid request: missing header 'dapr-key-name'")
        self.assertError(self.s.call("PUT", "/v1.0-alpha1/crypto/x/encrypt", b"x", KEY), 400,
                         "ERR_CRYPTO_PROVIDER_NOT_FOUND", "crypto provider x not found")
        bare = self.sidecar("bare")
        self.assertError(bare.call("PUT", "/v1.0-alpha1/crypto/x/encrypt", b"x", KEY), 500,
                         "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED")

    def subtle(self, op, **body):
        r = self.s.post(f"/v1.0-alpha1/subtlecrypto/c/{op}", json.dumps(body))
        self.assertEqual(r.status, 200, r)
        return json.loads(r.body)

    def test_subtle_operations(self):
        named = {"keyName": "symmetric", "algorithm": "A256GCM", "nonce": b64(b"0123456789ab"),
                 "associatedData": b64(b"aad")}
        got = self.subtle("encrypt", plaintext=b64(b"text"), **named)
        back = self.subtle("decrypt", ciphertext=got["ciphertext"], tag=got["tag"], **named)
        self.assertEqual(back, {"plaintext": b64(b"text")})
        wrapped = self.subtle("wrapkey", plaintextKey=b64(bytes(32)), keyName="symmetric", algorithm="A256KW")
        self.assertEqual(self.subtle("unwrapkey", keyName="symmetric", algorithm="A256KW", **wrapped),
                         {"plaintextKey": b64(bytes(32))})
        digest = b64(hashlib.sha256(b"text").digest())
        signed = self.subtle("sign", digest=digest, keyName="ed.json", algorithm="EdDSA")
        self.assertEqual(self.subtle("verify", digest=digest, keyName="ed.json", algorithm="EdDSA", **signed),
                         {"valid": True})
        self.assertEqual(self.subtle("verify", digest=b64(b"x"), keyName="ed.json", algorithm="EdDSA", **signed), {})
        key = self.subtle("getkey", name="ed.json", format="JSON")
        self.assertEqual(json.loads(key["publicKey"]), {k: v for k, v in ED25519.items() if k != "d"})
        self.assertGreater(self.s.metric("dapr_component_crypto_count", operation="crypto_op", success="true"), 5)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Grpc(CryptoCase):
    def setUp(self):
        super().setUp()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.s.grpc}")
        self.addCleanup(self.channel.close)

    def stream(self, method, messages):
        call = self.channel.stream_stream(f"/{SERVICE}/{method}")(iter(messages), timeout=30)
        out = []
        for seq, m in enumerate(call):
            payload = parse(parse(m)[1][0])
            self.assertEqual(payload.get(2, [0])[0], seq)
            out.append(payload.get(1, [b""])[0])
        return b"".join(out)

    def pieces(self, options, data, size=10000, first_seq=0):
        yield field(1, options)
        for seq, at in enumerate(range(0, len(data), size), first_seq):
            yield field(2, field(1, data[at:at + size]) + field(2, seq))

    ENCRYPT = field(1, "c") + field(2, "symmetric") + field(3, "AES")
    DECRYPT = field(1, "c")

    def test_messages_come_back_and_are_the_same_over_http(self):
        for n in (0, 100, 65536, 300000):
            with self.subTest(n):
                data = os.urandom(n)
                sealed = self.stream("EncryptAlpha1", self.pieces(self.ENCRYPT, data))
                self.assertTrue(self.decrypt(sealed).body == data)
                self.assertTrue(self.stream("DecryptAlpha1", self.pieces(self.DECRYPT, sealed, 5000)) == data)

    def test_a_large_message_takes_little_memory(self):
        before = self.s.rss()
        piece = bytes(64 << 10)
        sealed = self.stream("EncryptAlpha1", [field(1, self.ENCRYPT)] +
                             [field(2, field(1, piece) + field(2, i)) for i in range(640)])
        self.assertGreater(len(sealed), 40 << 20)
        self.assertMemory(self.s.rss() - before, 16 << 20)

    def refused(self, method, messages):
        with self.assertRaises(grpc.RpcError) as e:
            self.stream(method, messages)
        return e.exception.code().name, e.exception.details()

    def test_streams_that_are_wrong(self):
        for messages, code, text in (
                ([field(2, field(1, b"x"))], "INVALID_ARGUMENT", "does not contain the required options"),
                ([field(1, field(1, "c") + field(2, "k"))], "INVALID_ARGUMENT", "keyWrapAlgorithm"),
                ([field(1, field(1, "c"))], "INVALID_ARGUMENT", "keyName"),
                ([field(1, field(1, "x") + field(2, "k") + field(3, "AES"))], "INVALID_ARGUMENT",
                 "crypto provider x not found"),
                ([field(1, self.ENCRYPT), field(1, self.ENCRYPT)], "INTERNAL", "non-leading message"),
                (self.pieces(self.ENCRYPT, b"x" * 100, 10, 1), "INTERNAL", "invalid sequence number received: 1"),
                ([], "INTERNAL", "error receiving the first message: EOF")):
            with self.subTest(text):
                got = self.refused("EncryptAlpha1", messages)
                self.assertEqual(got[0], code)
                self.assertIn(text, got[1])
        self.assertEqual(self.refused("DecryptAlpha1", self.pieces(self.DECRYPT, b"nonsense")),
                         ("INTERNAL", "failed to perform operation: invalid header: scheme name not found"))

    def rpc(self, method, data):
        return parse(self.channel.unary_unary(f"/{SERVICE}/{method}")(data, timeout=20))

    def test_subtle_operations(self):
        head = field(1, "c")
        more = field(5, b"0123456789ab")
        got = self.rpc("SubtleEncryptAlpha1", head + field(2, b"text") + field(3, "A256GCM") +
                       field(4, "symmetric") + more)
        back = self.rpc("SubtleDecryptAlpha1", head + field(2, got[1][0]) + field(3, "A256GCM") +
                        field(4, "symmetric") + more + field(6, got[2][0]))
        self.assertEqual(back, {1: [b"text"]})
        named = field(3, "A256KW") + field(4, "symmetric")
        got = self.rpc("SubtleWrapKeyAlpha1", head + field(2, bytes(32)) + named)
        self.assertEqual(self.rpc("SubtleUnwrapKeyAlpha1", head + field(2, got[1][0]) + named), {1: [bytes(32)]})
        named = field(3, "EdDSA") + field(4, "ed.json")
        got = self.rpc("SubtleSignAlpha1", head + field(2, b"x") + named)
        self.assertEqual(self.rpc("SubtleVerifyAlpha1", head + field(2, b"x") + named + field(5, got[1][0])), {1: [1]})
        self.assertEqual(self.rpc("SubtleVerifyAlpha1", head + field(2, b"y") + named + field(5, got[1][0])), {})
        got = self.rpc("SubtleGetKeyAlpha1", head + field(2, "ed.json"))
        self.assertEqual(got[1], [b"ed.json"])
        self.assertTrue(got[2][0].startswith(b"-----BEGIN PUBLIC KEY-----"))


if __name__ == "__main__":
    harness.main()
