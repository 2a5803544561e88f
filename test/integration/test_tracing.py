#!/usr/bin/env python3
"""Tracing as collectors, apps and peers see it: the tree of spans, contexts, exporters.

Collectors are played here: Zipkin and OTLP/HTTP by http.server, OTLP/gRPC and daprd by grpcio (where that
isn't there those tests are skipped visibly). Protobuf is read by hand, so that the wire format is tested.
"""
import concurrent.futures
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import unittest

import harness
from harness import component, configuration, fake_host, resource, until
from wire import field, parse

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def first(message, number, default=b""):
    return message.get(number, [default])[0]


def attributes(entries):
    out = {}
    for e in entries:
        pair = parse(e)
        out[first(pair, 1).decode()] = first(parse(first(pair, 2)), 1).decode()
    return out


class Span:
    def __init__(self, trace, id_, parent, name, kind, tags, error, service, resource, state=""):
        self.trace, self.id, self.parent, self.name, self.kind = trace, id_, parent, name, kind
        self.tags, self.error, self.service, self.resource, self.state = tags, error, service, resource, state

    def __repr__(self):
        return f"<{self.service} {self.kind} {self.name!r} {self.id} of {self.parent} in {self.trace}>"


def of_otlp(body):
    for rs in map(parse, parse(body).get(1, [])):
        resource = attributes(parse(first(rs, 1)).get(1, []))
        service = resource.pop("service.name")
        for ss in map(parse, rs.get(2, [])):
            for s in map(parse, ss.get(2, [])):
                status = parse(first(s, 15))
                assert first(s, 8, 0) >= first(s, 7, 0) > 1_600_000_000 * 10**9
                yield Span(first(s, 1).hex(), first(s, 2).hex(), first(s, 4).hex(), first(s, 5).decode(),
                           KINDS[first(s, 6, 0)], attributes(s.get(9, [])),
                           first(status, 2).decode() if first(status, 3, 0) == 2 else None, service, resource,
                           first(s, 3).decode())


def of_zipkin(body):
    for s in json.loads(body):
        assert s["timestamp"] > 1_600_000_000 * 10**6 and s["duration"] >= 1
        yield Span(s["traceId"], s["id"], s.get("parentId", ""), s["name"], s.get("kind", ""), s["tags"],
                   s["tags"].get("error"), s["localEndpoint"]["serviceName"], {})


class Collector:
    """Spans as they came; `answers`: what the first requests are answered with, before success."""

    def __init__(self, test, kind, answers=(), certificate=None):
        self.kind, self.lock, self.got, self.requests, self.answers = kind, threading.Lock(), [], [], list(answers)
        if kind == "grpc":
            self.serve_grpc(test, certificate)
        else:
            self.app = test.app({"POST /api/v2/spans": self.on_http, "POST /v1/traces": self.on_http,
                                 "POST /base/v1/traces": self.on_http, "POST /whole": self.on_http})
            self.port = self.app.port
            if certificate:
                self.use_tls(certificate)

    def keep(self, body, headers, path):
        with self.lock:
            answer = self.answers.pop(0) if self.answers else None
            self.requests.append((path, headers))
            if answer is None:
                self.got += of_zipkin(body) if self.kind == "zipkin" else of_otlp(body)
            return answer

    def on_http(self, r):
        want = "application/json" if self.kind == "zipkin" else "application/x-protobuf"
        assert r.headers["content-type"] == want, r.headers
        return self.keep(r.body, r.headers, r.path) or (202 if self.kind == "zipkin" else 200,)

    def use_tls(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.app.server.socket = context.wrap_socket(self.app.server.socket, server_side=True)

    def serve_grpc(self, test, certificate=None):
        collector = self

        class Generic(grpc.GenericRpcHandler):
            def service(self, details):
                if details.method != EXPORT:
                    return None

                def export(body, context):
                    answer = collector.keep(body, dict(context.invocation_metadata()), EXPORT)
                    if answer:
                        context.abort(answer, "not now")
                    return b""
                return grpc.unary_unary_rpc_method_handler(export)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((Generic(),))
        if certificate:
            with open(certificate, "rb") as f:
                pem = f.read()
            self.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
        else:
            self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        test.addCleanup(server.stop, None)

    def spans(self, **want):
        with self.lock:
            return [s for s in self.got if all(getattr(s, k) == v for k, v in want.items())]

    def wait(self, n=1, **want):
        return until(f"{n} span(s) with {want}; there are {self.spans()}",
                     lambda: len(self.spans(**want)) >= n and self.spans(**want))

    def config(self, rate="1", **more):
        spec = {"samplingRate": rate} if rate is not None else {}
        if self.kind == "zipkin":
            spec["zipkin"] = {"endpointAddress": f"http://127.0.0.1:{self.port}/api/v2/spans"}
        else:
            spec["otel"] = dict({"protocol": self.kind, "isSecure": False,
                                 "endpointAddress": f"127.0.0.1:{self.port}"}, **more)
        return {"tracing": spec}


def ids(traceparent):
    m = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])", traceparent)
    assert m, traceparent
    return m[1], m[2], m[3] == "01"


