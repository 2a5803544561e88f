#include "components/common/sqlite/db.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "components/common/sqlite/writer.h"

#include <signal.h>
#include <stdio.h>

/* Statements of our own, behind the engine's. */
static const char *const control_sql[] = {
    [CTL_BEGIN] = "BEGIN IMMEDIATE", [CTL_COMMIT] = "COMMIT",
    [CTL_SAVE] = "SAVEPOINT job",    [CTL_UNDO] = "ROLLBACK TO job",
    [CTL_RELEASE] = "RELEASE job",   [CTL_VERSION] = "PRAGMA data_version",
};

enum { WORKERS_MAX = 64, OPEN_RETRY_MS = 10 };

static int merge_sql(struct sqlite_db *db, struct error *err)
{
    size_t n = db->config.n_sql;
    const char **all = arena_alloc(&db->arena, (n + COUNT(control_sql)) * sizeof *all);
    if (!all)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (n)
        memcpy(all, db->config.sql, n * sizeof *all);
    memcpy(all + n, control_sql, sizeof control_sql);
    db->sql = all;
    db->n_sql = n + COUNT(control_sql);
    return 0;
}

int sqlite_db_connect(struct sqlite_db *db, struct sqlite_conn *c, bool reader, struct error *err)
{
    struct sqlite_conn_config config = {
        .target = &db->target,
        .sql = db->sql,
        .n_sql = db->n_sql,
        .busy_ns = reader ? 0 : db->config.busy_ns,
        .reader = reader,
        .no_wal = db->config.no_wal,
    };
    return sqlite_conn_open(c, &config, err);
}

static int make_tables(struct sqlite_db *db, struct error *err)
{
    struct sqlite_conn *c = &db->conn;
    int r = sqlite_exec(c, "BEGIN EXCLUSIVE", "making the tables", err);
    if (r < 0)
        return r;
    r = db->config.migrate(db->config.arg, c, err);
    if (r == 0)
        r = sqlite_exec(c, "COMMIT", "making the tables", err);
    if (r < 0)
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* In WAL mode the tables needn't be on disk at once: the first commit that is answered syncs all of
 * the WAL that is before it. */
static int migrate(struct sqlite_db *db, struct error *err)
{
    struct sqlite_conn *c = &db->conn;
    if (!db->config.migrate || (db->target.read_only && !db->target.memory))
        return 0;
    int r = 0;
    if (!db->config.no_wal)
        r = sqlite_exec(c, "PRAGMA synchronous = OFF", "making the tables", err);
    if (r == 0)
        r = make_tables(db, err);
    return r < 0 ? r : sqlite_exec(c, "PRAGMA synchronous = FULL", "making the tables", err);
}

struct opening {
    struct sqlite_db *db;
    struct error *err;
    int result;
};

/* On a pool thread. Sidecars that start together on a new file all want it alone for a moment, and
 * SQLite doesn't wait for that by itself: so the whole is tried again. */
static void open_main(void *arg)
{
    struct opening *o = arg;
    struct sqlite_db *db = o->db;
    uint64_t until = clock_now_ns() + db->config.busy_ns + SEC(1);
    for (;;) {
        struct error err = { 0 };
        o->result = sqlite_db_connect(db, &db->conn, false, &err);
        if (o->result == 0)
            o->result = migrate(db, &err);
        if (o->result < 0)
            *o->err = err;
        if (o->result == 0 || !db->conn.busy || clock_now_ns() >= until)
            break;
        sqlite_conn_close(&db->conn);
        (void)nanosleep(&(struct timespec){ 0, OPEN_RETRY_MS * 1000000L }, NULL);
    }
    db->conn.fatal = db->conn.reopen = false;
}

static int start_thread(struct sqlite_db *db, struct error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the main thread */
    int e = pthread_create(&db->thread, NULL, sqlite_writer_main, db);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e)
        return fail(err, EXHAUSTED, NULL, "no thread for writing to %s: %s", sqlite_db_path(db),
                    strerror(e));
    db->started = true;
#ifdef __linux__
    (void)pthread_setname_np(db->thread, db->config.thread_name);
#endif
    return 0;
}

static int prepare(struct sqlite_db *db, struct error *err)
{
    int r = sqlite_target_parse(str_c(db->config.connection), &db->arena, &db->target, err);
    if (r == 0)
        r = merge_sql(db, err);
    if (r == 0)
        r = inbox_init(&db->inbox, err);
    db->has_inbox = r == 0;
    return r;
}

