#include "loop/tls.h"

#include "serve.h"
#include "test/certs.h"

#include <pthread.h>

/* Both ends are ours; test_tls_peer.c has OpenSSL itself at the other end. */

static struct {
    struct cert ca, other_ca, server, client;
} pki;

static void make_pki(void)
{
    if (pki.ca.x509)
        return;
    pki.ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
    pki.other_ca = cert_make(&(struct cert_spec){ .name = "other", .ca = true }, NULL);
    pki.server = cert_make(&(struct cert_spec){ .name = "server",
                                                .alternative = "DNS:localhost,DNS:*.example.test,"
                                                               "IP:127.0.0.1,IP:::1" },
                           &pki.ca);
    pki.client = cert_make(&(struct cert_spec){ .name = "client" }, &pki.ca);
}

__attribute__((destructor)) static void drop_pki(void)
{
    cert_done(&pki.ca);
    cert_done(&pki.other_ca);
    cert_done(&pki.server);
    cert_done(&pki.client);
}

static struct tls_context *context(const struct tls_options *o)
{
    struct tls_context *c = NULL;
    struct error err = { 0 };
    REQUIRE(tls_context_new(o, &c, &err) == 0, "%s", err.text);
    return c;
}

static struct tls_context *client_context(void)
{
    make_pki();
    return context(&(struct tls_options){ .ca = pki.ca.pem });
}

/* ---- a TLS server ---- */

static struct tls_context *server_tls;
static void (*serve_inside)(struct stream *s);
static _Atomic int accepted; /* what stream_accept_tls() returned last */
static char accept_failure[512];
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER; /* workers accept side by side */

static void accept_and_serve(struct stream *s)
{
    struct error err = { 0 };
    int r = stream_accept_tls(s, server_tls, &err);
    pthread_mutex_lock(&failure_lock);
    memcpy(accept_failure, err.text, sizeof accept_failure);
    pthread_mutex_unlock(&failure_lock);
    atomic_store(&accepted, r);
    if (r == 0)
        serve_inside(s);
}

static void tls_serve(struct server *server, const char *address, void (*serve)(struct stream *),
                      const struct tls_options *options)
{
    make_pki();
    struct tls_options o = options ? *options : (struct tls_options){ 0 };
    o.server = true;
    if (!o.certificate.n) {
        o.certificate = pki.server.pem;
        o.key = pki.server.key_pem;
    }
    server_tls = context(&o);
    serve_inside = serve;
    serve_start(server, address, accept_and_serve);
}

static void tls_stop(struct server *server)
{
    serve_stop(server);
    tls_context_unref(TAKE(server_tls));
}

static struct stream *tls_dial(const struct server *server, struct tls_context *c)
{
    struct stream *s = NULL;
    struct error err = { 0 };
    REQUIRE(stream_dial_tls(listener_address(server->listener), c, NULL, &s, &err) == 0, "%s",
            err.text);
    return s;
}

static void echo(struct stream *s)
{
    char p[16384];
    for (ssize_t n; (n = stream_read(s, p, sizeof p)) > 0;)
        if (stream_write(s, str_of(p, (size_t)n)) < 0)
            return;
}

static void check_echo(struct stream *s, str text)
{
    char got[64];
    CHECK_OK(stream_write(s, text));
    CHECK(read_all(s, got, text.n));
    CHECK(str_eq(str_of(got, text.n), text));
}

static void echo_at(const char *address)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, address, echo, NULL);
    struct stream *s = tls_dial(&server, c);
    CHECK(stream_peer_verified(s));
    CHECK_STR(stream_alpn(s), "http/1.1");
    for (int i = 0; i < 100; i++)
        check_echo(s, S("hello over tls"));
    CHECK_OK(stream_shutdown(s));
    char c1;
    CHECK_EQ(stream_read(s, &c1, 1), 0, "the peer's close_notify");
    CHECK_EQ(stream_read(s, &c1, 1), 0, "an end stays an end");
    CHECK_EQ(stream_try_read(s, &c1, 1), 0);
    CHECK_EQ(stream_write(s, S("x")), -UNAVAILABLE, "after our own end");
    CHECK(!stream_tls_failure(s));
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(tls_echoes_and_ends)
{
    char address[64];
    unix_address(address, "tls");
    echo_at("127.0.0.1:0");
    echo_at(address);
}

/* ---- who is trusted ---- */

