"""The Python SDK's client. ../test_sdk.py starts what it talks to."""
import base64
import json
import os
import time
import unittest
import warnings
from contextlib import closing

import grpc
from dapr.aio.clients import DaprClient as AsyncDaprClient
from dapr.clients import DaprClient
from dapr.clients.exceptions import DaprHttpError
from dapr.clients.grpc._crypto import DecryptOptions, EncryptOptions
from dapr.clients.grpc._request import (BulkPublishEntry, TransactionalStateOperation,
                                        TransactionOperationType)
from dapr.clients.grpc._response import TopicEventResponse, UnlockResponseStatus
from dapr.clients.grpc._state import Concurrency, Consistency, StateItem, StateOptions
from dapr.clients.health import DaprHealth

WAIT_S = 20
APP_IS_GRPC = os.environ["APP_PROTOCOL"] == "grpc"
CALLS_BY_GRPC = os.environ["DAPR_API_METHOD_INVOCATION_PROTOCOL"] == "grpc"
NO_STREAMS = "stream" in os.environ["NOT_YET"].split(",")
FIRST_WRITE = StateOptions(concurrency=Concurrency.first_write, consistency=Consistency.strong)


def each(name):
    return [word for word in os.environ.get(name, "").split(",") if word]


def key(text):
    return f"py-{os.environ['APP_PROTOCOL']}-{text}"


def until(what, condition):
    end = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {WAIT_S} s: {what}"
        time.sleep(0.02)
    return value


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The SDK warns of alpha methods, and of gRPC invocation.
        warnings.simplefilter("ignore")
        DaprHealth.wait_for_sidecar()
        cls.dapr = DaprClient()
        cls.addClassCleanup(cls.dapr.close)

    def invoke(self, method, data=b"", **more):
        more.setdefault("http_verb", "GET")
        return self.dapr.invoke_method("callee", method, data, **more)

    def arrived(self, pubsub, topic, accept):
        def look():
            return [e for e in self.invoke("received").json()
                    if e.get("pubsub") == pubsub and e["topic"] == topic and accept(e["data"])]
        return until(f"{topic} of {pubsub}", look)

    def fails_with(self, code, call, *args, **more):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception


class Invocation(Case):
    def test_bytes_come_back(self):
        for data, kind in ((bytes(range(256)), "application/octet-stream"),
                           ('{"text":"grüße"}'.encode(), "application/json")):
            answer = self.invoke("echo", data, http_verb="POST", content_type=kind)
            self.assertEqual((answer.data, answer.content_type), (data, kind))

    def test_header_reaches_the_app(self):
        got = self.invoke("headers", metadata=(("x-test", "here"),)).json()
        self.assertEqual(got["x-test"], "here")
        self.assertEqual(got["dapr-caller-app-id"], "caller")

    @unittest.skipIf(APP_IS_GRPC, "the SDK's gRPC app isn't told it")
    def test_query_reaches_the_app(self):
        answer = self.invoke("query", http_querystring=(("a", "1"), ("b", "x y")))
        self.assertIn(answer.json()["query"], ("a=1&b=x+y", "a=1&b=x%20y"))

    def test_refusal_of_the_app_comes_back(self):
        if CALLS_BY_GRPC:
            code = grpc.StatusCode.UNKNOWN if APP_IS_GRPC else grpc.StatusCode.PERMISSION_DENIED
            self.assertIn("not yours", self.fails_with(code, self.invoke, "refuse").details())
            return
        with self.assertRaises(DaprHttpError) as caught:
            self.invoke("refuse")
        # What a gRPC app of the SDK raises is UNKNOWN.
        self.assertEqual(caught.exception.status_code, 500 if APP_IS_GRPC else 403)
        self.assertIn(b"not yours", caught.exception.raw_response_bytes)

    def test_unknown_app_is_an_error(self):
        with self.assertRaises((grpc.RpcError, DaprHttpError)):
            self.dapr.invoke_method("nobody", "echo", b"", http_verb="GET")


