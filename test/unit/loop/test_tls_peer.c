#include "loop/tls.h"

#include "serve.h"
#include "test/certs.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

/* OpenSSL itself at the other end, on a thread that blocks: what a peer of ours never does. */

struct peer {
    void (*talk)(struct peer *p);
    int version, listening, fd;
    SSL *ssl;
    char address[64];
    pthread_t thread;
    atomic_int step; /* what the test has told it to do; see wait_step() */
};

static struct cert ca, leaf;

static SSL_CTX *peer_context(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    REQUIRE(ctx && SSL_CTX_use_certificate(ctx, leaf.x509) &&
            SSL_CTX_use_PrivateKey(ctx, leaf.pkey));
    if (version) {
        SSL_CTX_set_min_proto_version(ctx, version);
        SSL_CTX_set_max_proto_version(ctx, version);
    }
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    return ctx;
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    SSL_CTX *ctx = peer_context(p->version);
    p->fd = accept4(p->listening, NULL, NULL, SOCK_CLOEXEC);
    p->ssl = SSL_new(ctx);
    REQUIRE(p->fd >= 0 && p->ssl);
    SSL_set_fd(p->ssl, p->fd);
    if (SSL_accept(p->ssl) == 1)
        p->talk(p);
    SSL_free(p->ssl);
    SSL_CTX_free(ctx);
    close(p->fd);
    close(p->listening);
    return NULL;
}

static void peer_start(struct peer *p, int version, void (*talk)(struct peer *))
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    if (!ca.x509) {
        ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
        leaf = cert_make(&(struct cert_spec){ .name = "s", .alternative = "IP:127.0.0.1" }, &ca);
    }
    *p = (struct peer){ .talk = talk, .version = version };
    p->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(p->listening >= 0 && bind(p->listening, (struct sockaddr *)&at, n) == 0 &&
            listen(p->listening, 1) == 0 &&
            getsockname(p->listening, (struct sockaddr *)&at, &n) == 0);
    snprintf(p->address, sizeof p->address, "127.0.0.1:%u", ntohs(at.sin_port));
    REQUIRE(pthread_create(&p->thread, NULL, peer_main, p) == 0);
}

__attribute__((destructor)) static void drop_certs(void)
{
    cert_done(&ca);
    cert_done(&leaf);
}

static void join(void *arg)
{
    REQUIRE(pthread_join(*(pthread_t *)arg, NULL) == 0);
}

static void peer_end(struct peer *p)
{
    REQUIRE(blocking(join, &p->thread) == 0);
}

/* On the peer's thread: until the test has come this far. */
static void wait_step(struct peer *p, int step)
{
    struct timespec pause = { .tv_nsec = MS(1) };
    for (int i = 0; atomic_load(&p->step) < step && i < 20000; i++)
        nanosleep(&pause, NULL);
}

static struct stream *dial_peer(struct peer *p, enum tls_renegotiation renegotiation)
{
    struct tls_context *c;
    struct stream *s;
    struct error err = { 0 };
    struct tls_options o = { .ca = ca.pem, .renegotiation = renegotiation };
    REQUIRE(tls_context_new(&o, &c, &err) == 0, "%s", err.text);
    REQUIRE(stream_dial_tls(p->address, c, NULL, &s, &err) == 0, "%s", err.text);
    tls_context_unref(c); /* the stream has its own reference */
    return s;
}

static void put(SSL *ssl, const char *text)
{
    CHECK_EQ(SSL_write(ssl, text, (int)strlen(text)), (int)strlen(text));
}

static void expect(struct stream *s, const char *text)
{
    char got[64] = "";
    CHECK(read_all(s, got, strlen(text)));
    CHECK_TEXT(got, text);
}

/* ---- ends ---- */

static void cut(struct peer *p)
{
    put(p->ssl, "half an answ");
}

static void close_notify(struct peer *p)
{
    put(p->ssl, "half an answ");
    CHECK(SSL_shutdown(p->ssl) >= 0);
    char c;
    (void)!SSL_read(p->ssl, &c, 1);
}