struct trust {
    const char *name;
    str ca;                  /* of the client; none = the test's */
    struct cert_spec server; /* all empty = the usual one */
    const char *server_name; /* NULL = by the address */
    bool insecure, self_signed;
    const char *why; /* NULL = the handshake succeeds */
};

static void check_trust(const struct trust *t)
{
    struct server server;
    bool own = t->server.name;
    struct cert cert =
        own ? cert_make(&t->server, t->self_signed ? NULL : &pki.ca) : (struct cert){ 0 };
    struct tls_context *c = context(
        &(struct tls_options){ .ca = t->ca.n ? t->ca : pki.ca.pem, .insecure = t->insecure });
    tls_serve(&server, "127.0.0.1:0", echo,
              &(struct tls_options){ .certificate = cert.pem, .key = cert.key_pem });
    struct stream *s = NULL;
    struct error err = { 0 };
    int r = stream_dial_tls(listener_address(server.listener), c, t->server_name, &s, &err);
    CHECK_EQ(r, t->why ? -UNAVAILABLE : 0, "%s: %s", t->name, err.text);
    if (t->why)
        CHECK(str_contains(str_c(err.text), str_c(t->why)), "%s: %s", t->name, err.text);
    if (r == 0)
        check_echo(s, S("trusted"));
    if (r == 0)
        CHECK_EQ(stream_peer_verified(s), !t->insecure, "%s", t->name);
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
    cert_done(&cert);
}

TEST_LOOP(trust_goes_by_ca_name_and_time)
{
    make_pki();
    const struct trust row[] = {
        { "by address" },
        { "by name", .server_name = "localhost" },
        { "by wildcard", .server_name = "a.example.test" },
        { "address of v6", .server_name = "::1" },
        { "wildcard covers one label", .server_name = "a.b.example.test", .why = "hostname" },
        { "other name", .server_name = "example.org", .why = "hostname mismatch" },
        { "other address", .server_name = "127.0.0.2", .why = "IP address mismatch" },
        { "unknown CA", .ca = pki.other_ca.pem, .why = "unable to get" },
        { "no name at all", .server_name = "localhost", .server = { "localhost" }, .why = "host" },
        { "expired", .server = { "s", "IP:127.0.0.1", .from_days = -9, .to_days = -1 },
          .why = "expired" },
        { "early", .server = { "s", "IP:127.0.0.1", .from_days = 1, .to_days = 9 },
          .why = "not yet valid" },
        { "self-signed", .server = { "s", "IP:127.0.0.1" }, .self_signed = true,
          .why = "self-signed certificate" },
        { "insecure takes a wrong name", .server_name = "example.org", .insecure = true },
        { "insecure takes an unknown CA", .ca = pki.other_ca.pem, .insecure = true },
        { "insecure takes an expired one", .server = { "s", .from_days = -9, .to_days = -1 },
          .insecure = true },
    };
    EACH (row, t)
        check_trust(t);
}

