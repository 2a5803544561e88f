/* run_template.h — what to run: Dapr's multi-app run template (dapr.yaml) as decoded, checked apps.
 * Owner:  everything lives in the caller's arena.
 * Thread: the main one, before anything starts.   Limits: TEMPLATE_APPS_MAX apps.
 * Failure: -INVALID "file:line:column: what; remedy", -NOT_FOUND no such file. */
#pragma once

#include "cli/option.h"
#include "component/component.h"

enum { TEMPLATE_APPS_MAX = 100, TEMPLATE_INSTANCES_MAX = 50, TEMPLATE_WARNINGS_MAX = 20 };

/* Field types are those of option.h, so that 'proa run --app-port …' fills the same struct. */
struct run_app {
    const char *id, *dir, *protocol, *channel_address, *unix_socket, *listen_addresses, *log_level;
    const char *placement, *scheduler, *max_body_size, *read_buffer_size, *config, *health_path;
    const char *runtime_path, *app_log, *sidecar_log, *restart;
    int64_t app_port, http_port, grpc_port, metrics_port, profile_port, internal_port;
    int64_t max_concurrency, health_interval, health_timeout, health_threshold;
    int64_t old_max_request_mb, old_read_buffer_kb, instances;
    bool profiling, ssl, health_check, api_logging;
    bool scaled; /* a Scale is there for it: instances come and go */
    struct option_list command, resources, zones;
    struct kvs env;
    /* Where the template gives it, for messages; 0 = from the command line. */
    unsigned line, column;
};

struct run_template {
    const char *name; /* of the run: the template's, or of the directory it's in */
    const char *file; /* NULL: from the command line */
    struct run_app *app;
    size_t n_apps;
    const char *warning[TEMPLATE_WARNINGS_MAX]; /* for the user, once */
    size_t n_warnings;
};

/* Reads path (a file, or a directory with a dapr.yaml), merges 'common' into the apps and resolves
 * paths: those of common relative to the file, an app's relative to its appDirPath, "~" to HOME. */
int template_load(const char *path, struct arena *a, struct run_template *ret, struct error *err)
    WUR;

/* The other way in: one app from flags. Fills in the same defaults and makes the same checks. */
int template_from_flags(const struct run_app *flags, struct arena *a, struct run_template *ret,
                        struct error *err) WUR;

/* Appends the sidecar's flags for all that isn't particular to an instance (ids and ports). add()
 * gets NUL-terminated words and returns 0 or a failure that ends the walk. */
int template_sidecar_flags(const struct run_app *app, struct arena *a,
                           int (*add)(void *arg, const char *word), void *arg) WUR;

extern const char *const run_protocols[], *const run_log_levels[], *const run_log_destinations[],
                                                                       *const run_restarts[];