TEST_LOOP(an_end_without_close_notify_is_a_failure)
{
    struct peer p;
    char c;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        peer_start(&p, version, cut);
        struct stream *s = dial_peer(&p, TLS_RENEGOTIATE_NEVER);
        expect(s, "half an answ");
        CHECK_EQ(stream_read(s, &c, 1), -UNAVAILABLE);
        CHECK_EQ(stream_read(s, &c, 1), -UNAVAILABLE);
        CHECK(stream_tls_failure(s));
        stream_close(s);
        peer_end(&p);

        peer_start(&p, version, close_notify);
        s = dial_peer(&p, TLS_RENEGOTIATE_NEVER);
        expect(s, "half an answ");
        CHECK_EQ(stream_read(s, &c, 1), 0);
        CHECK(!stream_tls_failure(s));
        CHECK_OK(stream_write(s, S("we may still talk")));
        stream_close(s);
        peer_end(&p);
    }
}

static void talk_nothing(struct peer *p)
{
    (void)p;
}

TEST_LOOP(versions_before_1_2_are_refused)
{
    struct peer p;
    peer_start(&p, TLS1_1_VERSION, talk_nothing);
    struct tls_context *c;
    struct stream *s = NULL;
    struct error err = { 0 };
    CHECK_OK(tls_context_new(&(struct tls_options){ .ca = ca.pem }, &c, &err));
    CHECK_EQ(stream_dial_tls(p.address, c, NULL, &s, &err), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), S("protocol")), "%s", err.text);
    tls_context_unref(c);
    peer_end(&p);
}

/* ---- bytes that are no data ---- */

struct idle {
    struct fiber *waiter;
    int n;
    bool timed_out;
};

static void on_idle_event(void *arg, bool timed_out)
{
    struct idle *idle = arg;
    idle->n++;
    idle->timed_out = timed_out;
    (void)fiber_wake(idle->waiter, 0);
}

static void send_tickets(struct peer *p)
{
    wait_step(p, 1);
    for (int i = 0; i < 3; i++)
        CHECK(SSL_new_session_ticket(p->ssl) && SSL_do_handshake(p->ssl) == 1);
    CHECK(SSL_key_update(p->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) && SSL_do_handshake(p->ssl) == 1);
    wait_step(p, 2);
    put(p->ssl, "data");
    wait_step(p, 3);
}

TEST_LOOP(tickets_and_key_updates_do_not_make_an_idle_stream_readable)
{
    struct peer p;
    peer_start(&p, TLS1_3_VERSION, send_tickets);
    struct stream *s = dial_peer(&p, TLS_RENEGOTIATE_NEVER);
    struct idle idle = { .waiter = fiber_self() };
    char c;
    DEADLINE(SEC(20));
    stream_on_readable(s, MS(100), on_idle_event, &idle);
    atomic_store(&p.step, 1);
    CHECK_OK(fiber_park());
    CHECK(idle.timed_out);
    CHECK_EQ(stream_try_read(s, &c, 1), -ABORTED);
    stream_on_readable(s, 0, on_idle_event, &idle);
    atomic_store(&p.step, 2);
    CHECK_OK(fiber_park());
    CHECK(!idle.timed_out);
    CHECK_EQ(idle.n, 2);
    expect(s, "data");
    atomic_store(&p.step, 3);
    stream_close(s);
    peer_end(&p);
}

/* Two records; the first comes with half of the second, the rest when the test says so. */
static void send_halves(struct peer *p)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *bytes;
    REQUIRE(out);
    SSL_set0_wbio(p->ssl, out);
    put(p->ssl, "one");
    long first = BIO_get_mem_data(out, &bytes);
    put(p->ssl, "two");
    long all = BIO_get_mem_data(out, &bytes), half = first + (all - first) / 2;
    CHECK_EQ(send(p->fd, bytes, (size_t)half, MSG_NOSIGNAL), half);
    wait_step(p, 1);
    CHECK_EQ(send(p->fd, bytes + half, (size_t)(all - half), MSG_NOSIGNAL), all - half);
    wait_step(p, 2);
}

