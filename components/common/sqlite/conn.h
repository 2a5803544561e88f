/* conn.h — one SQLite connection with its prepared statements, and errors in our vocabulary.
 * Owner:  whoever opened it; sqlite_conn_close() ends the statements too.
 * Thread: one at a time (SQLite's own mutexes are off).
 * Failure: -CODE with a text that names the file; .fatal says that the transaction is lost. */
#pragma once

#include "components/common/sqlite/target.h"

#include <sqlite3.h>

enum { SQLITE_STMTS_MAX = 48 };

struct sqlite_conn {
    sqlite3 *db;
    const struct sqlite_target *target;
    const char *const *sql; /* the engine's statements by number */
    size_t n_sql;
    sqlite3_stmt *stmt[SQLITE_STMTS_MAX];
    uint64_t busy_ns;   /* how long to wait for another process's lock; 0 = not at all */
    uint64_t wait_from; /* monotonic; of the last wait for another's lock, 0 = never */
    int wal_pages;      /* frames in the WAL after the last commit */
    bool busy;          /* the last failure was another's lock */
    bool fatal;         /* a failure that no further statement can mend: roll back */
    bool reopen;        /* the file can't be trusted to this connection any more */
};

struct sqlite_conn_config {
    const struct sqlite_target *target;
    const char *const *sql;
    size_t n_sql;
    uint64_t busy_ns;
    bool reader; /* refuses to change anything; the file must be there */
    bool no_wal;
};

/* c is filled whatever happens; close it in any case. */
int sqlite_conn_open(struct sqlite_conn *c, const struct sqlite_conn_config *config,
                     struct error *err) WUR;
void sqlite_conn_close(struct sqlite_conn *c);

/* Statement i, ready to bind, or NULL with *err filled. Parameters keep no value of an earlier use
 * once sqlite_done() has been called. */
sqlite3_stmt *sqlite_stmt(struct sqlite_conn *c, size_t i, struct error *err) WUR;
/* Runs s to its end or first row. Returns SQLITE_ROW (then read columns and call sqlite_done()),
 * SQLITE_DONE, or -CODE with *err filled; s is reset after the latter two. what: such as "saving",
 * for the error's text. */
int sqlite_step(struct sqlite_conn *c, sqlite3_stmt *s, const char *what, struct error *err) WUR;
/* sqlite_step() for statements without rows. Returns the number of rows changed or -CODE. */
int sqlite_run(struct sqlite_conn *c, sqlite3_stmt *s, const char *what, struct error *err) WUR;
void sqlite_done(sqlite3_stmt *s); /* resets and forgets the parameters; NULL is fine */

/* SQL text without parameters or rows; several statements are fine. */
int sqlite_exec(struct sqlite_conn *c, const char *sql, const char *what, struct error *err) WUR;

/* The house's code for a result code of SQLite; sqlite_fail() fills *err with its story too. */
enum code sqlite_code(int rc);
int sqlite_fail(struct sqlite_conn *c, int rc, const char *what, struct error *err);

/* Borrow s: it must stay until sqlite_done(). */
void sqlite_bind_str(sqlite3_stmt *s, int i, str text);
void sqlite_bind_blob(sqlite3_stmt *s, int i, str bytes);
/* Bytes of text or blob columns, valid until the next step; empty for NULL. */
str sqlite_column(sqlite3_stmt *s, int i);
