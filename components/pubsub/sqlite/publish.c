/* Publishing: what a message's metadata asks for, and its row. */
#include "components/pubsub/sqlite/queue.h"

#include "base/clock.h"
#include "base/mem.h"
#include "format/duration.h"

enum { META_BYTES_MAX = 64 << 10, BODY_MAX = 512 << 20, TOPIC_MAX = 1024 };

struct outgoing { /* one message, read and encoded before the transaction */
    const struct pubsub_message *m;
    struct buf meta;
    str mid, part;
    int64_t delay_ms, due_ms; /* from now; wall clock; 0 = at once */
    int64_t ttl_ms;           /* 0 = keep */
};

struct publish {
    struct sqlite_job job;
    struct queue *q;
    struct outgoing *v;
    size_t n;
};

/* ---- reading what is asked for ---- */

static int read_duration(const struct pubsub_message *m, const char *key, int64_t *ret_ms,
                         struct error *err)
{
    str text = str_trim(kvs_get(m->metadata, str_c(key)));
    int64_t ns;
    if (!text.n)
        return 0;
    if (!duration_parse_bare(text, (int64_t)SEC(1), &ns) || ns <= 0)
        return fail(err, INVALID, NULL,
                    "metadata %s \"%.*s\" is not a positive number of seconds or a duration such "
                    "as 1m30s",
                    key, (int)min_size(text.n, 40), text.p);
    *ret_ms = (ns + (int64_t)MS(1) - 1) / (int64_t)MS(1);
    return 0;
}

static int read_due(struct outgoing *o, struct error *err)
{
    str text = str_trim(kvs_get(o->m->metadata, S("deliverAt")));
    uint64_t ns;
    if (!text.n)
        return read_duration(o->m, "deliverAfter", &o->delay_ms, err);
    if (!clock_parse_rfc3339(text, &ns))
        return fail(err, INVALID, NULL,
                    "metadata deliverAt \"%.*s\" is not a time such as 2030-01-02T03:04:05Z",
                    (int)min_size(text.n, 40), text.p);
    o->due_ms = (int64_t)(ns / MS(1));
    return 0;
}

static int read_message(struct queue *q, const struct pubsub_message *m, struct outgoing *o,
                        struct error *err)
{
    *o = (struct outgoing){ .m = m };
    buf_init(&o->meta, META_BYTES_MAX);
    if (!m->topic.n || m->topic.n > TOPIC_MAX)
        return fail(err, INVALID, NULL, "a topic's name has 1 … %d bytes", TOPIC_MAX);
    if (m->data.n > BODY_MAX)
        return fail(err, INVALID, NULL, "a message of %zu bytes is too large: at most %d MiB",
                    m->data.n, BODY_MAX >> 20);
    int r = read_due(o, err);
    o->ttl_ms = q->ttl_ns / (int64_t)MS(1);
    if (r == 0)
        r = read_duration(m, kvs_get(m->metadata, S("ttlInSeconds")).n ? "ttlInSeconds" : "ttl",
                          &o->ttl_ms, err);
    if (r < 0)
        return r;
    o->part = kvs_get(m->metadata, S("partitionKey"));
    o->mid = kvs_get(m->metadata, S("messageId"));
    if (!o->mid.n)
        o->mid = kvs_get(m->metadata, S("cloudevent.id"));
    queue_row_meta(m->metadata, &o->meta);
    if (!buf_ok(&o->meta))
        return fail(err, EXHAUSTED, NULL, "the message's metadata is larger than %d KiB",
                    META_BYTES_MAX >> 10);
    return 0;
}

/* ---- the transaction ---- */

int queue_next_id(struct sqlite_conn *c, int64_t topic, int64_t *ret, struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, Q_TOPIC_NEXT, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, topic);
    int r = sqlite_step(c, s, "publishing", err);
    if (r < 0)
        return r;
    int64_t seq = r == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite_done(s);
    if (seq <= 0 || seq >= INT64_C(1) << QUEUE_SEQ_BITS)
        return fail(err, DATA_LOSS, NULL, "the counter of a topic in pubsub_topic is damaged");
    *ret = QUEUE_FIRST(topic) + seq;
    return 0;
}

/* *ret_topic = 0: nobody ever subscribed, so there is nobody to keep the message for. */
static int find_topic(struct queue *q, struct sqlite_conn *c, str name, int64_t *ret_topic,
                      struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, Q_TOPIC_FIND, err);
    if (!s)
        return -(int)err->code;
    sqlite_bind_str(s, 1, name);
    int r = sqlite_step(c, s, "publishing", err);
    bool row = r == SQLITE_ROW;
    *ret_topic =
        row && (sqlite3_column_int(s, 1) || q->retention_ns) ? sqlite3_column_int64(s, 0) : 0;
    if (row)
        sqlite_done(s);
    if (r < 0 || row || !q->retention_ns)
        return r < 0 ? r : 0;
    s = sqlite_stmt(c, Q_TOPIC_MAKE, err);
    if (!s)
        return -(int)err->code;
    sqlite_bind_str(s, 1, name);
    r = sqlite_step(c, s, "publishing", err);
    if (r == SQLITE_ROW) {
        *ret_topic = sqlite3_column_int64(s, 0);
        sqlite_done(s);
    }
    return r < 0 ? r : 0;
}