TEST_LOOP(half_a_record_is_not_readable)
{
    struct peer p;
    peer_start(&p, 0, send_halves);
    struct stream *s = dial_peer(&p, TLS_RENEGOTIATE_NEVER);
    struct idle idle = { .waiter = fiber_self() };
    char got[8];
    DEADLINE(SEC(20));
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK_OK(fiber_park());
    CHECK_EQ(stream_try_read(s, got, sizeof got), 3);
    CHECK_EQ(stream_try_read(s, got, sizeof got), -ABORTED);
    stream_on_readable(s, MS(50), on_idle_event, &idle);
    CHECK_OK(fiber_park());
    CHECK(idle.timed_out, "half a record isn't told");
    stream_on_readable(s, 0, on_idle_event, &idle);
    atomic_store(&p.step, 1);
    CHECK_OK(fiber_park());
    CHECK_EQ(idle.n, 3);
    CHECK_EQ(stream_try_read(s, got, sizeof got), 3);
    atomic_store(&p.step, 2);
    stream_close(s);
    peer_end(&p);
}

/* ---- new keys, while data flow both ways ---- */

enum { PIECES = 400, PIECE = 8000 };

/* Each piece is answered by one, and asks for new keys first. */
static void renew(struct peer *p, int (*ask)(SSL *ssl))
{
    char in[PIECE], out[PIECE];
    memset(out, 'o', sizeof out);
    for (int i = 0; i < PIECES; i++) {
        if (!CHECK(ask(p->ssl) == 1, "piece %d", i))
            break;
        if (!CHECK_EQ(SSL_write(p->ssl, out, PIECE), PIECE))
            break;
        for (int n = 0, got; n < PIECE; n += got)
            if (!CHECK((got = SSL_read(p->ssl, in, PIECE - n)) > 0, "piece %d", i))
                return;
    }
}

static int ask_for_keys(SSL *ssl)
{
    return SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) && SSL_do_handshake(ssl) == 1;
}

static void renew_keys(struct peer *p)
{
    renew(p, ask_for_keys);
    wait_step(p, 1); /* closing with our last KeyUpdate unread would reset the connection */
}

struct writer {
    struct stream *s;
    struct wait_group *g;
};

static void write_pieces(void *arg)
{
    struct writer *w = arg;
    static const char piece[PIECE];
    for (int i = 0; i < PIECES; i++)
        if (!CHECK_OK(stream_write(w->s, str_of(piece, PIECE))))
            break;
    wait_group_done(w->g);
}

static size_t read_pieces(struct stream *s)
{
    char *p = mem_alloc(PIECE);
    REQUIRE(p);
    size_t n = 0;
    for (ssize_t got; n < (size_t)PIECES * PIECE && (got = stream_read(s, p, PIECE)) > 0;)
        n += (size_t)got;
    mem_free(p);
    return n;
}

static void flow_while(int version, void (*talk)(struct peer *), enum tls_renegotiation mode)
{
    struct peer p;
    struct wait_group g;
    peer_start(&p, version, talk);
    struct stream *s = dial_peer(&p, mode);
    struct writer w = { s, &g };
    wait_group_init(&g);
    wait_group_add(&g);
    DEADLINE(SEC(60));
    REQUIRE(fiber_spawn("writer", write_pieces, &w));
    CHECK_EQ(read_pieces(s), (size_t)PIECES * PIECE);
    CHECK_OK(wait_group_wait(&g));
    atomic_store(&p.step, 1);
    stream_close(s);
    peer_end(&p);
}

TEST_LOOP(keys_are_renewed_while_data_flow_both_ways)
{
    flow_while(TLS1_3_VERSION, renew_keys, TLS_RENEGOTIATE_NEVER);
}

/* ---- TLS 1.2 renegotiation ---- */

static atomic_int n_shaken, n_refused; /* by the peer's count */

