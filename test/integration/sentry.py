"""A certificate authority for tests: a CA, what it signs, and dapr.proto.sentry.v1.CA served over TLS.

Imports grpc and cryptography, so import it only where those are. Its own keys are ECDSA: grpcio's TLS
doesn't know the sidecars' Ed25519.
"""
import concurrent.futures
import contextlib
import datetime
import os
import threading

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import free_port
from wire import field, parse

SIGN = "/dapr.proto.sentry.v1.CA/SignCertificate"


def pem(thing):
    return thing.public_bytes(serialization.Encoding.PEM)


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """A root and an intermediate CA, as a sentry has them."""

    def __init__(self, name="root"):
        self.root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root = self._ca(name, self.root_key, name, self.root_key)
        self.issuer = self._ca(name + " issuer", self.key, name, self.root_key)
        self.anchors = pem(self.root).decode()

    @staticmethod
    def _build(subject, key, issuer, seconds):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])
        return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key)
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=15))
                .not_valid_after(now + datetime.timedelta(seconds=seconds)))

    def _ca(self, subject, key, issuer, issuer_key):
        b = self._build(subject, key.public_key(), issuer, 86400)
        b = b.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return b.sign(issuer_key, hashes.SHA256())

    def leaf(self, public_key, uris, seconds=3600):
        """PEM of the certificate and what leads to the root."""
        b = self._build("", public_key, self.issuer.subject.rfc4514_string()[3:], seconds)
        names = [x509.UniformResourceIdentifier(u) for u in uris]
        b = b.add_extension(x509.SubjectAlternativeName(names), critical=True)
        b = b.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        b = b.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH,
                                                   x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return pem(b.sign(self.key, hashes.SHA256())) + pem(self.issuer)

    def own(self, uris, seconds=3600):
        """(key, chain), PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        return key_pem(key), self.leaf(key.public_key(), uris, seconds)

    def files(self, directory, name, uris):
        """(chain, key): paths."""
        paths = [os.path.join(directory, name + end) for end in (".pem", ".key")]
        for path, text in zip(paths, reversed(self.own(uris))):
            with open(path, "wb") as f:
                f.write(text)
        return paths


class Sentry(grpc.GenericRpcHandler):
    """Signs what it is asked for. `failures` counts down: so many calls fail first; None: all do."""

    def __init__(self, authority, uri="spiffe://localhost/ns/default/dapr-sentry"):
        self.authority, self.uri = authority, uri
        self.seconds, self.failures, self.signs_for = 3600, 0, None
        self.requests, self.lock, self.server = [], threading.Lock(), None
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((self,))
        credentials = grpc.ssl_server_credentials([self.authority.own([self.uri])])
        assert self.server.add_secure_port(self.address, credentials) == self.port
        self.server.start()

    def close(self):
        self.server.stop(None).wait()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.sign) if details.method == SIGN else None

    def fails(self):
        with self.lock:
            if self.failures:
                self.failures -= 1
                return True
            return self.failures is None

    def sign(self, data, context):
        q = parse(data)
        self.requests.append(q)
        if self.fails():
            context.abort(grpc.StatusCode.UNAVAILABLE, "the sentry is unwell")
        csr = x509.load_pem_x509_csr(q[5][0])
        assert csr.is_signature_valid
        app, domain, space = (q[n][0].decode() for n in (1, 3, 4))
        uri = self.signs_for or f"spiffe://{domain}/ns/{space}/{app}"
        return field(1, self.authority.leaf(csr.public_key(), [uri], self.seconds)) + field(2, pem(self.authority.root))


@contextlib.contextmanager
def down(sentry):
    sentry.close()
    try:
        yield
    finally:
        sentry.start()
