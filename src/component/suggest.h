/* suggest.h — 'did you mean' for names that people type.
 * Owner:  nothing is kept; the answer borrows from the candidates.
 * Thread: any.   Failure: .p == NULL when nothing is near enough. */
#pragma once

#include "base/str.h"

/* Remembers the nearest candidate offered so far. Start with { .word = … }. */
struct suggest {
    str word;
    str best;
    size_t distance; /* of best; read it through suggest_best() */
};

/* Case counts for nothing; a candidate further off than a third of the word's length never wins. */
void suggest_offer(struct suggest *s, str candidate);

enum { SUGGEST_MAX = 128 };
/* Writes ` (did you mean "x"?)`, or nothing; NUL-terminated. Returns ret. */
const char *suggest_text(const struct suggest *s, char ret[SUGGEST_MAX]);
