#include "fiber/sync.h"
#include "harness.h"
#include "test/certs.h"

/* h1 and h2 over TLS, server and client; what TLS itself does is tested in test/unit/loop. */

static struct cert ca, leaf;

static struct tls_context *make(bool server, bool h2, str trusted)
{
    if (!ca.x509) {
        ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
        leaf = cert_make(&(struct cert_spec){ .name = "s", .alternative = "IP:127.0.0.1" }, &ca);
    }
    struct tls_options o = { .server = server, .h2 = h2 };
    if (server) {
        o.certificate = leaf.pem;
        o.key = leaf.key_pem;
    } else {
        o.ca = trusted.n ? trusted : ca.pem;
    }
    struct tls_context *c;
    struct error err = { 0 };
    REQUIRE(tls_context_new(&o, &c, &err) == 0, "%s", err.text);
    return c;
}

__attribute__((destructor)) static void drop_certs(void)
{
    cert_done(&ca);
    cert_done(&leaf);
}

static struct http_server *open_server(void (*handle)(void *, struct http_exchange *), bool h2)
{
    struct tls_context *tls = make(true, h2, (str){ 0 });
    struct http_server *s =
        harness_open(handle, NULL, &(struct http_server_config){ .h2 = h2, .tls = tls });
    tls_context_unref(tls); /* the server has its own */
    return s;
}

static struct http_client *open_client(bool h2, str trusted)
{
    struct tls_context *tls = make(false, h2, trusted);
    struct http_client *c = http_client_new(&(struct http_client_config){ .h2 = h2, .tls = tls });
    REQUIRE(c);
    tls_context_unref(tls);
    return c;
}

/* The body comes back piece by piece; "/cut" breaks off in the middle. */
static void echo(void *arg, struct http_exchange *x)
{
    (void)arg;
    str piece;
    int r = http_reply_start(x, 200, NULL, -1);
    while (r == 0 && (r = http_read(x, &piece)) > 0)
        r = http_reply_write(x, piece);
    if (r == 0 && !str_eq(x->req.path, S("/cut")))
        (void)http_reply_end(x, NULL);
}

enum { BODY = 1 << 20 };

static char pattern(size_t i)
{
    return (char)(i * 7 + (i >> 10));
}

static void send_body(void *arg)
{
    struct http_call *call = arg;
    char p[10000];
    int r = 0;
    for (size_t at = 0; at < BODY && r == 0;) {
        size_t n = min_size(sizeof p, BODY - at);
        for (size_t i = 0; i < n; i++)
            p[i] = pattern(at + i);
        r = http_call_write(call, str_of(p, n));
        at += n;
    }
    CHECK_OK(r);
    CHECK_OK(http_call_end(call, NULL));
}

struct job {
    struct http_client *client;
    const char *address;
    struct wait_group *g;
};

static void one_call(struct http_client *client, const char *address)
{
    struct http_request req = { .method = S("POST"), .target = S("/"), .content_length = BODY };
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct error err = { 0 };
    REQUIRE(http_call_start(client, address, &req, S(""), false, &call, &err) == 0, "%s", err.text);
    REQUIRE(fiber_spawn("send", send_body, call));
    const struct http_response *res;
    REQUIRE(http_call_response(call, &res, &err) == 0, "%s", err.text);
    CHECK_EQ(res->status, 200);
    str piece;
    size_t at = 0, wrong = 0;
    int r;
    for (; (r = http_call_read(call, &piece)) > 0; at += piece.n)
        for (size_t i = 0; i < piece.n; i++)
            wrong += piece.p[i] != pattern(at + i);
    CHECK_OK(r);
    CHECK_EQ(at, BODY);
    CHECK_EQ(wrong, 0);
}

static void run_job(void *arg)
{
    struct job *job = arg;
    one_call(job->client, job->address);
    wait_group_done(job->g);
}

static void many_calls(bool h2)
{
    struct http_server *server = open_server(echo, h2);
    struct http_client *client = open_client(h2, (str){ 0 });
    struct wait_group g;
    wait_group_init(&g);
    struct job job = { client, http_server_address(server), &g };
    for (int i = 0; i < 8; i++) {
        wait_group_add(&g);
        REQUIRE(fiber_spawn("job", run_job, &job));
    }
    CHECK_OK(wait_group_wait(&g));
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
}

