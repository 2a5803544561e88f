/* sqlite.c — lock.sqlite: locks with an owner and an end, in a SQLite file that many processes of
 * one machine share.
 * Owner:  an instance owns its database. Thread: any worker; jobs run on the writer's thread.
 * Failure: as lock.h. A lock isn't forced to the disk: it outlives its process, and a power cut
 * ends whoever held it. Time is the machine's clock: set back, it makes locks last longer. */
#include "base/clock.h"
#include "component/lock.h"
#include "components/common/sqlite/db.h"

struct locks {
    const char *connection, *table;
    int64_t busy_ns, timeout_ns, cleanup_ns;
    struct arena arena;
    struct sqlite_db *db;
};

enum { TAKE_LOCK, FIND, GIVE, CLEAN, N_SQL };
enum { CLEAN_ROWS = 1000, EXPIRY_MAX_S = INT32_MAX };

static const char *const sql_template[N_SQL] = {
    /* One that has ended is taken over; one that lasts isn't, not even by its owner. */
    [TAKE_LOCK] = ("INSERT INTO %s (resource, owner, expires_ms) VALUES (?1, ?2, ?3) "
                   "ON CONFLICT (resource) DO UPDATE SET owner = ?2, expires_ms = ?3 "
                   "WHERE expires_ms <= ?4"),
    [FIND] = "SELECT owner FROM %s WHERE resource = ?1 AND expires_ms > ?4",
    [GIVE] = "DELETE FROM %s WHERE resource = ?1",
    [CLEAN] = ("DELETE FROM %1$s WHERE rowid IN (SELECT rowid FROM %1$s WHERE expires_ms <= ?4 "
               "LIMIT 1000)"),
};

static int64_t now_ms(void)
{
    return (int64_t)(clock_wall_ns() / MS(1));
}

struct action {
    struct sqlite_job job;
    str resource, owner;
    int64_t expiry_s;
    bool locked;
    enum unlock_status status;
};

static int run_take(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct action *a = CONTAINER_OF(job, struct action, job);
    sqlite3_stmt *q = sqlite_stmt(c, TAKE_LOCK, &job->err);
    if (!q)
        return -(int)job->err.code;
    int64_t now = now_ms();
    sqlite_bind_str(q, 1, a->resource);
    sqlite_bind_str(q, 2, a->owner);
    (void)sqlite3_bind_int64(q, 3, now + a->expiry_s * 1000);
    (void)sqlite3_bind_int64(q, 4, now);
    int n = sqlite_run(c, q, "taking a lock", &job->err);
    a->locked = n > 0;
    return n < 0 ? n : 0;
}

static int find_owner(struct sqlite_conn *c, struct action *a, struct error *err)
{
    sqlite3_stmt *q = sqlite_stmt(c, FIND, err);
    if (!q)
        return -(int)err->code;
    sqlite_bind_str(q, 1, a->resource);
    (void)sqlite3_bind_int64(q, 4, now_ms());
    int r = sqlite_step(c, q, "finding a lock", err);
    a->status = UNLOCK_DOES_NOT_EXIST;
    if (r != SQLITE_ROW)
        return r < 0 ? r : 0;
    a->status = str_eq(sqlite_column(q, 0), a->owner) ? UNLOCK_SUCCESS : UNLOCK_BELONGS_TO_OTHERS;
    sqlite_done(q);
    return 0;
}

static int run_give(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct action *a = CONTAINER_OF(job, struct action, job);
    int r = find_owner(c, a, &job->err);
    if (r < 0 || a->status != UNLOCK_SUCCESS)
        return r;
    sqlite3_stmt *q = sqlite_stmt(c, GIVE, &job->err);
    if (!q)
        return -(int)job->err.code;
    sqlite_bind_str(q, 1, a->resource);
    int n = sqlite_run(c, q, "giving a lock back", &job->err);
    return n < 0 ? n : 0;
}

CO static int locks_try(void *self, str resource, str owner, int64_t expiry_s, bool *ret,
                        struct error *err)
{
    struct locks *l = self;
    struct action a = {
        .job = { .run = run_take },
        .resource = resource,
        .owner = owner,
        .expiry_s = expiry_s < EXPIRY_MAX_S ? expiry_s : EXPIRY_MAX_S,
    };
    int r = sqlite_write(l->db, &a.job, err);
    if (r < 0)
        return r;
    *ret = a.locked;
    return 0;
}

