#include "components/common/sqlite/conn.h"

#include "base/clock.h"
#include "base/id.h"
#include "components/common/sqlite/create.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { CACHE_KIB = 8192 };
#define EAGER_NS MS(50)
#define EAGER_STEP_NS (MS(1) / 8)
#define PATIENT_STEP_NS MS(5)

/* SQLite calls this while another connection has the lock. Its own handler's shortest sleep is 1
 * ms: too long to hit the gap that the other leaves between two groups (see writer.c). So look
 * often at first, with jitter, and rarely once it's clear that the other takes its time. */
static int on_busy(void *arg, int n)
{
    struct sqlite_conn *c = arg;
    uint64_t now = clock_now_ns();
    if (n == 0)
        c->wait_from = now;
    uint64_t waited = now - c->wait_from;
    if (waited >= c->busy_ns)
        return 0;
    uint64_t most = waited < EAGER_NS ? EAGER_STEP_NS : PATIENT_STEP_NS;
    uint64_t ns = most / 2 + id_random() % (most / 2);
    struct timespec t = { 0, (long)min_u64(ns, c->busy_ns - waited) };
    (void)nanosleep(&t, NULL);
    return 1;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct sqlite_conn *c = arg;
    (void)db;
    (void)name;
    c->wal_pages = pages;
    return SQLITE_OK;
}

enum code sqlite_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return UNAVAILABLE;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
        return EXHAUSTED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DATA_LOSS;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return DENIED;
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return INVALID;
    case SQLITE_INTERRUPT:
        return CANCELLED;
    default:
        return INTERNAL;
    }
}

static const char *advice(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ": another process holds its lock; raise busyTimeout or end that process";
    case SQLITE_FULL:
        return ": free some space on its disk; writing goes on by itself then";
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return ": restore the file from a backup, or name another one";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return ": make the file and its folder writable";
    case SQLITE_CANTOPEN:
        return ": does its folder exist, and may this user write there?";
    default:
        return "";
    }
}

static bool is_fatal(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return false; /* the statement alone was undone */
    default:
        return true;
    }
}

static const char *file_of(const struct sqlite_conn *c)
{
    return c->target->memory ? ":memory:" : c->target->path;
}

int sqlite_fail(struct sqlite_conn *c, int rc, const char *what, struct error *err)
{
    int low = rc & 0xff;
    c->busy = low == SQLITE_BUSY || low == SQLITE_LOCKED;
    c->fatal |= is_fatal(rc);
    c->reopen |= low == SQLITE_IOERR || low == SQLITE_CORRUPT || low == SQLITE_NOTADB ||
                 low == SQLITE_CANTOPEN;
    const char *text = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
    int os = c->db && low == SQLITE_IOERR ? sqlite3_system_errno(c->db) : 0;
    char os_text[80] = "";
    if (os) {
        char buf[64];
        snprintf(os_text, sizeof os_text, " (%s)", strerror_r(os, buf, sizeof buf));
    }
    return fail(err, sqlite_code(rc), NULL, "%s: SQLite %s: %s%s%s", what, file_of(c), text,
                os_text, advice(rc));
}

sqlite3_stmt *sqlite_stmt(struct sqlite_conn *c, size_t i, struct error *err)
{
    PRE(i < c->n_sql);
    if (LIKELY(c->stmt[i] != NULL))
        return c->stmt[i];
    int rc = sqlite3_prepare_v3(c->db, c->sql[i], -1, SQLITE_PREPARE_PERSISTENT, &c->stmt[i], NULL);
    if (rc != SQLITE_OK) {
        (void)sqlite_fail(c, rc, "preparing a statement", err);
        return NULL;
    }
    return c->stmt[i];
}

int sqlite_step(struct sqlite_conn *c, sqlite3_stmt *s, const char *what, struct error *err)
{
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return rc;
    int r = rc == SQLITE_DONE ? rc : sqlite_fail(c, rc, what, err);
    sqlite_done(s);
    return r;
}

int sqlite_run(struct sqlite_conn *c, sqlite3_stmt *s, const char *what, struct error *err)
{
    int r = sqlite_step(c, s, what, err);
    if (r < 0)
        return r;
    if (r == SQLITE_ROW)
        sqlite_done(s);
    return sqlite3_changes(c->db);
}

