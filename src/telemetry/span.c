#include "telemetry/span.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "format/number.h"
#include "telemetry/metrics.h"

#include <stdio.h>

enum { LANES = 16 };

atomic_bool tracer_enabled;
static atomic_bool recording;
static _Atomic uint64_t bound; /* of a trace id's lower half: below it the trace is sampled */
static _Atomic size_t in_use;  /* blocks */

/* Spans that have ended: a lane for each worker, so that their pushes don't meet. */
static struct lane {
    _Alignas(64) struct span_block *_Atomic head; /* the newest */
} lane[LANES];

static struct metric_family spans_total = {
    .name = "proa_trace_spans_total",
    .help = "Sampled spans: exported, refused by the collector, or dropped for want of room.",
    .label = { "outcome" },
};

static void count(size_t n, str outcome)
{
    if (n)
        metric_add(metric_cell(&spans_total, &outcome), (int64_t)n);
}

/* ---- the sampler ---- */

/* The lower 63 bits decide, as in OpenTelemetry's TraceIDRatioBased, so that every sidecar of a
 * fleet with the same rate decides alike. */
static uint64_t bound_of(double rate)
{
    return rate >= 1 ? UINT64_MAX : rate <= 0 ? 0 : (uint64_t)(rate * 0x1p63);
}

void tracer_setup(const struct tracer_config *c)
{
    atomic_store(&bound, bound_of(c->rate));
    atomic_store(&recording, c->record);
    atomic_store(&tracer_enabled, c->on);
}

void tracer_describe(double rate, char ret[TRACER_TEXT])
{
    char number[NUMBER_MAX], root[NUMBER_MAX + 24] = "AlwaysOnSampler";
    if (rate < 1) {
        (void)number_print(rate > 0 ? rate : 0, NUMBER_G, number);
        snprintf(root, sizeof root, "TraceIDRatioBased{%s}", number);
    }
    snprintf(ret, TRACER_TEXT,
             "ParentBased{root:%s,remoteParentSampled:AlwaysOnSampler,"
             "remoteParentNotSampled:AlwaysOffSampler,localParentSampled:AlwaysOnSampler,"
             "localParentNotSampled:AlwaysOffSampler}",
             root);
}

static void put_be(uint64_t v, uint8_t *to)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        to[i] = (uint8_t)v;
}

static void random_id(uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = id_random();
        put_be(v ? v : 1, to + i); /* an id of zeros means none */
    }
}

static bool sampled_by_rate(const uint8_t trace_id[16])
{
    uint64_t low = 0;
    for (size_t i = 8; i < 16; i++)
        low = low << 8 | trace_id[i];
    return low >> 1 < atomic_load_explicit(&bound, memory_order_relaxed);
}

/* ---- start ---- */

static struct span_block *new_block(void)
{
    struct span_block *b = NULL;
    if (atomic_fetch_add_explicit(&in_use, 1, memory_order_relaxed) < SPANS_MAX)
        b = mem_alloc(sizeof *b);
    if (!b) {
        atomic_fetch_sub_explicit(&in_use, 1, memory_order_relaxed);
        count(1, S("dropped"));
        return NULL;
    }
    memset(b, 0, offsetof(struct span_block, key));
    return b;
}

/* Copies at most max bytes into the block's text. */
static struct span_slice put(struct span_block *b, str s, size_t max)
{
    size_t n = min_size(min_size(s.n, max), SPAN_TEXT - b->used);
    struct span_slice to = { b->used, (uint16_t)n };
    if (n)
        memcpy(b->text + b->used, s.p, n);
    b->used = (uint16_t)(b->used + n);
    return to;
}

static struct span_slice put_joined(struct span_block *b, const str *part, size_t n, size_t max)
{
    struct span_slice whole = { b->used, 0 };
    for (size_t i = 0; i < n; i++)
        whole.n = (uint16_t)(whole.n + put(b, part[i], max - whole.n).n);
    return whole;
}

