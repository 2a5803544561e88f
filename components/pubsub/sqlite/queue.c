/* queue.c — pubsub.sqlite: a durable queue in a SQLite file that many processes share. Publishing
 * answers after fsync; consumers of a group compete; what isn't acknowledged comes again.
 * Owner, thread, failure: see queue.h; the picture of the tables is in docs/pubsub.sqlite.md. */
#include "components/pubsub/sqlite/queue.h"

#include "base/clock.h"
#include "base/mem.h"

enum { UPKEEP_ROWS = 500, STATS_MAX = 10000, COUNT_MAX = 1000 };
#define CLOCK_EVERY_NS MS(100)
#define UPKEEP_NS SEC(5)
#define UPKEEP_MORE_NS MS(20)

/* ---- time ---- */

/* Not before the wall clock, not before any time that a process has used on this file, and running
 * on when the wall clock steps back. */
static int64_t local_now(struct queue *q)
{
    int64_t mono = (int64_t)(clock_now_ns() / MS(1)), wall = (int64_t)(clock_wall_ns() / MS(1));
    if (wall - mono > q->clock_offset_ms)
        q->clock_offset_ms = wall - mono;
    return mono + q->clock_offset_ms;
}

int queue_now(struct queue *q, struct sqlite_conn *c, int64_t *ret_ms, struct error *err)
{
    uint64_t mono = clock_now_ns();
    *ret_ms = local_now(q);
    if (q->clock_read_ns && mono - q->clock_read_ns < CLOCK_EVERY_NS)
        return 0;
    sqlite3_stmt *get = sqlite_stmt(c, Q_CLOCK_GET, err), *set = sqlite_stmt(c, Q_CLOCK_SET, err);
    if (!get || !set)
        return -(int)err->code;
    int r = sqlite_step(c, get, "reading the clock", err);
    if (r < 0)
        return r;
    int64_t seen = r == SQLITE_ROW ? sqlite3_column_int64(get, 0) : 0;
    sqlite_done(get);
    if (seen > *ret_ms && seen < QUEUE_PARKED) {
        q->clock_offset_ms += seen - *ret_ms;
        *ret_ms = seen;
    }
    q->clock_read_ns = mono;
    (void)sqlite3_bind_int64(set, 1, *ret_ms);
    r = sqlite_run(c, set, "writing the clock", err);
    return r < 0 ? r : 0;
}

/* ---- upkeep: what is over is deleted, in pieces ---- */

static int clean_expired(struct queue *q, struct sqlite_conn *c, int64_t now, struct error *err)
{
    int64_t id[UPKEEP_ROWS];
    size_t n = 0;
    sqlite3_stmt *s = sqlite_stmt(c, Q_CLEAN_EXPIRED, err);
    (void)q;
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, now);
    (void)sqlite3_bind_int(s, 2, UPKEEP_ROWS);
    int r = 0;
    while (n < UPKEEP_ROWS && (r = sqlite_step(c, s, "cleaning up", err)) == SQLITE_ROW)
        id[n++] = sqlite3_column_int64(s, 0);
    sqlite_done(s);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        sqlite3_stmt *dead = sqlite_stmt(c, Q_CLEAN_DEAD, err);
        sqlite3_stmt *message = sqlite_stmt(c, Q_CLEAN_MESSAGE, err);
        if (!dead || !message)
            return -(int)err->code;
        (void)sqlite3_bind_int64(dead, 1, id[i]);
        (void)sqlite3_bind_int64(dead, 2, QUEUE_TOPIC(id[i]));
        (void)sqlite3_bind_int64(message, 1, id[i]);
        r = sqlite_run(c, dead, "cleaning up", err);
        if (r >= 0)
            r = sqlite_run(c, message, "cleaning up", err);
    }
    return r < 0 ? r : (int)n;
}

static int clean_before(struct sqlite_conn *c, enum queue_sql which, int64_t until,
                        struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, which, err);
    if (!s)
        return -(int)err->code;
    (void)sqlite3_bind_int64(s, 1, until);
    (void)sqlite3_bind_int(s, 2, UPKEEP_ROWS);
    return sqlite_run(c, s, "cleaning up", err);
}

