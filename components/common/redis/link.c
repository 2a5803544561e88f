#include "components/common/redis/redis_private.h"

#include "base/mem.h"

#include <stdio.h>

void link_close(struct link *l)
{
    if (!l)
        return;
    stream_close(l->stream);
    mem_free(l);
}

static void link_closep(struct link **l)
{
    link_close(*l);
}

/* ---- reading ---- */

/* Where the next bytes go: straight into a long string's memory, or into the buffer. */
static char *room(struct link *l, size_t *ret_n)
{
    char *direct = l->len ? NULL : resp_direct(&l->reader, ret_n);
    if (direct)
        return direct;
    if (l->head && l->len)
        memmove(l->in, l->in + l->head, l->len);
    l->head = 0;
    *ret_n = LINK_IN - l->len;
    return l->in + l->len;
}

static void took(struct link *l, const char *to, size_t n)
{
    if (to >= l->in && to < l->in + LINK_IN)
        l->len += n;
    else
        resp_advance(&l->reader, n);
}

ssize_t link_try_fill(struct link *l)
{
    size_t n;
    char *to = room(l, &n);
    ssize_t got = stream_try_read(l->stream, to, n);
    if (got > 0)
        took(l, to, (size_t)got);
    return got;
}

int link_step(struct link *l)
{
    size_t used = 0;
    if (!l->len)
        return 0;
    int r = resp_feed(&l->reader, l->in + l->head, l->len, &used);
    l->head += used;
    l->len -= used;
    return r;
}

static int lost(const struct link *l, ssize_t r, struct error *err)
{
    if (r == -CANCELLED)
        return fail(err, CANCELLED, NULL, "the call was cancelled");
    if (r == -TIMEOUT)
        return fail(err, TIMEOUT, NULL, "no answer from Redis at %s in time", l->address);
    if (r == -DATA_LOSS)
        return fail(err, UNAVAILABLE, NULL, "what %s answers isn't Redis' protocol", l->address);
    const char *tls = stream_tls_failure(l->stream);
    return fail(err, UNAVAILABLE, NULL, "the connection to Redis at %s was lost%s%s", l->address,
                tls ? ": " : "", tls ? tls : "");
}

CO int link_read(struct link *l, struct arena *a, struct redis_reply *ret, struct error *err)
{
    resp_begin(&l->reader, a, ret);
    for (;;) {
        int done = link_step(l);
        if (done < 0)
            return lost(l, done, err);
        if (done > 0)
            break;
        size_t n;
        char *to = room(l, &n);
        ssize_t got = stream_read(l->stream, to, n);
        if (got <= 0)
            return lost(l, got, err);
        took(l, to, (size_t)got);
    }
    if (l->reader.failed)
        return fail(err, EXHAUSTED, NULL, "an answer of Redis is too large for its memory");
    return 0;
}

CO int link_ask(struct link *l, const str *arg, size_t n, struct arena *a, struct redis_reply *ret,
                struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, OUT_MAX);
    if (!resp_write(&out, arg, n))
        return fail(err, EXHAUSTED, NULL, "out of memory for a command to Redis");
    int r = stream_write(l->stream, buf_str(&out));
    if (r < 0)
        return lost(l, r, err);
    return link_read(l, a, ret, err);
}

/* ---- saying who we are ---- */

CO static int ask_ok(struct link *l, const str *arg, size_t n, struct arena *a, struct error *err)
{
    struct redis_reply reply;
    int r = link_ask(l, arg, n, a, &reply, err);
    return r < 0 ? r : redis_check(l->r, &reply, err);
}

CO static int authenticate(struct link *l, const char *user, const char *password, struct arena *a,
                           struct error *err)
{
    str arg[3] = { S("AUTH") };
    size_t n = 1;
    if (!*password && !*user)
        return 0;
    if (*user)
        arg[n++] = str_c(user);
    arg[n++] = str_c(password);
    return ask_ok(l, arg, n, a, err);
}

/* A server that answers PING is a Redis that serves us; who may not ask that may still work. */
CO static int ping(struct link *l, struct arena *a, struct error *err)
{
    struct redis_reply reply;
    str arg[] = { S("PING") };
    int r = link_ask(l, arg, 1, a, &reply, err);
    if (r < 0 || redis_error_is(&reply, "NOPERM"))
        return r;
    return redis_check(l->r, &reply, err);
}

CO static int select_db(struct link *l, struct arena *a, struct error *err)
{
    char text[24];
    if (!l->r->c.db || l->r->cluster)
        return 0;
    (void)snprintf(text, sizeof text, "%lld", (long long)l->r->c.db);
    str arg[] = { S("SELECT"), str_c(text) };
    return ask_ok(l, arg, 2, a, err);
}

CO static int greet(struct link *l, enum link_role role, struct error *err)
{
    const struct redis_config *c = &l->r->c;
    bool sentinel = role == LINK_SENTINEL;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    int r = authenticate(l, sentinel ? c->sentinel_username : c->username,
                         sentinel ? c->sentinel_password : c->password, &a, err);
    if (r == 0 && !sentinel)
        r = select_db(l, &a, err);
    return r < 0 ? r : ping(l, &a, err);
}

CO int link_open(const struct redis *r, const char *address, enum link_role role, struct link **ret,
                 struct error *err)
{
    DEADLINE(limit_or(r->c.dial_timeout, SEC(5)));
    AUTO(link_closep) struct link *l = mem_alloc(sizeof *l);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory for a connection to Redis");
    l->r = r;
    l->stream = NULL;
    l->head = l->len = 0;
    (void)snprintf(l->address, sizeof l->address, "%s", address);
    int code = stream_dial_tls(address, r->tls, NULL, &l->stream, err);
    if (code < 0)
        return code;
    code = greet(l, role, err);
    if (code < 0)
        return fail_wrap(err, "connecting to Redis at %s", address);
    *ret = TAKE(l);
    return 0;
}
