/* sqlite.c — state.sqlite: keys in one table of a SQLite file, in the contract's layout, so that
 * another runtime of the contract may use the same file at the same time.
 * Owner:  the instance owns its database; answers are copied into the caller's arena.
 * Thread: reads on the caller's worker, writes on the database's writer thread.
 * Failure: -ABORTED for a stale ETag, -UNAVAILABLE while another process holds the file. */
#include "base/buf.h"
#include "base/id.h"
#include "base/mem.h"
#include "components/common/sqlite/db.h"
#include "components/state/sqlite/row.h"

#include <stdio.h>

struct store {
    const char *connection, *table, *metadata_table;
    int64_t timeout_ns, busy_ns, cleanup_ns;
    bool no_wal, cleaning;
    struct sqlite_db *db;
    struct arena arena; /* of the statements' texts */
};

/* ---- statements: %T is the table, %M the metadata table, LIVE means not expired ---- */

#define LIVE "(expiration_time IS NULL OR expiration_time > CURRENT_TIMESTAMP)"
#define INSERT                                                                                     \
    "INSERT INTO %T (key, value, is_binary, etag, update_time, expiration_time) "                  \
    "VALUES (?1, ?2, ?3, ?4, CURRENT_TIMESTAMP, datetime('now', ?5)) "                             \
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, is_binary = excluded.is_binary, "     \
    "etag = excluded.etag, update_time = excluded.update_time, "                                   \
    "expiration_time = excluded.expiration_time"

enum { GET, SET, SET_FIRST, SET_ETAG, DELETE, DELETE_ETAG, CLEAN_TURN, CLEAN, N_SQL };

static const char *const sql_template[N_SQL] = {
    [GET] = "SELECT value, is_binary, etag, expiration_time FROM %T WHERE key = ?1 AND " LIVE,
    [SET] = INSERT,
    [SET_FIRST] = INSERT " WHERE NOT (%T.expiration_time IS NULL OR "
                         "%T.expiration_time > CURRENT_TIMESTAMP)",
    [SET_ETAG] = "UPDATE %T SET value = ?2, is_binary = ?3, etag = ?4, "
                 "update_time = CURRENT_TIMESTAMP, expiration_time = datetime('now', ?5) "
                 "WHERE key = ?1 AND etag = ?6 AND " LIVE,
    [DELETE] = "DELETE FROM %T WHERE key = ?1",
    [DELETE_ETAG] = "DELETE FROM %T WHERE key = ?1 AND etag = ?6",
    /* One of the processes on a file cleans up in each interval. */
    [CLEAN_TURN] = "INSERT INTO %M (key, value) VALUES ('last-cleanup', CURRENT_TIMESTAMP) "
                   "ON CONFLICT (key) DO UPDATE SET value = CURRENT_TIMESTAMP WHERE "
                   "(unixepoch(CURRENT_TIMESTAMP) - unixepoch(value)) * 1000 > ?1",
    [CLEAN] = "DELETE FROM %T WHERE rowid IN (SELECT rowid FROM %T WHERE expiration_time IS NOT "
              "NULL AND expiration_time < CURRENT_TIMESTAMP LIMIT 1000)",
};

/* The contract's migrations; the level is a row of the metadata table. */
static const char *const migration[] = {
    "CREATE TABLE IF NOT EXISTS %T ("
    "key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, is_binary BOOLEAN NOT NULL, "
    "etag TEXT NOT NULL, expiration_time TIMESTAMP DEFAULT NULL, "
    "update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
};
static const char make_metadata[] =
    "CREATE TABLE IF NOT EXISTS %M (key text NOT NULL PRIMARY KEY, value text NOT NULL)";

static const char *expand(struct store *s, const char *sql_text)
{
    struct buf b;
    buf_init(&b, KIB(8));
    for (const char *p = sql_text; *p; p++) {
        if (p[0] == '%' && (p[1] == 'T' || p[1] == 'M'))
            buf_put(&b, str_c(*++p == 'T' ? s->table : s->metadata_table));
        else
            buf_putc(&b, *p);
    }
    const char *text = buf_ok(&b) ? arena_cstr(&s->arena, buf_str(&b)) : NULL;
    buf_done(&b);
    return text;
}

/* ---- tables ---- */

