/* run_files.h — the few things the command line does with files and paths.
 * Owner:  results live in the caller's arena.   Thread: any; these calls block, so not for fibers
 * that serve.   Failure: NULL out of memory, or -CODE with the path in the text. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

/* path made absolute against base (NULL = the working directory), "~/" against home, without "."
 * and "..". */
const char *files_resolve(struct arena *a, const char *base, const char *path, const char *home);
const char *files_dir_of(struct arena *a, const char *path); /* absolute */
bool files_is_dir(const char *path);
/* The whole of a regular file, at most max bytes, with a NUL behind that isn't counted. */
int files_read(struct arena *a, const char *path, size_t max, str *ret, struct error *err) WUR;
/* Creates or replaces path in one step, with this mode. */
int files_write(const char *path, str data, unsigned mode, struct error *err) WUR;
/* The file a command's name means: itself when there is a '/', else the first that can be executed
 * along search (a PATH); NULL when there is none. */
const char *files_find_command(struct arena *a, const char *name, const char *search);
