#!/usr/bin/env python3
"""The gRPC API from outside: what apps and the official SDKs ask of a sidecar.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly. Messages are built
by hand, byte by byte, so that the wire format is what is tested.
"""
import json
import os
import signal
import socket
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


    def details(self, error):
        """{type: parsed message} of grpc-status-details-bin; the status inside must be the call's."""
        found = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
        if not found:
            return {}
        status = parse(found[0])
        self.assertEqual((status[1], status[2]), ([error.code().value[0]], [error.details().encode()]))
        out = {}
        for any_ in map(parse, status[3]):
            out[any_[1][0].decode().rsplit(".", 1)[1]] = parse(any_[2][0])
        return out

    def assertInfo(self, error, reason, **metadata):
        info = self.details(error)["ErrorInfo"]
        self.assertEqual((info[1], info[2]), ([reason.encode()], [b"dapr.io"]))
        got = strings(info.get(3, []))
        for key, value in metadata.items():
            self.assertIn(value, got[key])


def strings(entries):
    """A map<string, string>."""
    pairs = [parse(e) for e in entries]
    return {p[1][0].decode(): p.get(2, [b""])[0].decode() for p in pairs}


def entry(number, key, value):
    return field(number, field(1, key) + field(2, value))


def item(key, value=None, etag=None, metadata=(), concurrency=0, consistency=0):
    out = field(1, key) + (field(2, value) if value is not None else b"")
    if etag is not None:
        out += field(3, field(1, etag))
    out += b"".join(entry(4, k, v) for k, v in dict(metadata).items())
    if concurrency or consistency:
        out += field(5, field(1, concurrency) + field(2, consistency))
    return out


class Basics(GrpcCase):
    def test_what_is_not_there_says_so(self):
        self.start()
        for method, text in (("InvokeActor", "actors aren't there yet"), ("StartWorkflowBeta1", "workflows"),
                             ("ScheduleJob", "jobs"), ("ConverseAlpha2", "conversation")):
            self.assertCode(self.refused(method), "UNIMPLEMENTED", text)
        self.assertCode(self.refused("Nonsense"), "UNIMPLEMENTED", "unknown method Nonsense")

    def test_bytes_that_are_no_message_are_refused(self):
        self.start(STORE)
        for bad in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab", b"\x08"):
            self.assertCode(self.refused("GetState", bad), "INTERNAL", "unmarshalling")

    def test_a_message_over_the_limit_is_refused(self):
        self.start(STORE, args=["--max-body-size", "1Mi"])
        big = field(1, "s") + field(2, item("k", b"x" * (1 << 20)))
        self.assertCode(self.refused("SaveState", big), "RESOURCE_EXHAUSTED", "max-body-size")
        self.rpc("SaveState", field(1, "s") + field(2, item("k", b"x" * ((1 << 20) - 100))))

    def test_token_s7(self):
        self.start(STORE, env={"DAPR_API_TOKEN": "secret"})
        for metadata in (None, [("dapr-api-token", "Secret")]):
            error = self.refused("GetMetadata", metadata=metadata)
            self.assertCode(error, "UNAUTHENTICATED", "api token")
            self.assertInfo(error, "Unauthorized", **{"http.code": "401", "http.error_message": "token"})
        self.rpc("GetMetadata", metadata=[("dapr-api-token", "secret")])

    def test_lists_s12(self):
        config = harness.configuration({"api": {
            "allowed": [{"name": "state", "version": "v1", "protocol": "grpc"},
                        {"name": "metadata", "version": "v1", "protocol": "grpc"}],
            "denied": [{"name": "metadata", "version": "v1", "protocol": "grpc"},
                       {"name": "state", "version": "v1"}]}})
        self.start(STORE, config=config)
        self.rpc("GetState", field(1, "s") + field(2, "k"))
        for method in ("GetMetadata", "QueryStateAlpha1", "PublishEvent"):
            error = self.refused(method)
            self.assertCode(error, "UNIMPLEMENTED", "requested endpoint is not available")
            self.assertInfo(error, "Not Implemented", **{"http.code": "501"})

    def test_a_deadline_that_has_passed_is_told(self):
        self.start(harness.component("slow", "bindings.http", url=f"http://127.0.0.1:{self.silent()}"))
        error = self.refused("InvokeBinding", field(1, "slow") + field(4, "get"), timeout=0.3)
        self.assertEqual(error.code().name, "DEADLINE_EXCEEDED")

    def silent(self):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen(8)
        self.addCleanup(s.close)
        return s.getsockname()[1]