static int run_text(struct store *s, struct sqlite_conn *c, const char *sql_text, struct error *err)
{
    const char *sql = expand(s, sql_text);
    return sql ? sqlite_exec(c, sql, "making the tables", err)
               : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int read_level(struct store *s, struct sqlite_conn *c, int64_t *ret, struct error *err)
{
    sqlite3_stmt *q = NULL;
    const char *sql = expand(s, "SELECT value FROM %M WHERE key = 'migrations'");
    if (!sql)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &q, NULL);
    if (rc != SQLITE_OK)
        return sqlite_fail(c, rc, "reading the version of the tables", err);
    *ret = 0;
    int r = sqlite_step(c, q, "reading the version of the tables", err);
    if (r == SQLITE_ROW && !str_to_i64(sqlite_column(q, 0), ret))
        r = fail(err, DATA_LOSS, NULL, "table %s of %s holds no number under 'migrations'",
                 s->metadata_table, s->connection);
    (void)sqlite3_finalize(q);
    return r < 0 ? r : 0;
}

static int migrate(void *arg, struct sqlite_conn *c, struct error *err)
{
    struct store *s = arg;
    int64_t level = 0;
    int r = run_text(s, c, make_metadata, err);
    if (r == 0)
        r = read_level(s, c, &level, err);
    if (r < 0)
        return r;
    if (level < 0)
        return fail(err, DATA_LOSS, NULL, "table %s of %s holds a negative version",
                    s->metadata_table, s->connection);
    for (size_t i = (size_t)level; r == 0 && i < COUNT(migration); i++)
        r = run_text(s, c, migration[i], err);
    if (r == 0 && (size_t)level < COUNT(migration)) {
        _Static_assert(COUNT(migration) == 1, "the statement below says 1");
        r = run_text(s, c, "REPLACE INTO %M (key, value) VALUES ('migrations', '1')", err);
    }
    return r;
}

/* ---- reading ---- */

struct lookup {
    const str *keys;
    size_t n;
    struct arena *a;
    struct state_value *ret;
    bool bulk;
};

static int look_up(struct sqlite_conn *c, str key, struct arena *a, struct state_value *ret,
                   struct error *err)
{
    sqlite3_stmt *q = sqlite_stmt(c, GET, err);
    ret->found = false;
    if (!q)
        return -(int)err->code;
    sqlite_bind_str(q, 1, key);
    int r = sqlite_step(c, q, "reading a key", err);
    if (r == SQLITE_ROW) {
        r = state_row_decode(q, key, a, ret, err);
        sqlite_done(q);
    }
    return r < 0 ? r : 0;
}

static int look_up_all(struct sqlite_conn *c, void *arg, struct error *err)
{
    struct lookup *l = arg;
    if (!l->bulk)
        return look_up(c, l->keys[0], l->a, l->ret, err);
    for (size_t i = 0; i < l->n; i++) {
        l->ret[i].err = (struct error){ 0 };
        int r = look_up(c, l->keys[i], l->a, &l->ret[i], &l->ret[i].err);
        if (r < 0 && c->fatal)
            return fail(err, (enum code) - r, NULL, "%s", l->ret[i].err.text);
    }
    return 0;
}

CO static int store_get(void *self, str key, enum state_consistency consistency,
                        struct kvs metadata, struct arena *a, struct state_value *ret,
                        struct error *err)
{
    struct store *s = self;
    struct lookup l = { .keys = &key, .n = 1, .a = a, .ret = ret };
    (void)consistency;
    (void)metadata;
    return sqlite_read(s->db, look_up_all, &l, err);
}

CO static int store_bulk_get(void *self, const str *keys, size_t n, struct kvs metadata,
                             struct arena *a, struct state_value *ret, struct error *err)
{
    struct store *s = self;
    struct lookup l = { .keys = keys, .n = n, .a = a, .ret = ret, .bulk = true };
    (void)metadata;
    return sqlite_read(s->db, look_up_all, &l, err);
}

/* ---- writing ---- */

struct change { /* a write, ready for the writer's thread */
    const struct state_write *w;
    str value;
    char *encoded; /* owned; base64 of a value that isn't text */
    char etag[UUID_LEN], ttl[32];
};

struct save {
    struct sqlite_job job;
    struct change *change;
    size_t n;
};