static struct span_block *begin_block(const uint8_t trace[16], const uint8_t id[8],
                                      const struct trace_context *parent, enum span_kind kind)
{
    struct span_block *b = new_block();
    if (!b)
        return NULL;
    memcpy(b->trace_id, trace, 16);
    memcpy(b->id, id, 8);
    b->has_parent = parent->parent[0] && id_unhex(str_of(parent->parent + 36, 16), b->parent);
    b->kind = kind;
    b->start_ns = clock_wall_ns();
    b->began_ns = clock_now_ns();
    b->state = put(b, parent->state, TRACE_STATE_MAX);
    return b;
}

void span_start(struct span *s, const struct trace_context *parent, enum span_kind kind)
{
    s->block = NULL;
    if (!tracer_on()) {
        s->context = *parent;
        return;
    }
    uint8_t trace[16], id[8];
    bool known = parent->parent[0] && id_unhex(trace_id(parent), trace);
    if (!known)
        random_id(trace, sizeof trace);
    random_id(id, sizeof id);
    bool sampled = known ? trace_sampled(parent) : sampled_by_rate(trace);
    if (sampled && atomic_load_explicit(&recording, memory_order_relaxed))
        s->block = begin_block(trace, id, parent, kind);
    char *p = s->context.parent;
    memcpy(p, "00-", 3);
    id_hex(trace, 16, p + 3);
    p[35] = '-';
    id_hex(id, 8, p + 36);
    memcpy(p + 52, sampled ? "-01" : "-00", 4);
    s->context.state = parent->state;
}

/* ---- what it carries ---- */

void span_name(struct span *s, const str *part, size_t n)
{
    if (s->block)
        s->block->name = put_joined(s->block, part, n, SPAN_VALUE);
}

void span_attr(struct span *s, str key, str value)
{
    span_attr_joined(s, key, &value, 1);
}

void span_attr_joined(struct span *s, str key, const str *part, size_t n)
{
    struct span_block *b = s->block;
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += part[i].n;
    if (!b || !len)
        return;
    if (b->n_attrs == SPAN_ATTRS || key.n > SPAN_VALUE || key.n >= (size_t)(SPAN_TEXT - b->used)) {
        b->dropped_attrs += b->dropped_attrs < UINT16_MAX;
        return;
    }
    b->key[b->n_attrs] = put(b, key, SPAN_VALUE);
    b->value[b->n_attrs++] = put_joined(b, part, n, SPAN_VALUE);
}

void span_fail(struct span *s, str why)
{
    if (!s->block)
        return;
    s->block->status = SPAN_ERROR;
    s->block->why = put(s->block, why, SPAN_VALUE);
}

void span_http_status(struct span *s, int status)
{
    char text[32];
    if (!s->block || (status && status < 400))
        return;
    snprintf(text, sizeof text, status ? "Code(%d)" : "no answer", status);
    span_fail(s, str_c(text));
}

/* ---- the end, and the exporter's side ---- */

static struct lane *my_lane(void)
{
    static _Atomic unsigned given;
    static _Thread_local struct lane *mine;
    if (UNLIKELY(!mine))
        mine = &lane[atomic_fetch_add_explicit(&given, 1, memory_order_relaxed) % LANES];
    return mine;
}

void span_end(struct span *s)
{
    struct span_block *b = TAKE(s->block);
    if (!b)
        return;
    b->end_ns = b->start_ns + (clock_now_ns() - b->began_ns);
    struct lane *l = my_lane();
    b->next = atomic_load_explicit(&l->head, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&l->head, &b->next, b, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

struct span_block *span_take(void)
{
    struct span_block *list = NULL;
    for (size_t i = 0; i < LANES; i++) {
        struct span_block *b = atomic_exchange_explicit(&lane[i].head, NULL, memory_order_acquire);
        while (b) { /* a lane has its newest first */
            struct span_block *older = b->next;
            b->next = list;
            list = b;
            b = older;
        }
    }
    return list;
}

void span_release(struct span_block *list)
{
    while (list) {
        struct span_block *next = list->next;
        mem_free(list);
        list = next;
        atomic_fetch_sub_explicit(&in_use, 1, memory_order_relaxed);
    }
}

void span_exported(size_t n, bool ok)
{
    count(n, ok ? S("exported") : S("failed"));
}
