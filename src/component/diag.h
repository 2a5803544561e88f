/* diag.h — what a loader has to say about a file: collected, never printed here.
 * Owner:  the arena holds the texts and the list.
 * Thread: one.   Limit: DIAGS_MAX entries; what doesn't fit (or finds no memory) is counted. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum diag_level {
    DIAG_WARN,  /* something is ignored */
    DIAG_ERROR, /* this document (or value) is left out, the rest is used */
    DIAG_FATAL, /* the runtime must not start, or keep what it has */
};

struct diag {
    enum diag_level level;
    const char *file; /* NULL = no place */
    unsigned line, column;
    const char *text; /* without the place */
};

enum { DIAGS_MAX = 1000 };

struct diags {
    struct arena *arena;
    struct diag *v;
    size_t n, cap;
    size_t n_lost;
    bool no_memory; /* some were lost for that */
};

static inline void diags_init(struct diags *d, struct arena *a)
{
    *d = (struct diags){ .arena = a };
}

/* line 0 = the file as a whole. file must outlive the list; d may be NULL. */
void diag_add(struct diags *d, enum diag_level level, const char *file, unsigned line,
              unsigned column, const char *fmt, ...) PRINTF(6, 7);
bool diags_have(const struct diags *d, enum diag_level level);

enum { DIAG_TEXT_MAX = 1024 };
/* "file:line:column: text", cut; NUL-terminated. Returns ret. */
const char *diag_print(const struct diag *d, char ret[DIAG_TEXT_MAX]);