class State(GrpcCase):
    def save(self, *items, store="s"):
        return self.rpc("SaveState", field(1, store) + b"".join(field(2, i) for i in items))

    def get(self, key, **more):
        return self.rpc("GetState", field(1, "s") + field(2, key), **more)

    def test_bytes_come_back_as_they_were_saved_s14(self):
        self.start(STORE)
        value = b"\x00\xff not JSON"
        self.save(item("k", value))
        r = self.get("k")
        self.assertEqual(r[1], [value])
        self.assertTrue(r[2][0])
        self.assertEqual(self.get("none"), {})
        self.assertEqual(harness.call(self.s.http, "GET", "/v1.0/state/s/k").body, value)

    def test_http_and_grpc_see_the_same_values(self):
        self.start(STORE)
        harness.call(self.s.http, "POST", "/v1.0/state/s", json_body=[{"key": "h", "value": "text"}])
        self.assertEqual(self.get("h")[1], [b'"text"'])

    def test_json_is_checked_where_it_is_promised(self):
        self.start(STORE)
        with self.assertRaises(grpc.RpcError) as e:
            self.save(item("k", b"{broken", metadata={"contentType": "application/json"}))
        self.assertEqual(e.exception.code().name, "UNKNOWN")
        self.save(item("k", b'{"a":1}', metadata={"contentType": "application/json"}))
        self.assertEqual(self.get("k")[1], [b'{"a":1}'])

    def test_etags(self):
        self.start(STORE)
        self.save(item("k", b"1"))
        tag = self.get("k")[2][0]
        self.save(item("k", b"2", etag=tag, concurrency=1))
        for call in (lambda: self.save(item("k", b"3", etag=tag, concurrency=1)),
                     lambda: self.rpc("DeleteState", field(1, "s") + field(2, "k") + field(3, field(1, tag)))):
            with self.assertRaises(grpc.RpcError) as e:
                call()
            self.assertEqual(e.exception.code().name, "ABORTED", e.exception.details())
        self.rpc("DeleteState", field(1, "s") + field(2, "k"))
        self.assertEqual(self.get("k"), {})

    def test_time_to_live_is_told(self):
        self.start(STORE)
        self.save(item("k", b"1", metadata={"ttlInSeconds": "100"}))
        self.assertRegex(strings(self.get("k")[3])["ttlExpireTime"], r"^\d{4}-\d\d-\d\dT.*Z$")

    def test_bulk(self):
        self.start(STORE)
        self.save(item("a", b"1"), item("b", b"2"))
        r = self.rpc("GetBulkState", field(1, "s") + field(2, "a") + field(2, "none") + field(2, "b"))
        got = [parse(i) for i in r[1]]
        self.assertEqual([(i[1][0], i.get(2, [b""])[0]) for i in got], [(b"a", b"1"), (b"none", b""), (b"b", b"2")])
        self.assertEqual(self.rpc("GetBulkState", field(1, "s")), {})
        self.rpc("DeleteBulkState", field(1, "s") + field(2, item("a")) + field(2, item("b")))
        self.assertEqual(self.get("a"), {})

    def test_transactions(self):
        self.start(STORE)
        self.save(item("a", b"1"))

        def operation(type_, request):
            return field(2, field(1, type_) + field(2, request))
        self.rpc("ExecuteStateTransaction", field(1, "s") + operation("upsert", item("b", b"2")) + operation("delete", item("a")))
        self.assertEqual((self.get("a"), self.get("b")[1]), ({}, [b"2"]))
        stale = field(1, "s") + operation("upsert", item("c", b"3")) + operation("upsert", item("b", b"4", etag="1", concurrency=1))
        self.assertCode(self.refused("ExecuteStateTransaction", stale), "INTERNAL", "etag")
        self.assertEqual(self.get("c"), {})
        self.assertCode(self.refused("ExecuteStateTransaction", field(1, "s") + operation("paint", item("x"))), "UNIMPLEMENTED", "paint")
        self.assertCode(self.refused("ExecuteStateTransaction", field(1, "s") + field(2, field(1, "upsert"))), "INVALID_ARGUMENT", "request")

    def test_errors_have_their_details(self):
        self.start()
        error = self.refused("GetState", field(1, "s") + field(2, "k"))
        self.assertCode(error, "FAILED_PRECONDITION", "not configured")
        self.assertInfo(error, "DAPR_STATE_NOT_CONFIGURED", appID="app")
        self.start(STORE)
        error = self.refused("GetState", field(1, "other") + field(2, "k"))
        self.assertCode(error, "INVALID_ARGUMENT", "state store other is not found")
        self.assertEqual(set(self.details(error)), {"ErrorInfo"})
        error = self.refused("SaveState", field(1, "s") + field(2, item("a||b", b"1")))
        self.assertCode(error, "INVALID_ARGUMENT", "can't contain '||'")
        details = self.details(error)
        self.assertEqual(set(details), {"BadRequest", "ResourceInfo", "ErrorInfo"})
        self.assertEqual(parse(details["BadRequest"][1][0])[1], [b"a||b"])
        self.assertEqual((details["ResourceInfo"][1], details["ResourceInfo"][2]), ([b"state"], [b"s"]))
        error = self.refused("QueryStateAlpha1", field(1, "s") + field(2, "{}"))
        self.assertCode(error, "INTERNAL", "querying")
        self.assertInfo(error, "DAPR_STATE_QUERYING_NOT_SUPPORTED")
        self.assertCode(self.refused("SaveState", field(1, "s") + field(2, field(2, b"1"))), "INVALID_ARGUMENT", "required")


