/* suite.h — runs the cases of one component kind on every engine of it that the registry knows.
 * Owner:  the suite makes a fresh folder and a fresh instance for each case, and ends both.
 * Thread: a case runs in a fiber of worker 0; suite_parallel() uses all workers.
 * Failure: CHECK() reports and goes on; a suite with a failed check exits with 1.
 *
 * An engine says how it is to be tested in components/<kind>/<engine>/conformance.conf: sections
 * "[variant]" with lines "field = value". {dir} is the case's empty folder, {env:NAME} a variable
 * of the environment: a variant that names one that isn't set is skipped. A line "$ command" is a
 * server that each case gets for itself, started before the engine is opened (server.h: {port} or
 * {sock} is where it listens); the variant is skipped where the program isn't installed. A line
 * "@word" is a promise of the engine that some cases ask for (@durable); @remote says that what
 * runs out of memory may have been done all the same, because the answer is lost. Without the file
 * there is one variant without fields. */
#pragma once

#include "component/component.h"
#include "test/conformance/server.h"

enum { SUITE_FIELDS_MAX = 16, SUITE_PROMISES_MAX = 8 };

struct suite_variant {
    const char *name;
    struct kv field[SUITE_FIELDS_MAX];
    size_t n_fields;
    const char *promise[SUITE_PROMISES_MAX];
    size_t n_promises;
    const char *server; /* its command; NULL: none */
    bool skip;          /* a variable of the environment, or the server, is missing */
};

struct suite {
    const struct component_type *type;
    const struct suite_variant *variant;
    char dir[64];
    struct server server;
    void *self;          /* the open instance; NULL: the case opens it itself */
    struct arena config; /* of the instance */
    struct arena a;      /* of the case */
    struct component_env env;
    struct kv extra[8]; /* fields that the case adds before it opens again */
    size_t n_extra;
    unsigned failed;
};

struct suite_case {
    const char *name;
    unsigned needs;      /* feature bits */
    const char *promise; /* or NULL */
    void (*run)(struct suite *s);
};

/* argv: [-v] [type [case]]. Returns the exit code. */
int suite_main(int argc, char **argv, const char *kind, const struct suite_case *cases,
               size_t n_cases);

bool suite_promises(const struct suite *s, const char *promise);
CO int suite_open(struct suite *s, struct error *err) WUR;
CO void suite_close(struct suite *s);
/* Closes and opens again, as a restart would. */
CO bool suite_reopen(struct suite *s);
/* One more instance on the same data, as another process would have it; NULL on failure. */
CO void *suite_open_other(struct suite *s);
CO void suite_close_other(struct suite *s, void *self);

/* Runs fn(arg, i) for i < n in fibers on all workers, and waits for them all. */
CO bool suite_parallel(size_t n, void (*fn)(void *arg, size_t i), void *arg);
/* Until holds(arg) is true, at most limit_ns. Returns whether it came true. */
CO bool suite_wait(bool (*holds)(void *arg), void *arg, uint64_t limit_ns);

bool suite_check(struct suite *s, bool ok, const char *expr, const char *file, int line);
/* For code without the suite at hand (other fibers): any thread. */
#define CHECK(expr) suite_check(s, (expr), #expr, __FILE__, __LINE__)