class State(Case):
    def on_each_store(self, test):
        for store in each("STATES"):
            with self.subTest(store):
                test(store)

    def test_is_saved_read_and_deleted(self):
        def test(store):
            a, b = key("a"), key("b")
            self.dapr.save_state(store, a, "text")
            self.dapr.save_bulk_state(store, [StateItem(b, bytes(range(256)))])
            self.assertEqual(self.dapr.get_state(store, a).text(), "text")
            self.assertEqual(self.dapr.get_state(store, b).data, bytes(range(256)))
            items = self.dapr.get_bulk_state(store, [a, b, key("none")]).items
            self.assertEqual({i.key: i.data for i in items},
                             {a: b"text", b: bytes(range(256)), key("none"): b""})
            self.dapr.delete_state(store, a)
            self.assertEqual(self.dapr.get_state(store, a).data, b"")
        self.on_each_store(test)

    def test_stale_etag_conflicts(self):
        def test(store):
            k = key("etag")
            self.dapr.save_state(store, k, "1")
            etag = self.dapr.get_state(store, k).etag
            self.dapr.save_state(store, k, "2", etag=etag, options=FIRST_WRITE)
            stale = {"etag": etag, "options": FIRST_WRITE}
            self.fails_with(grpc.StatusCode.ABORTED, self.dapr.save_state, store, k, "3", **stale)
            self.fails_with(grpc.StatusCode.ABORTED, self.dapr.delete_state, store, k, **stale)
            self.assertEqual(self.dapr.get_state(store, k).data, b"2")
        self.on_each_store(test)

    def test_transaction_is_done_whole_or_not_at_all(self):
        def test(store):
            old, new = key("old"), key("new")
            self.dapr.save_state(store, old, "x")
            put = TransactionalStateOperation(key=new, data="1")
            remove = TransactionalStateOperation(
                key=old, operation_type=TransactionOperationType.delete)
            self.dapr.execute_state_transaction(store, [put, remove])
            self.assertEqual(self.dapr.get_state(store, new).data, b"1")
            self.assertEqual(self.dapr.get_state(store, old).data, b"")

            more = TransactionalStateOperation(key=old, data="2")
            stale = TransactionalStateOperation(key=new, data="2", etag="2147483647")
            with self.assertRaises(grpc.RpcError):
                self.dapr.execute_state_transaction(store, [more, stale])
            self.assertEqual(self.dapr.get_state(store, old).data, b"")
        self.on_each_store(test)

    def test_lives_as_long_as_its_ttl_says(self):
        def test(store):
            k, lasting = key("ttl"), key("lasting")
            self.dapr.save_state(store, k, "x", state_metadata={"ttlInSeconds": "1"})  # of a clock of whole seconds
            self.dapr.save_state(store, lasting, "x", state_metadata={"ttlInSeconds": "600"})
            self.assertEqual(self.dapr.get_state(store, lasting).data, b"x")
            until("it has expired", lambda: self.dapr.get_state(store, k).data == b"")
        self.on_each_store(test)

    def test_unknown_store_is_an_error_with_details(self):
        error = self.fails_with(grpc.StatusCode.INVALID_ARGUMENT,
                                self.dapr.save_state, "nowhere", "k", "v")
        self.assertEqual(error.error_code(), "DAPR_STATE_NOT_FOUND")