static int clean_all(struct queue *q, struct sqlite_conn *c, struct error *err)
{
    int64_t now;
    int a, b, d = 0;
    int r = queue_now(q, c, &now, err);
    if (r < 0)
        return r;
    if ((a = clean_before(c, Q_CLEAN_DEDUP, now, err)) < 0)
        return a;
    if ((b = clean_expired(q, c, now, err)) < 0)
        return b;
    if (q->retention_ns > 0)
        d = clean_before(c, Q_CLEAN_OLD, now - q->retention_ns / (int64_t)MS(1), err);
    return d < 0 ? d : a > b ? (a > d ? a : d) : (b > d ? b : d);
}

/* Only when something is there: an idle queue must not write. */
static bool anything_over(struct queue *q, struct sqlite_conn *c)
{
    static const char *const probe[] = {
        "SELECT 1 FROM pubsub_dedup WHERE until <= ?1 LIMIT 1",
        "SELECT 1 FROM pubsub_message WHERE expires <= ?1 LIMIT 1",
    };
    bool any = q->retention_ns > 0;
    for (size_t i = 0; !any && i < COUNT(probe); i++) {
        sqlite3_stmt *s = NULL;
        if (sqlite3_prepare_v2(c->db, probe[i], -1, &s, NULL) == SQLITE_OK) {
            (void)sqlite3_bind_int64(s, 1, local_now(q));
            any = sqlite3_step(s) == SQLITE_ROW;
        }
        (void)sqlite3_finalize(s);
    }
    return any;
}

static uint64_t upkeep(void *arg, struct sqlite_conn *c)
{
    struct queue *q = arg;
    struct error err = { 0 };
    if (!anything_over(q, c))
        return UPKEEP_NS;
    int r = sqlite_exec(c, "BEGIN IMMEDIATE", "cleaning up", &err);
    if (r < 0)
        return UPKEEP_NS;
    r = clean_all(q, c, &err);
    if (r < 0 || sqlite_exec(c, "COMMIT", "cleaning up", &err) < 0) {
        if (!sqlite3_get_autocommit(c->db))
            (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        return UPKEEP_NS;
    }
    return r >= UPKEEP_ROWS ? UPKEEP_MORE_NS : UPKEEP_NS;
}

/* ---- figures for the page ---- */

struct figures {
    struct arena *a;
    struct pubsub_stats *v;
    size_t n, max;
};

struct position { /* of a group in its topic */
    int64_t group, cursor, topic, next;
};

static int ask(struct sqlite_conn *c, enum queue_sql which, const int64_t arg[3], int64_t *ret,
               struct error *err)
{
    sqlite3_stmt *s = sqlite_stmt(c, which, err);
    if (!s)
        return -(int)err->code;
    for (int i = 0; i < 3; i++)
        (void)sqlite3_bind_int64(s, i + 1, arg[i]);
    int r = sqlite_step(c, s, "counting messages", err);
    *ret = r == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite_done(s);
    return r < 0 ? r : 0;
}

/* Exact while there are few; of many the numbers tell, which also count what has expired since. */
static int unseen(struct sqlite_conn *c, const struct position *p, int64_t *ret, struct error *err)
{
    uint64_t passed = (uint64_t)p->cursor - (uint64_t)QUEUE_FIRST(p->topic); /* numbers */
    int64_t estimate = (int64_t)((uint64_t)p->next - 1 - passed);
    *ret = 0;
    if (estimate <= 0)
        return 0;
    int r = ask(c, Q_UNSEEN, (int64_t[]){ p->cursor, QUEUE_LAST(p->topic), COUNT_MAX }, ret, err);
    if (*ret >= COUNT_MAX && estimate > *ret)
        *ret = estimate;
    return r;
}

static int figure(struct sqlite_conn *c, struct pubsub_stats *v, const struct position *p,
                  int64_t under_way, struct error *err)
{
    int64_t n, at = 0, wall = (int64_t)(clock_wall_ns() / MS(1));
    int r = unseen(c, p, &n, err);
    if (r < 0)
        return r;
    v->depth = (uint64_t)(n + under_way);
    if (v->depth)
        r = ask(c, Q_OLDEST, (int64_t[]){ p->group, p->cursor, QUEUE_LAST(p->topic) }, &at, err);
    if (at && wall > at)
        v->oldest_ns = MS((uint64_t)(wall - at));
    return r;
}

static int read_figures(struct sqlite_conn *c, void *arg, struct error *err)
{
    struct figures *f = arg;
    sqlite3_stmt *s = sqlite_stmt(c, Q_STATS, err);
    int r = s ? 0 : -(int)err->code;
    f->n = 0;
    while (r >= 0 && f->n < f->max && s &&
           (r = sqlite_step(c, s, "counting messages", err)) == SQLITE_ROW) {
        struct pubsub_stats *v = &f->v[f->n++];
        struct position p = { sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3),
                              sqlite3_column_int64(s, 4), sqlite3_column_int64(s, 5) };
        *v = (struct pubsub_stats){ .topic = arena_dup(f->a, sqlite_column(s, 0)),
                                    .consumer = arena_dup(f->a, sqlite_column(s, 1)),
                                    .dead = (uint64_t)sqlite3_column_int64(s, 6) };
        if (!v->topic.p || !v->consumer.p)
            r = fail(err, EXHAUSTED, NULL, "out of memory for the queue's figures");
        else
            r = figure(c, v, &p, sqlite3_column_int64(s, 7), err);
    }
    sqlite_done(s);
    return r < 0 ? r : 0;
}

