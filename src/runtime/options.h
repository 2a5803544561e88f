/* options.h — daprd's command line and environment, as one table of rows.
 * Owner:  the process; strings point into argv, the environment or the options' arena.
 * Thread: the main one, at start.   Failure: -INVALID with what's wrong and, for a name, 'did you
 * mean'. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum option_kind {
    OPTION_STR,
    OPTION_BOOL,
    OPTION_TRI, /* enum option_tri */
    OPTION_INT,
    OPTION_PORT,     /* int64_t, "" = 0 */
    OPTION_DURATION, /* int64_t ns, Go's form */
    OPTION_SIZE,     /* int64_t bytes, a Kubernetes quantity */
    OPTION_LIST,     /* struct option_list: comma-separated, may be repeated */
};
enum option_tri { OPTION_UNSET, OPTION_NO, OPTION_YES };
enum { OPTION_LIST_MAX = 64 };

struct option_list {
    const char *v[OPTION_LIST_MAX + 1]; /* NULL-ended */
    size_t n;
};

struct options {
    const char *mode, *app_id, *app_protocol, *app_channel_address, *health_path;
    const char *zone, *region; /* "" = not said */
    const char *internal_listen_address, *listen_addresses, *public_listen_address;
    const char *unix_domain_socket, *components_path, *log_level, *log_file, *allowed_origins;
    const char *metrics_listen_address, *control_plane_trust_domain, *control_plane_namespace;
    const char *sentry_address, *control_plane_address, *placement_host_address;
    const char *reminders_service, *actors_service;
    int64_t app_port, http_port, grpc_port, internal_port, public_port, profile_port, metrics_port;
    int64_t app_max_concurrency, health_interval_s, health_timeout_ms, health_threshold;
    int64_t max_request_mib, read_buffer_kib, max_body_size, read_buffer_size;
    int64_t graceful_seconds, scheduler_job_streams, workers;
    int64_t binding_options_timeout, block_shutdown, actors_disseminate_timeout,
        hot_reload_interval;
    struct option_list disable_init_endpoints, resources_path, config, sentry_audiences,
        scheduler_hosts;
    bool app_ssl, health_check, enable_profiling, enable_mtls, disable_k8s_secrets, log_as_json;
    bool enable_chaos, enable_metrics, version, build_info, wait, help;
    enum option_tri api_logging;
    unsigned char given[80]; /* by row: said on the command line */
    /* from the environment */
    const char *api_token, *app_token, *namespace_, *host_ip;
    const char *trust_anchors, *sentry_identity, *sentry_token_file; /* NULL: not said */
    bool disable_h2c;
    uint64_t conn_idle_ns;
};

/* Fills *o from argv[1…] and the environment. */
int options_parse(int argc, char **argv, struct arena *a, struct options *o, struct error *err) WUR;
/* Names of given flags without effect yet: *at = 0 starts; NULL ends. */
const char *options_without_effect(const struct options *o, size_t *at);
bool options_given(const struct options *o, const char *name);
/* The table for people: --help, and for completion and the man page. */
void options_help(struct buf *out);
struct option_info {
    const char *name, *def, *help;
    enum option_kind kind;
};
bool options_info(size_t i, struct option_info *ret); /* false past the end */
