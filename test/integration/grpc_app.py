"""An app that speaks gRPC, in this process: the contract's callbacks, recorded; messages by hand (wire.py)."""
import collections
import concurrent.futures
import struct
import threading

import grpc

import harness
from wire import field, parse

PACKAGE = "dapr.proto.runtime.v1"
Call = collections.namedtuple("Call", "method message metadata")


class Refusal(Exception):
    """What a callback raises: a status, with details in wire format (google.rpc.Status) if there are any."""

    def __init__(self, code, text="", details=None, trailers=()):
        super().__init__(text)
        self.code, self.text, self.details, self.trailers = code, text, details, tuple(trailers)


class GrpcApp:
    """`on` maps a callback's name ("OnInvoke") to bytes, or to a function of its Call that returns bytes or
    raises a Refusal; what isn't there is UNIMPLEMENTED."""

    def __init__(self, on=None, options=(), threads=32, tls=None):
        self.on = dict(on or {})
        self.calls = []
        self.lock = threading.Lock()
        app = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                name = details.method.rsplit("/", 1)[1]
                return grpc.unary_unary_rpc_method_handler(
                    lambda data, context: app.answer(name, details, data, context)) if name in app.on else app.missing(details)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads), options=options)
        self.server.add_generic_rpc_handlers((Handler(),))
        if tls: # (certificate, key) in PEM
            credentials = grpc.ssl_server_credentials([(tls[1].encode(), tls[0].encode())])
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def missing(self, details):
        with self.lock:
            self.calls.append(Call(details.method, None, dict(details.invocation_metadata)))

    def answer(self, name, details, data, context):
        call = Call(details.method, data, dict(context.invocation_metadata()))
        with self.lock:
            self.calls.append(call)
        on = self.on[name]
        try:
            return on(call, context) if callable(on) else on
        except Refusal as e:
            context.set_code(e.code)
            context.set_details(e.text)
            context.set_trailing_metadata(e.trailers + ((("grpc-status-details-bin", e.details),) if e.details else ()))
            return b""

    def got(self, name=None):
        with self.lock:
            return [c for c in self.calls if name is None or c.method.endswith("/" + name)]

    def wait_for(self, name, n=1):
        return harness.until(f"{n} call(s) of {name}; got {[c.method for c in self.got()]}",
                             lambda: len(self.got(name)) >= n and self.got(name))

    def close(self):
        self.server.stop(None).wait()


# ---- messages ----

def invoke_response(data=b"", type_="", type_url=""):
    return field(1, (field(1, type_url) if type_url else b"") + field(2, data)) + (field(2, type_) if type_ else b"")


def entry(key, value):
    return field(1, key) + field(2, value)


def kvs(entries):
    return {parse(e).get(1, [b""])[0].decode(): parse(e).get(2, [b""])[0].decode() for e in entries}


def subscription(pubsub, topic, path=None, rules=(), dead=None, bulk=None, metadata=None):
    out = field(1, pubsub) + field(2, topic)
    for k, v in (metadata or {}).items():
        out += field(3, entry(k, v))
    if path is not None or rules:
        out += field(5, b"".join(field(1, field(1, m) + field(2, p)) for m, p in rules) + (field(2, path) if path else b""))
    if dead:
        out += field(6, dead)
    if bulk:
        out += field(7, field(1, 1) + field(2, bulk[0]) + field(3, bulk[1]))
    return field(1, out)


def value_of(data):
    """google.protobuf.Value"""
    m = parse(data)
    if 2 in m:
        return struct.unpack("<d", struct.pack("<Q", m[2][0]))[0]
    if 3 in m:
        return m[3][0].decode()
    if 4 in m:
        return bool(m[4][0])
    if 5 in m:
        return struct_of(m[5][0])
    if 6 in m:
        return [value_of(v) for v in parse(m[6][0]).get(1, [])]
    return None


def struct_of(data):
    """google.protobuf.Struct"""
    return {parse(e)[1][0].decode(): value_of(parse(e).get(2, [b""])[0]) for e in parse(data).get(1, [])}


class Event:
    """TopicEventRequest"""

    def __init__(self, data):
        m = parse(data)

        def text(n):
            return m.get(n, [b""])[0].decode()
        self.id, self.source, self.type, self.spec_version, self.content_type = (text(n) for n in range(1, 6))
        self.topic, self.pubsub, self.path = text(6), text(8), text(9)
        self.data = m.get(7, [b""])[0]
        self.extensions = struct_of(m.get(10, [b""])[0])


SUCCESS, RETRY, DROP = b"", field(1, 1), field(1, 2)
