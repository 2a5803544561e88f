#!/usr/bin/env python3
"""Apps that speak gRPC, from outside: each callback, verdict and error; called over HTTP and gRPC, over one
sidecar and over two.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import json
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
from harness import component, resource, until
from wire import field, parse
if grpc:
    from grpc import StatusCode as Code
    from grpc_app import (DROP, RETRY, SUCCESS, Event, GrpcApp, Refusal, entry, invoke_response, kvs, struct_of,
                          subscription)

MEMORY = component("p", "pubsub.in-memory")
GRPC = ["--app-protocol", "grpc"]


def error_info(code, message, reason="WHY"):
    """google.rpc.Status with an ErrorInfo, and a detail of a type that nobody knows."""
    info = field(1, reason) + field(2, "test.io") + field(3, entry("k", "v"))
    detail = field(1, "type.googleapis.com/google.rpc.ErrorInfo") + field(2, info)
    other = field(1, "type.googleapis.com/own.Type") + field(2, b"\x08\x01")
    return field(1, code) + field(2, message) + field(3, detail) + field(3, other)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Case(harness.Case):
    def grpc_app(self, on=None, **more):
        a = GrpcApp(on, **more)
        self.addCleanup(a.close)
        return a

    def beside(self, a, *resources, args=(), **more):
        return self.sidecar("app", a, args=GRPC + list(args), resources=resources, **more)


class Invoke(Case):
    def echo(self, call, context):
        m = parse(call.message)
        context.send_initial_metadata((("x-back", "1"), ("data-bin", b"\x00\xff")))
        return invoke_response(parse(m.get(2, [b""])[0]).get(2, [b""])[0], m.get(3, [b""])[0].decode())

    def each(self, a):
        """A caller beside the app, and one at another sidecar, twice: it learns who its peer is."""
        caller, callee = self.pair(a, callee_args=GRPC)
        return [("own", callee), ("first", caller), ("again", caller)]

    def test_headers_become_metadata_and_registered_ones_are_renamed_s48(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        for name, s in self.each(a):
            with self.subTest(name):
                r = s.call("PUT", "/v1.0/invoke/callee/method/a%20b/%C3%BC?q=1&r=%3F", b"body", {
                    "Content-Type": "text/x", "X-One": "1", "User-Agent": "me", "Grpc-Foo": "2", "Connection": "X-Hop",
                    "X-Hop": "3", "proa-grpc": "evil", "x-bytes-bin": "AAE=",
                    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
                self.assertEqual((r.status, r.body, r.headers["content-type"]), (200, b"body", "text/x"))
                self.assertEqual(r.headers["x-back"], "1")
                self.assertEqual([h for h in r.headers if "bin" in h or "grpc" in h or "proa" in h], [])
                call = a.got("OnInvoke")[-1]
                m = parse(call.message)
                self.assertEqual((m[1], m[3]), ([("a b/ü").encode()], [b"text/x"]))
                self.assertEqual(parse(m[2][0]), {2: [b"body"]})
                self.assertEqual(parse(m[4][0]), {1: [4], 2: [b"q=1&r=%3F"]})
                got = call.metadata
                self.assertEqual((got["x-one"], got["dapr-user-agent"], got["dapr-content-type"], got["dapr-grpc-foo"]),
                                 ("1", "me", "text/x", "2"))
                self.assertEqual((got["dapr-caller-app-id"], got["dapr-callee-app-id"]), (s.app_id, "callee"))
                for gone in ("x-hop", "connection", "dapr-connection", "content-length", "proa-direct", "proa-grpc"):
                    self.assertNotIn(gone, got)

    def test_another_sidecar_is_told_how_busy_the_app_is(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        s = self.beside(a)
        for path, on in (("/good", self.echo), ("/bad", lambda call, context: context.abort(grpc.StatusCode.INTERNAL, "no"))):
            a.on["OnInvoke"] = on
            self.assertEqual(harness.call(s.internal, "GET", path, headers={"proa-direct": "app"}).headers["proa-load"], "0", path)
            self.assertNotIn("proa-load", s.get("/v1.0/invoke/app/method" + path).headers)

    def test_grpcs_app_is_called_by_tls_without_verification(self):
        cert, key = harness.Pki(self.directory()).sign("app", alternative="DNS:not.this.host")
        a = self.grpc_app({"OnInvoke": self.echo}, tls=(harness.Pki.text(cert), harness.Pki.text(key)))
        for args in (["--app-protocol", "grpcs"], GRPC + ["--app-ssl"]):
            with self.subTest(args):
                s = self.sidecar("app", a, args=args)
                r = s.post("/v1.0/invoke/app/method/m", b"body", {"Content-Type": "text/x"})
                self.assertEqual((r.status, r.body), (200, b"body"))

    def test_statuses_are_mapped_and_the_body_is_the_status(self):
        want = {1: 408, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
                13: 500, 14: 503, 15: 500, 16: 401}

        def fail(call, context):
            raise Refusal(codes[int(parse(call.message)[1][0])], "no: ü\n%")
        codes = {c.value[0]: c for c in Code}
        a = self.grpc_app({"OnInvoke": fail})
        for name, s in self.each(a):
            for code, status in want.items():
                with self.subTest(f"{name} {code}"):
                    r = s.get(f"/v1.0/invoke/callee/method/{code}")
                    self.assertEqual((r.status, r.headers["content-type"]), (status, "application/json"))
                    self.assertEqual(json.loads(r.body), {"code": code, "message": "no: ü\n%"})

    def test_details_of_a_status_are_in_its_json(self):
        def fail(call, context):
            raise Refusal(Code.ABORTED, "no", error_info(10, "no"))
        a = self.grpc_app({"OnInvoke": fail})
        for name, s in self.each(a):
            with self.subTest(name):
                self.assertEqual(json.loads(s.get("/v1.0/invoke/callee/method/m").body), {
                    "code": 10, "message": "no", "details": [
                        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "WHY", "domain": "test.io",
                         "metadata": {"k": "v"}},
                        {"@type": "type.googleapis.com/own.Type", "value": "CAE="}]})

    def test_an_app_without_the_callback_is_501(self):
        s = self.beside(self.grpc_app())
        r = s.get("/v1.0/invoke/app/method/m")
        self.assertEqual((r.status, json.loads(r.body)["code"]), (501, 12))

    def test_bodies_of_any_size_pass(self):
        a = self.grpc_app({"OnInvoke": self.echo}, options=(("grpc.max_receive_message_length", -1),))
        for name, s in self.each(a):
            for n in (0, 1, 16384, 100000, 4000000):
                for chunked in (False, True):
                    with self.subTest(f"{name} {n} {chunked}"):
                        body = os.urandom(n)
                        r = s.post("/v1.0/invoke/callee/method/m", iter([body]) if chunked and n else body)
                        self.assertEqual(r.status, 200)
                        self.assertTrue(r.body == body)

    def test_the_apps_token_goes_along(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        s = self.beside(a, env={"APP_API_TOKEN": "secret"})
        s.get("/v1.0/invoke/app/method/m", {"dapr-api-token": "mine"})
        self.assertEqual(a.got("OnInvoke")[0].metadata["dapr-api-token"], "secret")

    def test_an_app_that_has_left_is_an_error_that_says_so(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        s = self.beside(a)
        self.assertEqual(s.get("/v1.0/invoke/app/method/m").status, 200)
        a.close()
        self.assertError(s.get("/v1.0/invoke/app/method/m"), 500, "ERR_DIRECT_INVOKE")


class Chain(Case):
    """front -> middle, a gRPC app -> last, which fails; both hops have retries."""

    def setUp(self):
        config = self.hosts_config()
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "1ms", "maxRetries": 2}}},
            "targets": {"apps": {"middle": {"retry": "often"}, "last": {"retry": "often"}}}})
        self.last = self.app({"*": (500, b"")})
        self.calls = self.grpc_app({"OnInvoke": self.fail_like_last, "Do": self.fail_like_last})
        self.sidecar("last", self.last, config=config)
        self.middle = self.sidecar("middle", self.calls, args=GRPC, config=config, resources=[policy])
        self.front = self.sidecar("front", config=config, resources=[policy])
        self.parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

    def fail_like_last(self, call, context):
        r = self.middle.get("/v1.0/invoke/last/method/x", {"traceparent": call.metadata["traceparent"]})
        raise Refusal(Code.INTERNAL, f"last says {r.status}")

    def test_invocations_are_not_retried_once_more(self):
        for n in (1, 2):  # the first one by gRPC, until it's known who the peer is
            r = self.front.get("/v1.0/invoke/middle/method/m", {"traceparent": self.parent})
            self.assertEqual((r.status, r.headers["proa-retried"]), (500, "1"))
            self.assertEqual((len(self.calls.got("OnInvoke")), len(self.last.got())), (n, 3 * n))

    def test_proxied_calls_are_not_retried_once_more(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.front.grpc}") as channel:
            with self.assertRaises(grpc.RpcError) as e:
                channel.unary_unary("/test.v1.Service/Do")(b"", timeout=20, metadata=[
                    ("dapr-app-id", "middle"), ("traceparent", self.parent)])
        self.assertEqual((e.exception.code(), dict(e.exception.trailing_metadata())["proa-retried"]), (Code.INTERNAL, "1"))
        self.assertEqual((len(self.calls.got("Do")), len(self.last.got())), (1, 3))


class Discovery(Case):
    def subscriptions(self, s):
        return {(x["pubsubname"], x["topic"]): x for x in json.loads(s.get("/v1.0/metadata").body)["subscriptions"]}

    def test_what_the_app_lists_is_subscribed_s30(self):
        a = self.grpc_app({"ListTopicSubscriptions":
                           subscription("p", "none") + subscription("p", "route", "/r") +
                           subscription("p", "rules", "/d", [("event.type == 'a'", "/a")], dead="dlq", metadata={"k": "v"})})
        s = self.beside(a, MEMORY)
        got = self.subscriptions(s)
        self.assertEqual(got["p", "none"]["rules"], [{}], "no routes: one rule with path ''")
        self.assertEqual(got["p", "route"]["rules"], [{"path": "/r"}])
        self.assertEqual(got["p", "rules"]["rules"], [{"match": "event.type == 'a'", "path": "/a"}, {"path": "/d"}])
        self.assertEqual((got["p", "rules"]["deadLetterTopic"], got["p", "rules"]["metadata"]), ("dlq", {"k": "v"}))
        self.assertEqual({x["type"] for x in got.values()}, {"PROGRAMMATIC"})

    def test_an_app_that_lists_nothing_has_none_and_config_is_not_asked_s57(self):
        a = self.grpc_app()
        s = self.beside(a, MEMORY)
        self.assertEqual(self.subscriptions(s), {})
        self.assertEqual([c.method.rsplit("/", 1)[1] for c in a.got()], ["ListTopicSubscriptions"])

    def test_an_answer_that_is_no_list_leaves_the_declared_ones(self):
        a = self.grpc_app({"ListTopicSubscriptions": b"\xff\xff"})
        s = self.beside(a, MEMORY, resource("Subscription", "s", {"pubsubname": "p", "topic": "t", "route": "/r"}))
        self.assertEqual([x["type"] for x in self.subscriptions(s).values()], ["DECLARATIVE"])
        self.assertIn("is no list of subscriptions", s.log())


class Events(Case):
    def subscribed(self, on, topic="t", path="/r", *resources, args=(), env=None, **more):
        a = self.grpc_app({"ListTopicSubscriptions": subscription("p", topic, path, **more), "OnTopicEvent": on})
        return a, self.beside(a, *(resources or (MEMORY,)), args=args, env=env)

    def publish(self, s, body=b'{"a":[1,"x",null,true,{"b":2.5}]}', topic="t", type_="application/json", query=""):
        r = s.post(f"/v1.0/publish/p/{topic}{query}", body, {"Content-Type": type_})
        self.assertEqual(r.status, 204, r)

    def test_an_event_says_everything(self):
        a, s = self.subscribed(SUCCESS, env={"APP_API_TOKEN": "secret"})
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        s.post("/v1.0/publish/p/t?metadata.cloudevent.subject=s", b'{"a":1}',
               {"Content-Type": "application/json", "traceparent": parent, "tracestate": "x=y"})
        call = a.wait_for("OnTopicEvent")[0]
        e = Event(call.message)
        self.assertEqual((e.source, e.type, e.spec_version, e.content_type, e.topic, e.pubsub, e.path, e.data),
                         ("app", "com.dapr.event.sent", "1.0", "application/json", "t", "p", "/r", b'{"a":1}'))
        self.assertEqual(len(e.id), 36)
        self.assertEqual(sorted(e.extensions), ["pubsubname", "subject", "time", "topic", "traceid", "traceparent", "tracestate"])
        self.assertEqual((e.extensions["subject"], e.extensions["tracestate"]), ("s", "x=y"))
        self.assertEqual((call.metadata["dapr-api-token"], call.metadata["pubsubname"], call.metadata["tracestate"]),
                         ("secret", "p", "x=y"))
        self.assertIn("0af7651916cd43dd8448eb211c80319c", call.metadata["traceparent"])

    def test_data_is_by_content_type_s29(self):
        a, s = self.subscribed(SUCCESS)
        for type_, body, data in (("application/json", b'{"x" : 1}', b'{"x" : 1}'), ("text/plain", b"\xc3\xbc", b"\xc3\xbc"),
                                  ("application/octet-stream", b"\x00\xff", b"\x00\xff"), ("foo/bar", b"x", b"")):
            with self.subTest(type_):
                self.publish(s, body, type_=type_)
                e = until("the event", lambda: [e for e in map(lambda c: Event(c.message), a.got("OnTopicEvent"))
                                                if e.content_type == type_])[0]
                self.assertEqual(e.data, data)

    def test_extensions_hold_any_json(self):
        a, s = self.subscribed(SUCCESS)
        event = {"id": "1", "source": "s", "type": "t", "specversion": "1.0", "data": {}, "x": [1, "a", None, True, {"b": -2.5e10}]}
        self.publish(s, json.dumps(event).encode(), type_="application/cloudevents+json")
        e = Event(a.wait_for("OnTopicEvent")[0].message)
        self.assertEqual((e.id, e.extensions["x"]), ("1", [1, "a", None, True, {"b": -2.5e10}]))

    def test_verdicts_s28(self):
        """Without a policy each event is told once; what isn't success goes to the dead letters, or not."""
        for name, answer, dead in (("success", SUCCESS, 0), ("retry", RETRY, 1), ("drop", DROP, 1), ("odd", field(1, 9), 1),
                                   ("garbage", b"\xff", 1), ("error", Refusal(Code.INTERNAL, "no") if grpc else None, 1),
                                   ("unimplemented", Refusal(Code.UNIMPLEMENTED) if grpc else None, 0),
                                   ("cancelled", Refusal(Code.CANCELLED) if grpc else None, 1)):
            with self.subTest(name):
                def on(call, context):
                    if Event(call.message).topic == "dlq":
                        return SUCCESS
                    if isinstance(answer, Exception):
                        raise answer
                    return answer
                a = self.grpc_app({"ListTopicSubscriptions": subscription("p", "t", "/r", dead="dlq") + subscription("p", "dlq", "/d"),
                                   "OnTopicEvent": on})
                s = self.sidecar("app", a, args=GRPC, resources=[MEMORY])
                self.publish(s)
                until("told", lambda: len(a.got("OnTopicEvent")) >= 1 + dead)
                self.publish(s, topic="dlq")  # in order behind whatever came before
                until("the last", lambda: len(a.got("OnTopicEvent")) == 2 + dead)
                self.assertEqual([Event(c.message).path for c in a.got("OnTopicEvent")], ["/r"] + ["/d"] * (1 + dead))
                s.close()

    def test_a_policy_retries_by_grpc_codes(self):
        codes = [Code.UNAVAILABLE, Code.UNAVAILABLE, Code.NOT_FOUND] if grpc else []

        def on(call, context):
            raise Refusal(codes[len(a.got("OnTopicEvent")) - 1])
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "5ms", "maxRetries": 9,
                                               "matching": {"gRPCStatusCodes": "14"}}}},
            "targets": {"components": {"p": {"inbound": {"retry": "often"}}}}})
        a, s = self.subscribed(on, "t", "/r", MEMORY, policy)
        self.publish(s)
        until("three", lambda: s.metric("dapr_component_pubsub_ingress_count", topic="t") == 1)
        self.assertEqual(len(a.got("OnTopicEvent")), 3)

    def test_bulks_and_the_fallback_of_old_apps(self):
        for method in ("OnBulkTopicEvent", "OnBulkTopicEventAlpha1"):
            with self.subTest(method):
                def on(call, context):
                    m = parse(call.message)
                    return b"".join(field(1, field(1, parse(e)[1][0])) for e in m[2])
                a = self.grpc_app({"ListTopicSubscriptions": subscription("p", "t", "/r", bulk=(10, 50)), method: on})
                s = self.sidecar("app", a, args=GRPC, resources=[MEMORY])
                self.publish(s, b'{"a":1}')
                m = parse(a.wait_for(method)[0].message)
                self.assertEqual((m[4], m[5], m[6], m[7], kvs(m[3])), ([b"t"], [b"p"], [b"com.dapr.event.sent.bulk"], [b"/r"],
                                                                      {"pubsubName": "p"}))
                self.assertEqual(len(m[1][0]), 36)
                e = parse(m[2][0])
                self.assertEqual(e[4], [b"application/cloudevents+json"])
                event = parse(e[3][0])
                self.assertEqual((event[2], event[5], event[6]), ([b"app"], [b"application/json"], [b'{"a":1}']))
                self.assertEqual(struct_of(event[7][0])["topic"], "t")
                s.close()

    def test_a_raw_bulk_has_bytes(self):
        a = self.grpc_app({"ListTopicSubscriptions": subscription("p", "t", "/r", bulk=(10, 50), metadata={"rawPayload": "true"}),
                           "OnBulkTopicEvent": b""})
        s = self.beside(a, MEMORY)
        self.publish(s, b"\x00\x01", type_="application/octet-stream", query="?metadata.rawPayload=true")
        e = parse(parse(a.wait_for("OnBulkTopicEvent")[0].message)[2][0])
        self.assertEqual((e[2], e[4]), ([b"\x00\x01"], [b"application/octet-stream"]))

    def test_bulk_verdicts_are_each_entrys_own(self):
        def on(call, context):
            entries = [parse(e) for e in parse(call.message)[2]]
            data = {json.loads(parse(e[3][0])[6][0])["n"]: e[1][0] for e in entries}
            verdicts = {0: 0, 1: 1, 2: 2}
            return b"".join(field(1, field(1, id_) + (field(2, verdicts[n]) if verdicts[n] else b"")) for n, id_ in data.items() if n < 3)
        path = os.path.join(self.directory(), "queue.db")
        broker = component("p", "pubsub.sqlite", connectionString=path)
        a = self.grpc_app({"ListTopicSubscriptions": subscription("p", "t", "/r", bulk=(4, 500), dead="dlq") + subscription("p", "dlq", "/d"),
                           "OnBulkTopicEvent": on, "OnTopicEvent": SUCCESS})
        s = self.beside(a, broker)
        for n in range(4):
            self.publish(s, json.dumps({"n": n}).encode())
        until("retried, dropped and forgotten ones are dead letters", lambda: len(a.got("OnTopicEvent")) == 3)
        self.assertEqual(sorted(json.loads(Event(c.message).data)["n"] for c in a.got("OnTopicEvent")), [1, 2, 3])


