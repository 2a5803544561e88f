/* pem.h — a setting that is PEM, or names a file that is.
 * Owner:  the text lives in the caller's arena.
 * Thread: a fiber; the file is read on the pool.   Failure: -INVALID with the setting's name.
 * Limit: 1 MiB. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

/* An empty value gives an empty text. */
CO int binding_pem(struct arena *a, const char *name, const char *value, str *ret,
                   struct error *err) WUR;
