/* admit.h — the door of our app: every call to it comes in here, waits here or is turned away here.
 * What is decided is policy/admission.h; this is the waiting, and what a call is.
 * Owner:  the app.   Thread: any worker; a place belongs to the fiber that has entered.
 * Failure: -EXHAUSTED ERR_OVERLOADED (503; with err->shed and err->retry_after_s), -TIMEOUT the
 * call's deadline has passed (504), -CANCELLED. Then nothing is held.
 * Limits: those of policy/admission.h. */
#pragma once

#include "block/app/context.h"
#include "format/json.h"
#include "loop/worker.h"
#include "policy/admission.h"
#include "policy/overload.h"

struct admit;
struct blocks;

struct admit_ask {
    str method; /* a path, or a gRPC method: "/orders", "/shop.Orders/Add" */
    /* NULL: a delivery or an event of a binding, which waits and is never turned away */
    const struct http_headers *headers;
    const struct call_context *context; /* as read from them; NULL with them */
    bool stream; /* a large body: the call lasts as long as its caller sends */
};

struct admit_place { /* private */
    struct admission_place place;
    struct context_entry context;
    struct fiber *fiber;
    struct worker *worker;
    struct mail mail;
    bool woken;
};

int admit_new(size_t max_concurrency, struct admit **ret, struct error *err) WUR;
void admit_free(struct admit *a); /* nobody is in it; NULL is fine */

/* What is to hold from now on; takes the reference over. b: where the stores of shared rate limits
 * are found, the same each time; NULL = nowhere. */
void admit_configure(struct admit *a, struct blocks *b, struct overload *o);

/* What is known of further instances of the app, that calls may wait for; again when it changes. */
void admit_relief(struct admit *a, const struct relief_facts *facts);

CO int admit_enter(struct admit *a, struct admit_place *p, const struct admit_ask *ask,
                   struct error *err) WUR;
/* result: of the call, 0 or -CODE; status: of HTTP, 0 = none. */
void admit_leave(struct admit *a, struct admit_place *p, int result, int status);
/* The call is a stream, which may last: it holds no place any more. */
void admit_stream(struct admit *a, struct admit_place *p);

struct contexts *admit_contexts(struct admit *a);
unsigned admit_load(const struct admit *a); /* 0 … 1000 */
/* Counters into the metrics; before they are written. */
void admit_metrics(struct admit *a);
/* For who decides how many instances there are. */
struct admit_demand {
    uint64_t inside, waiting; /* now; inside: all, long ones too */
    uint64_t admitted, shed;  /* cumulative */
};
void admit_demand(struct admit *a, struct admit_demand *ret);
/* The feed's member "overload". */
void admit_describe(struct admit *a, struct json_w *w);