class Tracing(harness.Case):
    def collector(self, kind="zipkin", answers=()):
        return Collector(self, kind, answers)

    def traced(self, app=None, kind="zipkin", app_id="me", rate="1", env=None, resources=(), **more):
        c = self.collector(kind)
        s = self.sidecar(app_id, app, config=configuration(dict(c.config(rate), **more)), env=env,
                         resources=resources)
        return s, c


class Tree(Tracing):
    def check_call(self, c, a, app, round_):
        r = a.post("/v1.0/invoke/callee/method/x/y?q=1", "body", {"traceparent": SAMPLED, "tracestate": "k=v"})
        self.assertEqual((r.status, r.body), (200, b"body"))
        trace, own, sampled = ids(r.headers["traceparent"])
        self.assertEqual((trace, sampled, r.headers["tracestate"]), (TRACE, True, "k=v"))
        callee = c.wait(round_, service="callee")[-1]
        caller = c.wait(round_, service="caller")[-1]
        self.assertEqual((caller.trace, caller.parent, caller.id, caller.kind, caller.name),
                         (TRACE, PARENT, own, "CLIENT", "CallLocal/callee/x/y"))
        self.assertEqual((callee.trace, callee.parent, callee.kind, callee.name),
                         (TRACE, caller.id, "SERVER", "CallLocal/callee/x/y"))
        got = app.got("/x/y")[-1].headers
        self.assertEqual((ids(got["traceparent"])[:2], got["tracestate"]), ((TRACE, callee.id), "k=v"))
        self.assertEqual(caller.tags["rpc.service"], "ServiceInvocation")
        self.assertEqual(caller.tags["net.peer.name"], "callee")
        self.assertEqual(caller.tags["dapr.api"], "POST /v1.0/invoke/callee/method/x/y")
        self.assertEqual(caller.tags["dapr.protocol"], "http")
        self.assertEqual(caller.tags["dapr.status_code"], "200")
        self.assertEqual(caller.tags["http.request.method"], "POST")
        self.assertEqual(caller.tags["url.full"], "/v1.0/invoke/callee/method/x/y")
        self.assertEqual(caller.tags["server.address"], "127.0.0.1")
        self.assertGreater(int(caller.tags["server.port"]), 0)
        self.assertEqual(callee.tags["dapr.invoke_method"], "x/y")
        self.assertEqual(callee.tags["rpc.service"], "ServiceInvocation")
        if c.kind != "zipkin":
            self.assertEqual((caller.state, callee.state), ("k=v", "k=v"))

    def check_tree(self, kind):
        app, c = self.app(), self.collector(kind)
        config = self.hosts_config(**c.config())
        self.sidecar("callee", app, config=config)
        a = self.sidecar("caller", config=config)
        for round_ in (1, 2, 3):  # gRPC at first, then in plain HTTP
            self.check_call(c, a, app, round_)

    def test_two_sidecars_make_one_tree_in_zipkin(self):
        self.check_tree("zipkin")

    def test_two_sidecars_make_one_tree_by_otlp_over_http(self):
        self.check_tree("http")

    @unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
    def test_two_sidecars_make_one_tree_by_otlp_over_grpc(self):
        self.check_tree("grpc")

    def test_a_trace_begins_where_none_came(self):
        s, c = self.traced(self.app())
        r = s.post("/v1.0/invoke/me/method/m", "")
        trace, own, sampled = ids(r.headers["traceparent"])
        self.assertTrue(sampled)
        span = c.wait()[0]
        self.assertEqual((span.trace, span.id, span.parent, span.name), (trace, own, "", "CallLocal/me/m"))

    def test_to_our_own_app_there_is_one_span_and_the_app_is_its_child(self):
        app = self.app()
        s, c = self.traced(app)
        r = s.get("/anything/else", {"dapr-app-id": "me"})
        span = c.wait()[0]
        self.assertEqual((span.name, span.tags["dapr.api"]), ("CallLocal/me/anything/else", "GET /anything/else"))
        self.assertEqual(ids(app.got("/anything/else")[0].headers["traceparent"])[1], span.id)
        self.assertEqual(ids(r.headers["traceparent"])[1], span.id)

    def test_a_failure_is_the_spans_status(self):
        s, c = self.traced(self.app({"/bad": (500, "oh"), "/gone": (404,)}))
        for path, status in (("/bad", 500), ("/gone", 404)):
            s.get("/v1.0/invoke/me/method" + path)
            span = c.wait(name="CallLocal/me" + path)[0]
            self.assertEqual((span.error, span.tags["dapr.status_code"]), (f"Code({status})", str(status)))
        s.get("/v1.0/state/none/k")
        self.assertEqual(c.wait(name="/v1.0/state/none/k")[0].error, "Code(500)")
        self.assertIsNone(c.wait(name="/v1.0/metadata")[0].error if s.get("/v1.0/metadata") else "")

    def test_an_app_that_names_a_trace_itself_is_believed(self):
        own = f"00-{'1' * 32}-{'2' * 16}-01"
        s, c = self.traced(self.app({"/m": (200, "", {"traceparent": own})}))
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").headers["traceparent"], own)
        c.wait()

    def test_health_has_no_span_and_no_traceparent(self):
        app = self.app()
        s, c = self.traced(app)
        for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
            self.assertNotIn("traceparent", s.get(path).headers)
        s.get("/v1.0/metadata")
        c.wait(name="/v1.0/metadata")
        self.assertEqual([x.name for x in c.spans()], ["/v1.0/metadata"])