TEST_LOOP(one_of_the_ca_file_that_is_no_root_is_trusted_too)
{
    make_pki();
    struct server server;
    struct tls_context *c = context(&(struct tls_options){ .ca = pki.server.pem });
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    struct stream *s = tls_dial(&server, c);
    check_echo(s, S("pinned"));
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(chain_through_an_intermediate_is_sent_and_verified)
{
    make_pki();
    struct cert middle = cert_make(&(struct cert_spec){ .name = "middle", .ca = true }, &pki.ca);
    struct cert leaf =
        cert_make(&(struct cert_spec){ .name = "leaf", .alternative = "IP:127.0.0.1" }, &middle);
    char chain[8192];
    int n = snprintf(chain, sizeof chain, STR_FMT STR_FMT, STR_ARG(leaf.pem), STR_ARG(middle.pem));
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(
        &server, "127.0.0.1:0", echo,
        &(struct tls_options){ .certificate = str_of(chain, (size_t)n), .key = leaf.key_pem });
    struct stream *s = tls_dial(&server, c);
    check_echo(s, S("chained"));
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
    cert_done(&leaf);
    cert_done(&middle);
}

TEST_LOOP(client_shows_its_certificate_when_asked)
{
    make_pki();
    static const struct {
        const char *name;
        enum tls_client_auth auth;
        bool shows, ok;
    } row[] = {
        { "not asked", TLS_CLIENT_ANY, true, true },
        { "asked, none", TLS_CLIENT_MAY, false, true },
        { "asked, shown", TLS_CLIENT_MAY, true, true },
        { "demanded, shown", TLS_CLIENT_MUST, true, true },
        { "demanded, none", TLS_CLIENT_MUST, false, false },
    };
    EACH (row, t) {
        struct server server;
        struct tls_options o = { .ca = pki.ca.pem };
        if (t->shows) {
            o.certificate = pki.client.pem;
            o.key = pki.client.key_pem;
        }
        struct tls_context *c = context(&o);
        tls_serve(&server, "127.0.0.1:0", echo,
                  &(struct tls_options){ .ca = pki.ca.pem, .client_auth = t->auth });
        struct stream *s = tls_dial(&server, c); /* TLS 1.3: the server's no comes later */
        char got = 0;
        if (t->ok)
            check_echo(s, S("known"));
        else
            CHECK_EQ(stream_read(s, &got, 1), -UNAVAILABLE, "%s", t->name);
        if (!t->ok)
            CHECK(str_contains(str_c(stream_tls_failure(s)), S("certificate required")), "%s",
                  stream_tls_failure(s));
        stream_close(s);
        tls_stop(&server);
        CHECK_EQ(atomic_load(&accepted), t->ok ? 0 : -UNAVAILABLE, "%s", t->name);
        tls_context_unref(c);
    }
    CHECK(str_contains(str_c(accept_failure), S("did not return a certificate")), "%s",
          accept_failure);
}

TEST_LOOP(alpn_is_agreed_on_or_refused)
{
    static const struct {
        const char *name;
        bool client_h2, client_none, server_h2, server_none;
        const char *agreed; /* NULL: the handshake fails */
    } row[] = {
        { "both h1", .agreed = "http/1.1" },
        { "both h2", .client_h2 = true, .server_h2 = true, .agreed = "h2" },
        { "server knows both", .server_h2 = true, .agreed = "http/1.1" },
        { "server knows h1 only", .client_h2 = true, .agreed = NULL },
        { "client offers none", .client_none = true, .server_h2 = true, .agreed = "" },
        { "server doesn't answer", .client_h2 = true, .server_none = true, .agreed = "" },
    };
    make_pki();
    EACH (row, t) {
        struct server server;
        struct tls_context *c = context(&(struct tls_options){
            .ca = pki.ca.pem, .h2 = t->client_h2, .no_alpn = t->client_none });
        tls_serve(&server, "127.0.0.1:0", echo,
                  &(struct tls_options){ .h2 = t->server_h2, .no_alpn = t->server_none });
        struct stream *s = NULL;
        struct error err = { 0 };
        int r = stream_dial_tls(listener_address(server.listener), c, NULL, &s, &err);
        CHECK_EQ(r, t->agreed ? 0 : -UNAVAILABLE, "%s: %s", t->name, err.text);
        if (r == 0)
            CHECK_STR(stream_alpn(s), t->agreed, "%s", t->name);
        else
            CHECK(str_contains(str_c(err.text), S("application protocol")), "%s", err.text);
        stream_close(s);
        tls_stop(&server);
        tls_context_unref(c);
    }
}

/* ---- data ---- */

static atomic_bool go_on;

static void wait_until(atomic_bool *flag)
{
    DEADLINE(SEC(20));
    while (!atomic_load(flag) && fiber_sleep(MS(1)) == 0)
        ;
    CHECK(atomic_load(flag));
}

enum { BIG = 16 << 20 };

static char pattern(size_t i)
{
    return (char)(i * 31 + (i >> 12));
}

/* Vectors of uneven parts: less than a record, more than one, none. */
static void send_pattern(struct stream *s)
{
    char *p = mem_alloc(65536);
    REQUIRE(p);
    for (size_t at = 0; at < BIG; at += 65536) {
        for (size_t i = 0; i < 65536; i++)
            p[i] = pattern(at + i);
        struct iovec iov[] = {
            { p, 1 }, { p + 1, 0 }, { p + 1, 40000 }, { p + 40001, 25535 }, { NULL, 0 }
        };
        if (!CHECK_OK(stream_writev(s, iov, COUNT(iov))))
            break;
    }
    mem_free(p);
}

static size_t receive_pattern(struct stream *s, size_t total, size_t piece)
{
    char *p = mem_alloc(piece);
    REQUIRE(p);
    size_t at = 0, wrong = 0;
    for (ssize_t n; at < total && (n = stream_read(s, p, min_size(piece, total - at))) > 0;
         at += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            wrong += p[i] != pattern(at + (size_t)i);
    CHECK_EQ(wrong, 0);
    mem_free(p);
    return at;
}

struct sender {
    struct stream *s;
    struct wait_group *g;
};

static void send_in_fiber(void *arg)
{
    struct sender *sender = arg;
    send_pattern(sender->s);
    wait_group_done(sender->g);
}

TEST_LOOP(both_directions_flow_at_once)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    struct stream *s = tls_dial(&server, c);
    struct wait_group g;
    wait_group_init(&g);
    wait_group_add(&g);
    struct sender sender = { s, &g };
    REQUIRE(fiber_spawn("sender", send_in_fiber, &sender));
    CHECK_EQ(receive_pattern(s, BIG, 30000), BIG);
    CHECK_OK(wait_group_wait(&g));
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(slow_reader_with_a_tiny_buffer_loses_nothing)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", send_pattern, NULL);
    struct stream *s = tls_dial(&server, c);
    CHECK_EQ(receive_pattern(s, 300000, 1), 300000);
    char *rest = mem_alloc(1 << 20);
    REQUIRE(rest);
    size_t n = 300000;
    for (ssize_t got; (got = stream_read(s, rest, 1 << 20)) > 0;)
        n += (size_t)got;
    CHECK_EQ(n, BIG, "all of it, then the end");
    mem_free(rest);
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

/* As HTTP/2 does: what a try doesn't take is offered again. */
static void try_to_send(struct stream *s)
{
    char *p = mem_alloc(BIG);
    REQUIRE(p);
    for (size_t i = 0; i < BIG; i++)
        p[i] = pattern(i);
    size_t at = 0;
    while (at < BIG) {
        struct iovec iov[] = { { p + at, BIG - at } };
        ssize_t n = stream_try_writev(s, iov, 1);
        if (!CHECK(n >= 0))
            break;
        at += (size_t)n;
        if (n)
            continue;
        atomic_store(&go_on, true); /* full: now it is read */
        (void)fiber_sleep(MS(1));
    }
    mem_free(p);
}

TEST_LOOP(tries_to_write_count_what_the_socket_took)
{
    struct server server;
    struct tls_context *c = client_context();
    atomic_store(&go_on, false);
    tls_serve(&server, "127.0.0.1:0", try_to_send, NULL);
    struct stream *s = tls_dial(&server, c);
    wait_until(&go_on);
    CHECK_EQ(receive_pattern(s, BIG, 50000), BIG);
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

static void ignore(struct stream *s) /* reads nothing until told to end */
{
    (void)s;
    wait_until(&go_on);
}

TEST_LOOP(write_to_one_that_does_not_read_ends_at_the_deadline)
{
    struct server server;
    struct tls_context *c = client_context();
    atomic_store(&go_on, false);
    tls_serve(&server, "127.0.0.1:0", ignore, NULL);
    struct stream *s = tls_dial(&server, c);
    char *p = mem_zalloc(BIG);
    REQUIRE(p);
    DEADLINE(MS(30));
    CHECK_EQ(stream_write(s, str_of(p, BIG)), -TIMEOUT);
    mem_free(p);
    stream_close(s); /* with output that nobody took */
    SHIELD();
    atomic_store(&go_on, true);
    tls_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(read_ends_at_the_deadline_and_can_go_on)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    struct stream *s = tls_dial(&server, c);
    char c1;
    {
        DEADLINE(MS(20));
        CHECK_EQ(stream_read(s, &c1, 1), -TIMEOUT);
    }
    check_echo(s, S("still good"));
    CHECK_EQ(stream_try_read(s, &c1, 1), -ABORTED);
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

static void say_and_reset(struct stream *s)
{
    char c;
    CHECK_EQ(stream_read(s, &c, 1), 1);
    CHECK_OK(stream_write(s, S("half an answ")));
    wait_until(&go_on); /* a reset would take unread data with it */
    stream_reset(s);
}

static void on_accept_raw(void *arg, struct stream *s);

TEST_LOOP(reset_is_a_failure_not_an_end)
{
    /* the stream is closed by the peer's fiber itself, so serve.h doesn't fit */
    struct listener *l;
    struct error err = { 0 };
    struct tls_context *c = client_context();
    server_tls = context(&(struct tls_options){
        .server = true, .certificate = pki.server.pem, .key = pki.server.key_pem });
    REQUIRE(listener_open("127.0.0.1:0", on_accept_raw, say_and_reset, &l, &err) == 0);
    struct stream *s = NULL;
    atomic_store(&go_on, false);
    REQUIRE(stream_dial_tls(listener_address(l), c, NULL, &s, &err) == 0, "%s", err.text);
    CHECK_OK(stream_write(s, S("?")));
    char got[12];
    CHECK(read_all(s, got, sizeof got));
    atomic_store(&go_on, true);
    CHECK_EQ(stream_read(s, got, 1), -UNAVAILABLE);
    CHECK_EQ(stream_read(s, got, 1), -UNAVAILABLE, "it stays one");
    CHECK_EQ(stream_write(s, S("x")), -UNAVAILABLE);
    stream_close(s);
    listener_close(l);
    tls_context_unref(TAKE(server_tls));
    tls_context_unref(c);
}

struct raw_serve {
    struct stream *s;
    void (*fn)(struct stream *s);
};

static void serve_raw(void *arg)
{
    struct raw_serve *r = arg;
    struct stream *s = r->s;
    void (*fn)(struct stream *) = r->fn;
    mem_free(r);
    if (CHECK_OK(stream_accept_tls(s, server_tls, NULL)))
        fn(s);
    else
        stream_close(s);
}

static void on_accept_raw(void *arg, struct stream *s)
{
    struct raw_serve *r = mem_alloc(sizeof *r);
    REQUIRE(r);
    *r = (struct raw_serve){ s, arg };
    REQUIRE(fiber_spawn("raw", serve_raw, r));
}

/* ---- idle mode ---- */

struct idle {
    struct fiber *waiter;
    int n_readable, n_timed_out;
};

static void on_idle_event(void *arg, bool timed_out)
{
    struct idle *idle = arg;
    CHECK(!fiber_self());
    idle->n_readable += !timed_out;
    idle->n_timed_out += timed_out;
    (void)fiber_wake(idle->waiter, 0);
}

TEST_LOOP(plaintext_in_our_hands_makes_an_idle_stream_readable)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    struct stream *s = tls_dial(&server, c);
    struct idle idle = { .waiter = fiber_self() };
    DEADLINE(SEC(20));
    CHECK_OK(stream_write(s, S("0123456789")));
    char got[10];
    CHECK_EQ(stream_read(s, got, 4), 4); /* six are left, decrypted, none in the socket */
    for (int i = 1; i <= 3; i++) {
        stream_on_readable(s, SEC(60), on_idle_event, &idle);
        CHECK_EQ(idle.n_readable, i - 1, "never from inside the call");
        CHECK_OK(fiber_park());
        CHECK_EQ(idle.n_readable, i);
        CHECK(!stream_off_readable(s), "it has fired");
        CHECK_EQ(stream_try_read(s, got, 2), 2, "round %d", i);
    }
    CHECK_EQ(stream_try_read(s, got, 1), -ABORTED);
    stream_on_readable(s, MS(20), on_idle_event, &idle);
    CHECK_OK(fiber_park());
    CHECK_EQ(idle.n_readable, 3);
    CHECK_EQ(idle.n_timed_out, 1);
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK(stream_off_readable(s));
    CHECK_OK(stream_write(s, S("ab")));
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK_OK(fiber_park());
    CHECK_EQ(stream_try_read(s, got, 10), 2);
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

static void say_bye(struct stream *s)
{
    (void)stream_write(s, S("bye"));
}

TEST_LOOP(idle_stream_tells_when_the_peer_has_gone)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", say_bye, NULL);
    struct stream *s = tls_dial(&server, c);
    struct idle idle = { .waiter = fiber_self() };
    DEADLINE(SEC(20));
    char got[8];
    CHECK(read_all(s, got, 3));
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK_OK(fiber_park());
    CHECK_EQ(idle.n_readable, 1);
    CHECK_EQ(stream_try_read(s, got, sizeof got), 0);
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK_OK(fiber_park(), "an end is told again, like that of a plain stream");
    stream_close(s);
    tls_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(closing_while_plaintext_waits_is_fine)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", say_bye, NULL);
    struct stream *s = tls_dial(&server, c);
    struct idle idle = { .waiter = fiber_self() };
    char got;
    CHECK_EQ(stream_read(s, &got, 1), 1);
    stream_on_readable(s, 0, on_idle_event, &idle); /* due, and never told */
    stream_close(s);
    CHECK_OK(fiber_sleep(MS(5)));
    CHECK_EQ(idle.n_readable, 0);
    tls_stop(&server);
    tls_context_unref(c);
}

/* ---- handshakes that don't come to an end ---- */

static void say_nothing(struct stream *s)
{
    char p[4096];
    while (stream_read(s, p, sizeof p) > 0) {}
}

static void hear_and_close(struct stream *s)
{
    char p[4096];
    (void)!stream_read(s, p, sizeof p);
}

static void answer_in_plain(struct stream *s)
{
    hear_and_close(s);
    (void)stream_write(s, S("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
}

static void dial_nonsense(void (*serve)(struct stream *), uint64_t limit_ns, int want,
                          const char *why)
{
    struct server server;
    struct tls_context *c = client_context();
    serve_start(&server, "127.0.0.1:0", serve);
    struct error err = { 0 };
    struct stream *s = NULL;
    {
        DEADLINE(limit_ns);
        CHECK_EQ(stream_dial_tls(listener_address(server.listener), c, NULL, &s, &err), want);
    }
    CHECK(!s);
    CHECK(str_contains(str_c(err.text), str_c(why)), "%s", err.text);
    CHECK(str_contains(str_c(err.text), str_c(listener_address(server.listener))), "%s", err.text);
    serve_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(handshake_that_fails_says_why)
{
    dial_nonsense(say_nothing, MS(50), -TIMEOUT, "no answer in time");
    dial_nonsense(hear_and_close, SEC(20), -UNAVAILABLE, "cut or lost");
    dial_nonsense(answer_in_plain, SEC(20), -UNAVAILABLE, "wrong version number");
}

static void cancel_me(void *arg)
{
    fiber_cancel(arg);
}

struct dialler {
    const char *address;
    struct tls_context *c;
    struct wait_group *g;
    int result;
};

static void dial_in_fiber(void *arg)
{
    struct dialler *d = arg;
    struct stream *s;
    struct loop_timer *t = loop_timer_start(MS(5), 0, cancel_me, fiber_self());
    d->result = stream_dial_tls(d->address, d->c, NULL, &s, NULL);
    loop_timer_stop(t);
    wait_group_done(d->g);
}

TEST_LOOP(handshake_can_be_cancelled)
{
    struct server server;
    struct tls_context *c = client_context();
    serve_start(&server, "127.0.0.1:0", say_nothing);
    struct wait_group g;
    wait_group_init(&g);
    wait_group_add(&g);
    struct dialler d = { listener_address(server.listener), c, &g, 0 };
    REQUIRE(fiber_spawn("dialler", dial_in_fiber, &d));
    CHECK_OK(wait_group_wait(&g));
    CHECK_EQ(d.result, -CANCELLED);
    serve_stop(&server);
    tls_context_unref(c);
}

TEST_LOOP(server_survives_a_client_that_leaves_or_babbles)
{
    struct server server;
    static const char *const text[] = { "", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n",
                                        "\x16\x03\x01\xff\xff\xff\xff\xff\xff\xff\xff" };
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    EACH (text, t) {
        struct stream *s = dial_server(&server);
        if (**t)
            CHECK_OK(stream_write(s, str_c(*t)));
        CHECK_OK(stream_shutdown(s));
        char got[64];
        while (stream_read(s, got, sizeof got) > 0) {}
        stream_close(s);
        CHECK_EQ(atomic_load(&accepted), -UNAVAILABLE, "%s", accept_failure);
    }
    tls_stop(&server);
}

TEST_LOOP(handshake_survives_each_failing_allocation)
{
    struct server server;
    struct tls_context *c = client_context();
    tls_serve(&server, "127.0.0.1:0", echo, NULL);
    for (size_t n = 1; n <= 20; n++) {
        struct stream *s = NULL;
        struct error err = { 0 };
        mem_fail_at(n);
        int r = stream_dial_tls(listener_address(server.listener), c, NULL, &s, &err);
        mem_fail_at(0);
        CHECK(r == 0 || r == -EXHAUSTED || r == -UNAVAILABLE, "allocation %zu: %d %s", n, r,
              err.text);
        if (r == 0 && stream_write(s, S("x")) == 0) {
            char got;
            (void)!stream_read(s, &got, 1); /* the server's side may have failed */
        }
        stream_close(s);
        CHECK_OK(fiber_sleep(MS(1)));
    }
    tls_stop(&server);
    tls_context_unref(c);
}