static int prepare(struct change *p, const struct state_write *w, struct error *err)
{
    int64_t ttl = 0;
    *p = (struct change){ .w = w, .value = w->value };
    if (!w->key.n)
        return fail(err, INVALID, NULL, "the key is empty: give it a name");
    if (w->remove)
        return 0;
    int r = state_ttl(w->metadata, &ttl, err);
    if (r < 0)
        return r;
    if (ttl > 0)
        (void)snprintf(p->ttl, sizeof p->ttl, "+%lld seconds", (long long)ttl);
    id_uuid4(p->etag);
    if (w->json)
        return 0;
    size_t n = base64_len(w->value.n);
    p->encoded = mem_alloc(n);
    if (!p->encoded)
        return fail(err, EXHAUSTED, NULL, "out of memory for a value of %zu bytes", w->value.n);
    base64_encode(w->value, p->encoded);
    p->value = str_of(p->encoded, n);
    return 0;
}

static int stale(const struct state_write *w, struct error *err)
{
    return fail(err, ABORTED, NULL,
                "possible etag mismatch. error from state store: key " STR_FMT "%s",
                STR_ARG(w->key),
                w->etag.n ? " has another etag or is gone" : " exists and no etag was passed");
}

static size_t statement_for(const struct state_write *w)
{
    if (w->remove)
        return w->etag.n ? DELETE_ETAG : DELETE;
    if (w->etag.n)
        return SET_ETAG;
    return w->concurrency == FIRST_WRITE ? SET_FIRST : SET;
}

static int apply(struct sqlite_conn *c, const struct change *p, struct error *err)
{
    const struct state_write *w = p->w;
    size_t which = statement_for(w);
    sqlite3_stmt *q = sqlite_stmt(c, which, err);
    if (!q)
        return -(int)err->code;
    sqlite_bind_str(q, 1, w->key);
    if (!w->remove) {
        sqlite_bind_str(q, 2, p->value);
        (void)sqlite3_bind_int(q, 3, !w->json);
        sqlite_bind_str(q, 4, str_of(p->etag, UUID_LEN));
        if (p->ttl[0]) /* datetime('now', NULL) is NULL: never */
            sqlite_bind_str(q, 5, str_c(p->ttl));
    }
    if (w->etag.n)
        sqlite_bind_str(q, 6, w->etag);
    int n = sqlite_run(c, q, w->remove ? "deleting a key" : "saving a key", err);
    if (n == 0 && which != DELETE)
        return stale(w, err);
    return n < 0 ? n : 0;
}

static int run_save(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct save *s = CONTAINER_OF(job, struct save, job);
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = apply(c, &s->change[i], &job->err);
    return r;
}

CO static int store_write(void *self, const struct state_write *w, struct error *err)
{
    struct store *s = self;
    struct change change;
    struct save save = { .job = { .run = run_save, .flags = SQLITE_JOB_DURABLE },
                         .change = &change,
                         .n = 1 };
    int r = prepare(&change, w, err);
    if (r == 0)
        r = sqlite_write(s->db, &save.job, err);
    mem_free(change.encoded);
    return r;
}

CO static int store_transact(void *self, const struct state_write *w, size_t n, struct kvs metadata,
                             struct error *err)
{
    struct store *s = self;
    (void)metadata;
    if (n == 0)
        return 0;
    struct change *change = mem_zalloc(n * sizeof *change);
    if (!change)
        return fail(err, EXHAUSTED, NULL, "out of memory for %zu operations", n);
    struct save save = { .job = { .run = run_save,
                                  .flags = SQLITE_JOB_DURABLE | SQLITE_JOB_ATOMIC },
                         .change = change,
                         .n = n };
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = prepare(&change[i], &w[i], err);
    if (r == 0)
        r = sqlite_write(s->db, &save.job, err);
    for (size_t i = 0; i < n; i++)
        mem_free(change[i].encoded);
    mem_free(change);
    return r;
}

/* ---- clean-up of expired keys, in pieces so that writes don't wait for it ---- */

static uint64_t clean_up(void *arg, struct sqlite_conn *c)
{
    struct store *s = arg;
    struct error err = { 0 };
    uint64_t next = (uint64_t)s->cleanup_ns;
    sqlite3_stmt *turn = sqlite_stmt(c, CLEAN_TURN, &err), *clean = sqlite_stmt(c, CLEAN, &err);
    if (!turn || !clean)
        return next;
    (void)sqlite3_bind_int64(turn, 1, s->cleanup_ns / (int64_t)MS(1) - 100);
    if (!s->cleaning && sqlite_run(c, turn, "cleaning up", &err) <= 0)
        return next;
    int n = sqlite_run(c, clean, "cleaning up", &err);
    s->cleaning = n >= 1000;
    return s->cleaning ? MS(5) : next;
}

