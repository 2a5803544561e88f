/* run_dir.h — the directory of one run, where others find it: $XDG_RUNTIME_DIR/proa/run-…, or
 * /tmp/proa-<uid>/run-….   Owner:  the run; a lock on it tells the living from the dead.
 * Thread: the main one.   Failure: -CODE; a directory that others may write to is refused. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum { RUN_TOKEN_LEN = 32, RUNS_MAX = 64 };

struct run_dir {
    const char *path;
    const char *names_config; /* a Configuration that resolves names through names.db */
    int lock;
};

/* Also removes what dead runs left behind. */
int run_dir_make(struct arena *a, struct run_dir *ret, struct error *err) WUR;
void run_dir_remove(struct run_dir *d);

struct run_control { /* control.json, mode 0600 */
    int64_t pid;
    uint16_t port;
    str name, token, dir;
};
int run_dir_write_control(const struct run_dir *d, const struct run_control *c, struct error *err)
    WUR;
/* All runs of this user that live. */
int run_dir_list(struct arena *a, struct run_control *ret, size_t max, size_t *ret_n,
                 struct error *err) WUR;
