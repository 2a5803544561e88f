#include "telemetry/feed.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SLOTS = 256 };

struct feed_edge {
    struct feed_edge *_Atomic next; /* of its slot */
    str from, to;
    enum feed_kind kind;
    _Atomic uint64_t n, errors, hist[FEED_BUCKETS];
};

static struct feed_edge *_Atomic slot[SLOTS];
static _Atomic size_t n_edges;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* adds an edge; guards the events */

static struct {
    uint64_t id, wall_ns;
    const char *level;
    char text[256];
} event[FEED_EVENTS];
static uint64_t n_events;

static struct feed_edge *find(size_t at, str from, str to, enum feed_kind kind)
{
    struct feed_edge *e = atomic_load_explicit(&slot[at], memory_order_acquire);
    for (; e; e = atomic_load_explicit(&e->next, memory_order_acquire))
        if (e->kind == kind && str_eq(e->from, from) && str_eq(e->to, to))
            return e;
    return NULL;
}

static size_t slot_of(str from, str to, enum feed_kind kind)
{
    return (hash_bytes(from) * 3 + hash_bytes(to) + kind) % SLOTS;
}

/* Under the lock. */
static struct feed_edge *add(str from, str to, enum feed_kind kind)
{
    size_t at = slot_of(from, to, kind);
    struct feed_edge *e = find(at, from, to, kind);
    if (e)
        return e;
    e = mem_zalloc(sizeof *e);
    char *names = e ? mem_alloc(from.n + to.n + 1) : NULL;
    if (!names) {
        mem_free(e);
        return NULL;
    }
    memcpy(names, from.p, from.n);
    memcpy(names + from.n, to.p, to.n);
    e->from = str_of(names, from.n);
    e->to = str_of(names + from.n, to.n);
    e->kind = kind;
    atomic_store_explicit(&e->next, atomic_load(&slot[at]), memory_order_relaxed);
    atomic_store_explicit(&slot[at], e, memory_order_release);
    atomic_fetch_add(&n_edges, 1);
    return e;
}

struct feed_edge *feed_edge(str from, str to, enum feed_kind kind)
{
    struct feed_edge *e = find(slot_of(from, to, kind), from, to, kind);
    if (LIKELY(e))
        return e;
    static struct feed_edge nowhere; /* out of memory */
    pthread_mutex_lock(&lock);
    bool full = atomic_load(&n_edges) >= FEED_EDGES;
    e = full ? add(S("_overflow"), S("_overflow"), kind) : add(from, to, kind);
    pthread_mutex_unlock(&lock);
    return e ? e : &nowhere;
}

static size_t bucket_of(uint64_t ns)
{
    uint64_t us = ns / 1000;
    if (us < 1)
        return 0;
    size_t whole = 63 - (size_t)__builtin_clzll(us);
    /* the upper half octave begins at sqrt(2) times the lower: 1448/1024 */
    bool upper = us * 1024 >= ((uint64_t)1 << whole) * 1448;
    return min_size(2 * whole + upper, FEED_BUCKETS - 1);
}

void feed_record(struct feed_edge *e, uint64_t latency_ns, bool failed)
{
    atomic_fetch_add_explicit(&e->n, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&e->errors, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->hist[bucket_of(latency_ns)], 1, memory_order_relaxed);
}

void feed_event(const char *level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    pthread_mutex_lock(&lock);
    size_t at = n_events % FEED_EVENTS;
    event[at].id = ++n_events;
    event[at].wall_ns = clock_wall_ns();
    event[at].level = level;
    vsnprintf(event[at].text, sizeof event[at].text, fmt, args);
    pthread_mutex_unlock(&lock);
    va_end(args);
}

static void write_edge(struct json_w *w, const struct feed_edge *e)
{
    static const str kind[] = { S("invoke"), S("publish"), S("deliver"), S("state"), S("binding") };
    json_w_object(w);
    json_w_kv(w, S("from"), e->from);
    json_w_kv(w, S("to"), e->to);
    json_w_kv(w, S("kind"), kind[e->kind]);
    json_w_key(w, S("n"));
    json_w_u64(w, atomic_load(&e->n));
    json_w_key(w, S("errors"));
    json_w_u64(w, atomic_load(&e->errors));
    json_w_key(w, S("hist"));
    json_w_array(w);
    for (size_t i = 0; i < FEED_BUCKETS; i++)
        json_w_u64(w, atomic_load(&e->hist[i]));
    json_w_array_end(w);
    json_w_object_end(w);
}

static void write_events(struct json_w *w)
{
    pthread_mutex_lock(&lock);
    uint64_t first = n_events > FEED_EVENTS ? n_events - FEED_EVENTS : 0;
    for (uint64_t i = first; i < n_events; i++) {
        size_t at = i % FEED_EVENTS;
        char time[RFC3339_MAX];
        size_t n = clock_rfc3339(event[at].wall_ns, false, 3, time);
        json_w_object(w);
        json_w_key(w, S("id"));
        json_w_u64(w, event[at].id);
        json_w_kv(w, S("time"), str_of(time, n));
        json_w_kv(w, S("level"), str_c(event[at].level));
        json_w_kv(w, S("text"), str_c(event[at].text));
        json_w_object_end(w);
    }
    pthread_mutex_unlock(&lock);
}

void feed_write(struct json_w *w)
{
    json_w_key(w, S("edges"));
    json_w_array(w);
    for (size_t i = 0; i < SLOTS; i++) {
        const struct feed_edge *e = atomic_load_explicit(&slot[i], memory_order_acquire);
        for (; e; e = atomic_load_explicit(&e->next, memory_order_acquire))
            write_edge(w, e);
    }
    json_w_array_end(w);
    json_w_key(w, S("events"));
    json_w_array(w);
    write_events(w);
    json_w_array_end(w);
}