class Events(Case):
    def on_each_broker(self, test):
        for pubsub in each("PUBSUBS"):
            with self.subTest(pubsub):
                test(pubsub)

    def publish(self, pubsub, topic, data, **metadata):
        kind = "text/plain"
        if not isinstance(data, str):
            data, kind = json.dumps(data), "application/json"
        self.dapr.publish_event(pubsub, topic, data, metadata, data_content_type=kind)

    def test_object_and_text_arrive_once(self):
        def test(pubsub):
            self.publish(pubsub, "plain", {"id": key("object")})
            self.publish(pubsub, "plain", key("text"))
            self.arrived(pubsub, "plain", lambda data: data == key("text"))
            objects = self.arrived(pubsub, "plain", lambda data: data == {"id": key("object")})
            self.assertEqual(len(objects), 1)
        self.on_each_broker(test)

    def test_raw_event_arrives(self):
        def test(pubsub):
            self.publish(pubsub, "raw", key("raw"), rawPayload="true")
            want = key("raw")
            shapes = (want, base64.b64encode(want.encode()).decode())
            self.arrived(pubsub, "raw", lambda data: data in shapes)
        self.on_each_broker(test)

    def test_rules_of_the_route_decide(self):
        def test(pubsub):
            self.publish(pubsub, "routed", key("urgent"), **{"cloudevent.type": "important"})
            self.publish(pubsub, "routed", key("idle"))
            urgent = self.arrived(pubsub, "routed", lambda data: data == key("urgent"))
            idle = self.arrived(pubsub, "routed", lambda data: data == key("idle"))
            self.assertEqual((urgent[0]["route"], idle[0]["route"]), ("important", "other"))
        self.on_each_broker(test)

    def test_retry_brings_it_again(self):
        def test(pubsub):
            self.publish(pubsub, "again", key("again"))
            until("the second delivery", lambda: len(
                self.arrived(pubsub, "again", lambda data: data == key("again"))) == 2)
        self.on_each_broker(test)

    def test_drop_makes_it_a_dead_letter(self):
        def test(pubsub):
            self.publish(pubsub, "doomed", key("doomed"))
            self.arrived(pubsub, "dead", lambda data: data == key("doomed"))
            tries = self.arrived(pubsub, "doomed", lambda data: data == key("doomed"))
            self.assertEqual(len(tries), 1)
        self.on_each_broker(test)

    def test_many_at_once_arrive(self):
        def test(pubsub):
            texts = [key(f"many-{i}") for i in range(20)]
            answer = self.dapr.publish_events(pubsub, "plain", texts, data_content_type="text/plain")
            self.assertEqual(answer.failed_entries, [])
            one = BulkPublishEntry(json.dumps({"id": key("entry")}), content_type="application/json")
            self.dapr.publish_events(pubsub, "plain", [one])
            for text in texts:
                self.assertEqual(len(self.arrived(pubsub, "plain", lambda data: data == text)), 1)
            self.arrived(pubsub, "plain", lambda data: data == {"id": key("entry")})
        self.on_each_broker(test)

    @unittest.skipIf(APP_IS_GRPC, "the SDK's gRPC app has no handler for a topic of a file")
    def test_subscription_of_a_file_works(self):
        def test(pubsub):
            self.publish(pubsub, "declared", {"id": key("declared")})
            self.arrived(pubsub, "declared", lambda data: data == {"id": key("declared")})
        self.on_each_broker(test)

    @unittest.skipIf(NO_STREAMS, "streaming subscriptions aren't there yet")
    def test_stream_gets_them_and_its_answers_count(self):
        def test(pubsub):
            topic, got = key("streamed"), []

            def handler(message):
                got.append(message.data())
                # Refuses each once.
                return TopicEventResponse("success" if got.count(message.data()) > 1 else "retry")

            close = self.dapr.subscribe_with_handler(pubsub, topic, handler)
            try:
                self.publish(pubsub, topic, key("a"))
                self.publish(pubsub, topic, {"id": key("b")})
                until("both, twice", lambda: len(got) >= 4)
            finally:
                close()
            self.assertEqual(sorted(map(str, got)), sorted(2 * [key("a"), str({"id": key("b")})]))
        self.on_each_broker(test)

    @unittest.skipIf(NO_STREAMS, "streaming subscriptions aren't there yet")
    def test_stream_drops_into_the_dead_letter_topic(self):
        def test(pubsub):
            topic = key("doomed")
            with closing(self.dapr.subscribe(pubsub, topic, dead_letter_topic="dead")) as stream:
                self.publish(pubsub, topic, key("dropped"))
                stream.respond_drop(stream.next_message())
                self.arrived(pubsub, "dead", lambda data: data == key("dropped"))
        self.on_each_broker(test)

    def test_unknown_broker_is_an_error(self):
        error = self.fails_with(grpc.StatusCode.INVALID_ARGUMENT,
                                self.dapr.publish_event, "nowhere", "t", "x")
        self.assertEqual(error.error_code(), "DAPR_PUBSUB_NOT_FOUND")
        with self.assertRaises(grpc.RpcError):
            self.dapr.publish_events("nowhere", "t", ["x"])


