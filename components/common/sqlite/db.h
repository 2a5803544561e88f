/* db.h — a SQLite database for many fibers: one writer thread that groups commits, and a reading
 * connection per worker.
 * Owner:  the engine's instance, sqlite_db_open() to sqlite_db_close().
 * Thread: sqlite_write() and sqlite_read() in fibers of any worker; jobs run on the writer's
 * thread. Failure: -CODE with a text that names the file. After an I/O error the connection is
 * opened anew; what was answered with 0 is on disk. */
#pragma once

#include "components/common/sqlite/conn.h"
#include "fiber/fiber.h"
#include "loop/worker.h"

struct sqlite_db;

/* One piece of work for the writer's thread; all that wait share one transaction and one fsync. */
enum sqlite_job_flags {
    SQLITE_JOB_DURABLE = 1, /* the answer comes after fsync; without it a power cut may undo it */
    SQLITE_JOB_ATOMIC = 2,  /* several statements: a failure undoes them all */
    SQLITE_JOB_READ = 4,    /* changes nothing: runs before the transaction */
};

struct sqlite_job {
    /* In the transaction. 0, or -CODE with job->err filled: then it must have changed nothing (one
     * statement that failed or matched no row), or be ATOMIC. */
    int (*run)(struct sqlite_job *job, struct sqlite_conn *c);
    unsigned flags;
    struct error err;
    /* ---- the writer's ---- */
    struct sqlite_job *next;
    struct ticket ticket;
    uint64_t queued_ns;
    int result;
};

struct sqlite_db_config {
    const char *connection; /* see target.h */
    const char *const *sql; /* the engine's statements; borrowed, at most SQLITE_STMTS_MAX */
    size_t n_sql;
    uint64_t busy_ns;    /* how long to wait for another process's lock */
    uint64_t timeout_ns; /* a job that waited longer is refused */
    bool no_wal;
    bool watch;              /* call changed() when another process has committed */
    const char *thread_name; /* at most 15 characters */
    void *arg;               /* of the callbacks; all run on the writer's thread */
    /* At open, in an exclusive transaction: makes the tables. */
    int (*migrate)(void *arg, struct sqlite_conn *c, struct error *err);
    /* Between transactions; returns the ns until it wants to be called again. May be NULL. */
    uint64_t (*upkeep)(void *arg, struct sqlite_conn *c);
    void (*committed)(void *arg);                      /* after each group; may be NULL */
    void (*changed)(void *arg, struct sqlite_conn *c); /* with .watch */
};

/* Opens the file, makes the tables and starts the thread. Strings of config are borrowed. */
CO int sqlite_db_open(const struct sqlite_db_config *config, struct sqlite_db **ret,
                      struct error *err) WUR;
/* Runs what is queued, writes the WAL back, ends the thread. No call may be under way. */
CO void sqlite_db_close(struct sqlite_db *db);

/* Suspends until the group with job is committed. Returns run()'s result, or why it isn't there. */
CO int sqlite_write(struct sqlite_db *db, struct sqlite_job *job, struct error *err) WUR;

/* Runs fn on this worker's own connection; when that would have to wait for a lock (and for a
 * database in memory) on the writer's thread. fn must be repeatable. */
CO int sqlite_read(struct sqlite_db *db,
                   int (*fn)(struct sqlite_conn *c, void *arg, struct error *err), void *arg,
                   struct error *err) WUR;

/* Text for the log and the error messages. */
const char *sqlite_db_path(const struct sqlite_db *db);

struct sqlite_db_stats {
    uint64_t groups, jobs, syncs, reopened, failed_groups;
};
struct sqlite_db_stats sqlite_db_stats(const struct sqlite_db *db);
