/* fixture.h — blocks over engines that fail on demand, and an app in this process.
 * Owner:  the test's frame; fixture_close() ends it.
 * Thread: one fiber; a TEST_CO() will do: nothing here opens a socket.   Failure: REQUIRE(). */
#pragma once

#include "api/api.h"
#include "block/app/app.h"
#include "block/subscribe.h"
#include "component/configuration.h"
#include "component/resource.h"
#include "http/memory.h"
#include "test/testing.h"

enum { FAKE_ITEMS = 64 };

/* One engine of any kind: what it has, what was asked of it, and how it shall fail. */
struct fake {
    int code;                        /* with .failures: each operation fails by it */
    unsigned failures;               /* so many times */
    unsigned fail_only;              /* bulk publish: bit i fails entry i */
    const char *text;                /* of the failure; NULL: none is given */
    unsigned calls;                  /* operations so far */
    uint64_t sleep_ns;               /* each takes so long */
    struct kv item[FAKE_ITEMS];      /* state; messages: topic and data */
    struct kvs metadata[FAKE_ITEMS]; /* of each message; the slices are the publisher's */
    size_t n;
    struct pubsub_subscription sub;
    struct configuration_subscription watch;
    bool subscribed;
    struct arena arena;
};

struct fixture {
    struct blocks b;
    struct resources *res;
    struct app *app;
    struct api *api;
    struct arena arena; /* of requests */
    /* the app: what the test wants it to answer; NULL handle: 200 with .body */
    void (*handle)(struct fixture *f, struct http_exchange *x);
    int status;
    const char *body;
    unsigned app_calls;
    bool stopping;              /* somebody called shutdown */
    str seen_target, seen_body; /* of the last call */
    struct http_headers seen;
};

/* yaml: resources, and (after a line "--- config") a Configuration; NULL: none. */
void fixture_open(struct fixture *f, const char *yaml);
void fixture_close(struct fixture *f);
/* kind: "state", "state-small" (gets and writes alone), "pubsub", "pubsub-bulk", "secret",
 * "secret-small", "binding", "configuration", "configuration-small" (gets alone), "lock", "crypto",
 * "crypto-small" (nothing), "resolver". fields: "name=value", NULL at the end; may be NULL. */
struct fake *fixture_add(struct fixture *f, const char *kind, const char *name,
                         const char *const *fields);
struct instance *fixture_instance(struct fixture *f, const char *kind, const char *name);

struct reply {
    int status;
    str body;
    struct http_headers headers;
};
/* "POST /v1.0/state/s?x=1"; headers: "A: b\nC: d" or NULL. */
struct reply fixture_call(struct fixture *f, const char *what, const char *headers,
                          const char *body);
