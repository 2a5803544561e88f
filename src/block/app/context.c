#include "block/app/context.h"

#include "base/hash.h"
#include "base/id.h"
#include "base/mem.h"
#include "block/core/headers.h"
#include "fiber/fiber.h"
#include "http/grpc.h"
#include "policy/admission.h"
#include "telemetry/trace.h"

#include <pthread.h>

enum { SHARDS = 256 };

struct contexts {
    atomic_size_t n;
    struct {
        pthread_mutex_t lock;
        struct list entries;
    } shard[SHARDS];
};

/* ---- headers ---- */

static int malformed(struct error *err, const char *name, str value, const char *wanted)
{
    int r =
        fail(err, INVALID, "ERR_MALFORMED_REQUEST", "malformed %s \"" STR_FMT "\": it must be %s",
             name, STR_ARG(str_take(value, 40)), wanted);
    if (err)
        err->http = 400;
    return r;
}

static int read_one(const struct http_header *h, struct call_context *ret, struct error *err)
{
    if (str_ieq(h->name, S(PRIORITY_HEADER))) {
        ret->has_priority = priority_parse(h->value, &ret->priority, &ret->sub);
        return ret->has_priority
                   ? 0
                   : malformed(err, PRIORITY_HEADER, h->value,
                               "critical, high, normal, low or background, and may have /0 … /127");
    }
    if (str_ieq(h->name, S(TIMEOUT_HEADER)) && !grpc_timeout_parse(h->value, &ret->timeout_ns))
        return malformed(err, TIMEOUT_HEADER, h->value,
                         "1 to 8 digits and one of the units n, u, m, S, M and H");
    return 0;
}

int context_read(const struct http_headers *h, struct call_context *ret, struct error *err)
{
    struct call_context c = { .priority = PRIORITY_NORMAL, .sub = -1, .timeout_ns = UINT64_MAX };
    for (size_t i = 0; i < h->n; i++) {
        if (h->v[i].name.n < 5 || h->v[i].name.p[4] != '-') /* nearly all, at little cost */
            continue;
        int r = read_one(&h->v[i], &c, err);
        if (r < 0)
            return r;
    }
    *ret = c;
    return 0;
}

bool context_trace(const struct http_headers *h, uint8_t ret[16])
{
    struct trace_context t;
    trace_read_grpc(&t, http_headers_get(h, S("grpc-trace-bin")),
                    http_headers_get(h, S("traceparent")), (str){ 0 });
    str id = trace_id(&t);
    return id.n == 32 && id_unhex(id, ret);
}

int context_write(const struct call_context *c, struct http_headers *h)
{
    char text[PRIORITY_TEXT];
    int r = 0;
    if (c->has_priority) {
        str value = c->sub < 0
                        ? priority_name(c->priority)
                        : priority_format(priority_level(c->priority, (unsigned)c->sub), text);
        value = arena_dup(h->arena, value);
        r = value.p ? http_headers_set(h, S(PRIORITY_HEADER), value) : -EXHAUSTED;
    }
    return r < 0 ? r : context_write_timeout(h);
}

int context_write_timeout(struct http_headers *h)
{
    str left = grpc_timeout_left(h->arena);
    if (!left.p)
        return -EXHAUSTED;
    return left.n ? http_headers_set(h, S(TIMEOUT_HEADER), left) : 0;
}

int context_expired(struct error *err)
{
    int r = fail_as(err, TIMEOUT, "ERR_DEADLINE_EXCEEDED",
                    "the deadline of the call has passed: its " TIMEOUT_HEADER
                    ", or that of the call it belongs to, was too short");
    if (err)
        err->http = 504;
    return r;
}

void context_read_refusal(const struct http_headers *h, struct error *err)
{
    uint64_t seconds;
    str name = http_headers_get(h, S(SHED_HEADER));
    enum shed_reason reason = shed_parse(name);
    if (!err || reason == SHED_NONE)
        return;
    err->tag = "ERR_OVERLOADED";
    err->http = reason == SHED_DEADLINE ? 504 : 503;
    err->shed = shed_name(reason);
    if (str_to_u64(http_headers_get(h, S("retry-after")), &seconds) && seconds <= 3600)
        err->retry_after_s = (unsigned)seconds;
}

/* ---- by trace id ---- */

struct contexts *contexts_new(void)
{
    struct contexts *c = mem_zalloc(sizeof *c);
    for (size_t i = 0; c && i < SHARDS; i++) {
        pthread_mutex_init(&c->shard[i].lock, NULL);
        list_init(&c->shard[i].entries);
    }
    return c;
}

void contexts_free(struct contexts *c)
{
    for (size_t i = 0; c && i < SHARDS; i++) {
        PRE(list_empty(&c->shard[i].entries));
        pthread_mutex_destroy(&c->shard[i].lock);
    }
    mem_free(c);
}

static size_t shard_of(const uint8_t trace[16])
{
    return hash_bytes(str_of((const char *)trace, 16)) % SHARDS;
}

void context_remember(struct contexts *c, struct context_entry *e, const struct http_headers *h,
                      const struct call_context *context)
{
    e->deadline_ns = fiber_deadline();
    e->context = *context;
    bool worth = context->has_priority || e->deadline_ns != UINT64_MAX;
    e->kept = worth && context_trace(h, e->trace);
    if (!e->kept)
        return;
    size_t at = shard_of(e->trace);
    pthread_mutex_lock(&c->shard[at].lock);
    list_append(&c->shard[at].entries, &e->node);
    pthread_mutex_unlock(&c->shard[at].lock);
    atomic_fetch_add(&c->n, 1);
}

void context_forget(struct contexts *c, struct context_entry *e)
{
    if (!e->kept)
        return;
    size_t at = shard_of(e->trace);
    pthread_mutex_lock(&c->shard[at].lock);
    list_remove(&e->node);
    pthread_mutex_unlock(&c->shard[at].lock);
    atomic_fetch_sub(&c->n, 1);
    e->kept = false;
}

struct inheritance {
    struct call_context context;
    uint64_t deadline_ns; /* 0 = no call of that trace is here */
};

static void find(struct contexts *c, const uint8_t trace[16], struct inheritance *ret)
{
    size_t at = shard_of(trace);
    pthread_mutex_lock(&c->shard[at].lock);
    LIST_EACH (&c->shard[at].entries, node) {
        const struct context_entry *e = CONTAINER_OF(node, struct context_entry, node);
        if (memcmp(e->trace, trace, 16) != 0)
            continue;
        if (e->context.has_priority &&
            (!ret->context.has_priority || e->context.priority < ret->context.priority))
            ret->context = e->context;
        if (e->deadline_ns > ret->deadline_ns)
            ret->deadline_ns = e->deadline_ns;
    }
    pthread_mutex_unlock(&c->shard[at].lock);
}

void context_inherit(struct contexts *c, const struct http_headers *h, struct call_context *context)
{
    uint8_t trace[16];
    struct inheritance found = { .deadline_ns = 0 };
    bool whole = context->has_priority && context->timeout_ns != UINT64_MAX;
    if (!c || whole || atomic_load_explicit(&c->n, memory_order_relaxed) == 0 ||
        !context_trace(h, trace))
        return;
    find(c, trace, &found);
    if (!context->has_priority && found.context.has_priority) {
        context->priority = found.context.priority;
        context->sub = found.context.sub;
        context->has_priority = true;
    }
    uint64_t now = sched_now();
    if (context->timeout_ns == UINT64_MAX && found.deadline_ns && found.deadline_ns != UINT64_MAX)
        context->timeout_ns = found.deadline_ns > now ? found.deadline_ns - now : 1;
}
