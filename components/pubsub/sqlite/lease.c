/* Claiming, acknowledging, retrying, burying: what happens to a delivery, in a transaction.
 *
 *   (past the group's cursor) --claim--> leased --ack--> gone
 *        |                                |  ^ `--lease over--> due again
 *        | delayed or behind its key      |  |
 *        v                                v  |
 *   waiting for due, or parked <--nack-- due later; too many tries: dead, or to another topic */
#include "components/pubsub/sqlite/queue.h"

#include "base/id.h"
#include "base/mem.h"

enum {
    SCAN_EXTRA = 64,   /* messages looked at beyond those wanted, in one claim */
    PARKED_MAX = 1000, /* a group's messages behind their keys; then it waits for acks */
    LEASE_BYTES_MAX = 600 << 20,
};

static const char CLAIMING[] = "claiming messages", SETTLING[] = "acknowledging messages";

void lease_free(struct lease *l)
{
    if (!l)
        return;
    arena_done(&l->a);
    mem_free(l);
}

/* ---- small steps ---- */

/* One statement of (group, id, further numbers …). Returns the number of rows or -CODE. */
static int step(struct sqlite_conn *c, enum queue_sql which, const int64_t *arg, size_t n,
                const char *what, struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, which, err);
    if (!s)
        return -(int)err->code;
    for (size_t i = 0; i < n; i++)
        (void)sqlite3_bind_int64(s, (int)i + 1, arg[i]);
    return sqlite_run(c, s, what, err);
}

#define STEP(c, which, what, err, ...)                                                             \
    step(c, which, (const int64_t[]){ __VA_ARGS__ },                                               \
         sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), what, err)

/* One number, or none when there is no row. */
static int ask(struct sqlite_conn *c, sqlite3_stmt *s, int64_t none, int64_t *ret,
               struct error *err)
{
    int r = sqlite_step(c, s, CLAIMING, err);
    *ret = none;
    if (r == SQLITE_ROW) {
        *ret = sqlite3_column_int64(s, 0);
        sqlite_done(s);
    }
    return r < 0 ? r : 0;
}

static int ask_one(struct sqlite_conn *c, enum queue_sql which, int64_t arg, int64_t none,
                   int64_t *ret, struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, which, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, arg);
    return ask(c, s, none, ret, err);
}

/* The next parked message of a key has its turn. */
static int free_key(struct consumer *k, struct sqlite_conn *c, str part, int64_t now,
                    struct error *err)
{
    if (!part.n)
        return 0;
    sqlite3_stmt *s = sqlite_stmt(c, Q_KEY_NEXT, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, k->group_id);
    sqlite_bind_str(s, 2, part);
    (void)sqlite3_bind_int64(s, 3, now);
    int n = sqlite_run(c, s, SETTLING, err);
    if (n > 0)
        queue_note_group(k->q, k->group_id);
    return n < 0 ? n : 0;
}

static int forget(struct queue *q, struct sqlite_conn *c, int64_t id, struct error *err)
{
    if (q->retention_ns > 0)
        return 0; /* upkeep does it, later */
    int r = STEP(c, Q_MESSAGE_FORGET, SETTLING, err, id, QUEUE_TOPIC(id));
    return r < 0 ? r : 0;
}

/* ---- the dead ---- */

/* 1: it went to the dead-letter topic. 0: nobody listens there, so it can't. */
static int redirect(struct consumer *k, struct sqlite_conn *c, int64_t id, str cause, int64_t now,
                    struct error *err)
{
    int64_t to;
    if (!k->dead_topic)
        return 0;
    sqlite3_stmt *s = sqlite_stmt(c, Q_TOPIC_FIND, err);
    if (!s)
        return -(int)err->code;
    sqlite_bind_str(s, 1, str_c(k->dead_topic));
    int r = sqlite_step(c, s, SETTLING, err);
    bool listens = r == SQLITE_ROW && sqlite3_column_int(s, 1);
    int64_t topic = r == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    if (r == SQLITE_ROW)
        sqlite_done(s);
    if (r < 0 || !listens)
        return r < 0 ? r : 0;
    r = queue_next_id(c, topic, &to, err);
    s = r == 0 ? sqlite_stmt(c, Q_MESSAGE_COPY, err) : NULL;
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, to);
    (void)sqlite3_bind_int64(s, 2, now);
    sqlite_bind_str(s, 3, cause);
    (void)sqlite3_bind_int64(s, 4, id);
    r = sqlite_run(c, s, SETTLING, err);
    if (r >= 0)
        queue_note_topic(k->q, topic);
    return r < 0 ? r : 1;
}

