/* The writer's thread: takes all jobs that wait, runs them in one transaction, answers after its
 * commit. While a commit's fsync is under way the next group gathers, so groups grow with load. */
#include "components/common/sqlite/writer.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

static const char LOG[] = "dapr.contrib";

enum {
    GROUP_MAX = 512,         /* jobs of one transaction: bounds what a failure takes along */
    CHECKPOINT_PAGES = 4000, /* 16 MB of WAL: a stall of some ms for one group in 200 */
};
#define SHARING_NS MS(200)
#define GAP_NS (150 * 1000)
#define IDLE_NS SEC(1)   /* then the WAL is written back */
#define WATCH_NS MS(500) /* in case the watch missed something */
#define POLL_NS MS(50)   /* without a watch */

/* The watch sees another process write to the WAL, but its commit shows only after its fsync, and
 * that touches no file: so look again and again, ever less often. */
#define LOOK_FIRST_NS (MS(1) / 4)
#define LOOK_LAST_NS MS(200)
#define LOOK_BUSY_NS MS(5) /* between two looks while jobs keep coming */

static struct sqlite_conn *conn_of(struct sqlite_db *db)
{
    return &db->conn;
}

static int control(struct sqlite_db *db, enum control ctl, struct error *err)
{
    struct sqlite_conn *c = conn_of(db);
    sqlite3_stmt *s = sqlite_stmt(c, db->config.n_sql + ctl, err);
    if (!s)
        return -(int)err->code;
    int r = sqlite_step(c, s, ctl == CTL_COMMIT ? "committing" : "writing", err);
    return r < 0 ? r : 0;
}

/* ---- the connection ---- */

static int reopen(struct sqlite_db *db, struct error *err)
{
    struct sqlite_conn *c = conn_of(db);
    sqlite_conn_close(c);
    int r = sqlite_db_connect(db, c, false, err);
    if (r < 0) {
        c->reopen = true;
        return r;
    }
    db->lazy_sync = false;
    db->checkpoint_at = CHECKPOINT_PAGES;
    atomic_fetch_add(&db->n_reopened, 1);
    return 0;
}

/* A database in memory would be empty after it: its errors are of memory, not of a disk. */
static int ensure_open(struct sqlite_db *db, struct error *err)
{
    struct sqlite_conn *c = conn_of(db);
    return c->reopen && !db->target.memory ? reopen(db, err) : 0;
}

static int set_sync(struct sqlite_db *db, bool lazy, struct error *err)
{
    if (db->lazy_sync == lazy)
        return 0;
    int r =
        sqlite_exec(conn_of(db), lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
                    "writing", err);
    if (r == 0)
        db->lazy_sync = lazy;
    return r;
}

static void complain(struct sqlite_db *db, const char *what, int rc)
{
    static struct log_limit limit;
    uint64_t missed;
    if (log_allow(&limit, SEC(10), &missed))
        log_warn(LOG, "%s of %s failed: %s (%llu more like it since)", what, sqlite_db_path(db),
                 sqlite3_errstr(rc), (unsigned long long)missed);
}

static void checkpoint(struct sqlite_db *db, int mode)
{
    struct sqlite_conn *c = conn_of(db);
    int log = 0, done = 0;
    uint64_t busy_ns = c->busy_ns;
    if (!c->db || c->reopen)
        return;
    c->busy_ns = 0; /* others go first; there will be a next time */
    int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, &log, &done);
    c->busy_ns = busy_ns;
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED) {
        complain(db, "writing back the WAL", rc);
        c->reopen |= (rc & 0xff) == SQLITE_IOERR;
    }
    bool all = rc == SQLITE_OK && log == done;
    c->wal_pages = all ? 0 : c->wal_pages;
    db->checkpoint_at = (all ? 0 : log) + CHECKPOINT_PAGES;
    db->dirty = !all;
}

/* ---- one group ---- */

static int begin(struct sqlite_db *db, const struct sqlite_job *first, struct error *err)
{
    bool lazy = true;
    for (const struct sqlite_job *j = first; j; j = j->next)
        lazy &= !(j->flags & SQLITE_JOB_DURABLE);
    conn_of(db)->fatal = false;
    int r = ensure_open(db, err);
    if (r == 0)
        r = set_sync(db, lazy, err);
    if (r == 0)
        r = control(db, CTL_BEGIN, err);
    if (r == 0 && !lazy)
        atomic_fetch_add(&db->n_syncs, 1);
    return r;
}