class OtherBlocks(Case):
    def test_secrets_are_read(self):
        self.assertEqual(self.dapr.get_secret("secrets", "plain").secret, {"plain": "a plain secret"})
        self.assertEqual(self.dapr.get_bulk_secret("secrets").secrets["db:password"],
                         {"db:password": "hush"})
        with self.assertRaises(grpc.RpcError):
            self.dapr.get_secret("secrets", "none")

    def test_output_binding_is_called(self):
        answer = self.dapr.invoke_binding("outside", "post", b'{"n":1}', {"path": "/echo"})
        self.assertEqual((answer.data, answer.binding_metadata["statusCode"]), (b'{"n":1}', "200"))
        with self.assertRaises(grpc.RpcError):
            self.dapr.invoke_binding("outside", "dance", b"x")

    def test_input_binding_calls_the_app(self):
        until("a tick", lambda: {"topic": "tick"} in self.invoke("received").json())

    def test_metadata_is_read_and_written(self):
        self.dapr.set_metadata("mood", "calm")
        metadata = self.dapr.get_metadata()
        self.assertEqual(metadata.application_id, "caller")
        self.assertEqual(metadata.extended_metadata["mood"], "calm")
        types = {c.name: c.type for c in metadata.registered_components}
        self.assertEqual(types["secrets"], "secretstores.local.file")

    def test_waiting_for_the_sidecar_ends(self):
        self.dapr.wait(5)

    def test_lock_has_one_owner(self):
        for store in each("LOCKS"):
            with self.subTest(store):
                door = key("door")
                self.assertTrue(self.dapr.try_lock(store, door, "ada", 60).success)
                self.assertFalse(self.dapr.try_lock(store, door, "bob", 60).success)
                for owner, want in (("bob", UnlockResponseStatus.lock_belongs_to_others),
                                    ("ada", UnlockResponseStatus.success),
                                    ("ada", UnlockResponseStatus.lock_does_not_exist)):
                    self.assertEqual(self.dapr.unlock(store, door, owner).status, want)

    def test_configuration_is_read_and_watched(self):
        for store in each("CONFIGS"):
            with self.subTest(store):
                self.change(store, "colour", "red")
                items = self.dapr.get_configuration(store, [key("colour")]).items
                self.assertEqual({k: v.value for k, v in items.items()}, {key("colour"): "red"})
                seen = []
                id = self.dapr.subscribe_configuration(store, [key("colour")],
                                                       lambda _, update: seen.append(update.items))
                self.assertTrue(id)
                self.change(store, "colour", "green")
                until("the change", lambda: seen)
                self.assertEqual(seen[-1][key("colour")].value, "green")
                self.assertTrue(self.dapr.unsubscribe_configuration(store, id))

    def change(self, store, name, value):
        wanted = json.dumps({"store": store, "key": key(name), "value": value})
        self.dapr.invoke_binding("outside", "post", wanted, {"path": "/change"})

    def test_what_is_encrypted_is_decrypted(self):
        for component in each("CRYPTO"):
            for name, wrap in (("rsa", "RSA"), ("aes", "A256KW")):
                with self.subTest(component, wrap=wrap):
                    data = b"0123456789abcdef" * 20_000
                    sealed = self.dapr.encrypt(data, EncryptOptions(component, name, wrap)).read()
                    self.assertNotIn(data[:16], sealed)
                    opened = self.dapr.decrypt(sealed, DecryptOptions(component)).read()
                    self.assertEqual(opened, data)
                    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
                    with self.assertRaises(grpc.RpcError):
                        self.dapr.decrypt(broken, DecryptOptions(component)).read()


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def test_state_and_events(self):
        async with AsyncDaprClient() as dapr:
            for store in each("STATES"):
                await dapr.save_state(store, key("async"), "x")
                self.assertEqual((await dapr.get_state(store, key("async"))).data, b"x")
            for pubsub in [] if NO_STREAMS else each("PUBSUBS"):
                stream = await dapr.subscribe(pubsub, key("async"))
                await dapr.publish_event(pubsub, key("async"), "hello", data_content_type="text/plain")
                message = await anext(aiter(stream))
                self.assertEqual(message.data(), "hello")
                await stream.respond_success(message)
                await stream.close()


class Shutdown(unittest.TestCase):
    def test_sidecar_is_shut_down(self):
        with DaprClient("127.0.0.1:" + os.environ["SPARE_GRPC_PORT"]) as spare:
            spare.shutdown()


if __name__ == "__main__":
    unittest.main(verbosity=2)