class Bindings(Case):
    CRON = component("cron", "bindings.cron", schedule="@every 100ms")

    def test_listed_bindings_get_events_and_others_do_not(self):
        a = self.grpc_app({"ListInputBindings": field(1, "cron"), "OnBindingEvent": b""})
        self.beside(a, self.CRON, component("other", "bindings.cron", schedule="@every 100ms"))
        m = parse(a.wait_for("OnBindingEvent", 3)[0].message)
        self.assertEqual(m[1], [b"cron"])
        self.assertIn("readTimeUTC", kvs(m[3]))
        self.assertEqual({parse(c.message)[1][0] for c in a.got("OnBindingEvent")}, {b"cron"})
        self.assertEqual(len(a.got("ListInputBindings")), 1, "asked once")

    def test_an_answer_saves_states_and_calls_output_bindings(self):
        out = harness.App()
        self.addCleanup(out.close)
        item = field(1, "key") + field(2, b"value")
        answers = {"parallel": field(5, 1), "one after the other": b""}
        for name, concurrency in answers.items():
            with self.subTest(name):
                a = self.grpc_app({"ListInputBindings": field(1, "cron"), "OnBindingEvent":
                                   field(1, "s") + field(2, item) + field(3, "h1") + field(3, "h2") + field(4, b'{"d":1}') + concurrency})
                s = self.sidecar("app", a, args=GRPC, resources=[
                    self.CRON, component("s", "state.in-memory"),
                    component("h1", "bindings.http", url=f"http://127.0.0.1:{out.port}/{len(name)}h1"),
                    component("h2", "bindings.http", url=f"http://127.0.0.1:{out.port}/{len(name)}h2")])
                for path in ("h1", "h2"):
                    self.assertEqual(out.wait_for(f"/{len(name)}{path}")[0].body, b'{"d":1}')
                until("saved", lambda: s.get("/v1.0/state/s/key").body == b"value")
                s.close()

    def test_an_answer_that_asks_for_what_is_not_there_is_logged(self):
        a = self.grpc_app({"ListInputBindings": field(1, "cron"), "OnBindingEvent": field(1, "gone") + field(2, field(1, "k")) + field(3, "nobody")})
        s = self.beside(a, self.CRON)
        s.wait_log("saving states in gone")
        s.wait_log("calling output binding nobody")