CO static int locks_unlock(void *self, str resource, str owner, enum unlock_status *ret,
                           struct error *err)
{
    struct locks *l = self;
    struct action a = { .job = { .run = run_give }, .resource = resource, .owner = owner };
    int r = sqlite_write(l->db, &a.job, err);
    if (r < 0)
        return r;
    *ret = a.status;
    return 0;
}

/* Locks that ended and were never taken again; in pieces, so that nobody waits for it. */
static uint64_t clean_up(void *arg, struct sqlite_conn *c)
{
    struct locks *l = arg;
    struct error err = { 0 };
    sqlite3_stmt *q = sqlite_stmt(c, CLEAN, &err);
    if (!q)
        return (uint64_t)l->cleanup_ns;
    (void)sqlite3_bind_int64(q, 4, now_ms());
    return sqlite_run(c, q, "cleaning up", &err) >= CLEAN_ROWS ? MS(5) : (uint64_t)l->cleanup_ns;
}

/* ---- opening, closing ---- */

static int migrate(void *arg, struct sqlite_conn *c, struct error *err)
{
    struct locks *l = arg;
    str sql = arena_printf(&l->arena,
                           "CREATE TABLE IF NOT EXISTS %s (resource TEXT NOT NULL PRIMARY KEY, "
                           "owner TEXT NOT NULL, expires_ms INTEGER NOT NULL)",
                           l->table);
    return sql.p ? sqlite_exec(c, sql.p, "making the table", err)
                 : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO static int locks_open(void *self, const struct component_env *env, struct error *err)
{
    struct locks *l = self;
    arena_init(&l->arena, KIB(64));
    if (!*l->connection)
        return fail(err, INVALID, NULL, "missing connection string");
    if (!sqlite_is_identifier(l->table))
        return fail(err, INVALID, NULL, "invalid identifier: %s (tableName)", l->table);
    const char **sql = arena_alloc(&l->arena, N_SQL * sizeof *sql);
    bool ok = sql;
    for (size_t i = 0; ok && i < N_SQL; i++)
        ok = (sql[i] = arena_printf(&l->arena, sql_template[i], l->table).p) != NULL;
    if (!ok)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    struct sqlite_db_config config = {
        .connection = l->connection,
        .sql = sql,
        .n_sql = N_SQL,
        .busy_ns = l->busy_ns > 0 ? (uint64_t)l->busy_ns : 0,
        .timeout_ns = (uint64_t)l->timeout_ns,
        .thread_name = "lock.sqlite",
        .arg = l,
        .migrate = migrate,
        .upkeep = l->cleanup_ns > 0 ? clean_up : NULL,
    };
    return sqlite_db_open(&config, &l->db, err);
}

CO static void locks_close(void *self)
{
    struct locks *l = self;
    sqlite_db_close(TAKE(l->db));
    arena_done(&l->arena);
}

static const struct cfg_field fields[] = {
    { .name = "connectionString",
      .alias = "url",
      .kind = CFG_STR,
      .off = offsetof(struct locks, connection),
      .doc = "path of the file, file:path?options, or :memory: (locks of this process alone)" },
    { .name = "tableName",
      .kind = CFG_STR,
      .off = offsetof(struct locks, table),
      .def = "lock",
      .doc = "table of the locks; made when it isn't there" },
    { .name = "timeout",
      .kind = CFG_DURATION,
      .flags = CFG_SECONDS,
      .off = offsetof(struct locks, timeout_ns),
      .def = "20s",
      .doc = "a request that waited longer is refused" },
    { .name = "busyTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct locks, busy_ns),
      .def = "2s",
      .doc = "how long to wait while another process writes to the file" },
    { .name = "cleanupInterval",
      .kind = CFG_DURATION,
      .flags = CFG_SECONDS,
      .off = offsetof(struct locks, cleanup_ns),
      .def = "1m",
      .doc = "how often locks that have ended are deleted from the file; 0 = never" },
};

extern const struct lock_ops lock_sqlite;
const struct lock_ops lock_sqlite = {
    .t = {
        .kind = "lock",
        .type = "lock.sqlite",
        .version = "v1",
        .doc = "Locks in a SQLite file that the processes of one machine share.",
        .size = sizeof(struct locks),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = locks_open,
        .close = locks_close,
    },
    .try_lock = locks_try,
    .unlock = locks_unlock,
};
