#!/usr/bin/env python3
"""A pluggable component of every kind, in memory, played by grpcio on a unix socket.

  plugin.py SOCKET [--without Service,…] [--no-pause]

The messages are made by hand, byte by byte, so that the wire format is what is tested. Data is kept
by the property "dir", else by the instance. A state key whose last part begins with "fail-" fails as
it says (see FAILURES). The output binding's operations "log", "emit", "acks" and "publish" let a test
look inside: log lists the calls, emit makes an event of the input binding, acks tells how events and
messages were acknowledged.
"""
import collections
import concurrent.futures
import datetime
import json
import os
import queue
import re
import signal
import sys
import threading
import time

import grpc

PACKAGE = "dapr.proto.components.v1."
MAX_OPERATIONS = 10


# ---- protobuf, as much as it takes ----

def varint(n):
    out = b""
    n &= (1 << 64) - 1
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """Nothing for what proto3 leaves out; None for a message that isn't there."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value if value else b""


def message(number, *parts):
    """A message that is there even when it is empty."""
    value = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(value)) + value


def mapping(number, pairs):
    return b"".join(message(number, field(1, k), field(2, v)) for k, v in pairs.items())


class Message:
    def __init__(self, data):
        self.v, at = collections.defaultdict(list), 0
        while at < len(data):
            key, at = self.varint(data, at)
            if key & 7 == 0:
                value, at = self.varint(data, at)
            else:
                n, at = self.varint(data, at)
                value, at = data[at:at + n], at + n
            self.v[key >> 3].append(value)

    @staticmethod
    def varint(data, at):
        n = shift = 0
        while True:
            n |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return n, at

    def raw(self, n):
        return self.v[n][-1] if self.v[n] else b""

    def text(self, n):
        return self.raw(n).decode()

    def number(self, n):
        return self.v[n][-1] if self.v[n] else 0

    def sub(self, n):
        return Message(self.raw(n)) if self.v[n] else None

    def each(self, n):
        return [Message(v) for v in self.v[n]]

    def map(self, n):
        return {m.text(1): m.text(2) for m in self.each(n)}


# ---- errors ----

class Failure(Exception):
    def __init__(self, code, text, *details):
        super().__init__(text)
        self.code, self.text, self.details = code, text, details


def detail(name, *parts):
    return message(3, field(1, "type.googleapis.com/google.rpc." + name), message(2, *parts))


def etag_error(code, text):
    return Failure(code, "no: " + text, detail("BadRequest", message(1, field(1, "etag"), field(2, text))))


def kit_error(code, http, tag, text, reason="A_REASON"):
    return Failure(code, text, detail("ErrorInfo", field(1, reason), field(2, "plugin.example"), mapping(
        3, {"kit_error": "true", "http_code": str(http), "tag": tag})))


def mismatch(text):
    return etag_error(grpc.StatusCode.FAILED_PRECONDITION, text)


def invalid(text):
    return kit_error(grpc.StatusCode.INVALID_ARGUMENT, 400, "ERR_INVALID", text)


FAILURES = {
    "fail-plain": lambda: Failure(grpc.StatusCode.INTERNAL, "plain: 100% ünlucky"),
    "fail-argument": lambda: Failure(grpc.StatusCode.INVALID_ARGUMENT, "an argument"),
    "fail-etag": lambda: etag_error(grpc.StatusCode.INVALID_ARGUMENT, "not an ETag"),
    "fail-mismatch": lambda: mismatch("somebody was faster"),
    "fail-kit": lambda: kit_error(grpc.StatusCode.DATA_LOSS, 507, "ERR_OWN_TAG", "my own words"),
    "fail-kit-odd": lambda: kit_error(grpc.StatusCode.DATA_LOSS, 99, "ERR_OWN_TAG", "odd"),
    "fail-slow": lambda: time.sleep(60) or Failure(grpc.StatusCode.INTERNAL, "slow"),
}


# ---- state ----

Item = collections.namedtuple("Item", "value etag until")


class Store:
    def __init__(self):
        self.items, self.lock, self.count = {}, threading.Lock(), 0

    def get(self, items, key):
        item = items.get(key)
        return None if item and item.until and item.until <= time.time() else item

    def write(self, items, m, remove):
        """One SetRequest or DeleteRequest."""
        key = m.text(1)
        etag, meta = (m.sub(2), m.map(3)) if remove else (m.sub(3), m.map(4))
        options = m.sub(4 if remove else 5)
        fail(key)
        if not key:
            raise invalid("the key is empty")
        now = self.get(items, key)
        if etag and (not now or now.etag != etag.text(1)):
            raise mismatch(f"etag {etag.text(1)} of {key} isn't the present one")
        if options and options.number(1) == 1 and not etag and now and not remove:
            raise mismatch(f"{key} exists")
        until = self.ttl(meta)
        items.pop(key, None)
        if not remove:
            self.count += 1
            items[key] = Item(m.raw(2), str(self.count), until)

    @staticmethod
    def ttl(meta):
        text = meta.get("ttlInSeconds")
        if text is None:
            return None
        if not re.fullmatch(r"-1|\d{1,9}", text):
            raise invalid(f"ttlInSeconds: {text}")
        return time.time() + int(text) if int(text) > 0 else None


def fail(key):
    name = key.rsplit("||", 1)[-1]
    for start, make in FAILURES.items():
        if name == start:
            raise make()


def value_fields(item, etag, metadata):
    """data, etag and metadata of an item, under the message's numbers (data is one before etag)."""
    if not item:
        return b""
    meta = {}
    if item.until:
        when = datetime.datetime.fromtimestamp(int(item.until), datetime.timezone.utc)
        meta = {"ttlExpireTime": when.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return (field(etag - 1, item.value) + message(etag, field(1, item.etag)) +
            (mapping(metadata, meta) if metadata else b""))


def matches(name, condition, value):
    if name == "EQ":
        return all(value.get(k) == v for k, v in condition.items())
    if name == "IN":
        return all(value.get(k) in v for k, v in condition.items())
    parts = [matches(n, c, value) for part in condition for n, c in part.items()]
    return all(parts) if name == "AND" else any(parts)


# ---- topics and events ----

class Stream:
    """Messages on their way to one reader; what it refuses comes again."""

    def __init__(self, broker, topic):
        self.broker, self.topic, self.q = broker, topic, queue.Queue()
        self.pending, self.open, self.arrived = {}, True, threading.Event()

    def put(self, make):
        number = str(next(self.broker.ids))
        self.pending[number] = make
        self.q.put((number, make))

    def acknowledged(self, number, error):
        make = self.pending.pop(number, None)
        self.broker.acks.append({"id": number, "topic": self.topic, "error": error})
        print("ack", self.topic, "failed" if error is not None else "done", flush=True)
        if error is not None and make:
            self.put(make)

    def messages(self):
        while self.open:
            if self.broker.paused:
                time.sleep(0.005)
                continue
            try:
                number, make = self.q.get(timeout=0.02)
            except queue.Empty:
                continue
            yield make(number)


class Broker:
    def __init__(self):
        self.streams, self.lock, self.paused, self.acks = [], threading.Lock(), False, []
        self.ids = iter(range(1, 1 << 60))

    def publish(self, topic, data, content_type, meta):
        def make(number):
            return (field(1, data) + field(2, topic) + mapping(3, meta) + field(4, content_type) +
                    field(5, number))
        with self.lock:
            for s in self.streams:
                if s.topic == topic:
                    s.put(make)

    def run(self, stream, requests, acknowledge, context):
        with self.lock:
            self.streams.append(stream)
        stream.arrived.set()

        def read():
            try:
                for request in requests:
                    acknowledge(stream, Message(request))
            except grpc.RpcError:
                pass
            stream.open = False
        context.add_callback(lambda: setattr(stream, "open", False))
        threading.Thread(target=read, daemon=True).start()
        try:
            yield from stream.messages()
        finally:
            with self.lock:
                self.streams.remove(stream)


SECRETS = {"one": {"one": "1"}, "many": {"a": "x", "b": "ü"}}


class Plugin:
    def __init__(self, pause):
        self.lock, self.log, self.pause_too = threading.Lock(), [], pause
        self.properties, self.arriving = {}, []
        self.stores = collections.defaultdict(Store)
        self.brokers = collections.defaultdict(Broker)
        self.events = collections.defaultdict(Broker)

    def key(self, instance):
        if instance not in self.properties:
            raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f"{instance} was never initialised")
        return self.properties[instance].get("dir", instance)

    def init(self, m, instance):
        properties = m.sub(1).map(1)
        if "refuse" in properties:
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "refused: " + properties["refuse"])
        self.properties[instance] = properties
        return b""

    def features(self, *names):
        return lambda m, i: b"".join(field(1, n) for n in names)

    def nothing(self, m, i):
        return b""

    # state

    def get(self, m, i):
        fail(m.text(1))
        s = self.stores[self.key(i)]
        return value_fields(s.get(s.items, m.text(1)), 2, 3)

    def bulk_get(self, m, i):
        s, out = self.stores[self.key(i)], b""
        for one in reversed(m.each(1)):  # in another order: the keys say what is what
            key = one.text(1)
            if key.endswith("fail-kit"):
                fail(key)
            if key.endswith("fail-plain"):
                out += message(1, field(1, key), field(4, "plain"))
                continue
            item = s.get(s.items, key)
            if item:
                out += message(1, field(1, key), value_fields(item, 3, 5))
        return out

    def writes(self, i, requests):
        """(message, remove) each; all or nothing."""
        s = self.stores[self.key(i)]
        with s.lock:
            items = dict(s.items)
            for m, remove in requests:
                s.write(items, m, remove)
            s.items = items
        return b""

    def write(self, remove):
        return lambda m, i: self.writes(i, [(m, remove)])

    def bulk_write(self, remove):
        return lambda m, i: self.writes(i, [(one, remove) for one in m.each(1)])

    def transact(self, m, i):
        return self.writes(i, [(o.sub(1) or o.sub(2), bool(o.v[1])) for o in m.each(1)])

    def query(self, m, i):
        q, s = m.sub(1), self.stores[self.key(i)]
        filters = {e.text(1): json.loads(e.sub(2).raw(2)) for e in q.each(1)}
        if "KIT" in filters:
            raise FAILURES["fail-kit"]()
        found = []
        for key, item in s.items.items():
            value = json.loads(item.value)
            if all(matches(n, c, value) for n, c in filters.items()):
                found.append((key, item, value))
        for order in reversed(q.each(2)):
            found.sort(key=lambda f: f[2].get(order.text(1)), reverse=order.number(2) == 1)
        page = q.sub(3)
        start, limit = int(page.text(2) or 0), page.number(1) or len(found)
        out = b"".join(message(1, field(1, k), value_fields(item, 3, 0)) for k, item, _ in found[start:start + limit])
        return out + field(2, str(start + limit) if start + limit < len(found) else "")

    # pub/sub

    def publish(self, m, i):
        self.subscribed()
        if m.text(3) == "fail-plain":
            raise FAILURES["fail-plain"]()
        self.brokers[self.key(i)].publish(m.text(3), m.raw(1), m.text(5), m.map(4))
        return b""

    def bulk_publish(self, m, i):
        failed = b""
        self.subscribed()
        for e in m.each(1):
            if b"fail-me" in e.raw(2):
                failed += message(1, field(1, e.text(1)), field(2, "it said so"))
            else:
                self.brokers[self.key(i)].publish(m.text(3), e.raw(2), e.text(3), e.map(4))
        return failed

    def pull(self, requests, i, context, arrived):
        broker, topic = self.brokers[self.key(i)], Message(next(requests)).sub(1).text(1)
        stream = Stream(broker, topic)
        stream.arrived = arrived

        def acknowledge(stream, m):
            error = m.sub(3)
            stream.acknowledged(m.text(2), error.text(1) if error else None)
        yield from broker.run(stream, requests, acknowledge, context)

    def subscribed(self):
        """A stream that was asked for before a message was published gets it."""
        for arrived in list(self.arriving):
            arrived.wait(5)

    def pause(self, on):
        def run(m, i):
            if not self.pause_too:
                raise Failure(grpc.StatusCode.UNIMPLEMENTED, "no pausing here")
            self.brokers[self.key(i)].paused = on
            print("pause" if on else "resume", i, flush=True)
            return b""
        return run

    # bindings

    def operations(self, m, i):
        return b"".join(field(1, o) for o in ("create", "log", "emit", "acks", "fail"))

    def invoke(self, m, i):
        operation, data = m.text(3), m.raw(1)
        if operation == "log":
            with self.lock:
                data = json.dumps(self.log).encode()
        elif operation == "emit":
            broker = self.events[self.key(i)]
            with broker.lock:
                for s in broker.streams:
                    s.put(lambda number: field(1, data) + mapping(2, m.map(2)) + field(4, number))
        elif operation == "acks":
            data = json.dumps({k: b.acks for k, b in {**self.brokers, **self.events}.items()}).encode()
        elif operation == "fail":
            raise Failure(grpc.StatusCode.INTERNAL, "it failed")
        return field(1, data) + mapping(2, {"echo": m.map(2).get("echo", "")})

    def read(self, requests, i, context):
        broker = self.events[self.key(i)]

        def acknowledge(stream, m):
            error = m.sub(3)
            broker.acks.append({"id": m.text(2), "data": m.text(1), "error": error.text(1) if error else None})
        yield from broker.run(Stream(broker, "events"), requests, acknowledge, context)

    # secrets

    def secret(self, m, i):
        self.key(i)
        if m.text(1) not in SECRETS:
            raise Failure(grpc.StatusCode.NOT_FOUND, f"no secret {m.text(1)}")
        return mapping(1, SECRETS[m.text(1)])

    def secrets(self, m, i):
        return b"".join(message(1, field(1, k), message(2, mapping(1, v))) for k, v in SECRETS.items())

    def reflect(self, requests, i, context):
        for _ in requests:
            yield message(6, *(message(1, field(1, s)) for s in self.services))

    def methods(self):
        ping = {"Init": self.init, "Ping": self.nothing}
        return {
            "StateStore": {**ping, "Get": self.get, "Set": self.write(False), "Delete": self.write(True),
                           "BulkGet": self.bulk_get, "BulkSet": self.bulk_write(False),
                           "BulkDelete": self.bulk_write(True),
                           "Features": self.features("ETAG", "TRANSACTIONAL", "QUERY_API", "TTL", "SOMETHING_ELSE")},
            "QueriableStateStore": {"Query": self.query},
            "TransactionalStateStore": {"Transact": self.transact},
            "TransactionalStoreMultiMaxSize": {"MultiMaxSize": lambda m, i: field(1, MAX_OPERATIONS)},
            "PubSub": {**ping, "Features": self.features("BULK_PUBSUB"), "Publish": self.publish,
                       "BulkPublish": self.bulk_publish, "PullMessages": self.pull,
                       "Pause": self.pause(True), "Resume": self.pause(False)},
            "OutputBinding": {**ping, "Invoke": self.invoke, "ListOperations": self.operations},
            "InputBinding": {"Init": self.init, "Read": self.read},  # without Ping
            "SecretStore": {**ping, "Features": self.features("MULTIPLE_KEY_VALUES_PER_SECRET"),
                            "Get": self.secret, "BulkGet": self.secrets},
        }