class Blocks(Tracing):
    def test_attributes_of_state_secrets_bindings_and_publishes(self):
        path = os.path.join(self.directory(), "secrets.json")
        with open(path, "w") as f:
            json.dump({"one": "s3cret"}, f)
        out = self.app()
        s, c = self.traced(resources=[
            component("store", "state.in-memory"), component("bus", "pubsub.in-memory"),
            component("vault", "secretstores.local.file", secretsFile=path),
            component("out", "bindings.http", url=f"http://127.0.0.1:{out.port}")])
        calls = (
            ("POST", "/v1.0/state/store", '[{"key":"k","value":1}]', "state", "store"),
            ("GET", "/v1.0/state/store/k", None, "state", "store"),
            ("GET", "/v1.0/secrets/vault/one", None, "secrets", "vault"),
            ("POST", "/v1.0/bindings/out", '{"operation":"get"}', "bindings", "out"),
        )
        for verb, path, body, system, name in calls:
            with self.subTest(path):
                s.call(verb, path, body)
                span = c.wait(name=path)[0]
                self.assertEqual((span.kind, span.error), ("CLIENT", None))
                self.assertEqual({k: v for k, v in span.tags.items() if k.startswith("db.")},
                                 {"db.system": system, "db.name": name, "db.statement": f"{verb} {path}",
                                  "db.connection_string": system})
        s.post("/v1.0/publish/bus/a/topic", "{}")
        span = c.wait(name="/v1.0/publish/bus/a/topic")[0]
        self.assertEqual((span.tags["messaging.system"], span.tags["messaging.destination.name"]),
                         ("pubsub", "a/topic"))
        self.assertNotIn("s3cret", json.dumps([x.tags for x in c.spans()]))
        # the binding's target is told the trace as well
        binding = c.wait(name="/v1.0/bindings/out")[0]
        self.assertEqual(ids(out.got("/")[0].headers["traceparent"])[:2], (binding.trace, binding.id))

    def test_dapr_headers_are_attributes_but_never_the_token(self):
        s, c = self.traced(env={"DAPR_API_TOKEN": "top"})
        s.get("/v1.0/metadata", {"Dapr-Tenant": "seven", "dapr-api-token": "top", "X-Other": "no"})
        span = c.wait(name="/v1.0/metadata")[0]
        self.assertEqual(span.tags["dapr-tenant"], "seven")
        self.assertEqual([k for k in span.tags if "token" in k or "other" in k.lower()], [])
        s.get("/v1.0/metadata", {"dapr-api-token": "wrong"})
        span = c.wait(2, name="/v1.0/metadata")[1]
        self.assertEqual((span.error, "wrong" in json.dumps(span.tags)), ("Code(401)", False))

    def test_publish_and_delivery_are_one_tree(self):
        answers = iter([(500,), (200,)])
        app = self.app({"POST /orders": lambda r: next(answers)},
                       subscribe=[{"pubsubname": "bus", "topic": "orders", "route": "/orders"}])
        s, c = self.traced(app, resources=[
            component("bus", "pubsub.in-memory"),
            resource("Resiliency", "r", {"policies": {"retries": {"r": {"policy": "constant", "duration": "10ms",
                                                                       "maxRetries": 3}}},
                                         "targets": {"components": {"bus": {"inbound": {"retry": "r"}}}}})])
        r = s.post("/v1.0/publish/bus/orders", "{}", {"traceparent": SAMPLED, "tracestate": "a=b"})
        publish = c.wait(name="/v1.0/publish/bus/orders")[0]
        self.assertEqual((publish.trace, publish.parent), (TRACE, PARENT))
        self.assertEqual(ids(r.headers["traceparent"])[1], publish.id)
        tries = c.wait(2, name="pubsub/orders")
        got = app.got("/orders")
        for span, request, failed in zip(tries, got, (True, False)):
            self.assertEqual((span.trace, span.parent, span.kind), (TRACE, publish.id, "SERVER"))
            self.assertEqual(span.tags["messaging.destination.name"], "orders")
            self.assertEqual(bool(span.error), failed, span.error)
            self.assertEqual(ids(request.headers["traceparent"])[1], span.id)
            self.assertEqual(request.headers["tracestate"], "a=b")
            event = request.json()
            self.assertEqual((event["traceparent"], event["traceid"], event["tracestate"]),
                             (r.headers["traceparent"], r.headers["traceparent"], "a=b"))

    def test_each_message_of_a_bulk_has_a_span_in_its_own_trace(self):
        app = self.app({"POST /bulk": lambda r: (200, {"statuses": [
            {"entryId": e["entryId"], "status": "SUCCESS"} for e in r.json()["entries"]]})},
            subscribe=[{"pubsubname": "bus", "topic": "t", "route": "/bulk", "bulkSubscribe": {
                "enabled": True, "maxMessagesCount": 2, "maxAwaitDurationMs": 1000}}])
        s, c = self.traced(app, resources=[component(
            "bus", "pubsub.sqlite", connectionString=os.path.join(self.directory(), "bus.db"))])
        for i in range(2):
            s.post("/v1.0/publish/bus/t", "{}", {"traceparent": f"00-{str(i + 1) * 32}-{PARENT}-01"})
        spans = c.wait(2, name="pubsub/t")
        self.assertEqual({x.trace for x in spans}, {"1" * 32, "2" * 32})
        publishes = {x.trace: x.id for x in c.wait(2, name="/v1.0/publish/bus/t")}
        self.assertEqual({x.trace: x.parent for x in spans}, publishes)

    def test_an_input_binding_begins_a_trace(self):
        app = self.app({"POST /tick": (200,)})
        s, c = self.traced(app, resources=[component("tick", "bindings.cron", schedule="@every 1s",
                                                     direction="input")])
        span = c.wait(name="bindings/tick")[0]
        self.assertEqual((span.kind, span.parent, span.tags["db.name"]), ("SERVER", "", "tick"))
        self.assertEqual(ids(app.got("/tick")[0].headers["traceparent"])[:2], (span.trace, span.id))


