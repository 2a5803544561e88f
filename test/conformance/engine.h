/* engine.h — opens one engine by its type, for tests of what only that engine does.
 * Owner:  the test; engine_close() ends it. scratch_dir() is removed when the test's process ends
 * it. Thread: fibers of worker 0.   Failure: engine_open() returns the engine's code and error. */
#pragma once

#include "component/component.h"

struct engine {
    const struct component_type *type;
    struct kv kv[8];
    size_t n;
    struct component_env env;
    struct arena a;
    void *self;
};

/* fields: "name=value" strings, NULL at the end. */
CO int engine_open(struct engine *e, const char *type, const char *const *fields,
                   struct error *err);
CO void engine_close(struct engine *e);

struct scratch {
    char dir[64], file[80]; /* a folder of its own, and a name in it */
};
void scratch_make(struct scratch *s);
void scratch_remove(struct scratch *s);
size_t scratch_count(const struct scratch *s); /* files in its folder */
/* Runs SQL text on the file with SQLite alone. Returns the first column of the first row as a
 * number, or -1 (and says why). */
int64_t scratch_sql(const struct scratch *s, const char *sql);