/* In the same transaction it leaves the group and arrives where dead letters go. */
static int bury(struct consumer *k, struct sqlite_conn *c, int64_t id, str part, str cause,
                int64_t now, struct error *err)
{
    cause = str_take(cause, 500);
    int r = redirect(k, c, id, cause, now, err);
    if (r == 1) {
        r = STEP(c, Q_DROP, SETTLING, err, k->group_id, id);
        if (r >= 0)
            r = forget(k->q, c, id, err);
    } else if (r == 0) {
        sqlite3_stmt *s = sqlite_stmt(c, Q_BURY, err);
        if (!s)
            return -(int)err->code;
        (void)sqlite3_bind_int64(s, 1, k->group_id);
        (void)sqlite3_bind_int64(s, 2, id);
        sqlite_bind_str(s, 3, cause);
        r = sqlite_run(c, s, SETTLING, err);
    }
    if (r >= 0)
        r = STEP(c, Q_GROUP_DEAD, SETTLING, err, k->group_id);
    return r < 0 ? r : free_key(k, c, part, now, err);
}

/* Expired, or its row is gone. */
static int drop(struct consumer *k, struct sqlite_conn *c, int64_t id, str part, int64_t now,
                struct error *err)
{
    int r = STEP(c, Q_DROP, CLAIMING, err, k->group_id, id);
    if (r >= 0)
        r = forget(k->q, c, id, err);
    return r < 0 ? r : free_key(k, c, part, now, err);
}

/* ---- claiming ---- */

static int64_t lease_end(const struct queue *q, int64_t now)
{
    return now + q->lease_ns / (int64_t)MS(1);
}

/* s stands on the message's row. The lease is in claim->leases only when 0 is returned;
 * -DATA_LOSS: the row can't be read. */
static int take(struct claim *claim, sqlite3_stmt *s, int64_t tries, str part, struct lease **ret,
                struct error *err)
{
    struct lease *l = mem_zalloc(sizeof *l);
    if (!l)
        return fail(err, EXHAUSTED, NULL, "out of memory for a message");
    arena_init(&l->a, LEASE_BYTES_MAX);
    int r = queue_row_message(s, str_c(claim->consumer->topic), &l->a, &l->m, err);
    if (r == 0) {
        l->part = arena_dup(&l->a, part);
        r = l->part.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory for a message");
    }
    if (r < 0) {
        lease_free(l);
        return r;
    }
    l->id = queue_row_head(s).id;
    l->token = (int64_t)(id_random() >> 2) | 1; /* 0 is nobody's */
    l->tries = tries;
    *ret = l;
    return 0;
}

static void keep(struct claim *claim, struct lease *l)
{
    list_append(&claim->leases, &l->node);
    claim->n++;
}

/* A delivery that is due: try it again, or see that this makes no sense. */
static int claim_due(struct claim *claim, struct sqlite_conn *c, int64_t id, int64_t tries,
                     str part, struct error *err)
{
    struct consumer *k = claim->consumer;
    struct queue *q = claim->q;
    struct lease *l = NULL;
    struct error why = { 0 };
    if (q->max_retries >= 0 && tries > q->max_retries)
        return bury(k, c, id, part, S("no answer within its last lease"), claim->now, err);
    sqlite3_stmt *s = sqlite_stmt(c, Q_MESSAGE_GET, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, id);
    int r = sqlite_step(c, s, CLAIMING, err);
    if (r < 0)
        return r;
    struct queue_row row = r == SQLITE_ROW ? queue_row_head(s) : (struct queue_row){ 0 };
    if (r == SQLITE_DONE || (row.expires && row.expires <= claim->now)) {
        sqlite_done(s);
        return drop(k, c, id, part, claim->now, err);
    }
    r = take(claim, s, tries + 1, part, &l, &why);
    sqlite_done(s);
    if (r == -DATA_LOSS)
        return bury(k, c, id, part, str_c(why.text), claim->now, err);
    if (r < 0)
        return fail(err, why.code, NULL, "%s", why.text);
    keep(claim, l);
    r = STEP(c, Q_LEASE_AGAIN, CLAIMING, err, k->group_id, id, lease_end(q, claim->now), l->token);
    return r < 0 ? r : 0;
}

struct due {
    int64_t id, tries;
    str part; /* in the arena */
};