class Publish(GrpcCase):
    BROKER = component("p", "pubsub.in-memory")

    def start_with_app(self, **more):
        self.a = self.app({"/t": (200, "")}, subscribe=[{"pubsubname": "p", "topic": "t", "route": "/t"}])
        return self.start(self.BROKER, app=self.a, **more)

    def event(self):
        return json.loads(self.a.wait_for("/t")[0].body)

    def test_an_event_reaches_its_subscriber(self):
        self.start_with_app()
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        self.rpc("PublishEvent", field(1, "p") + field(2, "t") + field(3, b'{"a":1}') + field(4, "application/json")
                 + entry(5, "cloudevent.id", "mine"), metadata=[("traceparent", parent)])
        e = self.event()
        self.assertEqual((e["data"], e["id"], e["topic"]), ({"a": 1}, "mine", "t"))
        self.assertIn("0af7651916cd43dd8448eb211c80319c", e["traceparent"])

    def test_bulk_s20(self):
        self.start_with_app()

        def one(id_, event):
            return field(3, field(1, id_) + field(2, event) + field(3, "text/plain"))
        self.assertEqual(self.rpc("BulkPublishEvent", field(1, "p") + field(2, "t") + one("1", "a") + one("2", "b")), {})
        self.a.wait_for("/t", 2)
        for ids in ("11", ("", "2")):
            error = self.refused("BulkPublishEventAlpha1", field(1, "p") + field(2, "t") + one(ids[0], "a") + one(ids[1], "b"))
            self.assertCode(error, "INVALID_ARGUMENT", "entryId")
            self.assertInfo(error, "DAPR_PUBSUB_MARSHAL_EVENTS")

    def test_errors_have_their_details(self):
        self.start()
        self.assertCode(self.refused("PublishEvent", field(1, "p") + field(2, "t")), "FAILED_PRECONDITION", "not configured")
        self.start(self.BROKER)
        for data, code, reason in ((field(2, "t"), "INVALID_ARGUMENT", "DAPR_PUBSUB_NAME_EMPTY"),
                                   (field(1, "x") + field(2, "t"), "INVALID_ARGUMENT", "DAPR_PUBSUB_NOT_FOUND"),
                                   (field(1, "p"), "INVALID_ARGUMENT", "DAPR_PUBSUB_TOPIC_NAME_EMPTY"),
                                   (field(1, "p") + field(2, "t") + entry(5, "rawPayload", "perhaps"), "INVALID_ARGUMENT",
                                    "DAPR_PUBSUB_METADATA_DESERIALIZATION")):
            error = self.refused("PublishEvent", data)
            self.assertEqual(error.code().name, code)
            self.assertInfo(error, reason)
        error = self.refused("PublishEvent", field(1, "p"))
        info = self.details(error)["ResourceInfo"]
        self.assertEqual((info[1], info[2], info[4]), ([b"pubsub"], [b"p"], [error.details().encode()]))


