/* run_plan.h — from an app to the processes of one instance: ports, command lines, environments.
 * Owner:  everything lives in the caller's arena; immutable once made.
 * Thread: one.   Failure: -CODE with the app's name in the text. */
#pragma once

#include "cli/run_template.h"

enum { PLAN_INSTANCES_MAX = 256 };

/* One process as execve() wants it. */
struct run_exec {
    const char *path; /* NULL: there is no such process */
    char *const *argv;
    char *const *env;
    const char *dir;
};

struct run_ports {
    uint16_t app, http, grpc, internal, metrics, profile; /* 0 = none */
};

struct run_instance {
    const struct run_app *app;
    const char *name;  /* "orders-1": of the instance, everywhere */
    const char *label; /* "orders", or as name when there may be several: in front of log lines */
    const char *zone;  /* "" = none */
    unsigned number;   /* from 1 */
    struct run_ports port;
    const char *api; /* where the sidecar's HTTP API is: "127.0.0.1:3500" or "unix:/…" */
    struct run_exec sidecar, command;
};

struct plan_settings {
    const char *self;         /* path of our own executable */
    const char *names_config; /* Configuration with the shared name resolution; NULL = none */
    const char *log_level;    /* for sidecars whose app says nothing */
    char *const *environ;     /* what processes inherit */
    int64_t instances;        /* 0 = as the apps say */
    bool enable_chaos;        /* of all sidecars */
    /* Gives a port that is free now and that it hasn't given to anybody else. */
    int (*free_port)(void *arg, uint16_t *ret);
    void (*give_back)(void *arg, uint16_t port); /* may be NULL */
    void *arg;
};

/* How many instances app begins with. */
unsigned plan_instances(const struct run_app *app, const struct plan_settings *s);
/* -EXHAUSTED: more than a run can have. */
int plan_check(const struct run_template *t, const struct plan_settings *s, struct error *err) WUR;
/* Instance number (from 1) of app; the ports that the app names are the first one's. */
int plan_make(const struct run_app *app, unsigned number, const struct plan_settings *s,
              struct arena *a, struct run_instance *ret, struct error *err) WUR;
/* Its ports may be given to another. */
void plan_done(const struct run_instance *in, const struct plan_settings *s);

/* The standard free_port: loopback ports below the range that the kernel gives to outgoing
 * connections, so that a sidecar that restarts finds its port still free. */
struct port_chooser {
    uint16_t low, high;
    uint64_t taken[65536 / 64];
};
void port_chooser_init(struct port_chooser *c);
void port_chooser_reserve(struct port_chooser *c, uint16_t port);
int port_chooser_take(void *chooser, uint16_t *ret);
void port_chooser_give(void *chooser, uint16_t port);
bool port_is_free(uint16_t port); /* nobody listens on it at 127.0.0.1 */
