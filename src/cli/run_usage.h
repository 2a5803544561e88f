/* run_usage.h — processor time and memory of process groups, from one look through /proc.
 * Owner:  the caller's array.   Thread: any; a look takes well under a millisecond.
 * Failure: none; where there is no /proc, nothing is filled in. */
#pragma once

#include "base/str.h"

#include <sys/types.h>

struct usage {
    pid_t group;     /* in: which one */
    uint64_t cpu_ns; /* out: used so far by its living processes */
    uint64_t rss_bytes;
    unsigned n; /* living processes */
};

/* proc is "/proc"; tests pass a folder of their own. */
void usage_look(const char *proc, struct usage *v, size_t n);
/* The line of /proc/<pid>/stat. The command's name may hold spaces and brackets. */
bool usage_parse(str line, pid_t *ret_group, uint64_t *ret_ticks, uint64_t *ret_pages);
