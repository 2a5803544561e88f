#!/usr/bin/env python3
"""Publish and subscribe: envelopes, routes, answers of the app, dead letters, bulks, scopes."""
import base64
import json
import os
import re
import threading
import time

import harness
from harness import component, configuration, resource, until

ZERO = "00-00000000000000000000000000000000-0000000000000000-00"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def subscription(topic, route, name=None, pubsub="bus", scopes=None, **more):
    return resource("Subscription", name or f"sub-{topic}", dict(
        {"pubsubname": pubsub, "topic": topic, "route": route}, **more), scopes=scopes)


def v2(topic, routes, pubsub="bus", name=None, **more):
    return resource("Subscription", name or f"sub-{topic}", dict(
        {"pubsubname": pubsub, "topic": topic, "routes": routes}, **more), version="dapr.io/v2alpha1")


class PubSub(harness.Case):
    """On the in-memory broker unless a test says otherwise."""

    def bus(self, name="bus", **metadata):
        return component(name, "pubsub.in-memory", **metadata)

    def queue(self, name="bus", **metadata):
        metadata.setdefault("connectionString", os.path.join(self.directory(), "queue.db"))
        return component(name, "pubsub.sqlite", **metadata)

    def publish(self, s, topic, data, type_="application/json", query="", headers=None, pubsub="bus"):
        r = s.post(f"/v1.0/publish/{pubsub}/{topic}{query}", data,
                   dict({"Content-Type": type_} if type_ else {}, **(headers or {})))
        self.assertEqual((r.status, r.body), (204, b""), r)

    def serve(self, topics, on=None, **more):
        """A sidecar whose app is subscribed to these topics at /<topic>."""
        app = self.app(on)
        s = self.sidecar("app1", app, resources=[more.pop("broker", None) or self.bus()] +
                         [subscription(t, "/" + t) for t in topics] + more.pop("resources", []), **more)
        return s, app