/* 1: seen within its window. */
static int seen(struct queue *q, struct sqlite_conn *c, const struct outgoing *o, int64_t topic,
                int64_t now, struct error *err)
{
    if (!o->mid.n || q->dedup_ns <= 0)
        return 0;
    sqlite3_stmt *s = sqlite_stmt(c, Q_DEDUP, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, topic);
    sqlite_bind_str(s, 2, o->mid);
    (void)sqlite3_bind_int64(s, 3, now + q->dedup_ns / (int64_t)MS(1));
    (void)sqlite3_bind_int64(s, 4, now);
    int n = sqlite_run(c, s, "publishing", err);
    return n < 0 ? n : n == 0;
}

static int put_row(struct sqlite_conn *c, const struct outgoing *o, int64_t id, int64_t now,
                   struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, Q_MESSAGE_PUT, err);
    if (!s)
        return -(int)err->code;
    int64_t due = o->delay_ms ? now + o->delay_ms : o->due_ms;
    (void)sqlite3_bind_int64(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, now);
    if (due > now)
        (void)sqlite3_bind_int64(s, 3, due);
    if (o->ttl_ms)
        (void)sqlite3_bind_int64(s, 4, (due > now ? due : now) + o->ttl_ms);
    if (o->part.n)
        sqlite_bind_str(s, 5, o->part);
    sqlite_bind_str(s, 6, o->m->content_type);
    sqlite_bind_str(s, 7, buf_str(&o->meta));
    sqlite_bind_blob(s, 8, o->m->data);
    int r = sqlite_run(c, s, "publishing", err);
    return r < 0 ? r : 0;
}

static int put_message(struct queue *q, struct sqlite_conn *c, const struct outgoing *o,
                       int64_t now, struct error *err)
{
    int64_t topic = 0, id = 0;
    int r = find_topic(q, c, o->m->topic, &topic, err);
    if (r < 0 || !topic)
        return r;
    r = seen(q, c, o, topic, now, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = queue_next_id(c, topic, &id, err);
    if (r == 0)
        r = put_row(c, o, id, now, err);
    if (r == 0)
        queue_note_topic(q, topic);
    return r;
}

static int run_publish(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct publish *p = CONTAINER_OF(job, struct publish, job);
    int64_t now;
    int r = queue_now(p->q, c, &now, &job->err);
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = put_message(p->q, c, &p->v[i], now, &job->err);
    return r;
}

CO int queue_publish(void *self, const struct pubsub_message *m, struct error *err)
{
    struct outgoing o;
    struct publish p = {
        .job = { .run = run_publish, .flags = SQLITE_JOB_DURABLE | SQLITE_JOB_ATOMIC },
        .q = self,
        .v = &o,
        .n = 1,
    };
    int r = read_message(self, m, &o, err);
    if (!o.mid.n)
        p.job.flags &= ~SQLITE_JOB_ATOMIC; /* its last statement alone leaves a trace */
    if (r == 0)
        r = sqlite_write(p.q->db, &p.job, err);
    buf_done(&o.meta);
    return r;
}

/* All in one transaction; what can't be read is refused alone. */
CO int queue_bulk_publish(void *self, struct pubsub_message *m, size_t n, struct error *err)
{
    struct outgoing *o = mem_zalloc((n + 1) * sizeof *o);
    struct publish p = {
        .job = { .run = run_publish, .flags = SQLITE_JOB_DURABLE | SQLITE_JOB_ATOMIC },
        .q = self,
        .v = o,
    };
    size_t failed = 0;
    if (!o)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu messages", n);
    for (size_t i = 0; i < n; i++) {
        m[i].err = (struct error){ 0 };
        if (read_message(self, &m[i], &o[p.n], &m[i].err) == 0) {
            p.n++;
        } else {
            buf_done(&o[p.n].meta);
            failed++;
        }
    }
    struct error own = { 0 };
    int r = p.n ? sqlite_write(p.q->db, &p.job, &own) : 0;
    for (size_t i = 0; r < 0 && i < n; i++)
        if (m[i].err.code == OK)
            m[i].err = own;
    for (size_t i = 0; i < p.n; i++)
        buf_done(&o[i].meta);
    mem_free(o);
    if (r < 0)
        return fail(err, own.code ? own.code : (enum code) - r, own.tag, "%s", own.text);
    return (int)failed;
}
