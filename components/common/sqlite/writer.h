/* writer.h — the inside of a database, shared by its two files: opening and calls (db.c), and the
 * writer's thread (writer.c).
 * Owner:  sqlite_db_open() to sqlite_db_close().
 * Thread: conn and what follows it belong to the writer's thread while it runs.
 * Failure: see db.h. */
#pragma once

#include "components/common/sqlite/inbox.h"

#include <stdatomic.h>

enum control { CTL_BEGIN, CTL_COMMIT, CTL_SAVE, CTL_UNDO, CTL_RELEASE, CTL_VERSION };

struct sqlite_db {
    struct sqlite_db_config config;
    struct sqlite_target target;
    struct arena arena; /* of the target's texts */
    const char *const *sql;
    size_t n_sql;
    struct inbox inbox;
    bool has_inbox, started;
    pthread_t thread;
    _Atomic(struct sqlite_conn *) reader[64]; /* by worker */

    struct sqlite_conn conn;
    bool lazy_sync;    /* synchronous = NORMAL is set */
    bool dirty;        /* the WAL holds what the file doesn't */
    int checkpoint_at; /* frames in the WAL */
    int64_t version;   /* of the data, as this connection sees it */
    uint64_t upkeep_at, looked_at, look_at, look_step;

    _Atomic uint64_t n_groups, n_jobs, n_syncs, n_reopened, n_failed;
};

int sqlite_db_connect(struct sqlite_db *db, struct sqlite_conn *c, bool reader, struct error *err)
    WUR;
void *sqlite_writer_main(void *db);
