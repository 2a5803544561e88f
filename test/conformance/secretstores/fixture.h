/* fixture.h — opens engines by their type; for the suites of the smaller kinds.
 * Owner:  the test.
 * Thread: in a fiber of a worker (TEST_LOOP).   Failure: a failed CHECK of test/testing.h. */
#pragma once

#include "component/kinds.h"
#include "test/testing.h"

struct fixture {
    const struct component_type *type;
    void *self;
    struct arena arena;
    struct component_env env;
    struct error err;
};

/* A NULL-ended list of names and values as metadata; they are borrowed. */
struct kvs fixture_kvs(struct arena *a, const char *const *name_value);
/* Decodes the metadata and opens; env may be NULL. The result is open()'s, *f is to be closed in
 * any case. */
CO int fixture_open(struct fixture *f, const char *type, const char *const *name_value,
                    const struct component_env *env) WUR;
/* The same of a resolver, and registers it. */
CO int fixture_join(struct fixture *f, const char *type, const char *const *name_value,
                    const struct component_env *env) WUR;
CO void fixture_close(struct fixture *f);

/* Checks that rows (a NULL-ended list of types) are exactly the registry's engines of this kind. */
void fixture_check_rows(const char *kind, const char *const *types);

/* Path of a file in a folder of this process, which is removed when it exits; with this content
 * (NULL: no file is made). In the arena. */
const char *fixture_file(struct arena *a, const char *name, const char *content);
