/* console.h — what a person sees: colours where they help, and lines that say what went wrong.
 * Owner:  none.   Thread: any.   Failure: none; without a terminal, or with NO_COLOR set, plain. */
#pragma once

#include "base/error.h"

#include <stdio.h>

bool console_is_terminal(int fd);
bool console_colour(int fd); /* a terminal, TERM isn't dumb, and NO_COLOR is unset or empty */

/* "proa <command>: text" to stderr; command may be NULL. */
void console_error(const char *command, const struct error *err);
/* The same and, below it, where to read on: for wrong usage. */
void console_usage_error(const char *command, const struct error *err);