TEST_LOOP(bodies_flow_both_ways_at_once_in_h1)
{
    many_calls(false);
}

TEST_LOOP(bodies_flow_both_ways_at_once_in_h2)
{
    many_calls(true);
}

static int get(struct http_client *client, const char *address, const char *path, bool *ret_reused,
               struct error *err)
{
    struct http_request req = { .method = S("GET"), .target = str_c(path) };
    AUTO(http_call_freep) struct http_call *call = NULL;
    str body;
    int r = http_call_start(client, address, &req, S(""), true, &call, err);
    if (r == 0 && ret_reused)
        *ret_reused = http_call_reused(call);
    return r < 0 ? r : http_call_read_all(call, 1000, &body);
}

static void keeps(bool h2)
{
    struct http_server *server = open_server(echo, h2);
    struct http_client *client = open_client(h2, (str){ 0 });
    const char *address = http_server_address(server);
    bool reused = true;
    CHECK_OK(get(client, address, "/", &reused, NULL));
    CHECK(!reused);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(get(client, address, "/", &reused, NULL));
        CHECK(reused, "call %d", i);
    }
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
}

TEST_LOOP(connections_are_kept)
{
    keeps(false);
    keeps(true);
}

TEST_LOOP(kept_connection_that_died_is_replaced)
{
    struct tls_context *tls = make(true, false, (str){ 0 });
    struct http_server *server = harness_open(
        echo, NULL, &(struct http_server_config){ .tls = tls, .idle_timeout_ns = MS(20) });
    tls_context_unref(tls);
    struct http_client *client = open_client(false, (str){ 0 });
    const char *address = http_server_address(server);
    bool reused = true;
    CHECK_OK(get(client, address, "/", NULL, NULL));
    DEADLINE(SEC(20));
    while (reused && fiber_sleep(MS(60)) == 0) /* a busy machine may be late to close it */
        CHECK_OK(get(client, address, "/", &reused, NULL));
    CHECK(!reused);
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
}

TEST_LOOP(answer_that_breaks_off_is_told)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct http_server *server = open_server(echo, h2);
        struct http_client *client = open_client(h2, (str){ 0 });
        CHECK_EQ(get(client, http_server_address(server), "/cut", NULL, NULL), -UNAVAILABLE);
        harness_client_free(client);
        CHECK_EQ(harness_close(server, SEC(1)), 0);
    }
}

TEST_LOOP(stranger_is_not_talked_to)
{
    struct cert other = cert_make(&(struct cert_spec){ .name = "other", .ca = true }, NULL);
    for (int h2 = 0; h2 < 2; h2++) {
        struct http_server *server = open_server(echo, h2);
        struct http_client *client = open_client(h2, other.pem);
        struct error err = { 0 };
        CHECK_EQ(get(client, http_server_address(server), "/", NULL, &err), -UNAVAILABLE);
        CHECK(str_contains(str_c(err.text), S("unable to get")), "%s", err.text);
        harness_client_free(client);
        CHECK_EQ(harness_close(server, SEC(1)), 0);
    }
    cert_done(&other);
}

TEST_LOOP(server_that_speaks_no_h2_is_refused_in_the_handshake)
{
    struct http_server *server = open_server(echo, false);
    struct http_client *client = open_client(true, (str){ 0 });
    struct error err = { 0 };
    CHECK_EQ(get(client, http_server_address(server), "/", NULL, &err), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), S("application protocol")), "%s", err.text);
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
}

TEST_LOOP(plain_client_of_a_tls_server_gets_no_answer)
{
    struct http_server *server = open_server(echo, false);
    struct http_client *client = http_client_new(&(struct http_client_config){ 0 });
    REQUIRE(client);
    CHECK(get(client, http_server_address(server), "/", NULL, NULL) < 0);
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
}

TEST_LOOP(server_stops_while_a_handshake_is_under_way)
{
    struct http_server *server = open_server(echo, false);
    struct stream *s = harness_dial(http_server_address(server));
    CHECK_OK(stream_write(s, S("\x16\x03\x01")));
    CHECK_OK(fiber_sleep(MS(10)));
    CHECK_EQ(harness_close(server, SEC(5)), 0);
    char c;
    CHECK(stream_read(s, &c, 1) <= 0);
    stream_close(s);
}