class Context(Tracing):
    def test_an_unsampled_caller_is_not_sampled_here(self):
        app = self.app()
        s, c = self.traced(app)
        r = s.get("/v1.0/invoke/me/method/m", {"traceparent": UNSAMPLED})
        trace, own, sampled = ids(r.headers["traceparent"])
        self.assertEqual((trace, sampled), (TRACE, False))
        self.assertNotEqual(own, PARENT)
        self.assertEqual(ids(app.got("/m")[0].headers["traceparent"]), (TRACE, own, False))
        s.get("/v1.0/metadata")
        c.wait(name="/v1.0/metadata")
        self.assertEqual(len(c.spans()), 1)

    def test_s59_rate_0_switches_everything_off(self):
        app = self.app(subscribe=[{"pubsubname": "bus", "topic": "t", "route": "/t"}])
        s, c = self.traced(app, rate="0", resources=[component("bus", "pubsub.in-memory")])
        s.wait_log("Dapr trace sampler initialized: ParentBased{root:TraceIDRatioBased{0},")
        r = s.get("/v1.0/invoke/me/method/m", {"traceparent": SAMPLED, "tracestate": "a=b", "baggage": "broken"})
        self.assertEqual((r.status, "traceparent" in r.headers, "baggage" in r.headers), (200, False, False))
        got = app.got("/m")[0].headers
        self.assertEqual((got["traceparent"], got["tracestate"]), (SAMPLED, "a=b"))
        s.post("/v1.0/publish/bus/t", "{}")
        event = app.wait_for("/t")[0].json()
        self.assertEqual(event["traceparent"], f"00-{'0' * 32}-{'0' * 16}-00")  # s22
        self.assertEqual(c.requests, [])

    def test_s59_rates_as_they_may_be_written(self):
        for text, want in (("1", "AlwaysOnSampler"), ("0.25", "TraceIDRatioBased{0.25}"),
                           ("", "TraceIDRatioBased{0.0001}"), ("often", "TraceIDRatioBased{0.0001}")):
            with self.subTest(text):
                s = self.sidecar(config=configuration({"tracing": {"samplingRate": text}}))
                s.wait_log(f"Dapr trace sampler initialized: ParentBased{{root:{want},"
                           "remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
                           "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}")

    def test_with_a_rate_and_no_exporter_contexts_go_on(self):
        app = self.app()
        s = self.sidecar("me", app, config=configuration({"tracing": {"samplingRate": "1"}}))
        r = s.get("/v1.0/invoke/me/method/m", {"traceparent": SAMPLED})
        trace, own, sampled = ids(r.headers["traceparent"])
        self.assertEqual((trace, sampled), (TRACE, True))
        self.assertEqual(ids(app.got("/m")[0].headers["traceparent"]), (TRACE, own, True))

    def test_malformed_contexts_count_as_none(self):
        s, c = self.traced()
        for bad in ("00-0-0-01", SAMPLED.upper(), f"ff{SAMPLED[2:]}", f"00-{'0' * 32}-{PARENT}-01", "x" * 2000):
            r = s.get("/v1.0/metadata", {"traceparent": bad, "tracestate": "a=b"})
            self.assertNotEqual(ids(r.headers["traceparent"])[0], TRACE)
            self.assertNotIn("tracestate", r.headers)
        self.assertEqual({x.parent for x in c.wait(5)}, {""})

    def test_baggage_is_checked_and_comes_back(self):
        app = self.app()
        s, c = self.traced(app)
        r = s.get("/v1.0/invoke/me/method/m", {"baggage": "key1=value1;p=q, user.id=7"})
        self.assertEqual((r.status, r.headers["baggage"]), (200, "key1=value1;p=q, user.id=7"))
        self.assertEqual(app.got("/m")[0].headers["baggage"], "key1=value1;p=q, user.id=7")
        for bad in ("invalid-baggage", "key=", "=v", "a=b,c"):
            self.assertEqual(s.get("/v1.0/invoke/me/method/no", {"baggage": bad}).status, 400, bad)
        self.assertEqual(app.got("/no"), [])


