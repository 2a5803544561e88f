/* run_process.h — starts one child so that it can't outlive us, and names how a child ended.
 * Owner:  the caller: it must reap the pid and close the fd.
 * Thread: always the same one (PR_SET_PDEATHSIG is bound to the thread that forks), which must live
 * as long as the children.   Failure: -CODE with the cause, also when execve() itself fails. */
#pragma once

#include "cli/run_plan.h"

#include <sys/types.h>

/* The child leads a process group of its own, reads /dev/null, and writes both outputs into one
 * pipe, whose other end is *ret_output (non-blocking). guard_fd as in run_guard.h. */
int process_start(const struct run_exec *x, int guard_fd, pid_t *ret_pid, int *ret_output,
                  struct error *err) WUR;

enum { ENDED_MAX = 64 };
/* "exited with code 3", "was killed by signal 9 (Killed)". */
void process_ended(int wait_status, char ret[ENDED_MAX]);
/* As a shell gives it: the code, or 128 + the signal. */
int process_exit_code(int wait_status);
