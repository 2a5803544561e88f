#include "loop/tls_private.h"

#include "base/buf.h"
#include "base/mem.h"
#include "loop/stream_private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>

/* OpenSSL reads and writes the socket itself, through a BIO of ours that never waits. What the
 * socket doesn't take is kept in `unsent`, so that OpenSSL never has to be called again because of
 * a write: a read that must answer (KeyUpdate, an alert) and a write don't get into each other's
 * way. `unsent` has a buffer only while it holds something.
 *
 * OpenSSL's error queue belongs to the thread: it is cleared before each call and read right after
 * it; no call suspends. */
enum {
    RECORD_MAX = 16 << 10,
    UNSENT_MAX =
        128 << 10, /* a record, and answers to a peer that asks on and on without reading */
    HANDSHAKE_S = 15,
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct buf unsent;  /* encrypted */
    size_t owed;        /* of the latest write's bytes: in `unsent`, not yet reported as written */
    const char *reason; /* of the failure, once it has failed */
    char *peer_id;      /* where the context is .spiffe; owned */
    bool drained;       /* OpenSSL has said that it needs more from the socket */
    bool shaken;        /* the handshake is done */
    bool fin;           /* we have said that we're done */
    bool ended;         /* the peer has */
    bool failed;
};

static _Thread_local char gathered[RECORD_MAX];

/* ---- the socket, as OpenSSL sees it ---- */

static int bio_read(BIO *bio, char *p, size_t n, size_t *ret)
{
    BIO_clear_retry_flags(bio);
    ssize_t got = stream_raw_read(BIO_get_data(bio), p, n);
    if (got == -ABORTED)
        BIO_set_retry_read(bio);
    *ret = got > 0 ? (size_t)got : 0;
    return got > 0;
}

static int bio_write(BIO *bio, const char *p, size_t n, size_t *ret)
{
    struct stream *s = BIO_get_data(bio);
    struct tls *t = s->tls;
    ssize_t done = 0;
    BIO_clear_retry_flags(bio);
    if (!t->unsent.len) {
        struct iovec iov = { (void *)p, n };
        done = stream_raw_writev(s, &iov, 1);
    }
    if (done >= 0 && (size_t)done < n) {
        buf_put(&t->unsent, str_of(p + done, n - (size_t)done));
        stream_rearm(s);
    }
    *ret = n;
    return done >= 0 && buf_ok(&t->unsent);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *p)
{
    (void)bio, (void)num, (void)p;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "proa stream");
    if (m && BIO_meth_set_read_ex(m, bio_read) && BIO_meth_set_write_ex(m, bio_write) &&
        BIO_meth_set_ctrl(m, bio_ctrl))
        method = m;
}