class Envelope(PubSub):
    def setUp(self):
        self.s, self.a = self.serve(["t"])

    def event(self, *args, **more):
        self.publish(self.s, "t", *args, **more)
        return self.a.wait_for("/t")[-1]

    def test_json_event_has_exactly_the_contracts_fields(self):
        r = self.event('{"a":1.10}')
        self.assertEqual((r.method, r.headers["content-type"]), ("POST", "application/cloudevents+json"))
        e = r.json()
        self.assertRegex(e.pop("id"), r"^[0-9a-f-]{36}$")
        self.assertRegex(e.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$")
        self.assertEqual(e, {"data": {"a": 1.1}, "datacontenttype": "application/json", "pubsubname": "bus",
                             "source": "app1", "specversion": "1.0", "topic": "t", "traceid": ZERO,
                             "traceparent": ZERO, "tracestate": "", "type": "com.dapr.event.sent"})
        self.assertEqual(r.headers["pubsubname"], "bus")

    def test_s22_keys_are_sorted_and_html_is_escaped(self):
        body = self.event("<&>", type_="text/plain").body.decode()
        keys = list(json.loads(body))
        self.assertEqual(keys, sorted(keys))
        self.assertIn('"\\u003c\\u0026\\u003e"', body)

    def test_json_data_stays_as_it_was_sent(self):
        """A difference on purpose: docs/compatibility.md."""
        self.assertIn('"data":{"z": "<&>", "a":1}', self.event('{"z": "<&>", "a":1}').body.decode())

    def test_numbers_keep_every_digit(self):
        body = self.event('{"n":12345678901234567890.123456789,"m":1.10}').body.decode()
        self.assertIn("12345678901234567890.123456789", body)
        self.assertIn("1.10", body)

    def test_s23_json_that_does_not_parse_is_a_string(self):
        self.assertEqual(self.event("{nope").json()["data"], "{nope")

    def test_no_content_type_is_text_plain(self):
        e = self.event("hello", type_=None).json()
        self.assertEqual((e["datacontenttype"], e["data"]), ("text/plain", "hello"))

    def test_octet_stream_is_base64(self):
        e = self.event(b"\x00\xff", type_="application/octet-stream").json()
        self.assertEqual(base64.b64decode(e["data_base64"]), b"\x00\xff")
        self.assertNotIn("data", e)

    def test_content_type_parameters_are_ignored(self):
        self.assertEqual(self.event('{"a":1}', type_="application/json; charset=utf-8").json()["data"], {"a": 1})

    def test_trace_context_goes_along(self):
        r = self.event("1", headers={"traceparent": PARENT, "tracestate": "a=b"})
        e = r.json()
        self.assertEqual(e["traceid"].split("-")[1], PARENT.split("-")[1])
        self.assertEqual(e["tracestate"], "a=b")
        self.assertEqual(r.headers["traceparent"].split("-")[1], PARENT.split("-")[1])

    def test_cloudevent_overrides(self):
        e = self.event('1', query="?metadata.cloudevent.id=i&metadata.cloudevent.SOURCE=s&metadata.cloudevent.type=ty"
                       "&metadata.cloudevent.subject=sub&metadata.cloudevent.traceid=x"
                       "&metadata.cloudevent.traceparent=y&metadata.cloudevent.tracestate=z").json()
        self.assertEqual([e[k] for k in ("id", "source", "type", "subject", "traceid", "traceparent", "tracestate")],
                         ["i", "s", "ty", "sub", "x", "y", "z"])

    def test_s24_a_clients_cloudevent_keeps_its_fields_but_not_its_topic(self):
        e = self.event(json.dumps({"id": "mine", "source": "me", "type": "my.type", "specversion": "1.0",
                                   "topic": "wrong", "pubsubname": "wrong", "data": {"k": 1}, "own": "kept"}),
                       type_="application/cloudevents+json").json()
        self.assertEqual([e[k] for k in ("id", "source", "type", "topic", "pubsubname", "data", "own")],
                         ["mine", "me", "my.type", "t", "bus", {"k": 1}, "kept"])
        for k in ("traceid", "traceparent", "tracestate", "time"):
            self.assertIn(k, e)

    def test_a_cloudevent_with_odd_trace_fields_does_no_harm(self):
        r = self.event(json.dumps({"id": "1", "source": "s", "type": "t", "specversion": "1.0",
                                   "traceid": 7, "traceparent": {"a": 1}, "data": 1}),
                       type_="application/cloudevents+json")
        self.assertEqual(r.json()["data"], 1)

    def test_broken_cloudevent_is_an_error(self):
        r = self.s.post("/v1.0/publish/bus/t", "{", {"Content-Type": "application/cloudevents+json"})
        body = json.loads(r.body)
        self.assertIn(r.status, (400, 500))
        self.assertIn(body["errorCode"], ("ERR_PUBSUB_CLOUD_EVENTS_SER", "ERR_PUBSUB_EVENTS_SER"))

    def test_ttl_adds_an_expiration_and_expired_events_are_dropped(self):
        self.assertIn("expiration", self.event("1", query="?metadata.ttlInSeconds=100").json())
        past = {"id": "old", "source": "s", "type": "t", "specversion": "1.0", "data": 1,
                "expiration": "2020-01-01T00:00:00Z"}
        self.publish(self.s, "t", json.dumps(past), "application/cloudevents+json")
        self.publish(self.s, "t", '"after"')
        until("the event after it", lambda: any(r.json().get("data") == "after" for r in self.a.got("/t")))
        self.assertNotIn("old", [r.json()["id"] for r in self.a.got("/t")])

    def test_s26_message_metadata_becomes_headers(self):
        r = self.event("1", query="?metadata.color=blue")
        self.assertEqual(r.headers.get("color"), "blue")

    def test_topics_may_have_slashes(self):
        app = self.app()
        s = self.sidecar("app2", app, resources=[self.bus(), subscription("a/b", "/in", name="s")])
        self.publish(s, "a/b", "1")
        self.assertEqual(app.wait_for("/in")[0].json()["topic"], "a/b")

    def test_put_works_like_post(self):
        self.assertEqual(self.s.call("PUT", "/v1.0/publish/bus/t", "1").status, 204)


class TraceOff(PubSub):
    def test_f11_8_with_a_configuration_without_tracing_the_fields_are_empty(self):
        s, app = self.serve(["t"], config=configuration({}))
        self.publish(s, "t", "1")
        e = app.wait_for("/t")[0].json()
        self.assertEqual((e["traceid"], e["traceparent"], e["tracestate"]), ("", "", ""))


class Refusals(PubSub):
    def refused(self, s, path, status, tag, reason, body="1", **more):
        answer = self.assertError(s.post(path, body, **more), status, tag)
        info = [d for d in answer["details"] if d["@type"].endswith("ErrorInfo")][0]
        self.assertEqual((info["reason"], info["domain"]), (reason, "dapr.io"))
        return answer

    def test_a_body_over_the_limit_is_refused(self):
        s = self.sidecar(args=["--max-body-size", "1Ki"], resources=[self.bus()])
        for path in ("/v1.0/publish/bus/t", "/v1.0/publish/bulk/bus/t"):
            self.assertError(s.post(path, b"x" * 1025), 400, "ERR_BODY_READ",
                             "failed to read request body: stream too large")

    def test_s17_unknown_pubsub_is_404_none_is_400(self):
        s = self.sidecar("app1", resources=[self.bus()])
        body = self.refused(s, "/v1.0/publish/other/t", 404, "ERR_PUBSUB_NOT_FOUND", "DAPR_PUBSUB_NOT_FOUND")
        self.assertEqual([d["@type"].rsplit(".", 1)[1] for d in body["details"]], ["ErrorInfo"])
        self.assertEqual(body["message"], "pubsub other not found")
        self.refused(s, "/v1.0/publish/bulk/other/t", 404, "ERR_PUBSUB_NOT_FOUND", "DAPR_PUBSUB_NOT_FOUND")
        none = self.sidecar("app2")
        self.refused(none, "/v1.0/publish/bus/t", 400, "ERR_PUBSUB_NOT_CONFIGURED", "DAPR_PUBSUB_NOT_CONFIGURED")

    def test_empty_topic_is_404_with_its_resource(self):
        s = self.sidecar("app1", resources=[self.bus()])
        body = self.refused(s, "/v1.0/publish/bus/", 404, "ERR_TOPIC_NAME_EMPTY", "DAPR_PUBSUB_TOPIC_NAME_EMPTY")
        self.assertEqual([d["@type"].rsplit(".", 1)[1] for d in body["details"]], ["ResourceInfo", "ErrorInfo"])
        info = body["details"][0]
        self.assertEqual((info["resource_type"], info["resource_name"], info["description"]),
                         ("pubsub", "bus", body["message"]))

    def test_bad_raw_payload_is_400(self):
        s = self.sidecar("app1", resources=[self.bus()])
        self.refused(s, "/v1.0/publish/bus/t?metadata.rawPayload=maybe", 400, "ERR_PUBSUB_REQUEST_METADATA",
                     "DAPR_PUBSUB_METADATA_DESERIALIZATION")

    def test_publishing_scopes(self):
        s = self.sidecar("app1", resources=[self.bus(
            publishingScopes="app1=a, b;app2=", allowedTopics="a,b,c", protectedTopics="p")])
        for topic, allowed in (("a", True), ("b", True), ("c", False), ("d", False), ("p", False)):
            with self.subTest(topic):
                if allowed:
                    self.publish(s, topic, "1")
                else:
                    self.refused(s, "/v1.0/publish/bus/" + topic, 403, "ERR_PUBSUB_FORBIDDEN",
                                 "DAPR_PUBSUB_FORBIDDEN")
        other = self.sidecar("app3", resources=[self.bus(publishingScopes="app1=a", protectedTopics="p")])
        self.publish(other, "z", "1")
        self.refused(other, "/v1.0/publish/bus/p", 403, "ERR_PUBSUB_FORBIDDEN", "DAPR_PUBSUB_FORBIDDEN")
        nothing = self.sidecar("app2", resources=[self.bus(publishingScopes="app2=")])
        self.refused(nothing, "/v1.0/publish/bus/z", 403, "ERR_PUBSUB_FORBIDDEN", "DAPR_PUBSUB_FORBIDDEN")

    def test_subscription_scopes_refuse_the_subscription_only(self):
        s, app = self.serve(["a", "b"], broker=self.bus(subscriptionScopes="app1=a"))
        s.wait_log("not allowed")
        self.publish(s, "b", "1")
        self.publish(s, "a", "1")
        app.wait_for("/a")
        self.assertEqual(app.got("/b"), [])


class Bulk(PubSub):
    def post(self, s, entries, path="/v1.0/publish/bulk/bus/t", **more):
        return s.post(path, entries if isinstance(entries, str) else json.dumps(entries), **more)

    def test_entries_arrive_each_by_its_content_type(self):
        s, app = self.serve(["t"])
        r = self.post(s, [
            {"entryId": "1", "event": {"a": 1}, "contentType": "application/json"},
            {"entryId": "2", "event": "text", "contentType": "text/plain"},
            {"entryId": "3", "event": base64.b64encode(b"\x01\x02").decode(), "contentType": "application/octet-stream"},
            {"entryId": "4", "event": {"id": "ce", "source": "s", "type": "t", "specversion": "1.0", "data": 5},
             "contentType": "application/cloudevents+json"}])
        self.assertEqual(r.status, 204, r)
        app.wait_for("/t", 4)
        events = {json.dumps(r.json().get("data", r.json().get("data_base64"))): r.json() for r in app.got("/t")}
        self.assertEqual(set(events), {'{"a": 1}', '"text"', '"AQI="', "5"})

    def test_alpha_path_works_too(self):
        s = self.sidecar("app1", resources=[self.bus()])
        self.assertEqual(self.post(s, [{"entryId": "1", "event": 1, "contentType": "application/json"}],
                                   "/v1.0-alpha1/publish/bulk/bus/t").status, 204)

    def test_bad_bulks_are_400_with_the_reason(self):
        s = self.sidecar("app1", resources=[self.bus()])
        good = {"entryId": "1", "event": 1, "contentType": "application/json"}
        for entries, reason in (([dict(good, entryId="")], "MARSHAL"), ([good, good], "MARSHAL"),
                                ("[{", "UNMARSHAL"), ("{}", "UNMARSHAL"),
                                ([dict(good, contentType="image/png")], "MARSHAL"),
                                ([dict(good, contentType="application/octet-stream")], "MARSHAL"),
                                ([dict(good, contentType="text/plain")], "MARSHAL")):
            with self.subTest(str(entries)):
                body = self.assertError(self.post(s, entries), 400, "ERR_PUBSUB_EVENTS_SER")
                self.assertEqual([d for d in body["details"] if "reason" in d][0]["reason"],
                                 f"DAPR_PUBSUB_{reason}_EVENTS")

    def test_s25_request_metadata_needs_an_entry_metadata_object(self):
        s, app = self.serve(["t"])
        self.assertEqual(self.post(s, [
            {"entryId": "1", "event": "with", "contentType": "text/plain", "metadata": {}},
            {"entryId": "2", "event": "without", "contentType": "text/plain"}],
            "/v1.0/publish/bulk/bus/t?metadata.ttlInSeconds=1000").status, 204)
        app.wait_for("/t", 2)
        has = {r.json()["data"]: "expiration" in r.json() for r in app.got("/t")}
        self.assertEqual(has, {"with": True, "without": False})

    def test_bulk_subscription_gets_an_envelope_and_answers_by_entry(self):
        def on(r):
            return 200, {"statuses": [{"entryId": e["entryId"], "status": "SUCCESS"} for e in r.json()["entries"]]}
        app = self.app({"/in": on})
        s = self.sidecar("app1", app, resources=[self.bus(), subscription(
            "t", "/in", bulkSubscribe={"enabled": True, "maxMessagesCount": 10, "maxAwaitDurationMs": 20})])
        self.publish(s, "t", '{"a":1}')
        r = app.wait_for("/in")[0]
        b = r.json()
        self.assertEqual(r.headers["content-type"], "application/json")
        self.assertEqual((b["type"], b["topic"], b["pubsubname"], len(b["entries"])),
                         ("com.dapr.event.sent.bulk", "t", "bus", 1))
        e = b["entries"][0]
        self.assertEqual((e["contentType"], e["event"]["data"]), ("application/cloudevents+json", {"a": 1}))

    def test_missing_statuses_are_retried_on_a_durable_broker(self):
        seen = []

        def on(r):
            entries = r.json()["entries"]
            seen.append([e["event"]["data"] for e in entries])
            return 200, {"statuses": [{"entryId": e["entryId"], "status": "SUCCESS"} for e in entries
                                      if e["event"]["data"] != "b" or len(seen) > 1]}
        app = self.app({"/in": on})
        s = self.sidecar("app1", app, resources=[self.queue(backoffMin="10ms"), subscription(
            "t", "/in", bulkSubscribe={"enabled": True, "maxMessagesCount": 10, "maxAwaitDurationMs": 50})])
        for d in "ab":
            self.publish(s, "t", json.dumps(d))
        until(f"b comes again: {seen}", lambda: sum(x.count("b") for x in seen) >= 2)


class Delivery(PubSub):
    def answers(self, answer, dlq=True, resources=(), broker=None, **more):
        """Publishes one event to an app that answers so; the app's requests at /t and at /dead."""
        on = {"/t": answer}
        app = self.app(on)
        extra = {"deadLetterTopic": "dead"} if dlq else {}
        s = self.sidecar("app1", app, resources=[broker or self.bus(), subscription("t", "/t", **extra),
                                                 subscription("dead", "/dead")] + list(resources), **more)
        self.publish(s, "t", '"x"')
        app.wait_for("/t")
        return s, app

    def test_s27_success_whatever_the_2xx_body(self):
        for answer in ((200, b""), (204, b""), (200, b"not json"), (200, {"status": "SUCCESS"}), (201, {"status": ""})):
            with self.subTest(answer):
                s, app = self.answers(answer)
                self.publish(s, "t", '"y"')
                app.wait_for("/t", 2)
                self.assertEqual(app.got("/dead"), [])
                until("counted", lambda: s.metric("dapr_component_pubsub_ingress_count", process_status="success",
                                                  topic="t", status="SUCCESS", component="bus") == 2)

    def test_s27_404_is_a_drop_and_goes_to_the_dead_letters(self):
        s, app = self.answers((404, b""))
        dead = app.wait_for("/dead")[0].json()
        self.assertEqual((dead["data"], dead["topic"], dead["id"]), ("x", "t", app.got("/t")[0].json()["id"]))
        self.assertEqual(len(app.got("/t")), 1)

    def test_drop_goes_to_the_dead_letters_at_once(self):
        s, app = self.answers((200, {"status": "DROP"}))
        self.assertEqual(app.wait_for("/dead")[0].json()["data"], "x")
        self.assertEqual(len(app.got("/t")), 1)

    def test_drop_without_dead_letters_is_acknowledged(self):
        s, app = self.answers((200, {"status": "DROP"}), dlq=False, broker=self.queue(backoffMin="10ms"))
        until("counted as drop", lambda: s.metric("dapr_component_pubsub_ingress_count", process_status="drop"))
        self.publish(s, "t", '"y"')
        app.wait_for("/t", 2)
        self.assertEqual([r.json()["data"] for r in app.got("/t")], ["x", "y"])

    def test_retry_and_unknown_status_and_500_dead_letter_without_a_policy(self):
        for answer in ((200, {"status": "RETRY"}), (200, {"status": "WHAT"}), (500, b"")):
            with self.subTest(answer):
                s, app = self.answers(answer)
                self.assertEqual(app.wait_for("/dead")[0].json()["data"], "x")
                self.assertEqual(len(app.got("/t")), 1)

    def test_s36_in_memory_loses_what_was_answered_retry(self):
        s, app = self.answers((200, {"status": "RETRY"}), dlq=False)
        app.on["/t"] = (200,)
        self.publish(s, "t", '"y"')
        app.wait_for("/t", 2)
        self.assertEqual([r.json()["data"] for r in app.got("/t")], ["x", "y"])

    def test_the_durable_queue_delivers_again(self):
        s, app = self.answers((200, {"status": "RETRY"}), dlq=False, broker=self.queue(backoffMin="10ms", backoffMax="50ms"))
        app.wait_for("/t", 3)
        app.on["/t"] = (200,)
        until("it is done", lambda: s.metric("dapr_component_pubsub_ingress_count", process_status="success"))

    def test_a_resiliency_policy_repeats_then_dead_letters(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"two": {"policy": "constant", "duration": "5ms", "maxRetries": 2}}},
            "targets": {"components": {"bus": {"inbound": {"retry": "two"}}}}})
        s, app = self.answers((500, b""), resources=[policy])
        app.wait_for("/dead")
        self.assertEqual(len(app.got("/t")), 3)

    def test_the_app_that_recovers_within_the_policy_gets_it_once_more(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"two": {"policy": "constant", "duration": "5ms", "maxRetries": 5}}},
            "targets": {"components": {"bus": {"inbound": {"retry": "two"}}}}})
        count = []
        s, app = self.answers(lambda r: count.append(1) or ((500,) if len(count) < 3 else (200,)), resources=[policy])
        until("counted", lambda: s.metric("dapr_component_pubsub_ingress_count", process_status="success") == 1)
        self.assertEqual((len(count), app.got("/dead")), (3, []))

    def test_raw_events_are_wrapped_for_a_raw_subscription(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), subscription(
            "t", "/in", metadata={"rawPayload": "true"})])
        self.publish(s, "t", b"\x00raw", "application/octet-stream", "?metadata.rawPayload=true")
        e = app.wait_for("/in")[0].json()
        self.assertEqual(base64.b64decode(e["data_base64"]), b"\x00raw")
        self.assertEqual((e["datacontenttype"], e["source"], e["type"], e["topic"], e["pubsubname"]),
                         ("application/octet-stream", "Dapr", "com.dapr.event.sent", "t", "bus"))

    def test_a_raw_subscription_wraps_a_cloudevent_as_bytes(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), subscription(
            "t", "/in", metadata={"rawPayload": "true"})])
        self.publish(s, "t", '"x"')
        inner = json.loads(base64.b64decode(app.wait_for("/in")[0].json()["data_base64"]))
        self.assertEqual(sorted(inner), sorted("data datacontenttype id pubsubname source specversion time topic "
                                               "traceid traceparent tracestate type".split()))

    def test_a_raw_cloudevent_by_hand_reaches_a_plain_subscription(self):
        s, app = self.serve(["t"])
        event = '{"specversion":"1.0","id":"x","source":"s","type":"t","data":{"z":1,"a":2.50}}'
        self.publish(s, "t", event, "application/json", "?metadata.rawPayload=true")
        self.assertEqual(app.wait_for("/t")[0].body.decode(), event)  # byte for byte: surprise 26

    def test_the_app_api_token_is_sent(self):
        s, app = self.serve(["t"], env={"APP_API_TOKEN": "tok"})
        self.publish(s, "t", "1")
        self.assertEqual(app.wait_for("/t")[0].headers["dapr-api-token"], "tok")