static int count_groups(struct sqlite_conn *c, void *arg, struct error *err)
{
    size_t *n = arg;
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(c->db, "SELECT count(*) FROM pubsub_group", -1, &s, NULL);
    if (rc != SQLITE_OK)
        return sqlite_fail(c, rc, "counting groups", err);
    int r = sqlite_step(c, s, "counting groups", err);
    *n = r == SQLITE_ROW ? (size_t)sqlite3_column_int64(s, 0) : 0;
    (void)sqlite3_finalize(s);
    return r < 0 ? r : 0;
}

CO static int queue_stats(void *self, struct arena *a, struct pubsub_stats **ret, size_t *ret_n)
{
    struct queue *q = self;
    struct error err = { 0 };
    size_t n = 0;
    int r = sqlite_read(q->db, count_groups, &n, &err);
    if (r < 0)
        return r;
    n = min_size(n + 16, STATS_MAX); /* some may come in between */
    struct figures f = { .a = a, .v = arena_alloc(a, n * sizeof *f.v), .max = n };
    if (!f.v)
        return -EXHAUSTED;
    r = sqlite_read(q->db, read_figures, &f, &err);
    if (r < 0)
        return r;
    *ret = f.v;
    *ret_n = f.n;
    return 0;
}

/* ---- dead letters ---- */

struct listing {
    str topic, consumer;
    int64_t after;
    size_t max, n;
    struct arena *a;
    struct queue_dead *v;
};

static int read_dead(struct sqlite_conn *c, void *arg, struct error *err)
{
    struct listing *l = arg;
    sqlite3_stmt *s = sqlite_stmt(c, Q_DEAD_LIST, err);
    int r = s ? 0 : -(int)err->code;
    l->n = 0;
    if (!s)
        return r;
    sqlite_bind_str(s, 1, l->topic);
    sqlite_bind_str(s, 2, l->consumer);
    (void)sqlite3_bind_int64(s, 3, l->after);
    (void)sqlite3_bind_int64(s, 4, (int64_t)l->max);
    while (l->n < l->max && (r = sqlite_step(c, s, "listing dead letters", err)) == SQLITE_ROW) {
        struct queue_dead *d = &l->v[l->n];
        struct error why = { 0 };
        struct queue_row row = queue_row_head(s);
        *d = (struct queue_dead){ .id = row.id,
                                  .at_ms = row.at,
                                  .tries = sqlite3_column_int64(s, 8),
                                  .cause = arena_dup(l->a, sqlite_column(s, 9)) };
        r = queue_row_message(s, l->topic, l->a, &d->m, &why);
        if (!d->cause.p || r == -EXHAUSTED) {
            r = fail(err, EXHAUSTED, NULL, "out of memory for the list of dead letters");
            break;
        }
        l->n++; /* also one that can't be read: that is why it's here */
    }
    sqlite_done(s);
    return r == -EXHAUSTED || (r < 0 && err->code) ? r : 0;
}

CO int queue_dead_list(struct queue *q, str topic, str consumer, int64_t after, size_t max,
                       struct arena *a, struct queue_dead *ret, size_t *ret_n, struct error *err)
{
    struct listing l = {
        .topic = topic, .consumer = consumer, .after = after, .max = max, .a = a, .v = ret
    };
    int r = sqlite_read(q->db, read_dead, &l, err);
    *ret_n = r < 0 ? 0 : l.n;
    return r;
}