class Others(GrpcCase):
    def test_secrets(self):
        path = os.path.join(self.directory(), "secrets.json")
        with open(path, "w") as f:
            json.dump({"a": "1", "b": "2"}, f)
        config = harness.configuration({"secrets": {"scopes": [{"storeName": "v", "deniedSecrets": ["b"]}]}})
        self.start(component("v", "secretstores.local.file", secretsFile=path), config=config)
        self.assertEqual(strings(self.rpc("GetSecret", field(1, "v") + field(2, "a"))[1]), {"a": "1"})
        bulk = [parse(e) for e in self.rpc("GetBulkSecret", field(1, "v"))[1]]
        self.assertEqual([(e[1][0], strings(parse(e[2][0])[1])) for e in bulk], [(b"a", {"a": "1"})])
        self.assertCode(self.refused("GetSecret", field(1, "v") + field(2, "b")), "PERMISSION_DENIED", "access denied by policy")
        self.assertCode(self.refused("GetSecret", field(1, "w") + field(2, "b")), "INVALID_ARGUMENT", "failed finding secret store")

    def test_bindings(self):
        target = self.app({"/ok": (200, "answer", {"X-Extra": "yes"}), "/no": (404, "")})
        self.start(component("h", "bindings.http", url=f"http://127.0.0.1:{target.port}"))
        call = self.channel.unary_unary(f"/{SERVICE}/InvokeBinding")
        data = field(1, "h") + field(4, "post") + field(2, b"\x00raw") + entry(3, "path", "/ok") + entry(3, "Own", "1")
        answer, info = call.with_call(data, timeout=20, metadata=[("x-mine", "v")])
        self.assertEqual(parse(answer)[1], [b"answer"])
        self.assertEqual(strings(parse(answer)[2])["statusCode"], "200")
        self.assertEqual(dict(info.initial_metadata())["metadata.statuscode"], "200")
        got = target.got("/ok")[0]
        self.assertEqual((got.body, got.headers["own"]), (b"\x00raw", "1"))
        error = self.refused("InvokeBinding", field(1, "h") + field(4, "get") + entry(3, "path", "/no"))
        self.assertEqual(error.code().name, "INTERNAL")
        self.assertEqual(dict(error.initial_metadata())["metadata.statuscode"], "404")
        self.assertCode(self.refused("InvokeBinding", field(1, "x") + field(4, "get")), "INTERNAL", "couldn't find output binding x")

    def test_metadata(self):
        a = self.app(subscribe=[{"pubsubname": "p", "topic": "t", "route": "/t"}])
        self.start(STORE, Publish.BROKER, app=a, args=["--enable-app-health-check", "--app-max-concurrency", "7"])
        harness.until("subscribed", lambda: 5 in self.rpc("GetMetadata"))
        self.rpc("SetMetadata", field(1, "color") + field(2, "blue"))
        m = self.rpc("GetMetadata")
        http_ = json.loads(harness.call(self.s.http, "GET", "/v1.0/metadata").body)
        self.assertEqual(m[1], [b"app"])
        self.assertEqual(m[8][0].decode(), http_["runtimeVersion"])
        self.assertEqual(strings(m[4]), http_["extended"])
        self.assertEqual(strings(m[4])["color"], "blue")
        parts = [parse(c) for c in m[3]]
        self.assertEqual([(c[1][0].decode(), c[2][0].decode(), c[3][0].decode(), [x.decode() for x in c.get(4, [])]) for c in parts],
                         [(c["name"], c["type"], c["version"], c.get("capabilities", [])) for c in http_["components"]])
        s = parse(m[5][0])
        self.assertEqual((s[1], s[2], s[6]), ([b"p"], [b"t"], [2]))
        self.assertEqual(parse(parse(s[4][0])[1][0])[2], [b"/t"])
        app = parse(m[7][0])
        self.assertEqual((app[1], app[2], app[3], app[4]), ([a.port], [b"http"], [b"127.0.0.1"], [7]))
        self.assertEqual(parse(app[5][0])[2], [b"5s"])
        self.assertEqual(parse(m[10][0])[1], [1])

    def test_shutdown(self):
        self.start()
        self.rpc("Shutdown")
        self.assertEqual(self.s.wait_exit(), 0)

    def test_forced_shutdown_s71(self):
        self.start(expect=1)
        self.rpc("Shutdown", metadata=[("dapr-force-shutdown", "true")])
        self.assertEqual(self.s.wait_exit(), 1)


