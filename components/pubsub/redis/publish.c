/* An event is an entry of the stream that is called as its topic: "data" holds its bytes,
 * "metadata" its metadata as JSON. "contentType" is of Proa's; other runtimes of the contract leave
 * it alone. */
#include "components/pubsub/redis/streams.h"

#include "base/clock.h"
#include "base/mem.h"
#include "format/duration.h"

#include <stdio.h>

enum { ARGS_MAX = 11 };

struct add { /* XADD of one message */
    struct buf metadata;
    char limit[48];
    str arg[ARGS_MAX];
    size_t n;
};

static void add_done(struct add *a)
{
    buf_done(&a->metadata);
}

static int check(const struct pubsub_message *m, struct error *err)
{
    str ttl = kvs_get(m->metadata, S("ttlInSeconds"));
    int64_t ns;
    if (!m->topic.n)
        return fail(err, INVALID, NULL, "the topic is empty: give it a name");
    if (ttl.n && (!duration_parse_bare(ttl, (int64_t)SEC(1), &ns) || ns <= 0))
        return fail(err, INVALID, NULL,
                    "ttlInSeconds \"" STR_FMT "\" is not a number of seconds above 0",
                    STR_ARG(str_take(ttl, 40)));
    return 0;
}

/* Redis takes one limit: the length counts more, as in the contract. */
static void put_limit(const struct streams *s, struct add *a)
{
    if (s->max_len > 0) {
        (void)snprintf(a->limit, sizeof a->limit, "%lld", (long long)s->max_len);
        a->arg[a->n++] = S("MAXLEN");
    } else if (s->ttl_ns > 0) {
        uint64_t now = clock_wall_ns(), ttl = (uint64_t)s->ttl_ns;
        (void)snprintf(a->limit, sizeof a->limit, "%llu-1",
                       (unsigned long long)((now > ttl ? now - ttl : 0) / MS(1)));
        a->arg[a->n++] = S("MINID");
    } else {
        return;
    }
    a->arg[a->n++] = S("~");
    a->arg[a->n++] = str_c(a->limit);
}

static int make_add(const struct streams *s, const struct pubsub_message *m, struct add *a,
                    struct error *err)
{
    a->n = 0;
    buf_init(&a->metadata, MIB(16));
    int r = check(m, err);
    if (r < 0)
        return r;
    a->arg[a->n++] = S("XADD");
    a->arg[a->n++] = m->topic;
    put_limit(s, a);
    a->arg[a->n++] = S("*");
    a->arg[a->n++] = S("data");
    a->arg[a->n++] = m->data;
    if (m->metadata.n) {
        if (!entry_put_metadata(&a->metadata, m->metadata))
            return fail(err, EXHAUSTED, NULL, "out of memory for an event's metadata");
        a->arg[a->n++] = S("metadata");
        a->arg[a->n++] = buf_str(&a->metadata);
    }
    if (m->content_type.n) {
        a->arg[a->n++] = S("contentType");
        a->arg[a->n++] = m->content_type;
    }
    return 0;
}

/* Published again when its connection breaks before the answer: at least once, perhaps twice. */
CO int streams_publish(void *self, const struct pubsub_message *m, struct error *err)
{
    struct streams *s = self;
    AUTO(add_done) struct add add;
    struct redis_reply reply;
    int r = make_add(s, m, &add, err);
    if (r < 0)
        return r;
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(64));
    struct redis_command c = { add.arg, add.n, m->topic };
    return redis_do(s->redis, &c, REDIS_AGAIN, &a, &reply, err);
}

/* All that can be sent leaves in one write. Returns how many of the n failed. */
CO static int publish_all(struct streams *s, struct pubsub_message *m, size_t n, struct add *add,
                          struct arena *a, struct error *err)
{
    struct redis_command *c = arena_alloc(a, n * sizeof *c);
    struct redis_reply *reply = arena_alloc(a, n * sizeof *reply);
    size_t *who = arena_alloc(a, n * sizeof *who), n_sent = 0;
    int failed = 0;
    if (!c || !reply || !who)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu events", n);
    for (size_t i = 0; i < n; i++) {
        m[i].err = (struct error){ 0 };
        if (make_add(s, &m[i], &add[i], &m[i].err) < 0) {
            failed++;
            continue;
        }
        who[n_sent] = i;
        c[n_sent++] = (struct redis_command){ add[i].arg, add[i].n, m[i].topic };
    }
    struct error cause = { 0 };
    int r = redis_pipeline(s->redis, c, n_sent, REDIS_AGAIN, a, reply, &cause);
    for (size_t i = 0; i < n_sent; i++) {
        struct error *e = &m[who[i]].err;
        if (r < 0)
            *e = cause;
        failed += r < 0 || redis_check(s->redis, &reply[i], e) < 0;
    }
    return failed;
}

CO int streams_bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, MIB(1) + n * 1024);
    struct add *add = n ? mem_zalloc(n * sizeof *add) : NULL;
    if (!n)
        return 0;
    if (!add)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu events", n);
    int r = publish_all(self, m, n, add, &a, err);
    for (size_t i = 0; i < n; i++)
        add_done(&add[i]);
    mem_free(add);
    return r;
}
