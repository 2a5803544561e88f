/* ratelimit.c — middleware.http.ratelimit: so many requests a second for each caller's address.
 * Owner:  the instance holds one table of buckets.
 * Thread: any worker.   Limits: CALLERS_MAX addresses; past it the one idle longest starts afresh.
 * Failure: a caller over its limit gets 429 with Retry-After; nothing else fails. */
#include "base/clock.h"
#include "component/kinds.h"
#include "format/json.h"
#include "http/server.h"
#include "policy/limiter.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { CALLERS_MAX = 20000, KEY_MAX = 16 };
static const double RATE_MAX = 1e9;

struct ratelimit {
    const char *rate_text;
    double rate;
    struct limiter *limiter;
};

/* The address behind text, as a key: all of an IPv4 address, the network (/64) of an IPv6 one,
 * whose holder has all of it. .n == 0: this is no address. */
static str address_key(str text, char ret[KEY_MAX])
{
    char z[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    text = str_trim(text);
    if (text.n == 0 || text.n >= sizeof z)
        return S("");
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    if (inet_pton(AF_INET, z, ip) == 1) {
        memcpy(ret, ip, 4);
        return str_of(ret, 4);
    }
    if (inet_pton(AF_INET6, z, ip) != 1)
        return S("");
    memcpy(ret, ip, 8);
    return str_of(ret, 8);
}

/* "127.0.0.1:4711" and "[::1]:4711" without the port. */
static str host_of(str peer)
{
    while (peer.n && peer.p[peer.n - 1] != ':')
        peer.n--;
    peer = str_take(peer, peer.n ? peer.n - 1 : 0);
    return str_starts(peer, S("[")) && str_ends(peer, S("]"))
               ? str_take(str_skip(peer, 1), peer.n - 2)
               : peer;
}

static str last_of_list(str list)
{
    str item, last = S("");
    while (str_next(&list, ',', &item))
        last = item;
    return last;
}

/* As the contract has it: the last of X-Forwarded-For, X-Real-IP, then who is connected. A unix
 * socket has no address: all its callers are one. */
static str caller_key(const struct http_exchange *x, char ret[KEY_MAX])
{
    str candidate[] = {
        last_of_list(http_headers_get(&x->req.headers, S("X-Forwarded-For"))),
        http_headers_get(&x->req.headers, S("X-Real-IP")),
        host_of(str_c(x->peer)),
    };
    for (size_t i = 0; i < COUNT(candidate); i++) {
        str key = address_key(candidate[i], ret);
        if (key.n)
            return key;
    }
    return S("");
}

CO static void refuse(struct http_exchange *x, uint64_t wait_ns)
{
    char after[24];
    struct http_headers h;
    http_headers_init(&h, x->arena);
    snprintf(after, sizeof after, "%llu", (unsigned long long)((wait_ns + SEC(1) - 1) / SEC(1)));
    bool full = http_headers_add(&h, S("Content-Type"), S("text/plain; charset=utf-8")) ||
                http_headers_add(&h, S("Retry-After"), str_c(after));
    (void)http_reply(x, 429, full ? NULL : &h, S("too many requests from this address"));
}

CO static void ratelimit_handle(void *self, struct http_exchange *x, struct middleware_chain *rest)
{
    struct ratelimit *m = self;
    char key[KEY_MAX];
    uint64_t wait_ns = 0;
    if (limiter_take(m->limiter, caller_key(x, key), clock_now_ns(), &wait_ns))
        middleware_next(rest, x);
    else
        refuse(x, wait_ns);
}

static int ratelimit_open(void *self, const struct component_env *env, struct error *err)
{
    struct ratelimit *m = self;
    struct json number;
    if (json_parse(str_c(m->rate_text), &number, NULL) || !json_double(number, &m->rate) ||
        !(m->rate > 0) || m->rate > RATE_MAX)
        return fail(err, INVALID, NULL,
                    "maxRequestsPerSecond must be a number above 0 and at most 1e9, not '%s'",
                    m->rate_text);
    m->limiter = limiter_new(&(struct limiter_config){
        .per_s = m->rate, .burst = m->rate < 1 ? 1 : m->rate, .max_keys = CALLERS_MAX });
    return m->limiter ? 0 : fail(err, EXHAUSTED, NULL, "out of memory for the table of callers");
}

static void ratelimit_close(void *self)
{
    struct ratelimit *m = self;
    limiter_free(m->limiter);
    m->limiter = NULL;
}

static const struct cfg_field ratelimit_fields[] = {
    { .name = "maxRequestsPerSecond",
      .kind = CFG_STR,
      .off = offsetof(struct ratelimit, rate_text),
      .def = "100",
      .doc = "for each remote address; fractions are fine" },
};

const struct middleware_ops middleware_ratelimit = {
    .t = {
        .kind = "middleware.http",
        .type = "middleware.http.ratelimit",
        .version = "v1",
        .doc = "so many requests a second for each caller's address, then 429",
        .size = sizeof(struct ratelimit),
        .fields = ratelimit_fields,
        .n_fields = COUNT(ratelimit_fields),
        .open = ratelimit_open,
        .close = ratelimit_close,
    },
    .handle = ratelimit_handle,
};