CO int sqlite_db_open(const struct sqlite_db_config *config, struct sqlite_db **ret,
                      struct error *err)
{
    struct error own = { 0 };
    struct sqlite_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    db->config = *config;
    arena_init(&db->arena, KIB(64));
    struct opening o = { db, &own, 0 };
    int r = prepare(db, &own);
    if (r == 0)
        r = blocking(open_main, &o);
    if (r == 0)
        r = o.result;
    if (r == 0)
        r = start_thread(db, &own);
    if (r < 0) {
        sqlite_db_close(db);
        return own.code ? fail(err, own.code, own.tag, "%s", own.text)
                        : fail(err, (enum code) - r, NULL, "opening the database failed");
    }
    *ret = db;
    return 0;
}

static void close_main(void *arg)
{
    struct sqlite_db *db = arg;
    if (db->started)
        (void)pthread_join(db->thread, NULL);
    for (size_t i = 0; i < COUNT(db->reader); i++) {
        struct sqlite_conn *c = atomic_load(&db->reader[i]);
        if (c)
            sqlite_conn_close(c);
        mem_free(c);
    }
    sqlite_conn_close(&db->conn); /* the last one to close writes the WAL back and removes it */
}

CO void sqlite_db_close(struct sqlite_db *db)
{
    if (!db)
        return;
    if (db->has_inbox)
        inbox_close(&db->inbox);
    if (blocking(close_main, db) < 0)
        close_main(db); /* no memory for the pool's request: then this worker waits */
    if (db->has_inbox)
        inbox_done(&db->inbox);
    arena_done(&db->arena);
    mem_free(db);
}

const char *sqlite_db_path(const struct sqlite_db *db)
{
    return db->target.memory ? ":memory:" : db->target.path;
}

struct sqlite_db_stats sqlite_db_stats(const struct sqlite_db *db)
{
    return (struct sqlite_db_stats){
        .groups = atomic_load(&db->n_groups),
        .jobs = atomic_load(&db->n_jobs),
        .syncs = atomic_load(&db->n_syncs),
        .reopened = atomic_load(&db->n_reopened),
        .failed_groups = atomic_load(&db->n_failed),
    };
}

CO int sqlite_write(struct sqlite_db *db, struct sqlite_job *job, struct error *err)
{
    job->err = (struct error){ 0 };
    job->queued_ns = clock_now_ns();
    ticket_init(&job->ticket);
    int r = inbox_put(&db->inbox, job);
    if (r == -EXHAUSTED)
        return fail(err, EXHAUSTED, NULL, "%d writes wait for %s already: try again later",
                    INBOX_MAX, sqlite_db_path(db));
    if (r < 0)
        return fail(err, UNAVAILABLE, NULL, "%s is being closed", sqlite_db_path(db));
    r = ticket_wait(&job->ticket);
    if (r < 0 && job->err.code)
        return fail(err, job->err.code, job->err.tag, "%s", job->err.text);
    return r;
}

/* ---- reading ---- */

struct read_job {
    struct sqlite_job job;
    int (*fn)(struct sqlite_conn *c, void *arg, struct error *err);
    void *arg;
};

static int run_read(struct sqlite_job *job, struct sqlite_conn *c)
{
    struct read_job *r = CONTAINER_OF(job, struct read_job, job);
    return r->fn(c, r->arg, &job->err);
}

/* NULL when it can't be had now: for want of memory, or because the file is locked. */
static struct sqlite_conn *own_reader(struct sqlite_db *db)
{
    struct worker *w = worker_self();
    PRE(w != NULL);
    size_t i = worker_index(w);
    PRE(i < COUNT(db->reader));
    struct sqlite_conn *c = atomic_load_explicit(&db->reader[i], memory_order_relaxed);
    if (LIKELY(c != NULL))
        return c;
    c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    if (sqlite_db_connect(db, c, true, NULL) < 0) {
        sqlite_conn_close(c);
        mem_free(c);
        return NULL;
    }
    atomic_store(&db->reader[i], c); /* for close, on another worker */
    return c;
}

/* A connection that saw an I/O error may hold stale pages or a stale lock. */
static void drop_reader(struct sqlite_db *db, struct sqlite_conn *c)
{
    atomic_store(&db->reader[worker_index(worker_self())], NULL);
    sqlite_conn_close(c);
    mem_free(c);
}

CO int sqlite_read(struct sqlite_db *db,
                   int (*fn)(struct sqlite_conn *c, void *arg, struct error *err), void *arg,
                   struct error *err)
{
    struct error own = { 0 };
    struct sqlite_conn *c = db->target.memory ? NULL : own_reader(db);
    if (c) {
        c->busy = c->fatal = c->reopen = false;
        int r = fn(c, arg, &own);
        bool busy = c->busy;
        if (c->reopen)
            drop_reader(db, c);
        if (LIKELY(r >= 0))
            return r;
        if (!busy)
            return fail(err, (enum code) - r, own.tag, "%s", own.text);
    }
    struct read_job job = { .job = { .run = run_read, .flags = SQLITE_JOB_READ },
                            .fn = fn,
                            .arg = arg };
    return sqlite_write(db, &job.job, err);
}