static void on_message(int write, int version, int type, const void *p, size_t n, SSL *ssl,
                       void *arg)
{
    (void)version, (void)ssl, (void)arg;
    const unsigned char *byte = p;
    if (write)
        return;
    if (type == SSL3_RT_HANDSHAKE && n && byte[0] == SSL3_MT_FINISHED)
        atomic_fetch_add(&n_shaken, 1);
    if (type == SSL3_RT_ALERT && n > 1 && byte[1] == SSL_AD_NO_RENEGOTIATION)
        atomic_fetch_add(&n_refused, 1);
}

/* Asks twice; each time the client says a byte once it has done it. OpenSSL's server gives up on
 * one that refuses. */
static void renegotiate_twice(struct peer *p)
{
    char c;
    SSL_set_msg_callback(p->ssl, on_message);
    for (int i = 0; i < 2; i++) {
        if (!CHECK(SSL_renegotiate(p->ssl) == 1 && SSL_do_handshake(p->ssl) == 1))
            break; /* HelloRequest is out; the handshake goes on in the read */
        if (SSL_read(p->ssl, &c, 1) != 1)
            break;
        put(p->ssl, "next");
    }
    wait_step(p, 1);
}

/* Reads, though nothing is said, so that what the peer asks for is answered. */
static void read_until_answered(struct stream *s, int n)
{
    char c;
    DEADLINE(SEC(20));
    for (int r = -TIMEOUT; r == -TIMEOUT && atomic_load(&n_shaken) + atomic_load(&n_refused) < n;) {
        DEADLINE(MS(10));
        r = (int)stream_read(s, &c, 1);
    }
}

static void renegotiation(enum tls_renegotiation mode, int shaken, int refused)
{
    struct peer p;
    atomic_store(&n_shaken, 0);
    atomic_store(&n_refused, 0);
    peer_start(&p, TLS1_2_VERSION, renegotiate_twice);
    struct stream *s = dial_peer(&p, mode);
    for (int i = 1; i <= shaken; i++) {
        read_until_answered(s, i);
        CHECK_OK(stream_write(s, S("x")));
        expect(s, "next");
    }
    if (refused)
        read_until_answered(s, shaken + 1);
    CHECK_EQ(atomic_load(&n_shaken), shaken, "mode %d", mode);
    CHECK_EQ(atomic_load(&n_refused), refused, "mode %d", mode);
    atomic_store(&p.step, 1);
    stream_close(s);
    peer_end(&p);
}

TEST_LOOP(renegotiation_goes_by_the_mode)
{
    renegotiation(TLS_RENEGOTIATE_NEVER, 0, 1);
    renegotiation(TLS_RENEGOTIATE_ONCE, 1, 1);
    renegotiation(TLS_RENEGOTIATE_FREELY, 2, 0);
}

/* ---- a write that must wait for a read ---- */

static void renegotiate_silently(struct peer *p)
{
    char c;
    CHECK(SSL_renegotiate(p->ssl) == 1 && SSL_do_handshake(p->ssl) == 1);
    wait_step(p, 1); /* the client has answered and writes: its write needs our part first */
    CHECK_EQ(SSL_read(p->ssl, &c, 1), 1);
    CHECK_EQ(c, 'w');
    wait_step(p, 2);
}

TEST_LOOP(write_during_a_renegotiation_waits_for_it)
{
    struct peer p;
    peer_start(&p, TLS1_2_VERSION, renegotiate_silently);
    struct stream *s = dial_peer(&p, TLS_RENEGOTIATE_FREELY);
    char c;
    {
        DEADLINE(MS(100)); /* reads HelloRequest and answers it */
        CHECK_EQ(stream_read(s, &c, 1), -TIMEOUT);
    }
    {
        DEADLINE(MS(50));
        CHECK_EQ(stream_write(s, S("w")), -TIMEOUT, "the peer is silent");
    }
    struct iovec iov = { "w", 1 };
    CHECK_EQ(stream_try_writev(s, &iov, 1), 0);
    atomic_store(&p.step, 1);
    DEADLINE(SEC(20));
    CHECK_OK(stream_write(s, S("w")));
    atomic_store(&p.step, 2);
    stream_close(s);
    peer_end(&p);
}
