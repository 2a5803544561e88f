#include "loop/tls.h"

#include "base/mem.h"
#include "serve.h"
#include "test/certs.h"

#include <time.h>

/* Workloads that know each other by the URI of their certificates, and contexts that are renewed.
 */

static struct cert ca, other_ca;

static struct cert leaf(const char *alternative, const struct cert *by)
{
    return cert_make(&(struct cert_spec){ .name = "w", .alternative = alternative }, by);
}

static void make_pki(void)
{
    if (ca.x509)
        return;
    ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
    other_ca = cert_make(&(struct cert_spec){ .name = "other", .ca = true }, NULL);
}

__attribute__((destructor)) static void drop_pki(void)
{
    cert_done(&ca);
    cert_done(&other_ca);
}

static struct tls_options options(bool server, const struct cert *own)
{
    return (struct tls_options){ .server = server,
                                 .spiffe = true,
                                 .client_auth = server ? TLS_CLIENT_MUST : TLS_CLIENT_ANY,
                                 .ca = ca.pem,
                                 .certificate = own ? own->pem : (str){ 0 },
                                 .key = own ? own->key_pem : (str){ 0 } };
}

static struct tls_context *context(const struct tls_options *o)
{
    struct tls_context *c = NULL;
    struct error err = { 0 };
    REQUIRE(tls_context_new(o, &c, &err) == 0, "%s", err.text);
    return c;
}

/* ---- a server that says who calls ---- */

static struct tls_context *server_tls;

static void say_who(struct stream *s)
{
    char c;
    if (stream_accept_tls(s, server_tls, NULL) < 0)
        return;
    while (stream_read(s, &c, 1) == 1 && stream_write(s, stream_peer_id(s)) == 0 &&
           stream_write(s, S("\n")) == 0)
        ;
}

/* What the server calls the one who asks; .p NULL: it doesn't answer. */
static str ask(struct stream *s, char ret[100])
{
    size_t n = 0;
    if (stream_write(s, S("?")) < 0)
        return (str){ 0 };
    while (n < 100 && stream_read(s, ret + n, 1) == 1 && ret[n] != '\n')
        n++;
    return n ? str_of(ret, n) : (str){ 0 };
}

static int dial(const struct server *server, struct tls_context *c, struct stream **ret,
                struct error *err)
{
    return stream_dial_tls(listener_address(server->listener), c, NULL, ret, err);
}

TEST_LOOP(both_sides_know_each_other_by_their_uri)
{
    struct server server;
    struct stream *s = NULL;
    char text[100];
    make_pki();
    struct cert a = leaf("URI:spiffe://td/ns/x/a", &ca);
    struct cert b = leaf("URI:spiffe://td/ns/x/b,DNS:not.the.name", &ca);
    struct tls_options sides[] = { options(false, &a), options(true, &b) };
    struct tls_context *c = context(&sides[0]);
    server_tls = context(&sides[1]);
    serve_start(&server, "127.0.0.1:0", say_who);
    REQUIRE(dial(&server, c, &s, NULL) == 0);
    CHECK_STR(stream_peer_id(s), "spiffe://td/ns/x/b");
    CHECK_STR(ask(s, text), "spiffe://td/ns/x/a");
    stream_close(s);
    serve_stop(&server);
    tls_context_unref(c);
    tls_context_unref(TAKE(server_tls));
    cert_done(&a);
    cert_done(&b);
}

struct stranger {
    const char *name, *alternative;
    bool ca, other;
    const char *why; /* the client's words of such a server */
};

/* As a server it is refused in the handshake; as a client it gets no answer. */
static void check_stranger(const struct stranger *c)
{
    struct server server;
    struct stream *s = NULL;
    struct error err = { 0 };
    char text[100];
    struct cert good = leaf("URI:spiffe://td/good", &ca);
    struct cert bad =
        cert_make(&(struct cert_spec){ .name = "w", .alternative = c->alternative, .ca = c->ca },
                  c->other ? &other_ca : &ca);
    struct tls_options o = options(true, &bad);
    server_tls = context(&o);
    o = options(false, &good);
    struct tls_context *client = context(&o);
    serve_start(&server, "127.0.0.1:0", say_who);
    CHECK_EQ(dial(&server, client, &s, &err), -UNAVAILABLE, "%s", c->name);
    CHECK(!s && str_contains(str_c(err.text), str_c(c->why)), "%s: %s", c->name, err.text);
    serve_stop(&server);
    tls_context_unref(client);
    tls_context_unref(server_tls);
    o = options(true, &good);
    server_tls = context(&o);
    o = options(false, &bad);
    client = context(&o);
    serve_start(&server, "127.0.0.1:0", say_who);
    if (dial(&server, client, &s, NULL) == 0) { /* TLS 1.3 says it only then */
        CHECK(!ask(s, text).p, "%s", c->name);
        stream_close(s);
    }
    serve_stop(&server);
    tls_context_unref(client);
    tls_context_unref(TAKE(server_tls));
    cert_done(&good);
    cert_done(&bad);
}

