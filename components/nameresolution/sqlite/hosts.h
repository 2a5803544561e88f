/* hosts.h — the table of living sidecars in a SQLite file, as daprd keeps it too, and beside it one
 * of ours (<table>_proa) with what the contract's has no room for: zone, region and process.
 * Owner:  the resolver's instance; the texts of the config outlive it.
 * Thread: blocking: pool threads only, any number at once. Readers never wait for a writer (WAL).
 * Failure: -UNAVAILABLE when the file is locked for longer than the timeout, else by cause. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/id.h"
#include "component/kinds.h"
#include "process.h"

#include <pthread.h>
#include <sqlite3.h>

enum { HOSTS_ADDRESS_MAX = 96, HOSTS_TABLE_MAX = 64 };

struct hosts_config {
    const char *url; /* path, "file:…" or ":memory:" */
    const char *table, *metadata_table;
    const char *app_id;
    const char *address; /* of this sidecar: "ip:port" */
    const char *zone, *region;
    int64_t update_s;   /* a row younger than this is alive */
    int64_t keep_s;     /* an older one is deleted by hosts_clean() */
    int64_t timeout_ms; /* for a lock on the file */
    bool no_wal;
};

struct hosts_conn {
    sqlite3 *db;
    pthread_mutex_t lock;
};

struct hosts {
    struct hosts_config config;
    struct hosts_conn writer, reader;
    struct hosts_conn *read; /* the writer itself when the database is in memory */
    char id[UUID_LEN + 1];   /* registration_id of our row */
    char process[PROCESS_NAME_MAX];
    bool joined; /* our row is to be there; under the writer's lock */
    bool left;   /* … it's gone for good */
};

/* Opens the file and makes the tables when they aren't there. After a failure too, hosts_close()
 * is due. */
int hosts_open(struct hosts *h, const struct hosts_config *config, struct error *err) WUR;
/* Takes our row back, if one is there, and closes. A zeroed struct is fine. */
void hosts_close(struct hosts *h);
/* Commits our row; after a failure hosts_renew() does. */
int hosts_join(struct hosts *h, struct error *err) WUR;
/* Takes our row back for good; hosts_find() goes on. */
void hosts_leave(struct hosts *h);
/* Makes our row, if there is to be one, young again; a row that somebody has deleted is written
 * anew (*ret_lost = true). */
int hosts_renew(struct hosts *h, bool *ret_lost, struct error *err) WUR;
int hosts_clean(struct hosts *h, struct error *err) WUR;
/* Registrations of app_id in random order: of the living ones; when there is none, of those that
 * are less than three update intervals old, since a loaded peer may be late. Processes of this
 * machine that have ended are left out, however young their rows are. */
int hosts_find(struct hosts *h, str app_id, struct arena *a, struct registration *ret, size_t max,
               size_t *ret_n, struct error *err) WUR;