/* ---- opening, closing ---- */

static int check_config(const struct store *s, struct error *err)
{
    if (!*s->connection)
        return fail(err, INVALID, NULL, "missing connection string");
    if (!sqlite_is_identifier(s->table))
        return fail(err, INVALID, NULL, "invalid identifier: %s (tableName)", s->table);
    if (!sqlite_is_identifier(s->metadata_table))
        return fail(err, INVALID, NULL, "invalid identifier: %s (metadataTableName)",
                    s->metadata_table);
    if (s->timeout_ns < (int64_t)SEC(1))
        return fail(err, INVALID, NULL, "invalid value for 'timeout': must be at least 1s");
    return 0;
}

CO static int store_open(void *self, const struct component_env *env, struct error *err)
{
    struct store *s = self;
    (void)env;
    arena_init(&s->arena, KIB(64));
    int r = check_config(s, err);
    if (r < 0)
        return r;
    const char **sql = arena_alloc(&s->arena, N_SQL * sizeof *sql);
    bool ok = sql;
    for (size_t i = 0; ok && i < N_SQL; i++)
        ok = (sql[i] = expand(s, sql_template[i])) != NULL;
    if (!ok)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    struct sqlite_db_config config = {
        .connection = s->connection,
        .sql = sql,
        .n_sql = N_SQL,
        .busy_ns = s->busy_ns > 0 ? (uint64_t)s->busy_ns : 0,
        .timeout_ns = (uint64_t)s->timeout_ns,
        .no_wal = s->no_wal,
        .thread_name = "state.sqlite",
        .arg = s,
        .migrate = migrate,
        .upkeep = s->cleanup_ns > 0 ? clean_up : NULL,
    };
    return sqlite_db_open(&config, &s->db, err);
}

CO static void store_close(void *self)
{
    struct store *s = self;
    sqlite_db_close(TAKE(s->db));
    arena_done(&s->arena);
}

static const struct cfg_field fields[] = {
    { .name = "connectionString",
      .alias = "url",
      .kind = CFG_STR,
      .off = offsetof(struct store, connection),
      .doc = "path of the file, file:path?options, or :memory:" },
    { .name = "tableName",
      .kind = CFG_STR,
      .off = offsetof(struct store, table),
      .def = "state",
      .doc = "table of the keys; made when it isn't there" },
    { .name = "metadataTableName",
      .kind = CFG_STR,
      .off = offsetof(struct store, metadata_table),
      .def = "metadata",
      .doc = "table of the layout's version and of the last clean-up" },
    { .name = "timeout",
      .alias = "timeoutInSeconds",
      .kind = CFG_DURATION,
      .flags = CFG_SECONDS,
      .off = offsetof(struct store, timeout_ns),
      .def = "20s",
      .doc = "a write that waited longer is refused" },
    { .name = "busyTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct store, busy_ns),
      .def = "2s",
      .doc = "how long to wait while another process writes to the file" },
    { .name = "disableWAL",
      .kind = CFG_BOOL,
      .off = offsetof(struct store, no_wal),
      .doc = "for network file systems: a rollback journal instead of a write-ahead log" },
    { .name = "cleanupInterval",
      .alias = "cleanupIntervalInSeconds",
      .kind = CFG_DURATION,
      .flags = CFG_SECONDS,
      .off = offsetof(struct store, cleanup_ns),
      .def = "0",
      .doc = "how often expired keys are deleted from the file; 0 = never" },
};

static const char *const aliases[] = { "state.sqlite3", NULL };

const struct state_ops state_sqlite = {
    .t = {
        .kind = "state",
        .type = "state.sqlite",
        .aliases = aliases,
        .version = "v1",
        .doc = "Key/value state in a SQLite file; many processes may share it. Writes that wait "
               "at the same time share one fsync.",
        .features = STATE_ETAG | STATE_TXN | STATE_TTL,
        .size = sizeof(struct store),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = store_open,
        .close = store_close,
    },
    .get = store_get,
    .bulk_get = store_bulk_get,
    .write = store_write,
    .transact = store_transact,
};