static BIO *bio_new(struct stream *s)
{
    pthread_once(&once, make_method);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (bio) {
        BIO_set_data(bio, s);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ---- failing ---- */

static int broke(struct tls *t)
{
    if (!t->failed)
        t->reason = ERR_peek_error() ? tls_reason() : "the connection was cut or lost";
    ERR_clear_error();
    t->failed = true;
    return -UNAVAILABLE;
}

/* ---- reading ---- */

/* Goes by what SSL_read_ex() or SSL_peek_ex() has just failed with. */
static void note(struct tls *t, int code)
{
    switch (SSL_get_error(t->ssl, code)) {
    case SSL_ERROR_WANT_READ:
        t->drained = true;
        break;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        break;
    default: /* also an end without close_notify: what we have may be cut */
        (void)broke(t);
    }
}

static bool worth_trying(const struct stream *s)
{
    const struct tls *t = s->tls;
    return !t->failed && !t->ended && (!t->drained || s->maybe_data);
}

static void limit_renegotiation(struct tls *t)
{
    if (t->context->renegotiate_once && SSL_num_renegotiations(t->ssl) > 0)
        SSL_set_options(t->ssl, SSL_OP_NO_RENEGOTIATION);
}

ssize_t tls_try_read(struct stream *s, void *p, size_t n)
{
    struct tls *t = s->tls;
    size_t got = 0, k;
    while (got < n && worth_trying(s)) {
        ERR_clear_error();
        int r = SSL_read_ex(t->ssl, (char *)p + got, n - got, &k);
        if (r > 0) {
            t->drained = false;
            got += k;
        } else {
            note(t, r);
        }
    }
    limit_renegotiation(t);
    if (got)
        return (ssize_t)got;
    return t->failed ? -UNAVAILABLE : t->ended ? 0 : -ABORTED;
}

/* Bytes of the socket may be no data: tickets, a KeyUpdate, half a record. */
bool tls_readable(struct stream *s)
{
    struct tls *t = s->tls;
    if (worth_trying(s)) {
        char c;
        size_t k;
        ERR_clear_error();
        int r = SSL_peek_ex(t->ssl, &c, 1, &k);
        if (r <= 0)
            note(t, r);
        else
            t->drained = false;
        limit_renegotiation(t);
    }
    return t->failed || t->ended || !t->drained;
}

/* ---- writing ---- */

/* A peer that refuses us says why before it cuts the connection (RFC 8446 section 6.2): whoever
 * writes meets the cut alone, but the alert is among what has come. */
static int write_broke(struct stream *s)
{
    struct tls *t = s->tls;
    char c;
    size_t k;
    if (!t->failed && !ERR_peek_error()) {
        s->maybe_data = true;
        (void)!SSL_peek_ex(t->ssl, &c, 1, &k);
    }
    return broke(t);
}

bool tls_unsent(const struct stream *s)
{
    return s->tls->unsent.len;
}

static int half_close(struct stream *s)
{
    return shutdown(s->fd, SHUT_WR) < 0 ? -UNAVAILABLE : 0;
}

int tls_flush(struct stream *s)
{
    struct tls *t = s->tls;
    if (t->failed)
        return -UNAVAILABLE;
    if (!t->unsent.len)
        return 0;
    str rest = buf_str(&t->unsent);
    struct iovec iov = { (void *)rest.p, rest.n };
    ssize_t n = stream_raw_writev(s, &iov, 1);
    if (n < 0)
        return write_broke(s);
    buf_consume(&t->unsent, (size_t)n);
    if (t->unsent.len)
        return 0;
    buf_done(&t->unsent);
    return t->fin ? half_close(s) : 0;
}

/* A place in a vector. */
struct place {
    const struct iovec *v, *end;
    size_t at; /* in *v */
};

/* Moves on by at most n bytes, copying them to `to` unless it is NULL; returns how many. */
static size_t advance(struct place *p, size_t n, char *to)
{
    size_t done = 0;
    while (p->v < p->end && done < n) {
        size_t k = min_size(p->v->iov_len - p->at, n - done);
        if (to && k)
            memcpy(to + done, (const char *)p->v->iov_base + p->at, k);
        done += k;
        p->at += k;
        if (p->at == p->v->iov_len) {
            p->v++;
            p->at = 0;
        }
    }
    return done;
}

/* What goes into the next record: small pieces are put together, large ones stay where they are. */
static str next_record(struct place *p)
{
    while (p->v < p->end && p->at == p->v->iov_len) {
        p->v++;
        p->at = 0;
    }
    if (p->v == p->end)
        return (str){ 0 };
    size_t left = p->v->iov_len - p->at;
    if (left < RECORD_MAX && p->v + 1 < p->end)
        return str_of(gathered, advance(p, RECORD_MAX, gathered));
    str direct = str_of((const char *)p->v->iov_base + p->at, min_size(left, RECORD_MAX));
    (void)advance(p, direct.n, NULL);
    return direct;
}

/* 1: taken, 0: OpenSSL must read first (TLS 1.2 renegotiates), negative on failure. */
static int write_record(struct stream *s, str data)
{
    struct tls *t = s->tls;
    size_t k;
    ERR_clear_error();
    int r = SSL_write_ex(t->ssl, data.p, data.n, &k);
    if (r > 0)
        return 1;
    if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
        return write_broke(s);
    t->drained = true;
    s->write_needs_read = true;
    return 0;
}

/* A record that the socket didn't take whole counts as unwritten until it did: the caller offers
 * its bytes again, as it would to a socket, and they are found to be under way. */
ssize_t tls_try_writev(struct stream *s, const struct iovec *iov, size_t n_iov)
{
    struct tls *t = s->tls;
    s->write_needs_read = false;
    if (t->fin || tls_flush(s) < 0)
        return -UNAVAILABLE;
    if (t->unsent.len)
        return 0;
    struct place at = { iov, iov + n_iov, 0 };
    size_t done = advance(&at, t->owed, NULL);
    t->owed = 0;
    for (str data; (data = next_record(&at)).n;) {
        int r = write_record(s, data);
        if (r <= 0)
            return r < 0 && !done ? r : (ssize_t)done;
        if (t->unsent.len) {
            t->owed = data.n;
            break;
        }
        done += data.n;
    }
    return (ssize_t)done;
}

static void say_goodbye(struct tls *t)
{
    ERR_clear_error();
    if (t->shaken && !t->failed && !t->fin && SSL_shutdown(t->ssl) < 0)
        (void)broke(t);
    t->fin = true;
}

int tls_shutdown(struct stream *s)
{
    struct tls *t = s->tls;
    if (t->fin)
        return 0;
    say_goodbye(t);
    if (t->failed)
        return -UNAVAILABLE;
    return t->unsent.len ? 0 : half_close(s); /* otherwise once it is sent */
}

/* ---- life ---- */

void tls_close(struct stream *s, bool abrupt)
{
    struct tls *t = s->tls;
    if (!abrupt)
        say_goodbye(t);
    s->tls = NULL;
    SSL_free(t->ssl);
    ERR_clear_error();
    buf_done(&t->unsent);
    tls_context_unref(t->context);
    mem_free(t->peer_id);
    mem_free(t);
}

/* From here on s->tls owns all of it, whether it is complete or not. */
static int attach(struct stream *s, struct tls_context *c, struct error *err)
{
    PRE(!s->tls && !s->reader && !s->writer && !s->on_readable);
    struct tls *t = mem_zalloc(sizeof *t);
    if (!t)
        return fail(err, EXHAUSTED, NULL, "no memory for TLS");
    buf_init(&t->unsent, UNSENT_MAX);
    t->context = tls_context_ref(c);
    s->tls = t;
    ERR_clear_error();
    t->ssl = tls_context_connection(c);
    BIO *bio = t->ssl ? bio_new(s) : NULL;
    if (bio)
        SSL_set_bio(t->ssl, bio, bio);
    else
        t->failed = true;
    ERR_clear_error();
    return bio ? 0 : fail(err, EXHAUSTED, NULL, "no memory for TLS");
}

static bool set_server_name(struct tls *t, const char *name)
{
    if ((t->context->insecure && !name[0]) || t->context->spiffe)
        return true;
    X509_VERIFY_PARAM *verify = SSL_get0_param(t->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(verify, name))
        return true;
    ERR_clear_error();
    return name[0] && SSL_set_tlsext_host_name(t->ssl, name) &&
           X509_VERIFY_PARAM_set1_host(verify, name, 0);
}

static const char *shake_failure(const struct stream *s, int r)
{
    const struct tls *t = s->tls;
    if (r == -TIMEOUT)
        return "no answer in time";
    if (r == -CANCELLED)
        return "cancelled";
    long verified = SSL_get_verify_result(t->ssl);
    if (verified != X509_V_OK && !t->context->insecure)
        return X509_verify_cert_error_string(verified);
    return t->reason;
}

CO static int shake(struct stream *s)
{
    struct tls *t = s->tls;
    DEADLINE(SEC(HANDSHAKE_S));
    for (;;) {
        ERR_clear_error();
        int r = SSL_do_handshake(t->ssl);
        if (r == 1)
            return 0;
        if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
            return broke(t);
        r = stream_wait_readable(s);
        if (r < 0)
            return r;
    }
}

static X509 *peer_of(const struct tls *t)
{
    return SSL_get0_peer_certificate(t->ssl);
}

CO static int shake_hands(struct stream *s, const char *name, struct error *err)
{
    struct tls *t = s->tls;
    int r = shake(s);
    const char *why = NULL;
    if (r == 0) {
        t->shaken = true;
        if (!t->context->spiffe || (t->peer_id = tls_workload_id(peer_of(t), &why)))
            return 0;
        r = -UNAVAILABLE;
    }
    why = why ? why : shake_failure(s, r);
    t->failed = true;
    t->reason = why;
    return fail(err, (enum code) - r, NULL, "TLS with %s%s%s failed: %s", name ? name : "",
                name ? " at " : "", s->peer, why);
}

int stream_start_tls(struct stream *s, struct tls_context *c, const char *server_name,
                     struct error *err)
{
    PRE(!c->server);
    int r = attach(s, c, err);
    if (r < 0)
        return r;
    if (!set_server_name(s->tls, server_name)) {
        (void)broke(s->tls);
        return fail(err, INVALID, NULL, "'%.200s' can't be the name of a TLS server", server_name);
    }
    SSL_set_connect_state(s->tls->ssl);
    return shake_hands(s, server_name, err);
}

int stream_accept_tls(struct stream *s, struct tls_context *c, struct error *err)
{
    PRE(c->server);
    int r = attach(s, c, err);
    if (r < 0)
        return r;
    SSL_set_accept_state(s->tls->ssl);
    return shake_hands(s, NULL, err);
}

/* ---- what was agreed on ---- */

str stream_alpn(const struct stream *s)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    if (s->tls && s->tls->ssl)
        SSL_get0_alpn_selected(s->tls->ssl, &p, &n);
    return str_of(p ? (const char *)p : "", n);
}

bool stream_peer_verified(const struct stream *s)
{
    const struct tls *t = s->tls;
    return t && t->shaken && peer_of(t) && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE &&
           SSL_get_verify_result(t->ssl) == X509_V_OK;
}

str stream_peer_id(const struct stream *s)
{
    return s->tls && s->tls->peer_id ? str_c(s->tls->peer_id) : S("");
}

const char *stream_tls_failure(const struct stream *s)
{
    return s->tls ? s->tls->reason : NULL;
}