/* First the list, then the work: a statement must not walk an index that is being changed. */
static int list_due(struct claim *claim, struct sqlite_conn *c, struct arena *a, struct due *due,
                    size_t *ret_n, struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, Q_DUE, err);
    int r = s ? SQLITE_ROW : -(int)err->code;
    size_t n = 0;
    if (!s)
        return r;
    (void)sqlite3_bind_int64(s, 1, claim->consumer->group_id);
    (void)sqlite3_bind_int64(s, 2, claim->now);
    (void)sqlite3_bind_int64(s, 3, (int64_t)claim->max);
    while (n < claim->max && (r = sqlite_step(c, s, CLAIMING, err)) == SQLITE_ROW) {
        due[n].id = sqlite3_column_int64(s, 0);
        due[n].tries = sqlite3_column_int64(s, 1);
        due[n].part = arena_dup(a, sqlite_column(s, 2));
        if (!due[n++].part.p) {
            r = fail(err, EXHAUSTED, NULL, "out of memory for a claim");
            break;
        }
    }
    sqlite_done(s);
    *ret_n = n;
    return r < 0 ? r : 0;
}

static int claim_all_due(struct claim *claim, struct sqlite_conn *c, struct error *err)
{
    struct arena a;
    size_t n = 0;
    arena_init(&a, MIB(16));
    struct due *due = arena_alloc(&a, claim->max * sizeof *due);
    int r = due ? list_due(claim, c, &a, due, &n, err)
                : fail(err, EXHAUSTED, NULL, "out of memory for a claim");
    for (size_t i = 0; r == 0 && i < n; i++)
        r = claim_due(claim, c, due[i].id, due[i].tries, due[i].part, err);
    claim->more |= n == claim->max && claim->n < claim->max;
    arena_done(&a);
    return r;
}

static int put_delivery(struct claim *claim, struct sqlite_conn *c, const struct queue_row *row,
                        int64_t due, int64_t tries, int64_t token, struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, Q_LEASE_NEW, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, claim->consumer->group_id);
    (void)sqlite3_bind_int64(s, 2, row->id);
    (void)sqlite3_bind_int64(s, 3, due);
    (void)sqlite3_bind_int64(s, 4, tries);
    (void)sqlite3_bind_int64(s, 5, token);
    if (row->part.n)
        sqlite_bind_str(s, 6, row->part);
    int r = sqlite_run(c, s, CLAIMING, err);
    return r < 0 ? r : 0;
}

/* 1: an earlier message of the key is not done yet. */
static int key_busy(struct claim *claim, struct sqlite_conn *c, str part, struct error *err)
{
    int64_t busy;
    if (!part.n)
        return 0;
    sqlite3_stmt *s = sqlite_stmt(c, Q_KEY_BUSY, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, claim->consumer->group_id);
    sqlite_bind_str(s, 2, part);
    int r = ask(c, s, 0, &busy, err);
    return r < 0 ? r : (int)busy;
}

static int parked_many(struct claim *claim, struct sqlite_conn *c, struct error *err)
{
    int64_t many;
    sqlite3_stmt *s = sqlite_stmt(c, Q_PARKED_MANY, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, claim->consumer->group_id);
    (void)sqlite3_bind_int64(s, 2, PARKED_MAX);
    int r = ask(c, s, 0, &many, err);
    return r < 0 ? r : (int)many;
}

/* A message that the group sees for the first time. s stands on its row. Returns 1 to stop before
 * it: too many are parked. */
static int claim_new(struct claim *claim, struct sqlite_conn *c, sqlite3_stmt *s, struct error *err)
{
    struct queue_row row = queue_row_head(s);
    struct lease *l = NULL;
    struct error why = { 0 };
    if (row.expires && row.expires <= claim->now)
        return 0;
    int busy = key_busy(claim, c, row.part, err);
    if (busy < 0)
        return busy;
    if (busy) {
        int many = parked_many(claim, c, err);
        return many ? many : put_delivery(claim, c, &row, QUEUE_PARKED, 0, 0, err);
    }
    if (row.due > claim->now)
        return put_delivery(claim, c, &row, row.due, 0, 0, err);
    int r = take(claim, s, 1, row.part, &l, &why);
    if (r == -DATA_LOSS) {
        r = put_delivery(claim, c, &row, claim->now, 0, 0, err);
        return r < 0 ? r
                     : bury(claim->consumer, c, row.id, row.part, str_c(why.text), claim->now, err);
    }
    if (r < 0)
        return fail(err, why.code, NULL, "%s", why.text);
    keep(claim, l);
    return put_delivery(claim, c, &row, lease_end(claim->q, claim->now), 1, l->token, err);
}

