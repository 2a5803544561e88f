#include "fixture.h"
#include "format/json.h"

struct row {
    const char *what, *headers, *body;
    int status;
    const char *want; /* part of the answer's body; "" = it's empty */
};

static void run(struct fixture *f, const struct row *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct row *r = &row[i];
        struct reply got = fixture_call(f, r->what, r->headers, r->body);
        CHECK_EQ(got.status, r->status, "%s %s: %.*s", r->what, r->body ? r->body : "",
                 STR_ARG(str_take(got.body, 300)));
        if (r->want && !r->want[0])
            CHECK_STR(got.body, "", "%s", r->what);
        else if (r->want)
            CHECK(str_contains(got.body, str_c(r->want)), "%s %s: %.*s", r->what,
                  r->body ? r->body : "", STR_ARG(str_take(got.body, 600)));
        if (got.body.n && got.body.p[0] == '{') {
            struct json v;
            CHECK_OK(json_parse(got.body, &v, NULL), "%s", r->what);
        }
    }
}

TEST_CO(state_over_http)
{
    static const struct row rows[] = {
        { "GET /v1.0/state/s/k", NULL, NULL, 204, "" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"k\",\"value\":{\"a\":1.50}}]", 204, "" },
        { "GET /v1.0/state/s/k", NULL, NULL, 200, "{\"a\":1.50}" },
        { "PUT /v1.0/state/s", NULL, "[{\"KEY\":\"k\",\"Value\":\"x\"}]", 204, "" },
        { "GET /v1.0/state/s/k", NULL, NULL, 200, "\"x\"" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"n\"}]", 204, "" },
        { "GET /v1.0/state/s/n", NULL, NULL, 200, "null" },
        { "POST /v1.0/state/s", NULL, "[]", 204, "" },
        { "POST /v1.0/state/s", NULL, "null", 204, "" },
        { "POST /v1.0/state/s", NULL, "", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s", NULL, "{}", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s", NULL, "[1]", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s", NULL, "[{\"value\":1}]", 400, "\\\"key\\\" is a required field" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":1}]", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"a||b\"}]", 400, "DAPR_STATE_ILLEGAL_KEY" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"k\",\"etag\":5}]", 400,
          "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"k\",\"options\":{\"concurrency\":\"never\"}}]",
          500, "ERR_STATE_SAVE" },
        { "POST /v1.0/state/s", NULL, "[{\"key\":\"k\",\"options\":{\"consistency\":3}}]", 400,
          "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/x", NULL, "[]", 400, "ERR_STATE_STORE_NOT_FOUND" },
        { "POST /v1.0/state/s/bulk", NULL, "{\"keys\":[\"k\",\"none\"]}", 200,
          "[{\"key\":\"k\",\"data\":\"x\"},{\"key\":\"none\"}]" },
        { "POST /v1.0/state/s/bulk", NULL, "{\"keys\":[]}", 200, "[]" },
        { "POST /v1.0/state/s/bulk", NULL, "[]", 200, "[]" },
        { "POST /v1.0/state/s/bulk", NULL, "{\"keys\":[1]}", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s/bulk", NULL, "{\"keys\":[\"k\"],\"parallelism\":\"x\"}", 200, "k" },
        { "POST /v1.0/state/s/transaction", NULL,
          "{\"operations\":[{\"operation\":\"upsert\",\"request\":{\"key\":\"t\",\"value\":1}},"
          "{\"operation\":\"delete\",\"request\":{\"key\":\"k\"}}],\"metadata\":{\"a\":\"b\"}}",
          204, "" },
        { "GET /v1.0/state/s/k", NULL, NULL, 204, "" },
        { "POST /v1.0/state/s/transaction", NULL, "{}", 204, "" },
        { "POST /v1.0/state/s/transaction", NULL, "{\"operations\":[{\"operation\":\"x\"}]}", 400,
          "ERR_NOT_SUPPORTED_STATE_OPERATION" },
        { "POST /v1.0/state/s/transaction", NULL, "{\"operations\":[{\"operation\":\"delete\"}]}",
          400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/state/s/transaction", NULL, "{\"operations\":[5]}", 400,
          "ERR_NOT_SUPPORTED" },
        { "POST /v1.0-alpha1/state/s/query", NULL, "{}", 200, "\"token\":\"next\"" },
        { "DELETE /v1.0/state/s/t", "If-Match: 7", NULL, 204, "" },
        { "GET /v1.0/state/s/t", NULL, NULL, 204, "" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "s", NULL);
    run(&f, rows, COUNT(rows));
    struct reply r = fixture_call(&f, "GET /v1.0/state/s/n", NULL, NULL);
    CHECK_STR(http_headers_get(&r.headers, S("Etag")), "7");
    fixture_close(&f);
}

TEST_CO(a_body_over_the_limit_is_a_malformed_request)
{
    static char big[8192];
    memset(big, ' ', sizeof big - 1);
    static const struct row rows[] = {
        { "POST /v1.0/state/s", NULL, big, 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/publish/p/t", NULL, big, 400, "stream too large" },
        { "POST /v1.0/bindings/b", NULL, big, 400, "ERR_MALFORMED_REQUEST" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "state", "s", NULL);
    fixture_add(&f, "pubsub", "p", NULL);
    run(&f, rows, COUNT(rows));
    fixture_close(&f);
}

TEST_CO(publish_over_http)
{
    static const struct row rows[] = {
        { "POST /v1.0/publish/p/t", "Content-Type: application/json", "{\"a\":1}", 204, "" },
        { "POST /v1.0/publish/p/a/b%20c", NULL, "x", 204, "" },
        { "POST /v1.0/publish/p/", NULL, "x", 404, "ERR_TOPIC_NAME_EMPTY" },
        { "POST /v1.0/publish/p", NULL, "x", 404, "ERR_TOPIC_NAME_EMPTY" },
        { "POST /v1.0/publish/x/t", NULL, "x", 404, "ERR_PUBSUB_NOT_FOUND" },
        { "POST /v1.0/publish/p/t?metadata.rawPayload=maybe", NULL, "x", 400,
          "ERR_PUBSUB_REQUEST_METADATA" },
        { "POST /v1.0/publish/p/t", "Content-Type: application/cloudevents+json", "1", 500,
          "ERR_PUBSUB_CLOUD_EVENTS_SER" },
        { "POST /v1.0/publish/bulk/p/t", NULL,
          "[{\"entryId\":\"1\",\"event\":\"a\",\"contentType\":\"text/plain\"},"
          "{\"entryId\":\"2\",\"event\":{\"b\":1},\"contentType\":\"application/json\"},"
          "{\"entryId\":\"3\",\"event\":\"AQI=\",\"contentType\":\"application/octet-stream\"}]",
          204, "" },
        { "POST /v1.0/publish/bulk/p/t", NULL, /* as the JavaScript SDK writes it */
          "[{\"entryID\":\"1\",\"event\":\"a\",\"contentType\":\"text/plain\",\"metadata\":{}}]",
          204, "" },
        { "POST /v1.0/publish/bulk/p/t", NULL, "[]", 204, "" },
        { "POST /v1.0/publish/bulk/p/t", NULL, "{}", 400, "DAPR_PUBSUB_UNMARSHAL_EVENTS" },
        { "POST /v1.0/publish/bulk/p/t", NULL, "[", 400, "DAPR_PUBSUB_UNMARSHAL_EVENTS" },
        { "POST /v1.0/publish/bulk/p/t", NULL, "[5]", 400, "DAPR_PUBSUB_UNMARSHAL_EVENTS" },
        { "POST /v1.0/publish/bulk/p/t", NULL, "[{\"event\":\"a\",\"contentType\":\"text/plain\"}]",
          400, "DAPR_PUBSUB_MARSHAL_EVENTS" },
        { "POST /v1.0/publish/bulk/p/t", NULL,
          "[{\"entryId\":\"1\",\"event\":\"a\",\"contentType\":\"text/plain\"},"
          "{\"entryId\":\"1\",\"event\":\"a\",\"contentType\":\"text/plain\"}]",
          400, "entryId is duplicated" },
        { "POST /v1.0/publish/bulk/p/t", NULL,
          "[{\"entryId\":\"1\",\"event\":5,\"contentType\":\"text/plain\"}]", 400,
          "DAPR_PUBSUB_MARSHAL_EVENTS" },
        { "POST /v1.0/publish/bulk/p/t", NULL,
          "[{\"entryId\":\"1\",\"event\":\"*\",\"contentType\":\"application/octet-stream\"}]", 400,
          "base64" },
        { "POST /v1.0/publish/bulk/p/t", NULL,
          "[{\"entryId\":\"1\",\"event\":\"a\",\"contentType\":\"image/png\"}]", 400,
          "DAPR_PUBSUB_MARSHAL_EVENTS" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *p = fixture_add(&f, "pubsub-bulk", "p", NULL);
    run(&f, rows, COUNT(rows));
    CHECK_STR(p->item[1].key, "a/b c");
    CHECK_EQ(p->n, 6);
    p->fail_only = 2;
    struct reply r =
        fixture_call(&f, "POST /v1.0/publish/bulk/p/t", NULL,
                     "[{\"entryId\":\"a\",\"event\":\"a\",\"contentType\":\"text/plain\"},"
                     "{\"entryId\":\"b\",\"event\":\"b\",\"contentType\":\"text/plain\"}]");
    CHECK_EQ(r.status, 500);
    CHECK_STR(r.body, "{\"failedEntries\":[{\"entryId\":\"b\",\"error\":\"entry 1 failed\"}],"
                      "\"errorCode\":\"ERR_PUBSUB_PUBLISH_MESSAGE\"}");
    fixture_close(&f);
}

TEST_CO(secrets_and_bindings_over_http)
{
    static const struct row rows[] = {
        { "GET /v1.0/secrets/v/k", NULL, NULL, 200, "{\"password\":\"pass word\"}" },
        { "GET /v1.0/secrets/v/bulk", NULL, NULL, 200,
          "{\"open\":{\"k\":\"v\"},\"hidden\":{\"k\":\"v\"}}" },
        { "GET /v1.0/secrets/x/k", NULL, NULL, 401, "ERR_SECRET_STORE_NOT_FOUND" },
        { "POST /v1.0/bindings/b", NULL, "{\"operation\":\"get\"}", 200, "{\"got\":1}" },
        { "PUT /v1.0/bindings/b", NULL, "{\"Operation\":\"create\",\"data\":{\"a\":1}}", 204, "" },
        { "POST /v1.0/bindings/b", NULL, "{}", 500, "ERR_INVOKE_OUTPUT_BINDING" },
        { "POST /v1.0/bindings/b", NULL, "{\"operation\":\"fly\"}", 500, "does not support" },
        { "POST /v1.0/bindings/x", NULL, "{\"operation\":\"get\"}", 500, "couldn't find" },
        { "POST /v1.0/bindings/b", NULL, "{\"operation\":7}", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0/bindings/b", NULL, "[", 400, "ERR_MALFORMED_REQUEST" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *v = fixture_add(&f, "secret", "v", NULL);
    struct fake *b = fixture_add(&f, "binding", "b", NULL);
    run(&f, rows, COUNT(rows));
    b->failures = 1;
    b->code = UNAVAILABLE;
    b->text = "away";
    struct reply r = fixture_call(&f, "POST /v1.0/bindings/b",
                                  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-"
                                  "b7ad6b7169203331-01\ntracestate: a=b",
                                  "{\"operation\":\"get\",\"metadata\":{\"x\":\"y\"}}");
    CHECK_EQ(r.status, 500);
    CHECK_STR(http_headers_get(&r.headers, S("metadata.took")), "3ms", "on failure too");
    CHECK_STR(kvs_get(b->metadata[0], S("x")), "y");
    CHECK(kvs_get(b->metadata[0], S("traceparent")).n == 55);
    CHECK_STR(kvs_get(b->metadata[0], S("tracestate")), "a=b");
    v->failures = 1;
    v->code = NOT_FOUND;
    v->text = "no such secret";
    r = fixture_call(&f, "GET /v1.0/secrets/v/k", NULL, NULL);
    CHECK_EQ(r.status, 500);
    CHECK(str_contains(r.body, S("ERR_SECRET_GET")));
    fixture_close(&f);
}

TEST_CO(metadata_can_be_set_within_limits)
{
    static char big[300];
    memset(big, 'x', sizeof big - 1);
    static const struct row rows[] = {
        { "GET /v1.0/metadata", NULL, NULL, 200, "\"id\":\"me\"" },
        { "PUT /v1.0/metadata/k", NULL, "v", 204, "" },
        { "PUT /v1.0/metadata/k", NULL, big, 429, "too many attributes" },
        { "GET /proa/v1/feed", NULL, NULL, 200, NULL },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    run(&f, rows, COUNT(rows));
    fixture_close(&f);
}

TEST_CO(configuration_over_http)
{
    static const struct row none[] = {
        { "GET /v1.0/configuration/c", NULL, NULL, 500, "ERR_CONFIGURATION_STORE_NOT_CONFIGURED" },
    };
    static const struct row rows[] = {
        { "GET /v1.0/configuration/x", NULL, NULL, 400, "ERR_CONFIGURATION_STORE_NOT_FOUND" },
        { "GET /v1.0/configuration/c", NULL, NULL, 200,
          "{\"a\":{\"value\":\"\\u003c1\\u003e\",\"version\":\"1\"},\"b\":{" },
        { "GET /v1.0-alpha1/configuration/c?key=b", NULL, NULL, 200, "{\"b\":{\"value\":\"2\"" },
        { "GET /v1.0/configuration/c?key=b&key=nobody&metadata.x=y", NULL, NULL, 200, "{\"b\":{" },
        { "GET /v1.0/configuration/c?key=nobody", NULL, NULL, 204, "" },
        { "GET /v1.0/configuration/x/subscribe", NULL, NULL, 400, "STORE_NOT_FOUND" },
        { "GET /v1.0/configuration/c/subscribe?key=a", NULL, NULL, 200, "{\"id\":\"" },
        { "GET /v1.0/configuration/c/some-id/unsubscribe", NULL, NULL, 500, "{\"message\":\"" },
        { "GET /v1.0/configuration/x/some-id/unsubscribe", NULL, NULL, 400, "STORE_NOT_FOUND" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    run(&f, none, COUNT(none));
    struct fake *e = fixture_add(&f, "configuration", "c", NULL);
    e->item[e->n++] = (struct kv){ S("b"), S("2") };
    e->item[e->n++] = (struct kv){ S("a"), S("<1>") };
    run(&f, rows, COUNT(rows));
    struct reply r = fixture_call(&f, "GET /v1.0-alpha1/configuration/c/subscribe", NULL, NULL);
    struct json v;
    str id;
    REQUIRE(json_parse(r.body, &v, NULL) == 0);
    REQUIRE(json_string(&f.arena, json_get(v, S("id")), &id) == 0);
    str path =
        arena_printf(&f.arena, "GET /v1.0/configuration/c/" STR_FMT "/unsubscribe", STR_ARG(id));
    r = fixture_call(&f, path.p, NULL, NULL);
    CHECK_EQ(r.status, 200);
    CHECK_STR(r.body, "{\"ok\":true}");
    CHECK_EQ(fixture_call(&f, path.p, NULL, NULL).status, 500);
    f.b.app = NULL;
    r = fixture_call(&f, "GET /v1.0/configuration/c/subscribe", NULL, NULL);
    CHECK_EQ(r.status, 500);
    CHECK(str_contains(r.body, S("ERR_APP_CHANNEL_NIL")));
    f.b.app = f.app;
    fixture_close(&f);
}

TEST_CO(locks_over_http_s18)
{
    static const struct row rows[] = {
        { "POST /v1.0-alpha1/lock/l", NULL,
          "{\"resourceId\":\"r\",\"lockOwner\":\"o\",\"expiryInSeconds\":10}", 200,
          "{\"success\":true}" },
        { "POST /v1.0-alpha1/lock/l", NULL,
          "{\"resource_id\":\"r\",\"lock_owner\":\"p\",\"expiry_in_seconds\":\"10\"}", 200,
          "{\"success\":false}" },
        { "POST /v1.0-alpha1/lock/x", NULL, "{\"resourceId\":\"r\",\"lockOwner\":\"o\"}", 400,
          "ExpiryInSeconds is not positive" },
        { "POST /v1.0-alpha1/lock/l", NULL,
          "{\"resourceId\":\"r\",\"lockOwner\":\"o\",\"expiryInSeconds\":1.5}", 400,
          "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0-alpha1/lock/l", NULL,
          "{\"resourceId\":\"r\",\"lockOwner\":\"o\",\"expiryInSeconds\":2147483648}", 400,
          "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0-alpha1/lock/l", NULL, "{\"resourceId\":7,\"expiryInSeconds\":1}", 400,
          "resourceId must be a string" },
        { "POST /v1.0-alpha1/lock/l", NULL, "{\"resourceId\":null,\"expiryInSeconds\":1}", 400,
          "ResourceId is empty" },
        { "POST /v1.0-alpha1/lock/l", NULL, "nonsense", 400, "ERR_MALFORMED_REQUEST" },
        { "POST /v1.0-alpha1/unlock/l", NULL, "{\"resourceId\":\"r\",\"lockOwner\":\"p\"}", 200,
          "{\"status\":2}" },
        { "POST /v1.0-alpha1/unlock/l", NULL, "{\"resourceId\":\"r\",\"lockOwner\":\"o\"}", 200,
          "{\"status\":0}" },
        { "POST /v1.0-alpha1/unlock/l", NULL, "{\"resourceId\":\"r\",\"lockOwner\":\"o\"}", 200,
          "{\"status\":1}" },
        { "POST /v1.0-alpha1/unlock/x", NULL, "{\"resourceId\":\"r\",\"lockOwner\":\"o\"}", 400,
          "ERR_LOCK_STORE_NOT_FOUND" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "lock", "l", NULL);
    run(&f, rows, COUNT(rows));
    fixture_close(&f);
}

/* The fake turns each byte around: "AAEC" (0 1 2) ↔ "//79". */
TEST_CO(subtle_crypto_over_http)
{
    static const struct row rows[] = {
        { "POST /v1.0-alpha1/subtlecrypto/x/sign", NULL, "{}", 400,
          "ERR_CRYPTO_PROVIDER_NOT_FOUND" },
        { "POST /v1.0-alpha1/subtlecrypto/c/encrypt", NULL, "{\"plaintext\":\"AAEC\"}", 200,
          "{\"ciphertext\":\"//79\",\"tag\":\"dGFn\"}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/decrypt", NULL,
          "{\"ciphertext\":\"__79\",\"tag\":\"dGFn\",\"keyName\":\"k\"}", 200,
          "{\"plaintext\":\"AAEC\"}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/decrypt", NULL,
          "{\"ciphertext\":\"//79\",\"tag\":\"AA\"}", 500, "\"ERR_CRYPTO\"" },
        { "POST /v1.0-alpha1/subtlecrypto/c/wrapkey", NULL, "{\"plaintext_key\":\"AAEC\"}", 200,
          "{\"wrappedKey\":\"//79\",\"tag\":\"dGFn\"}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/unwrapkey", NULL,
          "{\"wrappedKey\":\"//79\",\"tag\":\"dGFn\"}", 200, "{\"plaintextKey\":\"AAEC\"}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/sign", NULL, "{\"digest\":\"AAEC\"}", 200,
          "\"signature\":\"//79\"" },
        { "POST /v1.0-alpha1/subtlecrypto/c/verify", NULL, "{\"signature\":\"Z29vZA\"}", 200,
          "{\"valid\":true}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/verify", NULL, "{\"signature\":\"AAAA\"}", 200, "{}" },
        { "POST /v1.0-alpha1/subtlecrypto/c/getkey", NULL, "{\"name\":\"k\"}", 200,
          "{\"name\":\"k\",\"publicKey\":\"-----BEGIN" },
        { "POST /v1.0-alpha1/subtlecrypto/c/getkey", NULL, "{\"name\":\"k\",\"format\":\"JSON\"}",
          200, "\"publicKey\":\"{}\"" },
        { "POST /v1.0-alpha1/subtlecrypto/c/getkey", NULL, "{\"name\":\"k\",\"format\":1}", 200,
          "\"publicKey\":\"{}\"" },
        { "POST /v1.0-alpha1/subtlecrypto/c/getkey", NULL, "{\"format\":\"DER\"}", 400,
          "ERR_BAD_REQUEST" },
        { "POST /v1.0-alpha1/subtlecrypto/c/encrypt", NULL, "{\"plaintext\":\"A\"}", 400,
          "plaintext must be bytes in base64" },
        { "POST /v1.0-alpha1/subtlecrypto/c/encrypt", NULL, "{\"plaintext\":{}}", 400,
          "plaintext must be a string" },
        { "POST /v1.0-alpha1/subtlecrypto/c/encrypt", NULL, "", 400, "ERR_MALFORMED_REQUEST" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    struct reply r = fixture_call(&f, "POST /v1.0-alpha1/subtlecrypto/c/sign", NULL, "{}");
    CHECK_EQ(r.status, 500);
    CHECK(str_contains(r.body, S("ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED")));
    fixture_add(&f, "crypto", "c", NULL);
    run(&f, rows, COUNT(rows));
    fixture_close(&f);
}

TEST_CO(messages_are_encrypted_over_http)
{
    static const struct row rows[] = {
        { "PUT /v1.0-alpha1/crypto/x/encrypt", NULL, "text", 400, "ERR_CRYPTO_PROVIDER_NOT_FOUND" },
        { "PUT /v1.0-alpha1/crypto/c/encrypt", NULL, "text", 400,
          "invalid request: missing header 'dapr-key-name'" },
        { "PUT /v1.0-alpha1/crypto/c/encrypt", "dapr-key-name: k", "text", 400,
          "missing header 'dapr-key-wrap-algorithm'" },
        { "PUT /v1.0-alpha1/crypto/c/encrypt", "dapr-key-name: k\ndapr-key-wrap-algorithm: rot13",
          "text", 500, "failed to perform operation: option Algorithm is not valid" },
        { "PUT /v1.0-alpha1/crypto/c/decrypt", NULL, "text", 500,
          "failed to perform operation: invalid header" },
    };
    static const char *const headers[] = {
        "dapr-key-name: k\ndapr-key-wrap-algorithm: AES",
        "dapr-key-name: k\ndapr-key-wrap-algorithm: rsa\n"
        "dapr-data-encryption-cipher: chacha20-poly1305",
    };
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "crypto", "c", NULL);
    run(&f, rows, COUNT(rows));
    EACH (headers, h) {
        struct reply r = fixture_call(&f, "PUT /v1.0-alpha1/crypto/c/encrypt", *h, "some text");
        CHECK_EQ(r.status, 200);
        CHECK_STR(http_headers_get(&r.headers, S("Content-Type")), "application/octet-stream");
        CHECK(str_starts(r.body, S("dapr.io/enc/v1\n{\"k\":\"k\",")));
    }
    fixture_close(&f);
}
