/* scaler_private.h — the inside of 'proa scaler': apps that somebody asks for, and who watches
 * them. Owner:  struct scaler lives in scaler_main()'s frame; an app's record is freed by its
 * fiber. Thread: worker 0.   Limits: SCALER_APPS apps, SCALER_INSTANCES sidecars of one. Failure:
 * an app that nobody asks for within SCALER_FORGET_S isn't watched any more. */
#pragma once

#include "cli/option.h"
#include "cli/scaler_read.h"
#include "component/resource.h"
#include "fiber/sync.h"
#include "http/client.h"
#include "http/server.h"

enum { SCALER_APPS = 256, SCALER_INSTANCES = 512, SCALER_FORGET_S = 300, SCALER_ADDRESS_MAX = 256 };

struct scaler_options {
    struct option_list resources;
    const char *address;
    int64_t metrics_port;
};

struct scaler;

struct scaled { /* one app, at one place */
    struct scaler *scaler;
    char app[128], address[SCALER_ADDRESS_MAX]; /* where its sidecars are: host:port, … */
    uint64_t asked_ns;
    bool known; /* it has been looked at */
    struct scale_rule rule;
    struct scale scale;
    struct scale_decision decision;
    size_t n;
    char (*peer)[64]; /* "10.1.2.3:9090" */
    struct scaler_reading *now, *before;
};

struct scaler {
    const struct scaler_options *options;
    struct http_client *client;
    struct scaled *app[SCALER_APPS];
    size_t n_apps;
    struct waitq changed; /* some app was looked at, or the end has come */
    bool ending;
    struct wait_group fibers;
};

/* scaler_watch.c */
/* The app's record, watched from now on, after its first look. NULL with err. */
CO struct scaled *scaler_find(struct scaler *s, str app, str address, struct error *err) WUR;

/* scaler_serve.c */
CO void scaler_serve(void *scaler, struct http_exchange *x);
