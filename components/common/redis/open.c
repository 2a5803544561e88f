/* Opening and closing: the configuration is checked, each worker gets its share. */
#include "components/common/redis/redis_private.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>

enum { PORT = 6379, POOL_MAX = 10000 };

/* ---- hosts ---- */

static bool has_port(str host)
{
    if (str_starts(host, S("unix:")))
        return true;
    if (host.n && host.p[0] == '[')
        return str_contains(host, S("]:"));
    ptrdiff_t colon = str_find_c(host, ':');
    return colon >= 0 && str_find_c(str_skip(host, (size_t)colon + 1), ':') < 0;
}

/* "name" → "name:6379", "::1" → "[::1]:6379". */
static void put_host(struct buf *b, str host, int64_t port)
{
    bool bare_v6 = !has_port(host) && host.p[0] != '[' && str_find_c(host, ':') >= 0;
    if (bare_v6)
        buf_putc(b, '[');
    buf_put(b, host);
    if (bare_v6)
        buf_putc(b, ']');
    if (!has_port(host))
        buf_printf(b, ":%lld", (long long)(port ? port : PORT));
    buf_putc(b, 0);
}

static int read_hosts(struct redis *r, struct error *err)
{
    AUTO(buf_done) struct buf b;
    str rest = str_c(r->c.hosts), host;
    size_t n = 0;
    buf_init(&b, KIB(16));
    while (str_next(&rest, ',', &host)) {
        if (!host.n)
            continue;
        if (host.n >= ADDRESS_MAX - 8 || n == HOSTS_MAX)
            return fail(err, INVALID, NULL, "redisHost has at most %d hosts of %d characters",
                        HOSTS_MAX, ADDRESS_MAX - 8);
        put_host(&b, host, r->c.port);
        n++;
    }
    r->host_text = buf_ok(&b) ? mem_dup(buf_str(&b).p ? buf_str(&b).p : "", b.len) : NULL;
    if (!r->host_text)
        return fail(err, EXHAUSTED, NULL, "out of memory for redisHost");
    const char *at = r->host_text;
    for (; r->n_hosts < n; at += strlen(at) + 1)
        r->host[r->n_hosts++] = at;
    return 0;
}

static int check_fields(const struct redis_config *c, struct error *err)
{
    if (c->entra_id || c->oidc)
        return fail(err, INVALID, NULL, "%s isn't supported: use redisUsername and redisPassword",
                    c->entra_id ? "useEntraID" : "useOIDC");
    if (!*c->client_cert != !*c->client_key)
        return fail(err, INVALID, NULL, "clientCert and clientKey go together: one is missing");
    if (c->db < 0 || c->port < 0 || c->port > 65535)
        return fail(err, INVALID, NULL, "redisDB or redisPort is out of range");
    if (c->pool_size < 0 || c->pool_size > POOL_MAX)
        return fail(err, INVALID, NULL, "poolSize is not in 0 … %d", POOL_MAX);
    return 0;
}

static int check(struct redis *r, struct error *err)
{
    const struct redis_config *c = &r->c;
    str type = str_c(c->type);
    r->cluster = str_ieq(type, S("cluster")) && !c->failover; /* Sentinel's master is one server */
    if (type.n && !str_ieq(type, S("cluster")) && !str_ieq(type, S("node")))
        return fail(err, INVALID, NULL, "redisType \"%s\" is neither node nor cluster", c->type);
    if (c->failover && !*c->sentinel_master)
        return fail(err, INVALID, NULL, "failover needs sentinelMasterName");
    int code = check_fields(c, err);
    if (code == 0)
        code = read_hosts(r, err);
    if (code == 0 && !r->n_hosts)
        return fail(err, INVALID, NULL, "redisHost names no host");
    if (code == 0 && r->n_hosts > 1 && !r->cluster && !c->failover)
        return fail(err, INVALID, NULL,
                    "redisHost is a list: that needs redisType cluster, or failover");
    return code;
}

/* ---- opening ---- */

static int prepare_tls(struct redis *r, struct error *err)
{
    struct tls_options o = { .certificate = str_c(r->c.client_cert),
                             .key = str_c(r->c.client_key),
                             .insecure = r->c.insecure,
                             .no_alpn = true };
    return r->c.tls ? tls_context_new(&o, &r->tls, err) : 0;
}