class Subscriptions(PubSub):
    def test_v2_routes_by_cel_in_order(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), v2("t", {
            "rules": [{"match": 'event.type == "big"', "path": "/big"},
                      {"match": "event.data.n > 10", "path": "/ten"},
                      {"match": 'has(event.data.name) && event.data.name.startsWith("A")', "path": "/a"}],
            "default": "/rest"})])
        self.publish(s, "t", '{"n":1}', query="?metadata.cloudevent.type=big")
        self.publish(s, "t", '{"n":11}')
        self.publish(s, "t", '{"n":1,"name":"Ada"}')
        self.publish(s, "t", '{"n":1}')
        for path in ("/big", "/ten", "/a", "/rest"):
            app.wait_for(path)
        self.assertEqual(len(app.got()), 4)

    def test_s32_no_match_is_acknowledged_and_dead_lettered(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), v2("t", {
            "rules": [{"match": 'event.type == "never"', "path": "/x"}]}, deadLetterTopic="dead"),
            subscription("dead", "/dead")])
        self.publish(s, "t", '"x"')
        self.assertEqual(app.wait_for("/dead")[0].json()["data"], "x")
        self.assertEqual(app.got("/x"), [])

    def test_a_rule_that_fails_dead_letters(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), v2("t", {
            "rules": [{"match": "event.data.missing.deep > 1", "path": "/x"}], "default": "/y"},
            deadLetterTopic="dead"), subscription("dead", "/dead")])
        self.publish(s, "t", '{"a":1}')
        app.wait_for("/dead")
        self.assertEqual((app.got("/x"), app.got("/y")), ([], []))

    def test_programmatic_subscriptions(self):
        app = self.app(subscribe=[
            {"pubsubname": "bus", "topic": "one", "route": "one"},
            {"pubsubname": "bus", "topic": "two", "routes": {
                "rules": [{"match": 'event.type == "x"', "path": "/x"}], "default": "/two"}, "route": "/unused"},
            {"pubsubname": "bus", "topic": "none"}])
        s = self.sidecar("app1", app, resources=[self.bus()])
        asked = app.got("/dapr/subscribe")
        self.assertEqual((len(asked), asked[0].headers["dapr-app-id"]), (1, "app1"))  # surprise 47
        self.assertEqual(app.got("/dapr/config")[0].headers["dapr-app-id"], "app1")
        self.publish(s, "one", "1")
        self.publish(s, "two", "1", query="?metadata.cloudevent.type=x")
        self.publish(s, "two", "2")
        for path in ("/one", "/x", "/two"):
            app.wait_for(path)
        self.assertEqual(app.got("/unused"), [])  # surprise 30

    def test_s31_programmatic_replaces_declarative_and_the_first_declarative_wins(self):
        app = self.app(subscribe=[{"pubsubname": "bus", "topic": "t", "route": "/program"}])
        s = self.sidecar("app1", app, resources=[self.bus(), subscription("t", "/declared"),
                                                 subscription("u", "/first", name="u1"),
                                                 subscription("u", "/second", name="u2")])
        self.publish(s, "t", "1")
        self.publish(s, "u", "1")
        app.wait_for("/program")
        app.wait_for("/first")
        self.assertEqual((app.got("/declared"), app.got("/second")), ([], []))

    def test_s37_the_app_is_not_asked_without_a_pubsub(self):
        app = self.app()
        self.sidecar("app1", app)
        self.assertEqual(app.got("/dapr/subscribe"), [])

    def test_s38_scopes_of_a_subscription(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), subscription("t", "/no", scopes=["other"]),
                                                 subscription("u", "/yes", scopes=["other", "app1"])])
        self.publish(s, "t", "1")
        self.publish(s, "u", "1")
        app.wait_for("/yes")
        self.assertEqual(app.got("/no"), [])

    def test_a_missing_pubsub_does_not_stop_the_others(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus(), subscription("t", "/x", pubsub="gone", name="g"),
                                                 subscription("t", "/yes", name="y")])
        self.publish(s, "t", "1")
        app.wait_for("/yes")

    def test_disabled_init_endpoints_are_not_asked(self):
        app = self.app()
        s = self.sidecar("app1", app, resources=[self.bus()], args=["--disable-init-endpoints", "config, Subscribe"])
        self.assertEqual((app.got("/dapr/config"), app.got("/dapr/subscribe")), ([], []))
        self.assertIn("Skipping programmatic dapr configuration loading", s.log())
        self.assertIn("Skipping programmatic subscription loading", s.log())

    def test_metadata_lists_subscriptions_s75(self):
        app = self.app(subscribe=[{"pubsubname": "bus", "topic": "p", "route": "/p", "metadata": {"k": "v"}}])
        s = self.sidecar("app1", app, resources=[self.bus(), v2("d", {
            "rules": [{"match": 'event.type == "x"', "path": "/x"}], "default": "/d"}, deadLetterTopic="dead")])
        subs = {x["topic"]: x for x in json.loads(s.get("/v1.0/metadata").body)["subscriptions"]}
        self.assertEqual((subs["p"]["type"], subs["p"]["metadata"], subs["p"]["rules"][0]["path"]),
                         ("PROGRAMMATIC", {"k": "v"}, "/p"))
        self.assertEqual((subs["d"]["type"], subs["d"]["deadLetterTopic"], subs["d"]["rules"]),
                         ("DECLARATIVE", "dead", [{"match": 'event.type == "x"', "path": "/x"}, {"path": "/d"}]))

    def test_two_sidecars_compete_for_a_queue(self):
        one, two = self.app(), self.app()
        names = [self.queue(), subscription("t", "/t")]
        a = self.sidecar("worker", one, resources=names)
        b = self.sidecar("worker", two, resources=names, directory=os.path.join(self.directory(), "b"))
        for i in range(40):
            self.publish(a, "t", str(i))
        until("all are delivered", lambda: len(one.got("/t")) + len(two.got("/t")) >= 40)
        ids = [r.json()["data"] for r in one.got("/t") + two.got("/t")]
        self.assertEqual(sorted(ids), list(range(40)))

    def test_s34_namespaced_topics(self):
        app = self.app()
        s = self.sidecar("app1", app, env={"NAMESPACE": "ns"}, resources=[
            self.queue(consumerID="{namespace}"), subscription("t", "/t")])
        self.publish(s, "t", "1")
        self.assertEqual(app.wait_for("/t")[0].json()["topic"], "t")
        self.assertEqual(s.stop(), 0)  # the write-ahead log is in the file now
        with open(os.path.join(self.directory(), "queue.db"), "rb") as f:
            self.assertIn(b"nst", f.read())


if __name__ == "__main__":
    harness.main()