class Life(Case):
    HEALTH = ["--enable-app-health-check", "--app-health-probe-interval", "1", "--app-health-threshold", "1"]

    def test_health_is_asked_by_grpc_and_decides(self):
        ill = []

        def check(call, context):
            if ill:
                raise Refusal(Code.UNAVAILABLE, "resting")
            return b""
        a = self.grpc_app({"HealthCheck": check, "OnInvoke": invoke_response(b"x")})
        s = self.beside(a, args=self.HEALTH)
        s.wait_log("App entered healthy status")
        self.assertEqual(s.get("/v1.0/invoke/app/method/m").status, 200)
        self.assertEqual(a.got("HealthCheck")[0].method, "/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck")
        ill.append(1)
        s.wait_log("App entered un-healthy status: HealthCheck: rpc error: code = Unavailable desc = resting")
        self.assertError(s.get("/v1.0/invoke/app/method/m"), 500, "ERR_DIRECT_INVOKE")
        ill.clear()
        until("healthy again", lambda: s.get("/v1.0/invoke/app/method/m").status == 200)
        for status in ("OK", "Unavailable"):
            self.assertGreater(s.metric("dapr_grpc_io_healthprobes_completed_count", grpc_client_status=status), 0)
            self.assertGreater(s.metric("dapr_grpc_io_healthprobes_roundtrip_latency_count", grpc_client_status=status), 0)

    def test_calls_to_the_app_are_counted(self):
        def on(call, context):
            if len(a.got("OnInvoke")) > 1:
                raise Refusal(Code.NOT_FOUND)
            return invoke_response(b"x" * 5000)
        a = self.grpc_app({"OnInvoke": on})
        s = self.beside(a)
        s.post("/v1.0/invoke/app/method/m", b"y" * 3000)
        s.get("/v1.0/invoke/app/method/m")
        labels = {"grpc_client_method": "/dapr.proto.runtime.v1.AppCallback/OnInvoke"}
        for status in ("OK", "NotFound"):
            self.assertEqual(s.metric("dapr_grpc_io_client_completed_rpcs", grpc_client_status=status, **labels), 1)
            self.assertEqual(s.metric("dapr_grpc_io_client_roundtrip_latency_count", grpc_client_status=status, **labels), 1)
        for name, size in (("sent", 3000), ("received", 5000)):
            self.assertEqual(s.metric(f"dapr_grpc_io_client_{name}_bytes_per_rpc_count", **labels), 2)
            self.assertTrue(size < s.metric(f"dapr_grpc_io_client_{name}_bytes_per_rpc_sum", **labels) < size + 200)

    def test_max_concurrency_serialises(self):
        import concurrent.futures
        import threading
        inside, most, lock = [], [], threading.Lock()

        def slow(call, context):
            with lock:
                inside.append(1)
                most.append(len(inside))
            threading.Event().wait(0.005)
            with lock:
                inside.pop()
            return invoke_response(b"x")
        a = self.grpc_app({"OnInvoke": slow})
        s = self.beside(a, args=["--app-max-concurrency", "2"])
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertEqual({r.status for r in pool.map(lambda _: s.get("/v1.0/invoke/app/method/m"), range(64))}, {200})
        self.assertEqual(max(most), 2)

    def test_the_pool_grows_where_an_app_allows_few_streams_s52(self):
        import concurrent.futures
        import threading
        want, gate, inside, lock = 60, threading.Event(), [], threading.Lock()

        def wait(call, context):
            with lock:
                inside.append(1)
                if len(inside) == want:
                    gate.set()
            gate.wait(20)
            return invoke_response(b"x")
        a = self.grpc_app({"OnInvoke": wait}, options=(("grpc.max_concurrent_streams", 10),), threads=want + 10)
        s = self.beside(a)
        with concurrent.futures.ThreadPoolExecutor(want) as pool:
            self.assertEqual({r.status for r in pool.map(lambda _: s.get("/v1.0/invoke/app/method/m"), range(want))}, {200})


if __name__ == "__main__":
    harness.main()