/* Returns < 0 only when the whole group is lost; otherwise job->result holds the job's own. */
static int run_job(struct sqlite_db *db, struct sqlite_job *job, struct error *err)
{
    struct sqlite_conn *c = conn_of(db);
    bool atomic = job->flags & SQLITE_JOB_ATOMIC;
    int r = atomic ? control(db, CTL_SAVE, err) : 0;
    if (r < 0)
        return r;
    job->result = job->run(job, c);
    if (c->fatal || sqlite3_get_autocommit(c->db)) {
        enum code code = job->err.code ? job->err.code : INTERNAL;
        return fail(err, code, NULL, "%s",
                    job->err.text[0] ? job->err.text : "the transaction ended by itself");
    }
    if (atomic && job->result < 0)
        r = control(db, CTL_UNDO, err);
    if (atomic && r == 0)
        r = control(db, CTL_RELEASE, err);
    return r;
}

/* Jobs that failed on their own account keep their own story. */
static void lose_group(struct sqlite_db *db, struct sqlite_job *first, const struct error *err)
{
    struct sqlite_conn *c = conn_of(db);
    if (c->db && !sqlite3_get_autocommit(c->db))
        (void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    for (struct sqlite_job *j = first; j; j = j->next) {
        if (j->result < 0)
            continue;
        j->result = -(int)err->code;
        j->err = *err;
    }
    atomic_fetch_add(&db->n_failed, 1);
}

static void answer(struct sqlite_job *first)
{
    for (struct sqlite_job *next; first; first = next) {
        next = first->next; /* the job is gone with its answer */
        ticket_done(&first->ticket, first->result);
    }
}

/* A writer that always has the next group ready would keep the other processes of the file waiting
 * for ever: when it had to wait itself lately, it leaves them a gap. */
static void make_way(struct sqlite_db *db)
{
    struct sqlite_conn *c = conn_of(db);
    if (c->wait_from && clock_now_ns() - c->wait_from < SHARING_NS)
        (void)nanosleep(&(struct timespec){ 0, GAP_NS }, NULL);
}

static void run_group(struct sqlite_db *db, struct sqlite_job *first)
{
    struct error err = { 0 };
    make_way(db);
    int r = begin(db, first, &err);
    size_t n = 0;
    for (struct sqlite_job *j = first; j; j = j->next, n++)
        if (r == 0)
            r = run_job(db, j, &err);
    if (r == 0)
        r = control(db, CTL_COMMIT, &err);
    if (r < 0) {
        if (!err.code)
            (void)fail(&err, INTERNAL, NULL, "writing to %s failed", sqlite_db_path(db));
        lose_group(db, first, &err);
    } else {
        db->dirty = true;
    }
    atomic_fetch_add(&db->n_groups, 1);
    atomic_fetch_add(&db->n_jobs, n);
    answer(first);
    if (r == 0 && db->config.committed)
        db->config.committed(db->config.arg);
}

/* ---- the thread ---- */

static void run_read(struct sqlite_db *db, struct sqlite_job *job)
{
    conn_of(db)->fatal = false;
    job->result = ensure_open(db, &job->err);
    if (job->result == 0)
        job->result = job->run(job, conn_of(db));
    job->next = NULL;
    answer(job);
}

static bool too_old(const struct sqlite_db *db, struct sqlite_job *job, uint64_t now)
{
    uint64_t age = now - job->queued_ns;
    if (!db->config.timeout_ns || age < db->config.timeout_ns)
        return false;
    job->result =
        fail(&job->err, TIMEOUT, NULL,
             "the write waited %llu ms for %s, longer than its timeout: is its disk slow?",
             (unsigned long long)(age / MS(1)), sqlite_db_path(db));
    return true;
}

static bool run_jobs(struct sqlite_db *db)
{
    struct sqlite_job *job = inbox_take(&db->inbox, GROUP_MAX), *next;
    struct sqlite_job *writes = NULL, **end = &writes;
    bool any = job;
    uint64_t now = clock_now_ns();
    for (; job; job = next) {
        next = job->next;
        job->next = NULL;
        job->result = 0;
        if (too_old(db, job, now)) {
            answer(job);
        } else if (job->flags & SQLITE_JOB_READ) {
            run_read(db, job);
        } else {
            *end = job;
            end = &job->next;
        }
    }
    if (writes)
        run_group(db, writes);
    return any;
}

/* Has another process committed? */
static void look_now(struct sqlite_db *db, uint64_t now)
{
    struct sqlite_conn *c = conn_of(db);
    struct error err = { 0 };
    db->looked_at = now;
    sqlite3_stmt *s = c->db ? sqlite_stmt(c, db->config.n_sql + CTL_VERSION, &err) : NULL;
    if (!s || sqlite_step(c, s, "looking for news", &err) != SQLITE_ROW)
        return;
    int64_t version = sqlite3_column_int64(s, 0);
    sqlite_done(s);
    if (version == db->version)
        return;
    db->version = version;
    db->config.changed(db->config.arg, c);
}

static void look(struct sqlite_db *db, enum inbox_wake wake, uint64_t now)
{
    if (wake == INBOX_TOUCHED)
        db->look_step = LOOK_FIRST_NS;
    else if (now >= db->look_at)
        db->look_step = min_u64(db->look_step * 2, LOOK_LAST_NS);
    else if (now - db->looked_at < LOOK_BUSY_NS)
        return;
    db->look_at = now + db->look_step;
    if (db->look_step >= LOOK_LAST_NS) /* from here on rarely */
        db->look_at = now + (db->inbox.watch >= 0 ? WATCH_NS : POLL_NS);
    look_now(db, now);
}

static void upkeep(struct sqlite_db *db, uint64_t now)
{
    struct error err = { 0 };
    uint64_t next = SEC(5);
    if (ensure_open(db, &err) == 0 && set_sync(db, true, &err) == 0)
        next = db->config.upkeep(db->config.arg, conn_of(db));
    db->dirty |= conn_of(db)->wal_pages > 0;
    db->upkeep_at = next == UINT64_MAX ? UINT64_MAX : now + next;
}

static uint64_t sleep_ns(const struct sqlite_db *db, uint64_t now)
{
    uint64_t ns = SEC(3600);
    if (db->config.upkeep)
        ns = min_u64(ns, db->upkeep_at > now ? db->upkeep_at - now : 0);
    if (db->dirty)
        ns = min_u64(ns, IDLE_NS);
    if (db->config.watch)
        ns = min_u64(ns, db->look_at > now ? db->look_at - now : 0);
    return ns;
}

static void start_watch(struct sqlite_db *db)
{
    char wal[4096];
    db->config.watch &= !db->target.memory;
    if (!db->config.watch)
        return;
    if (snprintf(wal, sizeof wal, "%s%s", db->target.path, db->config.no_wal ? "" : "-wal") <
        (int)sizeof wal)
        inbox_watch(&db->inbox, wal);
    look(db, INBOX_TOUCHED, clock_now_ns());
}

void *sqlite_writer_main(void *arg)
{
    struct sqlite_db *db = arg;
    uint64_t reopened = 0, busy_at = clock_now_ns();
    db->checkpoint_at = CHECKPOINT_PAGES;
    start_watch(db);
    for (;;) {
        uint64_t now = clock_now_ns();
        enum inbox_wake wake = inbox_wait(&db->inbox, sleep_ns(db, now));
        if (wake == INBOX_CLOSED)
            break;
        if (run_jobs(db))
            busy_at = clock_now_ns();
        if (conn_of(db)->wal_pages >= db->checkpoint_at)
            checkpoint(db, SQLITE_CHECKPOINT_PASSIVE);
        now = clock_now_ns();
        if (db->config.upkeep && now >= db->upkeep_at)
            upkeep(db, now);
        if (db->dirty && now - busy_at >= IDLE_NS)
            checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE);
        if (db->config.watch)
            look(db, wake, now);
        if (reopened != atomic_load(&db->n_reopened)) {
            reopened = atomic_load(&db->n_reopened);
            start_watch(db); /* the WAL may be another file now */
        }
    }
    return NULL;
}
