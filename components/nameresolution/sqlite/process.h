/* process.h — names a process so that others of its machine can see at once that it is gone.
 * Owner:  the caller's buffers.
 * Thread: any; reads /proc, which doesn't block.   Failure: where the system doesn't say, a process
 * has no name, and whoever has none, or is of another machine or container, isn't known to be gone.
 */
#pragma once

#include "base/str.h"

enum { PROCESS_NAME_MAX = 128 };

/* "<boot>/<PID namespace>/<pid>/<start>", or "". */
void process_name_self(char ret[PROCESS_NAME_MAX]);
/* self: process_name_self(). True only when the process has surely ended. */
bool process_gone(const char *self, str name);
