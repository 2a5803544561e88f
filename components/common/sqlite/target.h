/* target.h — what a Dapr connection string of SQLite means: a file, its mode and its pragmas.
 * Owner:  texts go into the caller's arena.
 * Thread: any.   Failure: -INVALID with what to write instead; unknown options are ignored, as the
 * driver that the contract grew up with does. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum { SQLITE_PRAGMAS_MAX = 16 };

struct sqlite_target {
    const char *path;                       /* of the file; "" for a database in memory */
    bool memory;                            /* ":memory:", "file::memory:" or mode=memory */
    bool read_only;                         /* mode=ro or immutable=1 */
    bool must_exist;                        /* mode=rw */
    const char *pragma[SQLITE_PRAGMAS_MAX]; /* "PRAGMA name = value", for every connection */
    size_t n_pragmas;
};

/* text: "path", "file:path", "file:///path" or ":memory:", each with an optional "?options". The
 * options _pragma=busy_timeout…, journal_mode… and foreign_keys… are refused, as by the contract.
 */
int sqlite_target_parse(str text, struct arena *arena, struct sqlite_target *ret, struct error *err)
    WUR;

/* Letters, digits and '_' only, not empty: what may stand in SQL as a table's name. */
bool sqlite_is_identifier(const char *name);