struct replay {
    struct sqlite_job job;
    struct queue *q;
    str topic, consumer;
    int64_t id;
    size_t n;
};

static int run_replay(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct replay *p = CONTAINER_OF(job, struct replay, job);
    int64_t now;
    int r = queue_now(p->q, c, &now, &job->err);
    sqlite3_stmt *s = r == 0 ? sqlite_stmt(c, Q_DEAD_REPLAY, &job->err) : NULL;
    if (!s)
        return -(int)job->err.code;
    sqlite_bind_str(s, 1, p->topic);
    sqlite_bind_str(s, 2, p->consumer);
    (void)sqlite3_bind_int64(s, 3, p->id);
    (void)sqlite3_bind_int64(s, 4, now);
    r = sqlite_run(c, s, "replaying dead letters", &job->err);
    if (r < 0)
        return r;
    p->n = (size_t)r;
    pthread_mutex_lock(&p->q->lock);
    LIST_EACH (&p->q->consumers, node) {
        struct consumer *k = CONTAINER_OF(node, struct consumer, node);
        k->news |= str_eq(str_c(k->topic), p->topic);
    }
    pthread_mutex_unlock(&p->q->lock);
    return 0;
}

CO int queue_dead_replay(struct queue *q, str topic, str consumer, int64_t id, size_t *ret_n,
                         struct error *err)
{
    struct replay p = { .job = { .run = run_replay, .flags = SQLITE_JOB_DURABLE },
                        .q = q,
                        .topic = topic,
                        .consumer = consumer,
                        .id = id };
    int r = sqlite_write(q->db, &p.job, err);
    *ret_n = r < 0 ? 0 : p.n;
    return r;
}

/* ---- opening, closing ---- */

static int check_config(struct queue *q, struct error *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
        const char *range;
    } row[] = {
        { "visibilityTimeout", q->lease_ns, (int64_t)MS(100), (int64_t)SEC(86400), "100ms … 24h" },
        { "backoffMin", q->backoff_min_ns, 0, (int64_t)SEC(86400), "0 … 24h" },
        { "backoffMax", q->backoff_max_ns, q->backoff_min_ns, (int64_t)SEC(86400),
          "backoffMin … 24h" },
        { "maxRetries", q->max_retries, -1, 1000000, "-1 (for ever) … 1000000" },
        { "concurrency", q->concurrency, 1, 1000, "1 … 1000" },
        { "dedupWindow", q->dedup_ns, 0, (int64_t)SEC(30 * 86400), "0 (off) … 720h" },
        { "retention", q->retention_ns, 0, INT64_MAX, "0 or more" },
        { "messageTTL", q->ttl_ns, 0, INT64_MAX, "0 or more" },
        { "timeout", q->timeout_ns, (int64_t)SEC(1), INT64_MAX, "1s or more" },
        { "busyTimeout", q->busy_ns, 0, (int64_t)SEC(600), "0 … 10m" },
    };
    if (!*q->connection)
        return fail(err, INVALID, NULL, "missing connection string");
    for (size_t i = 0; i < COUNT(row); i++)
        if (row[i].value < row[i].min || row[i].value > row[i].max)
            return fail(err, INVALID, NULL, "metadata field \"%s\" must be in %s", row[i].name,
                        row[i].range);
    if (!str_ieq(str_c(q->start), S("newest")) && !str_ieq(str_c(q->start), S("oldest")))
        return fail(err, INVALID, NULL,
                    "metadata field \"initialOffset\": \"%.60s\" is not newest or oldest",
                    q->start);
    if (!*q->consumer_id && !*q->app_id)
        return fail(err, INVALID, NULL, "consumerID is required when the app has no id");
    return 0;
}