TEST_LOOP(strangers_are_refused_on_either_side)
{
    static const struct stranger row[] = {
        { "another CA's", "URI:spiffe://td/a", .other = true, .why = "local issuer" },
        { "no URI", "DNS:localhost,IP:127.0.0.1", .why = "exactly one URI" },
        { "no names at all", NULL, .why = "exactly one URI" },
        { "two", "URI:spiffe://td/a,URI:spiffe://td/b", .why = "exactly one URI" },
        { "a CA", "URI:spiffe://td/a", .ca = true, .why = "CA's certificate" },
    };
    make_pki();
    EACH (row, c)
        check_stranger(c);
}

TEST_LOOP(renewed_context_is_seen_by_new_streams_alone)
{
    struct server server;
    struct stream *old = NULL, *s = NULL;
    char text[100];
    make_pki();
    struct cert a1 = leaf("URI:spiffe://td/a1", &ca), a2 = leaf("URI:spiffe://td/a2", &ca);
    struct cert b1 = leaf("URI:spiffe://td/b1", &ca), b2 = leaf("URI:spiffe://td/b2", &ca);
    struct tls_options client = options(false, &a1), serving = options(true, &b1);
    struct tls_context *c = context(&client);
    server_tls = context(&serving);
    serve_start(&server, "127.0.0.1:0", say_who);
    REQUIRE(dial(&server, c, &old, NULL) == 0);
    CHECK_STR(ask(old, text), "spiffe://td/a1");
    client = options(false, &a2);
    serving = options(true, &b2);
    CHECK_OK(tls_context_renew(c, &client, NULL));
    CHECK_OK(tls_context_renew(server_tls, &serving, NULL));
    CHECK_STR(ask(old, text), "spiffe://td/a1");
    CHECK_STR(stream_peer_id(old), "spiffe://td/b1");
    REQUIRE(dial(&server, c, &s, NULL) == 0);
    CHECK_STR(ask(s, text), "spiffe://td/a2");
    CHECK_STR(stream_peer_id(s), "spiffe://td/b2");
    stream_close(s);
    client.key = b1.key_pem; /* not its own: all stays as it is */
    CHECK_EQ(tls_context_renew(c, &client, NULL), -INVALID);
    REQUIRE(dial(&server, c, &s, NULL) == 0);
    CHECK_STR(ask(s, text), "spiffe://td/a2");
    stream_close(s);
    stream_close(old);
    serve_stop(&server);
    tls_context_unref(c);
    tls_context_unref(TAKE(server_tls));
    struct cert *all[] = { &a1, &a2, &b1, &b2 };
    EACH (all, x)
        cert_done(*x);
}

/* ---- certificates as text ---- */

TEST(workloads_need_somebody_to_trust)
{
    struct tls_context *c = NULL;
    struct error err = { 0 };
    CHECK_EQ(tls_context_new(&(struct tls_options){ .spiffe = true }, &c, &err), -INVALID);
    CHECK(!c && str_contains(str_c(err.text), S("CA certificate is needed")), "%s", err.text);
}

TEST(certificate_says_for_whom_and_how_long)
{
    struct arena a;
    struct tls_certificate c;
    arena_init(&a, KIB(64));
    make_pki();
    struct cert w = leaf("URI:spiffe://td/a,DNS:x", &ca);
    int64_t now = time(NULL);
    REQUIRE(tls_certificate_read(w.pem, &a, &c, NULL) == 0);
    CHECK_STR(c.id, "spiffe://td/a");
    CHECK(c.from_s <= now - 3600 && c.from_s > now - 4200);
    CHECK(c.until_s > now + 86400 - 600 && c.until_s <= now + 86400);
    cert_done(&w);
    arena_done(&a);
}

TEST(certificate_that_cannot_be_a_workloads_is_refused)
{
    make_pki();
    struct cert plain = leaf("DNS:x", &ca);
    const struct {
        const char *name;
        str pem;
        const char *why;
    } row[] = {
        { "no PEM", S("hello"), "can't be read" },
        { "nothing", S(""), "can't be read" },
        { "a key", plain.key_pem, "can't be read" },
        { "broken", S("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
          "can't be read" },
        { "a CA's", ca.pem, "CA's certificate" },
        { "a host's", plain.pem, "exactly one URI" },
    };
    EACH (row, t) {
        struct arena a;
        struct error err = { 0 };
        struct tls_certificate c = { .until_s = 42 };
        arena_init(&a, KIB(64));
        CHECK_EQ(tls_certificate_read(t->pem, &a, &c, &err), -INVALID, "%s", t->name);
        CHECK(str_contains(str_c(err.text), str_c(t->why)), "%s: %s", t->name, err.text);
        CHECK_EQ(c.until_s, 42);
        arena_done(&a);
    }
    cert_done(&plain);
}

TEST(without_memory_no_certificate_is_read)
{
    make_pki();
    struct cert w = leaf("URI:spiffe://td/a", &ca);
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        struct tls_certificate c;
        arena_init(&a, KIB(64));
        int r = tls_certificate_read(w.pem, &a, &c, NULL);
        CHECK(test_alloc_failed(n) ? r < 0 : r == 0);
        arena_done(&a);
    }
    cert_done(&w);
}
