/* catalog.h — the components that are loaded now, and how one takes another's place while calls are
 * under way.
 * Owner:  the blocks; an instance that left the catalog is closed when the last reader that may
 * hold it has gone.
 * Thread: readers on any worker, without a lock: each worker has its own pointer to the present
 * catalog, which is swapped by mail. Writers in fibers of worker 0, one at a time.
 * Failure: a lookup gives NULL; publishing -EXHAUSTED out of memory, then nothing has changed. */
#pragma once

#include "base/error.h"
#include "fiber/fiber.h"

struct blocks;
struct instance;
struct catalog;

enum component_kind {
    KIND_STATE,
    KIND_PUBSUB,
    KIND_SECRET,
    KIND_BINDING,
    KIND_MIDDLEWARE,
    KIND_CONFIGURATION,
    KIND_LOCK,
    KIND_CRYPTO,
    COMPONENT_KINDS,
};
enum { CATALOG_MAX = 1000 }; /* components of a kind */

/* COMPONENT_KINDS for what is in no catalog (name resolution). "state", "middleware.http" … */
enum component_kind component_kind_of(const char *kind);

/* ---- readers ---- */

/* A reader holds a pin for as long as it uses an instance: exchanges, deliveries and events of
 * input bindings are pinned as a whole by whoever begins them. On the worker where it began. */
struct catalog *catalog_pin(struct blocks *b);
void catalog_unpin(struct catalog *c);
void catalog_unpinp(struct catalog **c); /* for AUTO() */
/* PINNED(b); — until the end of the enclosing block. */
#define PINNED(blocks)                                                                             \
    AUTO(catalog_unpinp)                                                                           \
    __attribute__((unused)) struct catalog *FIBER_CONCAT(pin_, __LINE__) = catalog_pin(blocks)

/* What is loaded now, by the pin at least. */
struct instance *catalog_get(const struct blocks *b, enum component_kind kind, str name);
size_t catalog_count(const struct blocks *b, enum component_kind kind);
/* Walks through a pinned catalog, which stays as it is. Start with *at = 0; NULL at the end. */
struct instance *catalog_next(const struct catalog *c, enum component_kind kind, size_t *at);

/* The middlewares around requests to the API, and around calls of the app: of the Configuration's
 * handlers those that are loaded, in its order. Good while pinned. */
enum catalog_pipeline { PIPELINE_HTTP, PIPELINE_APP, PIPELINES };
const struct pipeline *catalog_pipeline(const struct blocks *b, enum catalog_pipeline which);

/* ---- writers ---- */

int catalogs_init(struct blocks *b) WUR; /* -EXHAUSTED */
/* Closes every instance (secret stores last); no reader may be left. */
CO void catalogs_done(struct blocks *b);

/* Before the first reader: puts i where its kind belongs. */
int catalog_add(struct blocks *b, struct instance *i, struct error *err) WUR;
/* Once all have been added: finds the pipelines' middlewares. */
int catalog_link(struct blocks *b, struct error *err) WUR;
/* With readers about: add (may be NULL) comes, remove (may be NULL) goes, for all workers when this
 * returns. What goes is closed by a fiber of its own when nobody can hold it any more. */
CO int catalog_swap(struct blocks *b, struct instance *remove, struct instance *add,
                    struct error *err) WUR;
