/* folder.h — files below one folder, by names that can't lead out of it: "..", absolute names and
 * what a client may have put there. Symbolic links are never followed.
 * Owner:  the caller holds the folder's descriptor.
 * Thread: any that may block.   Limits: FOLDER_DEPTH_MAX folders deep.
 * Failure: -NOT_FOUND, -INVALID a name that is none, -EXHAUSTED memory, -UNAVAILABLE what the disk
 * says. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum { FOLDER_DEPTH_MAX = 64 };

/* Makes the folder (and those above it) where it isn't there. *ret: its path without links, in the
 * arena; *ret_fd: to be closed. */
int folder_open(const char *path, struct arena *a, str *ret, int *ret_fd, struct error *err) WUR;
/* The name as it counts: "a//../b" is "b", "/" and "" are "". */
int folder_clean(str name, struct arena *a, str *ret, struct error *err) WUR;

/* All take clean names. */

/* The whole file or none: others see the old one until the new one is on the disk. */
int folder_write(int root, str name, str data, struct arena *a, struct error *err) WUR;
int folder_read(int root, str name, struct arena *a, str *ret, struct error *err) WUR;
/* A file, or an empty folder. */
int folder_remove(int root, str name, struct arena *a, struct error *err) WUR;
/* Calls fn with the name of each file below the folder, in the order of their names. */
int folder_list(int root, str name, void (*fn)(void *arg, str name), void *arg, struct arena *a,
                struct error *err) WUR;