STREAMS = ("Read", "PullMessages", "ServerReflectionInfo")


class Handler(grpc.GenericRpcHandler):
    def __init__(self, plugin, without):
        methods = {k: v for k, v in plugin.methods().items() if k not in without}
        plugin.services = [PACKAGE + s for s in methods] + ["grpc.reflection.v1alpha.ServerReflection"]
        self.plugin = plugin
        self.paths = {f"/{PACKAGE}{s}/{name}": fn for s, all_ in methods.items() for name, fn in all_.items()}
        self.paths["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"] = plugin.reflect

    def service(self, details):
        fn, name = self.paths.get(details.method), details.method.rsplit("/", 1)[-1]
        if not fn:
            return None
        instance = dict(details.invocation_metadata).get("x-component-instance", "")
        with self.plugin.lock:
            self.plugin.log.append([details.method[1:].removeprefix(PACKAGE), instance])
        if name == "PullMessages":  # here, they still come one after the other
            arrived = threading.Event()
            self.plugin.arriving = [a for a in self.plugin.arriving if not a.is_set()] + [arrived]
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: self.guard_stream(
                fn(requests, instance, context, arrived), context))
        if name in STREAMS:
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: self.guard_stream(
                fn(requests, instance, context), context))
        return grpc.unary_unary_rpc_method_handler(lambda data, context: self.guard(fn, data, instance, context))

    @staticmethod
    def abort(e, context):
        if e.details:
            status = field(1, e.code.value[0]) + field(2, e.text) + b"".join(e.details)
            context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(e.code, e.text)

    def guard(self, fn, data, instance, context):
        try:
            return fn(Message(data), instance)
        except Failure as e:
            return self.abort(e, context)

    def guard_stream(self, messages, context):
        try:
            yield from messages
        except Failure as e:
            self.abort(e, context)


def serve(path, without=(), pause=True):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(128), handlers=[Handler(Plugin(pause), without)],
                         options=[("grpc.max_receive_message_length", 64 << 20)])
    if os.path.exists(path):
        os.unlink(path)  # of a process that was killed
    server.add_insecure_port("unix:" + path)
    server.start()
    return server


def main(argv):
    without = argv[argv.index("--without") + 1].split(",") if "--without" in argv else ()
    server = serve(argv[0], without, "--no-pause" not in argv)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    print("ready", flush=True)
    done.wait()
    server.stop(0).wait()


if __name__ == "__main__":
    main(sys.argv[1:])
