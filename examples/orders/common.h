/* common.h — what the services of the order system share: the order, how a step of the saga is
 * taken, and the frame around main().
 * Owner:  nothing here owns memory; structs are filled for the caller.
 * Thread: a service runs on one worker (see service_main()): fibers of one thread, so memory that
 * they share needs no lock, but may be changed by others wherever a call suspends.
 * Failure: 0 or a negative enum proa_code. */
#pragma once

#include "proa.h"

#define BUS "bus"
#define STORE "store"
#define DEAD_LETTERS "orders.dead"

enum { ID_MAX = 64, NAME_MAX_LEN = 64, SKU_MAX = 32, KEY_MAX = 128, ORDER_JSON_MAX = 1024 };
enum { QUANTITY_MAX = 100, TRIES_MAX = 30 };

struct order {
    char id[ID_MAX + 1], customer[NAME_MAX_LEN + 1], country[3], sku[SKU_MAX + 1];
    int64_t quantity, total; /* total: in cents */
    char status[16];         /* of orders.finished: "confirmed" or "cancelled"; else "" */
};

/* false: something is missing, or not as a storefront would have written it. */
bool order_read(const char *json, size_t len, struct order *ret);
/* Returns the length; the text always fits into ORDER_JSON_MAX. */
size_t order_write(const struct order *o, char out[ORDER_JSON_MAX]);
/* Letters, digits, '-', '_' and '.': what may become part of a key. */
bool is_name(const char *s, size_t max);

/* Publishes the order as event of topic. The event's id is made of both, so that a repetition is
 * recognised; its key is the order, so that events of one order are handled one after another. */
int emit(struct proa *p, const char *topic, const struct order *o);
/* The end of a step: r, and if it's no failure only after the event has been published. */
int then_emit(int r, struct proa *p, const char *topic, const struct order *o);

/* Tells a conflict that is worth another try from everything else: while (again(&r, &tries)). Waits
 * a little before it says yes; r becomes -PROA_UNAVAILABLE when it gives up. */
bool again(int *r, int *tries);

/* One step of the saga: what a service does about an event. It must bear to be called twice for the
 * same event, and must have saved before it emits. 0: done. 1: nothing was left to do, it's the
 * second time. -PROA_INVALID: it never can be done, to the dead letters. Other failures: once more,
 * later. */
typedef int step_fn(struct proa *p, const struct order *o, const char *topic);

struct step {
    const char *topic;
    step_fn *fn;
};
struct method {
    const char *name;
    proa_method_fn *fn;
};
struct service {
    const struct step *steps;
    const struct method *methods;
    size_t n_steps, n_methods;
    void (*on_start)(struct proa *p, void *arg); /* may be NULL */
};

/* main() of each service; returns its exit status. Adds a method of its own: GET stats, how many
 * events came, and how many of them a second time. */
int service_main(const struct service *s);

/* To stderr, one line, with the service's name. */
void complain(struct proa *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