CO static int queue_open(void *self, const struct component_env *env, struct error *err)
{
    struct queue *q = self;
    q->app_id = env->app_id ? env->app_id : "";
    q->name = env->name;
    list_init(&q->consumers);
    pthread_mutex_init(&q->lock, NULL);
    q->has_lock = true;
    int r = check_config(q, err);
    if (r < 0)
        return r;
    struct sqlite_db_config config = {
        .connection = q->connection,
        .sql = queue_sql,
        .n_sql = QUEUE_N_SQL,
        .busy_ns = (uint64_t)q->busy_ns,
        .timeout_ns = (uint64_t)q->timeout_ns,
        .watch = true,
        .thread_name = "pubsub.sqlite",
        .arg = q,
        .migrate = queue_migrate,
        .upkeep = upkeep,
        .committed = queue_ring_noted,
        .changed = queue_look_around,
    };
    return sqlite_db_open(&config, &q->db, err);
}

CO static void queue_close(void *self)
{
    struct queue *q = self;
    if (!q->has_lock)
        return;
    while (!list_empty(&q->consumers)) /* only what nobody unsubscribed */
        queue_unsubscribe(q, CONTAINER_OF(q->consumers.next, struct consumer, node));
    sqlite_db_close(TAKE(q->db));
    pthread_mutex_destroy(&q->lock);
    q->has_lock = false;
}

#define FIELD(member) .off = offsetof(struct queue, member)
static const struct cfg_field fields[] = {
    { .name = "connectionString",
      .alias = "url",
      .kind = CFG_STR,
      FIELD(connection),
      .doc = "path of the file, or file:path?options; all processes of the queue name the same" },
    { .name = "consumerID",
      .kind = CFG_STR,
      FIELD(consumer_id),
      .doc = "the group that shares the messages of a topic; default: the app's id" },
    { .name = "concurrency",
      .kind = CFG_INT,
      FIELD(concurrency),
      .def = "10",
      .doc = "messages (or bulks) of a subscription that are handled at the same time, 1 … 1000" },
    { .name = "visibilityTimeout",
      .kind = CFG_DURATION,
      FIELD(lease_ns),
      .def = "30s",
      .doc = "a message whose process died comes again after it; prolonged while it is handled" },
    { .name = "maxRetries",
      .kind = CFG_INT,
      FIELD(max_retries),
      .def = "10",
      .doc = "tries after the first; then it is a dead letter; -1 = for ever" },
    { .name = "backoffMin",
      .kind = CFG_DURATION,
      FIELD(backoff_min_ns),
      .def = "1s",
      .doc = "the first retry comes within it, each further one within twice the time" },
    { .name = "backoffMax",
      .kind = CFG_DURATION,
      FIELD(backoff_max_ns),
      .def = "5m",
      .doc = "but never later than this" },
    { .name = "dedupWindow",
      .kind = CFG_DURATION,
      FIELD(dedup_ns),
      .def = "2m",
      .doc = "a second message with the same messageId within it is dropped; 0 = off" },
    { .name = "messageTTL",
      .kind = CFG_DURATION,
      FIELD(ttl_ns),
      .def = "0",
      .doc = "ttlInSeconds of messages that say nothing; 0 = they wait for ever" },
    { .name = "retention",
      .kind = CFG_DURATION,
      FIELD(retention_ns),
      .def = "0",
      .doc = "how long a message stays after its publishing though every group has it; 0 = not" },
    { .name = "initialOffset",
      .kind = CFG_STR,
      FIELD(start),
      .def = "newest",
      .doc = "where a new group begins: newest, or oldest (with retention)" },
    { .name = "timeout",
      .kind = CFG_DURATION,
      FIELD(timeout_ns),
      .def = "20s",
      .doc = "a call that waited longer for the disk is refused" },
    { .name = "busyTimeout",
      .kind = CFG_DURATION,
      FIELD(busy_ns),
      .def = "5s",
      .doc = "how long to wait while another process writes to the file" },
};

const struct pubsub_ops pubsub_sqlite = {
    .t = {
        .kind = "pubsub",
        .type = "pubsub.sqlite",
        .version = "v1",
        .doc = "A durable queue in a SQLite file for the processes of one machine: competing "
               "consumers, retries, dead letters, order by key, delays, no duplicates by id.",
        .features = PUBSUB_TTL | PUBSUB_BULK_PUBLISH | PUBSUB_BULK_SUBSCRIBE,
        .size = sizeof(struct queue),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = queue_open,
        .close = queue_close,
    },
    .publish = queue_publish,
    .bulk_publish = queue_bulk_publish,
    .subscribe = queue_subscribe,
    .unsubscribe = queue_unsubscribe,
    .stats = queue_stats,
};
