/* inbox.h — where jobs wait for the writer, and what wakes its thread: a job, another process's
 * commit, or the time.
 * Owner:  the database.
 * Thread: inbox_put() on any, inbox_wait() on the writer's.
 * Failure: inbox_put() returns -EXHAUSTED past INBOX_MAX jobs, -UNAVAILABLE once closed. */
#pragma once

#include "components/common/sqlite/db.h"

#include <pthread.h>

enum { INBOX_MAX = 100000 };

struct inbox {
    pthread_mutex_t lock;
    struct sqlite_job *first, **last;
    size_t n;
    bool asleep, closed;
    int pipe[2]; /* a byte wakes the sleeper */
    int watch;   /* inotify; -1 = none */
};

int inbox_init(struct inbox *box, struct error *err) WUR;
void inbox_done(struct inbox *box);
/* From now on also wakes up when the file changes. Without the means it does nothing. */
void inbox_watch(struct inbox *box, const char *file);

int inbox_put(struct inbox *box, struct sqlite_job *job) WUR;
void inbox_close(struct inbox *box);

enum inbox_wake { INBOX_JOBS, INBOX_TIME, INBOX_TOUCHED, INBOX_CLOSED };
/* Sleeps at most timeout_ns while nothing is there. INBOX_CLOSED comes after the last job. */
enum inbox_wake inbox_wait(struct inbox *box, uint64_t timeout_ns);
/* At most max jobs, oldest first; NULL when there is none. */
struct sqlite_job *inbox_take(struct inbox *box, size_t max);
