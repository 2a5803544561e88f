#!/usr/bin/env python3
"""The state API on each engine: what is stored, what comes back, and each refusal to the letter."""
import json
import os
import sqlite3
import threading
import time

import harness
from harness import component, resource, until

EXACT = ['1.10', '12345678901234567890.123456789', '-0.0', '1E+400', '1e-7', '"a  b\\u00e9\\/\\n"', '"é€😀"',
         '{"z":1,"a":{"y":  2},"b":[1, 2.50 ,3]}', '[ ]', '{ }', 'true', 'null', '"  spaces  "', '0',
         '"\\ud83d\\ude00"', '9007199254740993', '{"dup":1,"dup":2}', '"<>&"']


def details(body, kind):
    return [d for d in body["details"] if d["@type"] == "type.googleapis.com/google.rpc." + kind]


class Engine:
    """Every test runs on each engine: a class below."""
    kind = None

    def store(self, **metadata):
        if self.kind == "state.sqlite":
            metadata.setdefault("connectionString", os.path.join(self.directory(), "state.db"))
        return component("store", self.kind, **metadata)

    def setUp(self):
        self.s = self.sidecar("app1", resources=[self.store()])

    def save(self, *items, path="/v1.0/state/store", **more):
        return self.s.post(path, json.dumps(items), **more)

    def test_s14_json_text_of_value_comes_back(self):
        self.assertEqual(self.save({"key": "k", "value": "value1"}), (204, unittest_any, b""))
        r = self.s.get("/v1.0/state/store/k")
        self.assertEqual((r.status, r.body), (200, b'"value1"'))
        self.assertEqual(r.headers["content-type"], "application/json")

    def test_values_come_back_unchanged_to_the_last_byte(self):
        for i, text in enumerate(EXACT):
            with self.subTest(text):
                r = self.s.post("/v1.0/state/store", f'[{{"key":"e{i}","value":{text}}}]'.encode())
                self.assertEqual(r.status, 204, r)
                self.assertEqual(self.s.get(f"/v1.0/state/store/e{i}").body.decode(), text)
                bulk = self.s.post("/v1.0/state/store/bulk", json.dumps({"keys": [f"e{i}"]})).body.decode()
                if text != "null":
                    self.assertIn(f'"data":{text}', bulk)
                r = self.s.post("/v1.0/state/store/transaction",
                                f'{{"operations":[{{"operation":"upsert","request":{{"key":"t{i}","value":{text}}}}}]}}')
                self.assertEqual(r.status, 204, r)
                self.assertEqual(self.s.get(f"/v1.0/state/store/t{i}").body.decode(), text)

    def test_missing_key_is_204_without_a_body(self):
        self.assertEqual(self.s.get("/v1.0/state/store/none")[::2], (204, b""))

    def test_put_works_like_post(self):
        self.assertEqual(self.s.call("PUT", "/v1.0/state/store", '[{"key":"p","value":1}]').status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/p").body, b"1")

    def test_empty_array_is_204(self):
        self.assertEqual(self.save().status, 204)

    def test_item_names_are_folded(self):
        self.assertEqual(self.s.post("/v1.0/state/store", '[{"KEY":"f","Value":1}]').status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/f").body, b"1")

    def test_missing_key_field_is_400(self):
        self.assertError(self.save({"value": 1}), 400, "ERR_MALFORMED_REQUEST", '"key" is a required field')

    def test_bad_json_is_400(self):
        for body in ("[{", "", "{}", '"x"', "[1]", '[{"key":1}]', '[{"key":"k","value":01}]'):
            with self.subTest(body):
                self.assertError(self.s.post("/v1.0/state/store", body), 400, "ERR_MALFORMED_REQUEST")

    def test_s16_keys_with_the_separator_are_refused_with_details(self):
        body = self.assertError(self.save({"key": "a||b", "value": 1}), 400, "ERR_MALFORMED_REQUEST",
                                "input key/keyPrefix 'a||b' can't contain '||'")
        self.assertEqual([d["@type"].rsplit(".", 1)[1] for d in body["details"]],
                         ["BadRequest", "ResourceInfo", "ErrorInfo"])
        self.assertEqual(details(body, "ErrorInfo")[0], {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "DAPR_STATE_ILLEGAL_KEY",
            "domain": "dapr.io", "metadata": None})
        info = details(body, "ResourceInfo")[0]
        self.assertEqual((info["resource_type"], info["resource_name"], info["owner"]), ("state", "store", ""))
        violation = details(body, "BadRequest")[0]["field_violations"]
        self.assertEqual((len(violation), violation[0]["field"]), (1, "a||b"))
        for method, path, data in (("GET", "/v1.0/state/store/a%7C%7Cb", None),
                                   ("DELETE", "/v1.0/state/store/a%7C%7Cb", None),
                                   ("POST", "/v1.0/state/store/bulk", '{"keys":["a||b"]}'),
                                   ("POST", "/v1.0/state/store/transaction",
                                    '{"operations":[{"operation":"delete","request":{"key":"a||b"}}]}')):
            with self.subTest(method=method, path=path):
                self.assertError(self.s.call(method, path, data), 400, "ERR_MALFORMED_REQUEST")

    def test_s17_unknown_store_is_400_with_error_info_alone(self):
        body = self.assertError(self.s.get("/v1.0/state/other/k"), 400, "ERR_STATE_STORE_NOT_FOUND",
                                "state store other is not found")
        self.assertEqual(body["details"], [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "DAPR_STATE_NOT_FOUND",
            "domain": "dapr.io", "metadata": {"appID": "app1"}}])

    def test_s3_plus_in_a_key_means_a_space(self):
        self.assertEqual(self.save({"key": "a b", "value": 1}).status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/a+b").body, b"1")
        self.assertEqual(self.s.get("/v1.0/state/store/a%20b").body, b"1")
        self.assertEqual(self.s.get("/v1.0/state/store/a%2Bb").status, 204)

    def test_bad_escape_in_the_path_is_400_plain_text(self):
        r = self.s.get("/v1.0/state/store/a%zz")
        self.assertEqual((r.status, r.headers["content-type"][:10]), (400, "text/plain"))

    def test_delete_removes_and_is_idempotent(self):
        self.save({"key": "d", "value": 1})
        for _ in range(2):
            self.assertEqual(self.s.call("DELETE", "/v1.0/state/store/d").status, 204)
            self.assertEqual(self.s.get("/v1.0/state/store/d").status, 204)

    def test_etag_guards_first_writes(self):
        self.save({"key": "e", "value": 1})
        etag = self.s.get("/v1.0/state/store/e").headers["etag"]
        self.assertEqual(self.save({"key": "e", "value": 2, "etag": etag}).status, 204)
        r = self.save({"key": "e", "value": 3, "etag": etag, "options": {"concurrency": "first-write"}})
        body = self.assertError(r, 409, "ERR_STATE_SAVE")
        self.assertIn("failed saving state in state store store: ", body["message"])
        r = self.s.call("DELETE", "/v1.0/state/store/e", headers={"If-Match": etag})
        body = self.assertError(r, 409, "ERR_STATE_DELETE")
        self.assertIn("failed deleting state with key e: ", body["message"])
        self.assertEqual(self.s.get("/v1.0/state/store/e").body, b"2")
        etag = self.s.get("/v1.0/state/store/e").headers["etag"]
        self.assertEqual(self.s.call("DELETE", "/v1.0/state/store/e", headers={"If-Match": etag}).status, 204)

    def test_first_write_without_etag_creates_once(self):
        item = {"key": "once", "value": 1, "options": {"concurrency": "first-write"}}
        self.assertEqual(self.save(item).status, 204)
        self.assertEqual(self.save(item).status, 409)

    def test_one_of_many_racing_first_writes_wins(self):
        self.save({"key": "race", "value": 0})
        etag = self.s.get("/v1.0/state/store/race").headers["etag"]
        status = []

        def one(i):
            status.append(self.save({"key": "race", "value": i, "etag": etag}).status)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(status), [204] + [409] * 11)

    def test_unknown_options_are_500(self):
        for options in ({"concurrency": "never"}, {"consistency": "maybe"}):
            with self.subTest(options=options):
                self.assertError(self.save({"key": "o", "value": 1, "options": options}), 500, "ERR_STATE_SAVE")

    def test_options_that_exist_work(self):
        for options in ({"concurrency": "last-write", "consistency": "strong"}, {"consistency": "eventual"}):
            self.assertEqual(self.save({"key": "o", "value": 1, "options": options}).status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/o?consistency=strong").status, 200)

    def test_ttl_expires_and_is_told(self):
        self.save({"key": "t", "value": 1, "metadata": {"ttlInSeconds": "1"}},
                  {"key": "u", "value": 1, "metadata": {"ttlInSeconds": "100"}})
        r = self.s.get("/v1.0/state/store/u")
        self.assertRegex(r.headers["metadata.ttlexpiretime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        until("the entry expires", lambda: self.s.get("/v1.0/state/store/t").status == 204, 10)
        self.assertEqual(self.s.get("/v1.0/state/store/u").status, 200)

    def test_url_metadata_overrides_the_items(self):
        self.save({"key": "v", "value": 1, "metadata": {"ttlInSeconds": "1000"}},
                  path="/v1.0/state/store?metadata.ttlInSeconds=1")
        until("the entry expires", lambda: self.s.get("/v1.0/state/store/v").status == 204, 10)

    def test_bad_ttl_is_refused(self):
        r = self.save({"key": "x", "value": 1, "metadata": {"ttlInSeconds": "soon"}})
        self.assertIn(r.status, (400, 500))
        self.assertError(r, r.status, "ERR_STATE_SAVE")

    def test_bulk_get_gives_values_etags_and_what_is_missing(self):
        self.save({"key": "b1", "value": {"a": 1}}, {"key": "b2", "value": "x"})
        r = self.s.post("/v1.0/state/store/bulk", '{"keys":["b1","none","b2"],"parallelism":2}')
        self.assertEqual((r.status, r.headers["content-type"]), (200, "application/json"))
        items = json.loads(r.body)
        self.assertEqual([i["key"] for i in items], ["b1", "none", "b2"])
        self.assertEqual((items[0]["data"], items[2]["data"]), ({"a": 1}, "x"))
        self.assertTrue(items[0]["etag"])
        self.assertEqual(items[1], {"key": "none"})
        self.assertEqual(self.s.post("/v1.0/state/store/bulk", '{"keys":[]}').body, b"[]")
        self.assertError(self.s.post("/v1.0/state/store/bulk", '{"keys":'), 400, "ERR_MALFORMED_REQUEST")

    def test_transaction_is_all_or_nothing(self):
        self.save({"key": "x1", "value": 1})
        r = self.s.post("/v1.0/state/store/transaction", json.dumps({"operations": [
            {"operation": "upsert", "request": {"key": "x2", "value": 2}},
            {"operation": "delete", "request": {"key": "x1"}}]}))
        self.assertEqual(r.status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/x1").status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/x2").body, b"2")
        r = self.s.post("/v1.0/state/store/transaction", json.dumps({"operations": [
            {"operation": "upsert", "request": {"key": "x3", "value": 3}},
            {"operation": "upsert", "request": {"key": "x2", "value": 9, "etag": "77777",
                                                "options": {"concurrency": "first-write"}}}]}))
        body = self.assertError(r, 500, "ERR_STATE_TRANSACTION")  # surprise 13
        self.assertIn("error while executing state transaction: ", body["message"])
        self.assertEqual(self.s.get("/v1.0/state/store/x3").status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/x2").body, b"2")

    def test_s13_stale_etag_in_a_transaction_is_500(self):
        self.save({"key": "y", "value": 1})
        r = self.s.post("/v1.0/state/store/transaction", json.dumps({"operations": [
            {"operation": "delete", "request": {"key": "y", "etag": "77777"}}]}))
        self.assertError(r, 500, "ERR_STATE_TRANSACTION")

    def test_transaction_edges(self):
        post = lambda body: self.s.post("/v1.0/state/store/transaction", body)
        self.assertEqual(post('{"operations":[]}').status, 204)
        body = self.assertError(post('{"operations":[{"operation":"merge","request":{"key":"k"}}]}'), 400,
                                "ERR_NOT_SUPPORTED_STATE_OPERATION")
        self.assertIn("merge", body["message"])
        self.assertError(post("{"), 400, "ERR_MALFORMED_REQUEST")

    def test_query_is_refused_as_unsupported(self):
        body = self.assertError(self.s.post("/v1.0-alpha1/state/store/query", "{}"), 500,
                                "ERR_STATE_STORE_NOT_SUPPORTED")
        self.assertEqual(details(body, "ErrorInfo")[0]["reason"], "DAPR_STATE_QUERYING_NOT_SUPPORTED")

    def test_s6_a_body_over_the_limit_is_a_read_error(self):
        s = self.sidecar("small", resources=[self.store()], args=["--max-body-size", "1Ki"])
        self.assertError(s.post("/v1.0/state/store", json.dumps([{"key": "k", "value": "x" * 2000}])), 400,
                         "ERR_MALFORMED_REQUEST")

    def test_large_values(self):
        value = "x" * (3 << 20)
        self.assertEqual(self.save({"key": "l", "value": value}).status, 204)
        self.assertEqual(json.loads(self.s.get("/v1.0/state/store/l").body), value)

    def test_metrics_count_operations_by_success(self):
        self.save({"key": "m", "value": 1})
        self.s.get("/v1.0/state/store/m")
        self.s.call("DELETE", "/v1.0/state/store/m", headers={"If-Match": "99999"})
        for operation, success in (("set", "true"), ("get", "true"), ("delete", "false")):
            with self.subTest(operation):
                labels = {"app_id": "app1", "component": "store", "namespace": "default",
                          "operation": operation, "success": success}
                self.assertEqual(self.s.metric("dapr_component_state_count", **labels), 1)
                self.assertEqual(self.s.metric("dapr_component_state_latencies_count", **labels), 1)


class Any:
    def __eq__(self, other):
        return True


unittest_any = Any()


class InMemory(Engine, harness.Case):
    kind = "state.in-memory"


class Sqlite(Engine, harness.Case):
    kind = "state.sqlite"

    def keys(self):
        db = sqlite3.connect(os.path.join(self.directory(), "state.db"))
        try:
            return {k for k, in db.execute("SELECT key FROM state")}
        finally:
            db.close()

    def test_state_survives_a_restart(self):
        self.save({"key": "r", "value": "kept"})
        self.assertEqual(self.s.stop(), 0)
        self.s.start()
        self.s.wait_ready()
        self.assertEqual(self.s.get("/v1.0/state/store/r").body, b'"kept"')

    def test_s16_key_prefix_strategies(self):
        for strategy, want in (("appid", "me||k"), ("name", "store||k"), ("none", "k"), ("NAMESPACE", "ns.me||k"),
                               ("Other", "other||k"), (None, "me||k")):
            with self.subTest(strategy):
                metadata = {"keyPrefix": strategy} if strategy else {}
                s = self.sidecar("me", resources=[self.store(**metadata)], env={"NAMESPACE": "ns"},
                                 directory=os.path.join(self.directory(), str(strategy)))
                self.assertEqual(s.post("/v1.0/state/store", '[{"key":"k","value":1}]').status, 204)
                self.assertIn(want, self.keys())
                self.assertEqual(json.loads(s.post("/v1.0/state/store/bulk", '{"keys":["k"]}').body)[0]["key"], "k")

    def test_namespace_prefix_without_a_namespace_is_the_app_id(self):
        s = self.sidecar("me", resources=[self.store(keyPrefix="namespace")])
        s.post("/v1.0/state/store", '[{"key":"k","value":1}]')
        self.assertIn("me||k", self.keys())


class None_(harness.Case):
    def test_s17_without_any_store_it_is_500(self):
        s = self.sidecar("app1")
        body = self.assertError(s.get("/v1.0/state/store/k"), 500, "ERR_STATE_STORE_NOT_CONFIGURED",
                                "state store store is not configured")
        self.assertEqual(body["details"][0]["reason"], "DAPR_STATE_NOT_CONFIGURED")

    def test_a_component_scoped_to_others_is_not_there(self):
        s = self.sidecar("app1", resources=[component("store", "state.in-memory", scopes=["other"])])
        self.assertError(s.get("/v1.0/state/store/k"), 500, "ERR_STATE_STORE_NOT_CONFIGURED")


if __name__ == "__main__":
    harness.main()