static int claim_fresh(struct claim *claim, struct sqlite_conn *c, struct error *err)
{
    struct consumer *k = claim->consumer;
    int64_t cursor = 0, at;
    size_t seen = 0, most = claim->max - claim->n + SCAN_EXTRA;
    int r = ask_one(c, Q_GROUP_CURSOR, k->group_id, -1, &cursor, err);
    if (r < 0)
        return r;
    if (cursor < 0)
        return fail(err, NOT_FOUND, NULL, "the row of consumer group %lld is gone: subscribe again",
                    (long long)k->group_id);
    sqlite3_stmt *s = sqlite_stmt(c, Q_MESSAGE_SCAN, err);
    if (!s)
        return -(int)err->code;
    at = cursor;
    (void)sqlite3_bind_int64(s, 1, cursor);
    (void)sqlite3_bind_int64(s, 2, QUEUE_LAST(k->topic_id));
    (void)sqlite3_bind_int64(s, 3, (int64_t)most);
    r = SQLITE_DONE;
    while (claim->n < claim->max && (r = sqlite_step(c, s, CLAIMING, err)) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(s, 0);
        r = claim_new(claim, c, s, err);
        if (r != 0)
            break;
        at = id;
        seen++;
    }
    sqlite_done(s);
    claim->more |= seen == most;
    if (r >= 0 && at != cursor)
        r = STEP(c, Q_GROUP_MOVE, CLAIMING, err, k->group_id, at);
    return r < 0 ? r : 0;
}

int queue_claim(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct claim *claim = CONTAINER_OF(job, struct claim, job);
    struct error *err = &job->err;
    claim->next_due = INT64_MAX;
    int r = queue_now(claim->q, c, &claim->now, err);
    if (r == 0)
        r = claim_all_due(claim, c, err);
    if (r == 0 && claim->n < claim->max)
        r = claim_fresh(claim, c, err);
    if (r == 0)
        r = ask_one(c, Q_NEXT_DUE, claim->consumer->group_id, INT64_MAX, &claim->next_due, err);
    return r;
}

/* ---- settling ---- */

/* U(0, min · 2^tries), at most max: retries of many don't come back at one time. */
static int64_t back_off(const struct queue *q, int64_t tries)
{
    int64_t most = q->backoff_min_ns;
    for (int64_t i = 1; i < tries && most < q->backoff_max_ns; i++)
        most *= 2;
    most = most < q->backoff_max_ns ? most : q->backoff_max_ns;
    return (int64_t)(id_random_unit() * (double)most) / (int64_t)MS(1);
}

static int acknowledge(const struct settle *p, struct sqlite_conn *c, const struct lease *l,
                       int64_t now, struct error *err)
{
    struct consumer *k = p->consumer;
    int n = STEP(c, Q_ACK, SETTLING, err, k->group_id, l->id, l->token);
    if (n <= 0)
        return n; /* 0: the lease was over, and somebody else has the message */
    int r = forget(p->q, c, l->id, err);
    return r < 0 ? r : free_key(k, c, l->part, now, err);
}

static int retry(const struct settle *p, struct sqlite_conn *c, const struct lease *l, bool back,
                 int64_t now, struct error *err)
{
    struct consumer *k = p->consumer;
    int64_t tries = l->tries - back;
    int64_t due = back ? now : now + back_off(p->q, tries);
    bool last = !back && p->q->max_retries >= 0 && tries > p->q->max_retries;
    int n = STEP(c, Q_NACK, SETTLING, err, k->group_id, l->id, l->token, due, tries);
    if (n <= 0)
        return n;
    if (last)
        return bury(k, c, l->id, l->part, str_c(p->cause), now, err);
    queue_note_group(p->q, k->group_id);
    return 0;
}

int queue_settle(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct settle *p = CONTAINER_OF(job, struct settle, job);
    int64_t now;
    int r = queue_now(p->q, c, &now, &job->err);
    for (size_t i = 0; r == 0 && i < p->n; i++) {
        if (p->verdict[i] == VERDICT_ACK)
            r = acknowledge(p, c, p->lease[i], now, &job->err);
        else
            r = retry(p, c, p->lease[i], p->verdict[i] == VERDICT_BACK, now, &job->err);
    }
    return r;
}

int queue_extend(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct extend *p = CONTAINER_OF(job, struct extend, job);
    int64_t now;
    int r = queue_now(p->q, c, &now, &job->err);
    for (size_t i = 0; r >= 0 && i < p->n; i++)
        r = STEP(c, Q_LEASE_EXTEND, "extending leases", &job->err, p->consumer->group_id,
                 p->lease[i][0], p->lease[i][1], lease_end(p->q, now));
    return r < 0 ? r : 0;
}