static void redis_free(struct redis *r)
{
    tls_context_unref(r->tls);
    mem_free(r->share);
    mem_free(r->host_text);
    mem_free(r);
}

CO static int greet(struct redis *r, struct error *err)
{
    AUTO(arena_done) struct arena a;
    struct redis_reply reply;
    str arg[] = { S("PING") };
    struct redis_command c = { arg, 1, { 0 } };
    arena_init(&a, KIB(64));
    int code = redis_do(r, &c, REDIS_AGAIN, &a, &reply, err);
    return code == -DENIED && redis_error_is(&reply, "NOPERM") ? 0 : code;
}

CO int redis_open(const struct redis_config *c, struct redis **ret, struct error *err)
{
    struct redis *r = mem_zalloc(sizeof *r);
    if (!r)
        return fail(err, EXHAUSTED, NULL, "out of memory for a client of Redis");
    r->c = *c;
    r->n_shares = workers_count();
    r->share = mem_zalloc(r->n_shares * sizeof *r->share);
    if (!r->share) {
        redis_free(r);
        return fail(err, EXHAUSTED, NULL, "out of memory for a client of Redis");
    }
    int code = check(r, err);
    if (code == 0)
        code = prepare_tls(r, err);
    if (code < 0) {
        redis_free(r);
        return code;
    }
    for (size_t i = 0; i < r->n_shares; i++) {
        r->share[i].r = r;
        waitq_init(&r->share[i].looked);
    }
    struct error why = { 0 };
    code = greet(r, &why);
    if (code == 0 && r->c.failover)
        code = sentinel_watch(redis_share(r), &why);
    if (code < 0) {
        redis_close(r);
        return fail(err, why.code, NULL, "%s", why.text);
    }
    *ret = r;
    return 0;
}

CO int redis_count_replicas(struct redis *r, int64_t *ret, struct error *err)
{
    AUTO(arena_done) struct arena a;
    struct redis_reply reply;
    str arg[] = { S("INFO"), S("replication") }, line, value;
    struct redis_command c = { arg, COUNT(arg), { 0 } };
    struct error why = { 0 };
    arena_init(&a, KIB(256));
    *ret = 0;
    int code = redis_do(r, &c, REDIS_AGAIN, &a, &reply, &why);
    if (code == -DENIED || code == -UNKNOWN)
        return 0;
    if (code < 0)
        return fail(err, why.code, NULL, "%s", why.text);
    for (str rest = reply.text; str_next(&rest, '\n', &line);)
        if (str_starts(line, S("connected_slaves:")) && str_cut(line, ':', &line, &value))
            (void)str_to_i64(str_trim(value), ret);
    return 0;
}

uint16_t redis_slot(str key)
{
    ptrdiff_t open = str_find_c(key, '{');
    if (open >= 0) {
        str rest = str_skip(key, (size_t)open + 1);
        ptrdiff_t close = str_find_c(rest, '}');
        if (close > 0)
            key = str_take(rest, (size_t)close);
    }
    return hash_crc16(key) % SLOTS;
}

bool redis_is_cluster(const struct redis *r)
{
    return r->cluster;
}

/* ---- closing: each worker ends its connections; the last one tells ---- */

struct closer {
    struct ticket ticket;
    atomic_size_t left;
};

void share_leave(struct share *s)
{
    struct closer *c = s->closer;
    if (--s->n_alive || !s->closing)
        return;
    nodes_free(s);
    if (atomic_fetch_sub(&c->left, 1) == 1)
        ticket_done(&c->ticket, 0);
}

static void close_share(struct mail *m)
{
    struct share *s = CONTAINER_OF(m, struct share, close);
    s->closing = true;
    s->n_alive++; /* so that it ends here at the earliest */
    if (s->watch)
        fiber_cancel(s->watch);
    for (size_t i = 0; i < s->n_nodes; i++)
        node_drop_conns(s->node[i], "is left: the component is closing");
    share_leave(s);
}

CO void redis_close(struct redis *r)
{
    struct closer c = { .left = r ? r->n_shares : 0 };
    if (!r)
        return;
    ticket_init(&c.ticket);
    for (size_t i = 0; i < r->n_shares; i++) {
        r->share[i].closer = &c;
        r->share[i].close.run = close_share;
        worker_post(worker_at(i), &r->share[i].close);
    }
    (void)!ticket_wait(&c.ticket);
    redis_free(r);
}