def invoke(id_, method="m", verb=3, data=None, type_="text/plain", query="", type_url=""):
    any_ = field(1, type_url) + field(2, data) if data is not None else None
    message = field(1, method) + (field(2, any_) if any_ is not None else b"") + field(3, type_)
    message += field(4, field(1, verb) + (field(2, query) if query else b"")) if verb is not None else b""
    return field(1, id_) + field(3, message)


class InvokeService(GrpcCase):
    """To an HTTP app, its own sidecar's and another's."""
    where = "app"

    def setUp(self):
        self.a = self.app({"/made": (201, "made", {"X-Extra": "1", "Content-Type": "text/x", "Cache-Control": "no-store"}),
                           **{f"/s{n}": (n, f"body of {n}") for n in (400, 401, 403, 404, 409, 429, 500, 503, 504)}})
        self.start(app=self.a)

    def test_request_and_answer(self):
        call = self.channel.unary_unary(f"/{SERVICE}/InvokeService")
        answer, info = call.with_call(invoke(self.where, "made", 4, b"data", query="a=b&c"), timeout=20, metadata=[("x-mine", "v")])
        message = parse(answer)
        self.assertEqual((parse(message[1][0])[2], message[2]), ([b"made"], [b"text/x"]))
        headers = dict(info.initial_metadata())
        self.assertEqual((headers["dapr-http-status"], headers["x-extra"], headers["dapr-cache-control"]), ("201", "1", "no-store"))
        (got,) = self.a.got("/made")
        self.assertEqual((got.method, got.query, got.body, got.headers["content-type"], got.headers["x-mine"]),
                         ("PUT", "a=b&c", b"data", "text/plain", "v"))
        self.assertFalse([h for h in got.headers if h.startswith("proa-") and h != "proa-timeout" or h == "dapr-app-id"])

    def test_statuses(self):
        for status, code in ((400, "INTERNAL"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"),
                             (409, "ALREADY_EXISTS"), (429, "RESOURCE_EXHAUSTED"), (500, "UNKNOWN"), (503, "UNAVAILABLE"),
                             (504, "DEADLINE_EXCEEDED")):
            error = self.refused("InvokeService", invoke(self.where, f"s{status}"))
            self.assertEqual(error.code().name, code, error.details())
            self.assertEqual(dict(error.initial_metadata())["dapr-http-status"], str(status))
            self.assertEqual(strings(self.details(error)["ErrorInfo"][3]),
                             {"http.code": str(status), "http.error_message": f"body of {status}"})

    def test_what_is_wrong_is_told(self):
        for data, text in ((invoke("", "m"), "id is empty"), (field(1, self.where), "message is missing"),
                           (invoke(self.where, "m", 77), "invalid HTTP verb"), (invoke("a.b.c", "m"), "at most one dot")):
            self.assertCode(self.refused("InvokeService", data), "INVALID_ARGUMENT", text)


class InvokeServiceRemote(InvokeService):
    where = "other"

    def start(self, app=None):
        self.s, self.callee = self.pair(app, caller="app", callee="other")
        self.channel = self.channel_of(self.s.grpc)


class Health(GrpcCase):
    """grpc.health.v1.Health, what grpc_health_probe and Kubernetes ask."""
    SERVICE = "grpc.health.v1.Health"
    SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3

    def check(self, service="", **more):
        return self.rpc("Check", field(1, service) if service else b"", service=self.SERVICE, **more)[1][0]

    def watch(self, service=""):
        call = self.channel.unary_stream(f"/{self.SERVICE}/Watch")
        return call(field(1, service) if service else b"", timeout=30)

    def test_check_says_what_the_probes_say(self):
        port = harness.free_port()
        self.start(app_port=port, wait="/v1.0/healthz/outbound", env={"DAPR_API_TOKEN": "nobody has it"})
        self.assertEqual(self.check(), self.NOT_SERVING)
        self.assertEqual(self.check("proa.started"), self.NOT_SERVING)
        self.assertEqual(self.check("proa.live"), self.SERVING)
        self.app(port=port)
        self.s.wait_ready()
        for service in ("", SERVICE, "proa.ready", "proa.started"):
            self.assertEqual(self.check(service), self.SERVING)
        error = self.refused("Check", field(1, "no.such"), service=self.SERVICE)
        self.assertCode(error, "NOT_FOUND", "no.such")
        self.assertCode(self.refused("Other", service=self.SERVICE), "UNIMPLEMENTED", "Other")

    def test_watch_tells_each_change_and_the_end(self):
        port = harness.free_port()
        self.start(app_port=port, wait="/v1.0/healthz/outbound")
        told = self.watch()
        self.assertEqual(parse(next(told))[1], [self.NOT_SERVING])
        self.assertEqual(parse(next(self.watch("no.such")))[1], [self.SERVICE_UNKNOWN])
        self.app(port=port)
        self.assertEqual(parse(next(told))[1], [self.SERVING])
        self.s.send_signal(signal.SIGTERM)
        with self.assertRaises(grpc.RpcError) as e:
            for m in told:
                self.assertEqual(parse(m)[1], [self.NOT_SERVING])
        self.assertEqual(e.exception.code().name, "UNAVAILABLE")
        self.assertEqual(self.s.wait_exit(), 0)

    def test_with_an_app_id_it_is_the_apps_own(self):
        self.start()
        error = self.refused("Check", service=self.SERVICE, metadata=[("dapr-app-id", "nobody")])
        self.assertNotEqual(error.code().name, "OK")


class Reflection(GrpcCase):
    """What grpcurl and its kin ask."""

    def ask(self, port, version, *requests, metadata=None):
        call = self.channel_of(port).stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        return [parse(m) for m in call(iter(requests), timeout=20, metadata=metadata)]

    def test_services_and_the_files_that_define_them(self):
        self.start()
        for port, own, method in ((self.s.grpc, SERVICE, "SaveState"),
                                  (self.s.internal, "dapr.proto.internals.v1.ServiceInvocation", "CallLocalStream")):
            for version in ("v1", "v1alpha"):
                name = f"grpc.reflection.{version}.ServerReflection"
                services, by_symbol, by_method, itself, unknown = self.ask(
                    port, version, field(7, ""), field(4, own), field(4, f"{own}.{method}"), field(4, name), field(4, "no.Such"))
                listed = [parse(s)[1][0].decode() for s in parse(services[6][0])[1]]
                self.assertIn(own, listed)
                self.assertIn(name, listed)
                files = {f[1][0].decode(): f for f in map(parse, parse(by_symbol[4][0])[1])}
                for f in files.values():
                    self.assertTrue(all(d.decode() in files for d in f.get(3, [])), f[1])
                (service,) = [parse(s) for f in files.values() for s in f.get(6, []) if f[2][0].decode() in own]
                self.assertIn(method, [parse(m)[1][0].decode() for m in service[2]])
                self.assertEqual(by_method[4], by_symbol[4])
                self.assertIn(4, itself)
                self.assertEqual(parse(unknown[7][0])[1], [5])

    def test_maps_are_maps_and_optional_is_optional(self):
        self.start()
        (r,) = self.ask(self.s.grpc, "v1", field(3, "dapr/proto/runtime/v1/messages.proto"))
        (f,) = [f for f in map(parse, parse(r[4][0])[1]) if f[1] == [b"dapr/proto/runtime/v1/messages.proto"]]
        messages = {m[1][0].decode(): m for m in map(parse, f[4])}
        self.assertNotIn("StringEntry", messages)
        get = messages["GetStateRequest"]
        self.assertEqual([parse(n)[7] for n in get[3]], [[field(7, 1)]])
        types = {parse(m)[1][0]: parse(m).get(6) for m in get[2]}
        self.assertEqual(types[b"metadata"], [b".dapr.proto.runtime.v1.GetStateRequest.MetadataEntry"])
        initial = messages["SubscribeTopicEventsRequestInitialAlpha1"]
        optional = [parse(m) for m in initial[2] if 17 in parse(m)]
        self.assertEqual([o[1] for o in optional], [[b"dead_letter_topic"]])

    def test_it_wants_the_token_too_s7(self):
        self.start(env={"DAPR_API_TOKEN": "secret"})
        with self.assertRaises(grpc.RpcError) as e:
            self.ask(self.s.grpc, "v1", field(7, ""))
        self.assertEqual(e.exception.code().name, "UNAUTHENTICATED")
        self.ask(self.s.grpc, "v1", field(7, ""), metadata=[("dapr-api-token", "secret")])


class Watched(GrpcCase):
    def test_calls_of_the_api_are_counted(self):
        self.start(STORE)
        self.rpc("SaveState", field(1, "s") + field(2, field(1, "k") + field(2, b"v" * 4000)))
        self.rpc("GetState", field(1, "s") + field(2, "k"))
        self.refused("GetState", field(1, "x") + field(2, "k"))
        method = f"/{SERVICE}/GetState"
        for status in ("OK", "InvalidArgument"):
            for name in ("dapr_grpc_io_server_completed_rpcs", "dapr_grpc_io_server_server_latency_count"):
                harness.until(status, lambda: self.s.metric(name, grpc_server_method=method, grpc_server_status=status) == 1)
        for name, least, most in (("received", 1, 60), ("sent", 4000, 4200)):
            self.assertEqual(self.s.metric(f"dapr_grpc_io_server_{name}_bytes_per_rpc_count", grpc_server_method=method), 2)
            self.assertTrue(least <= self.s.metric(f"dapr_grpc_io_server_{name}_bytes_per_rpc_sum",
                                                   grpc_server_method=method) <= most)

    def test_calls_are_told_when_asked_for(self):
        self.start(STORE, args=["--enable-api-logging"])
        self.rpc("GetState", field(1, "s") + field(2, "k"))
        harness.until("told", lambda: "gRPC API Called" in self.s.log())
        (line,) = [text for text in self.s.log().splitlines() if "gRPC API Called" in text]
        for part in ("scope=dapr.runtime.grpc.api-info", f"method=/{SERVICE}/GetState", "code=0"):
            self.assertIn(part, line)


if __name__ == "__main__":
    harness.main()