class Exporters(Tracing):
    def test_what_the_collector_refuses_for_now_is_sent_again(self):
        answers = {"zipkin": [(503,), (429, "", {"Retry-After": "0"})], "http": [(503,), (502,)]}
        if grpc:
            answers["grpc"] = [grpc.StatusCode.UNAVAILABLE]
        for kind, refusals in answers.items():
            with self.subTest(kind):
                c = self.collector(kind, refusals)
                s = self.sidecar("a" + kind, config=configuration(c.config()))
                s.get("/v1.0/metadata")
                self.assertEqual(len(c.wait(name="/v1.0/metadata")), 1)
                self.assertEqual(len(c.requests), len(refusals) + 1)
                until("counted", lambda: s.metric("proa_trace_spans_total", outcome="exported") == 1)

    def test_what_it_refuses_for_good_is_given_up_and_told(self):
        c = self.collector("http", [(400, "bad batch")])
        s = self.sidecar(config=configuration(c.config()))
        s.get("/v1.0/metadata")
        s.wait_log("it answered with status 400: bad batch")
        self.assertEqual(s.metric("proa_trace_spans_total", outcome="failed"), 1)
        s.get("/v1.0/metadata")
        c.wait(name="/v1.0/metadata")

    def test_without_a_collector_requests_are_served_and_the_end_is_clean(self):
        for kind in ("zipkin", "http", "grpc"):
            with self.subTest(kind):
                c = self.collector("zipkin")
                c.kind, c.port = kind, harness.free_port()
                s = self.sidecar("a" + kind, config=configuration(c.config()))
                for _ in range(20):
                    self.assertEqual(s.get("/v1.0/metadata").status, 200)
                start = time.monotonic()
                self.assertEqual(s.stop(), 0)
                self.assertLess(time.monotonic() - start, 8)

    def test_what_is_left_at_the_end_is_sent(self):
        for kind in ("zipkin", "http") + (("grpc",) if grpc else ()):
            with self.subTest(kind):
                c = self.collector(kind)
                s = self.sidecar("a" + kind, config=configuration(c.config()))
                for _ in range(50):
                    s.get("/v1.0/metadata")
                self.assertEqual(s.stop(), 0)
                self.assertEqual(len(c.spans(name="/v1.0/metadata")), 50)

    def test_more_spans_than_there_is_room_for_are_dropped_and_counted(self):
        stuck = threading.Event()
        c = self.collector("zipkin")
        c.app.on["POST /api/v2/spans"] = lambda r: (stuck.wait(harness.WAIT), (202,))[1]
        self.addCleanup(stuck.set)
        s = self.sidecar("me", config=configuration(c.config()))
        until("something is dropped", lambda: [s.get("/v1.0/metadata") for _ in range(500)] and
              s.metric("proa_trace_spans_total", outcome="dropped"), 120)
        self.assertEqual(s.get("/v1.0/metadata").status, 200)
        stuck.set()

    def test_two_exporters_and_the_log_get_the_same(self):
        z, o = self.collector("zipkin"), self.collector("http")
        tracing = dict(z.config()["tracing"], **o.config()["tracing"], stdout=True)
        s = self.sidecar(config=configuration({"tracing": tracing}))
        s.get("/v1.0/metadata")
        a, b = z.wait(name="/v1.0/metadata")[0], o.wait(name="/v1.0/metadata")[0]
        self.assertEqual((a.trace, a.id), (b.trace, b.id))
        s.wait_log("span /v1.0/metadata")
        self.assertIn(f"spanId={a.id}", s.log())

    def certificate(self):
        """A key and a certificate for 127.0.0.1, signed by itself, in one file."""
        path = os.path.join(self.directory(), "server.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=collector", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", path + ".key", "-out", path + ".crt"], check=True, capture_output=True)
        with open(path, "w") as out:
            for part in (".key", ".crt"):
                with open(path + part) as f:
                    out.write(f.read())
        return path, path + ".crt"

    def test_over_tls_the_collector_must_be_who_it_says(self):
        both, ca = self.certificate()
        for kind in ("http",) + (("grpc",) if grpc else ()):
            with self.subTest(kind):
                c = Collector(self, kind, certificate=both)
                config = configuration(c.config(isSecure=True))
                s = self.sidecar("a" + kind, config=config, env={"OTEL_EXPORTER_OTLP_CERTIFICATE": ca})
                s.get("/v1.0/metadata")
                c.wait(name="/v1.0/metadata")
                s = self.sidecar("b" + kind, config=config)
                s.get("/v1.0/metadata")
                self.assertEqual(s.stop(), 0)
                self.assertEqual(c.spans(service="b" + kind), [])
                self.assertIn("could not be sent to", s.log())

    def test_a_certificate_that_isn_t_there_stops_the_start(self):
        s = self.sidecar(config=configuration(self.collector("http").config(isSecure=True)), wait=None, expect=1,
                         env={"OTEL_EXPORTER_OTLP_CERTIFICATE": "/none.pem"})
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("OTEL_EXPORTER_OTLP_CERTIFICATE: can't read /none.pem", s.log())

    def test_a_wrong_address_stops_the_start(self):
        s = self.sidecar(config=configuration({"tracing": {"samplingRate": "1", "zipkin": {
            "endpointAddress": "ftp://x"}}}), wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("zipkin.endpointAddress begins with ftp:, not http: or https:", s.log())


class Environment(Tracing):
    def test_s59_an_endpoint_of_the_environment_samples_everything(self):
        for kind, name in (("http", "OTEL_EXPORTER_OTLP_ENDPOINT"), ("grpc", "OTEL_EXPORTER_OTLP_ENDPOINT"),
                           ("http", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
            if kind == "grpc" and grpc is None:
                continue
            for scheme in ("http://", ""):
                with self.subTest((kind, name, scheme)):
                    c = self.collector(kind)
                    s = self.sidecar("me", env={
                        name: f"{scheme}127.0.0.1:{c.port}", "OTEL_EXPORTER_OTLP_INSECURE": "true",
                        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf" if kind == "http" else "grpc",
                        "OTEL_EXPORTER_OTLP_HEADERS": "X-Key=a%20b,x-two=2",
                        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test,service.name=ignored",
                        "OTEL_SERVICE_NAME": "shop"})
                    s.wait_log("root:AlwaysOnSampler")
                    s.get("/v1.0/metadata")
                    span = c.wait(name="/v1.0/metadata")[0]
                    self.assertEqual((span.service, span.resource), ("shop", {"deployment.environment": "test"}))
                    headers = c.requests[0][1]
                    self.assertEqual((headers["x-key"], headers["x-two"]), ("a b", "2"))

    def test_paths_of_the_endpoints(self):
        for name, path, want in (("OTEL_EXPORTER_OTLP_ENDPOINT", "/base", "/base/v1/traces"),
                                 ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/whole", "/whole")):
            with self.subTest(name):
                c = self.collector("http")
                s = self.sidecar(env={name: f"http://127.0.0.1:{c.port}{path}",
                                      "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
                s.get("/v1.0/metadata")
                c.wait()
                self.assertEqual(c.requests[0][0], want)

    def test_s59_the_files_endpoint_hides_that_of_the_environment(self):
        ours, other = self.collector("http"), self.collector("http")
        s = self.sidecar(config=configuration(ours.config()), env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{other.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
        s.get("/v1.0/metadata")
        ours.wait()
        self.assertEqual(other.requests, [])

    def test_the_files_headers_take_the_place_of_the_environments(self):
        for headers, want in ((["api-key=file", "other=1"], {"api-key": "file", "other": "1"}),
                              ([], {"api-key": "env"})):
            with self.subTest(headers):
                c = self.collector("http")
                s = self.sidecar(config=configuration(c.config(headers=headers)), env={
                    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=env", "OTEL_EXPORTER_OTLP_HEADERS": "general=1"})
                s.get("/v1.0/metadata")
                c.wait()
                got = c.requests[0][1]
                self.assertEqual({k: got[k] for k in ("api-key", "other", "general") if k in got}, want)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Daprd(Tracing):
    """A peer that is no Proa reads and writes the trace in the call's own metadata, in binary."""

    @staticmethod
    def binary(trace, span, flags=1):
        return b"\0\0" + bytes.fromhex(trace) + b"\1" + bytes.fromhex(span) + b"\2" + bytes([flags])

    def test_a_daprd_gets_the_trace_in_the_calls_metadata(self):
        """grpc-trace-bin too, but grpcio keeps that to itself: test_peer.c looks at it."""
        seen = []

        class Generic(grpc.GenericRpcHandler):
            def service(self, details):
                def stream(it, context):
                    seen.append(dict(context.invocation_metadata()))
                    list(it)
                    yield answer
                return grpc.stream_stream_rpc_method_handler(stream)
        # InternalInvokeResponse{status{code 200}, message{content_type a/b}} as the first frame
        answer = b"\x0a\x0c" + b"\x0a\x03\x08\xc8\x01" + b"\x22\x05\x12\x03a/b"
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((Generic(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        c = self.collector()
        a = self.sidecar("caller", config=self.hosts_config(**c.config()))
        fake_host(self.directory(), "daprd", f"127.0.0.1:{port}")
        r = a.get("/v1.0/invoke/daprd/method/m", {"traceparent": SAMPLED, "tracestate": "a=b"})
        self.assertEqual(r.status, 200)
        self.assertEqual((seen[0]["traceparent"], seen[0]["tracestate"]), (r.headers["traceparent"], "a=b"))
        self.assertEqual(ids(r.headers["traceparent"])[0], TRACE)

    def test_a_daprds_binary_context_is_our_spans_parent(self):
        app = self.app()
        s, c = self.traced(app, app_id="callee")
        channel = grpc.insecure_channel(f"127.0.0.1:{s.internal}")
        self.addCleanup(channel.close)
        call = channel.unary_unary("/dapr.proto.internals.v1.ServiceInvocation/CallLocal")
        # InternalInvokeRequest{ver, metadata{X: 1}, message{method m, http_extension{verb POST}}}
        request = (b"\x08\x01" b"\x12\x08\x0a\x01X\x12\x03\x0a\x011" b"\x1a\x07\x0a\x01m\x22\x02\x08\x03")
        call(request, metadata=(("grpc-trace-bin", self.binary(TRACE, PARENT)),
                                ("traceparent", f"00-{'9' * 32}-{PARENT}-01")))
        span = c.wait(name="CallLocal/callee/m")[0]
        self.assertEqual((span.trace, span.parent, span.kind), (TRACE, PARENT, "SERVER"))
        self.assertEqual(ids(app.got("/m")[0].headers["traceparent"]), (TRACE, span.id, True))


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class GrpcApi(Tracing):
    """grpcio keeps grpc-trace-bin of answers to itself, so that contexts are seen by traceparent and spans."""

    def calls(self, s):
        channel = grpc.insecure_channel(f"127.0.0.1:{s.grpc}")
        self.addCleanup(channel.close)
        return lambda method, request=b"", **metadata: channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/" + method)(
                request, metadata=[(k.replace("_", "-"), v) for k, v in metadata.items()], timeout=harness.WAIT)

    def test_calls_have_spans_with_what_they_ask_for(self):
        s, c = self.traced(resources=[component("store", "state.in-memory")])
        call = self.calls(s)
        call("GetState", field(1, "store") + field(2, "k"), traceparent=SAMPLED, tracestate="a=b", dapr_tenant="seven")
        span = c.wait(name="/dapr.proto.runtime.v1.Dapr/GetState")[0]
        self.assertEqual((span.trace, span.parent, span.kind, span.error), (TRACE, PARENT, "CLIENT", None))
        want = {"db.system": "state", "db.name": "store", "db.connection_string": "state", "rpc.service": "Dapr",
                "db.statement": span.name, "dapr.api": span.name, "dapr.protocol": "grpc", "dapr.status_code": "0",
                "dapr-tenant": "seven"}
        self.assertEqual({k: v for k, v in span.tags.items() if k in want}, want)

    def test_the_binary_context_counts_before_traceparent(self):
        s, c = self.traced(resources=[component("store", "state.in-memory")])
        self.calls(s)("GetState", field(1, "store") + field(2, "k"), traceparent=f"00-{'9' * 32}-{PARENT}-01",
                      grpc_trace_bin=Daprd.binary(TRACE, PARENT))
        self.assertEqual(c.wait(name="/dapr.proto.runtime.v1.Dapr/GetState")[0].trace, TRACE)

    def test_errors_are_the_spans_status(self):
        s, c = self.traced()
        with self.assertRaises(grpc.RpcError) as e:
            self.calls(s)("GetState", field(1, "none") + field(2, "k"))
        span = c.wait(name="/dapr.proto.runtime.v1.Dapr/GetState")[0]
        self.assertEqual((span.error, span.tags["dapr.status_code"]),
                         (e.exception.details(), str(e.exception.code().value[0])))

    def test_malformed_baggage_is_refused_and_good_one_comes_back(self):
        s, c = self.traced(resources=[component("store", "state.in-memory")])
        channel = grpc.insecure_channel(f"127.0.0.1:{s.grpc}")
        self.addCleanup(channel.close)
        get = channel.unary_unary("/dapr.proto.runtime.v1.Dapr/GetState")
        request = field(1, "store") + field(2, "k")
        with self.assertRaises(grpc.RpcError) as e:
            get(request, metadata=[("baggage", "broken")])
        self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        _, done = get.with_call(request, metadata=[("baggage", "a=b")])
        self.assertEqual(dict(done.initial_metadata())["baggage"], "a=b")

    def test_health_and_reflection_have_no_span(self):
        s, c = self.traced(resources=[component("store", "state.in-memory")])
        channel = grpc.insecure_channel(f"127.0.0.1:{s.grpc}")
        self.addCleanup(channel.close)
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        self.assertEqual(len(list(reflect(iter([field(7, "*")])))), 1)
        self.calls(s)("GetState", field(1, "store") + field(2, "k"))
        c.wait()
        self.assertEqual([x.name for x in c.spans()], ["/dapr.proto.runtime.v1.Dapr/GetState"])


if __name__ == "__main__":
    harness.main()
