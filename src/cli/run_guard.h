/* run_guard.h — a second, tiny process that ends every process group when the run dies by SIGKILL.
 * Owner:  the run; guard_close() lets it go.   Thread: started by the main one before any thread.
 * Why:    PR_SET_PDEATHSIG reaches children alone, and grandchildren (npm, sh -c) would stay.
 * Failure: guard_start() returns -UNAVAILABLE; the run then refuses to start. */
#pragma once

#include "base/error.h"

#include <sys/types.h>

struct guard {
    int fd; /* the pipe to it; children write their own number into it before they execute */
    pid_t pid;
};

int guard_start(struct guard *g, struct error *err) WUR;
/* pid > 0: this group may live; pid < 0: it's gone. Safe between fork() and execve(). */
void guard_tell(int fd, pid_t pid);
void guard_close(struct guard *g); /* waits for it */