void sqlite_done(sqlite3_stmt *s)
{
    if (!s)
        return;
    (void)sqlite3_reset(s); /* repeats the code of the last step */
    (void)sqlite3_clear_bindings(s);
}

int sqlite_exec(struct sqlite_conn *c, const char *sql, const char *what, struct error *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sqlite_fail(c, rc, what, err);
}

void sqlite_bind_str(sqlite3_stmt *s, int i, str text)
{
    (void)sqlite3_bind_text64(s, i, text.p ? text.p : "", text.n, SQLITE_STATIC, SQLITE_UTF8);
}

void sqlite_bind_blob(sqlite3_stmt *s, int i, str bytes)
{
    (void)sqlite3_bind_blob64(s, i, bytes.p ? bytes.p : "", bytes.n, SQLITE_STATIC);
}

str sqlite_column(sqlite3_stmt *s, int i)
{
    /* The pointer first: asking for the length first might convert the value twice. */
    const void *p = sqlite3_column_blob(s, i);
    return p ? str_of(p, (size_t)sqlite3_column_bytes(s, i)) : S("");
}

/* ---- opening ---- */

static int open_file(struct sqlite_conn *c, const struct sqlite_conn_config *config)
{
    const struct sqlite_target *t = config->target;
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (t->memory)
        return sqlite3_open_v2(":memory:", &c->db, flags | SQLITE_OPEN_READWRITE, NULL);
    if (t->read_only)
        flags |= SQLITE_OPEN_READONLY;
    else if (config->reader || t->must_exist)
        flags |= SQLITE_OPEN_READWRITE;
    else {
        flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        if (!config->no_wal)
            sqlite_create_wal(t->path);
    }
    return sqlite3_open_v2(t->path, &c->db, flags, NULL);
}

/* The journal of the writer; a reader finds it as it is. */
static int set_journal(struct sqlite_conn *c, bool no_wal, struct error *err)
{
    const char *sql = "PRAGMA journal_mode = WAL";
    if (c->target->memory)
        sql = "PRAGMA journal_mode = MEMORY";
    else if (no_wal)
        sql = "PRAGMA journal_mode = DELETE";
    if (c->target->read_only && !c->target->memory)
        return 0; /* changing it would be a write */
    /* A database in WAL mode answers at once; the change itself wants the file alone. */
    return sqlite_exec(c, sql, "setting the journal mode", err);
}

static int configure(struct sqlite_conn *c, const struct sqlite_conn_config *config,
                     struct error *err)
{
    char sql[160];
    (void)sqlite3_busy_handler(c->db, on_busy, c);
    (void)sqlite3_wal_hook(c->db, on_commit, c); /* also ends SQLite's own checkpoints */
    /* A row that somebody tampered with must not run code in views or triggers. */
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    (void)sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    snprintf(sql, sizeof sql, "PRAGMA cache_size = -%d; PRAGMA temp_store = MEMORY%s", CACHE_KIB,
             config->reader ? "; PRAGMA query_only = 1" : "");
    int r = sqlite_exec(c, sql, "opening", err);
    for (size_t i = 0; r == 0 && i < c->target->n_pragmas; i++)
        r = sqlite_exec(c, c->target->pragma[i], "applying a pragma of the connection string", err);
    if (r == 0 && !config->reader)
        r = set_journal(c, config->no_wal, err);
    if (r == 0 && !config->reader)
        r = sqlite_exec(c, "PRAGMA synchronous = FULL", "opening", err);
    return r;
}

int sqlite_conn_open(struct sqlite_conn *c, const struct sqlite_conn_config *config,
                     struct error *err)
{
    PRE(config->n_sql <= SQLITE_STMTS_MAX);
    *c = (struct sqlite_conn){
        .target = config->target,
        .sql = config->sql,
        .n_sql = config->n_sql,
        .busy_ns = config->busy_ns,
    };
    int rc = open_file(c, config);
    if (rc != SQLITE_OK)
        return sqlite_fail(c, rc, "opening", err);
    int r = configure(c, config, err);
    c->fatal = c->reopen = false;
    return r;
}

void sqlite_conn_close(struct sqlite_conn *c)
{
    for (size_t i = 0; i < COUNT(c->stmt); i++)
        (void)sqlite3_finalize(TAKE(c->stmt[i]));
    (void)sqlite3_close(TAKE(c->db));
}
