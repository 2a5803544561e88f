/* chaos.h — faults on purpose: what they are, which of them meet a call, and when they end.
 * Owner:  the caller; texts of what is put into the table are copied.
 * Thread: one at a time.   Failure: chaos_parse() says which word is wrong.
 * Limits: CHAOS_MAX faults at once; each ends after CHAOS_LONGEST_NS at most. */
#pragma once

#include "base/error.h"
#include "format/json.h"

enum {
    CHAOS_MAX = 32,
    CHAOS_NAME_MAX = 64, /* the sizes count a NUL */
    CHAOS_APP_MAX = 128,
    CHAOS_METHOD_MAX = 256,
    CHAOS_ZONE_MAX = 64,
};
static const uint64_t CHAOS_FOR_NS = SEC(60), CHAOS_LONGEST_NS = SEC(3600);

enum chaos_kind { CHAOS_DELAY, CHAOS_ERROR, CHAOS_RESET, CHAOS_BLACKHOLE, CHAOS_KINDS };
const char *chaos_kind_name(enum chaos_kind kind); /* "delay" */

struct chaos_fault {
    char name[CHAOS_NAME_MAX];
    enum chaos_kind kind;
    char app[CHAOS_APP_MAX]; /* of these the call must have each that isn't empty: the app */
    char
        method[CHAOS_METHOD_MAX]; /* that is called, "[VERB ]path", the zone of the instance that */
    char zone[CHAOS_ZONE_MAX];    /* was chosen; * in app and method is any text */
    char component[CHAOS_APP_MAX]; /* not empty: operations of such components, not calls of apps */
    double percent;                /* of the calls that fit */
    uint64_t delay_ns, delay_max_ns; /* CHAOS_DELAY: uniform between the two */
    int status;                      /* CHAOS_ERROR: HTTP's, from 400; or a gRPC code, 1 … 16 */
    uint64_t for_ns;
};

/* A fault as people write it, in JSON, YAML and on the command line alike; empty = the default. */
struct chaos_words {
    str name, fault, app, component, method, zone;
    str percent; /* "20", "0.5"; 100 */
    str delay;   /* "50ms" or "50ms-200ms" */
    str status;  /* "503", "UNAVAILABLE", "14"; 503 */
    str length;  /* "30s", at most 1h; 60s */
};
int chaos_parse(const struct chaos_words *words, struct chaos_fault *ret, struct error *err) WUR;
/* An object with the words' names and "for"; numbers may be numbers. */
int chaos_from_json(struct arena *a, struct json v, struct chaos_fault *ret, struct error *err) WUR;
/* The status as it would be written. */
const char *chaos_status_text(int status, char ret[24]);

struct chaos_call {
    str app, verb; /* "GET"; a gRPC call's is POST */
    str path;      /* "/orders/1", "/package.Service/Method"; of a component's: "get" */
    str zone;      /* empty = the instance says none */
    str component; /* not empty: an operation on it, or an event of it; no app is called */
};
bool chaos_fits(const struct chaos_fault *f, const struct chaos_call *call);

struct chaos_active {
    struct chaos_fault fault;
    uint64_t id; /* 0: the place is free */
    uint64_t end_ns;
    uint64_t injected; /* calls that it has met */
    uint64_t origin;   /* the caller's: who has put it there */
};

struct chaos_table {
    struct chaos_active v[CHAOS_MAX];
    size_t n;
    uint64_t last_id;
};

/* Begins now; of the same name it takes the place. -EXHAUSTED: the table is full. */
int chaos_put(struct chaos_table *t, const struct chaos_fault *f, uint64_t origin, uint64_t now_ns,
              struct error *err) WUR;
/* Takes the one of that name away; an empty name: all. Returns how many it were. */
size_t chaos_take(struct chaos_table *t, str name);
/* Takes one away whose time is over and hands it out. False: there is none. */
bool chaos_expired(struct chaos_table *t, uint64_t now_ns, struct chaos_fault *ret);
/* NULL: it has ended, or was taken away. */
const struct chaos_active *chaos_by_id(const struct chaos_table *t, uint64_t id, uint64_t now_ns);

/* What meets one call: all delays that hit it, then what ends it. */
struct chaos_effect {
    bool hit[CHAOS_KINDS];
    uint64_t delay_ns;
    uint64_t delay_id; /* of the last delay among them, for chaos_by_id() */
    bool ends;
    struct chaos_active by; /* what ends it: an error, a reset or a blackhole */
};
/* random: 64 uniform bits, thrown anew for each fault that fits. False: nothing meets it. */
bool chaos_meet(struct chaos_table *t, const struct chaos_call *call, uint64_t now_ns,
                uint64_t random, struct chaos_effect *ret);