/* ---- a server that must be somebody ---- */

static void tell_caller(void *arg, struct http_exchange *x)
{
    (void)arg;
    (void)http_reply(x, 200, NULL, x->peer_id);
}

static int get_from(struct http_client *client, const char *address, const char *peer_id,
                    bool *ret_reused, struct error *err)
{
    struct http_request req = { .method = S("GET"), .target = S("/"), .peer_id = str_c(peer_id) };
    AUTO(http_call_freep) struct http_call *call = NULL;
    str body;
    int r = http_call_start(client, address, &req, S(""), true, &call, err);
    if (r == 0)
        r = http_call_read_all(call, 1000, &body);
    if (r == 0) {
        CHECK_STR(body, "spiffe://td/ns/x/caller");
        *ret_reused = http_call_reused(call);
    }
    return r;
}

static void calls_by_identity(bool h2)
{
    struct tls_context *tls = make(true, h2, (str){ 0 }); /* there is a CA now */
    tls_context_unref(tls);
    struct cert them = cert_make(
        &(struct cert_spec){ .name = "s", .alternative = "URI:spiffe://td/ns/x/callee" }, &ca);
    struct cert us = cert_make(
        &(struct cert_spec){ .name = "c", .alternative = "URI:spiffe://td/ns/x/caller" }, &ca);
    struct tls_options o = { .server = true,
                             .h2 = true, /* one port for both versions */
                             .spiffe = true,
                             .client_auth = TLS_CLIENT_MUST,
                             .ca = ca.pem,
                             .certificate = them.pem,
                             .key = them.key_pem };
    struct tls_context *server_tls, *client_tls;
    REQUIRE(tls_context_new(&o, &server_tls, NULL) == 0);
    o.server = false;
    o.h2 = h2;
    o.certificate = us.pem;
    o.key = us.key_pem;
    REQUIRE(tls_context_new(&o, &client_tls, NULL) == 0);
    struct http_server *server = harness_open(
        tell_caller, NULL, &(struct http_server_config){ .h2 = true, .tls = server_tls });
    struct http_client *client =
        http_client_new(&(struct http_client_config){ .h2 = h2, .tls = client_tls });
    static const struct {
        const char *wanted;
        int want;
        bool reused;
    } row[] = {
        { "/ns/x/callee", 0, false },
        { "/ns/x/callee", 0, true },
        { "/ns/x/another", -UNAVAILABLE, false },
        { "spiffe://td/ns/x/callee", 0, true },
        { "spiffe://other/ns/x/callee", -UNAVAILABLE, false },
        { "", 0, true },
    };
    EACH (row, c) {
        struct error err = { 0 };
        bool reused = false;
        CHECK_EQ(get_from(client, http_server_address(server), c->wanted, &reused, &err), c->want,
                 "%s", c->wanted);
        if (c->want < 0)
            CHECK(str_contains(str_c(err.text), S("there is spiffe://td/ns/x/callee")), "%s",
                  err.text);
        else if (h2) /* h1 gives a kept connection up for one that it must not use */
            CHECK_EQ(reused, c->reused, "%s", c->wanted);
    }
    harness_client_free(client);
    CHECK_EQ(harness_close(server, SEC(1)), 0);
    tls_context_unref(server_tls);
    tls_context_unref(client_tls);
    cert_done(&them);
    cert_done(&us);
}

TEST_LOOP(server_must_be_whom_the_call_is_for)
{
    calls_by_identity(false);
    calls_by_identity(true);
}

TEST_LOOP(nobody_is_somebody_without_a_certificate)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct http_server *server =
            harness_open(echo, NULL, &(struct http_server_config){ .h2 = true });
        struct http_client *client = http_client_new(&(struct http_client_config){ .h2 = h2 });
        struct error err = { 0 };
        bool reused;
        CHECK_EQ(get_from(client, http_server_address(server), "/ns/x/callee", &reused, &err),
                 -UNAVAILABLE);
        CHECK(str_contains(str_c(err.text), S("nobody's")), "%s", err.text);
        harness_client_free(client);
        CHECK_EQ(harness_close(server, SEC(1)), 0);
    }
}
