#include "runtime/options.h"

#include "component/suggest.h"
#include "format/duration.h"

#include <stdlib.h>

enum { SECONDS_MAX = 1000000000 }; /* 31 years */

#define AT(field) offsetof(struct options, field)

static const struct row {
    const char *name;
    enum option_kind kind;
    size_t off;
    const char *def, *help;
    bool later; /* accepted, no effect yet: said in the log */
} table[] = {
    { "mode", OPTION_STR, AT(mode), "standalone", "standalone or kubernetes", false },
    { "app-id", OPTION_STR, AT(app_id), "", "name of the app; other apps call it by this", false },
    { "zone", OPTION_STR, AT(zone), "", "zone this instance is in; none: $PROA_ZONE", false },
    { "region", OPTION_STR, AT(region), "", "its region; none: $PROA_REGION", false },
    { "app-port", OPTION_PORT, AT(app_port), "", "port the app listens on; none: no app to call",
      false },
    { "app-protocol", OPTION_STR, AT(app_protocol), "http", "http, https, h2c, grpc, grpcs",
      false },
    { "app-ssl", OPTION_BOOL, AT(app_ssl), "false", "deprecated: https or grpcs to the app" },
    { "app-channel-address", OPTION_STR, AT(app_channel_address), "127.0.0.1",
      "host the app listens on", false },
    { "app-max-concurrency", OPTION_INT, AT(app_max_concurrency), "-1",
      "calls to the app at once; -1: no limit", false },
    { "enable-app-health-check", OPTION_BOOL, AT(health_check), "false", "probe the app's health",
      false },
    { "app-health-check-path", OPTION_STR, AT(health_path), "/healthz", "path of the probe",
      false },
    { "app-health-probe-interval", OPTION_INT, AT(health_interval_s), "5", "seconds between probes",
      false },
    { "app-health-probe-timeout", OPTION_INT, AT(health_timeout_ms), "500",
      "milliseconds for one probe", false },
    { "app-health-threshold", OPTION_INT, AT(health_threshold), "3",
      "failures until the app counts as unhealthy", false },
    { "app-binding-options-timeout", OPTION_DURATION, AT(binding_options_timeout), "3s",
      "time for the app to answer a binding's OPTIONS", false },
    { "disable-init-endpoints", OPTION_LIST, AT(disable_init_endpoints), "",
      "don't ask the app at start: config, subscribe", false },
    { "dapr-http-port", OPTION_PORT, AT(http_port), "3500", "port of the HTTP API", false },
    { "dapr-grpc-port", OPTION_PORT, AT(grpc_port), "50001", "port of the gRPC API", false },
    { "dapr-internal-grpc-port", OPTION_PORT, AT(internal_port), "",
      "port for other sidecars; none: chosen, and stable", false },
    { "dapr-internal-grpc-listen-address", OPTION_STR, AT(internal_listen_address), "",
      "address for other sidecars", false },
    { "dapr-listen-addresses", OPTION_STR, AT(listen_addresses), "",
      "comma-separated addresses of the APIs; none: all", false },
    { "dapr-public-port", OPTION_PORT, AT(public_port), "", "port with health and metadata only",
      false },
    { "dapr-public-listen-address", OPTION_STR, AT(public_listen_address), "", "its address",
      false },
    { "unix-domain-socket", OPTION_STR, AT(unix_domain_socket), "",
      "folder for sockets of the APIs, instead of ports", false },
    { "profile-port", OPTION_PORT, AT(profile_port), "7777", "port of the profiler", true },
    { "enable-profiling", OPTION_BOOL, AT(enable_profiling), "false", "serve profiles", true },
    { "max-body-size", OPTION_SIZE, AT(max_body_size), "4Mi", "largest body; 0: no limit", false },
    { "dapr-http-max-request-size", OPTION_INT, AT(max_request_mib), "4",
      "deprecated: the same in MiB", false },
    { "read-buffer-size", OPTION_SIZE, AT(read_buffer_size), "4Ki", "largest head of a request",
      false },
    { "dapr-http-read-buffer-size", OPTION_INT, AT(read_buffer_kib), "4",
      "deprecated: the same in KiB", false },
    { "resources-path", OPTION_LIST, AT(resources_path), "", "folders with resources", false },
    { "components-path", OPTION_STR, AT(components_path), "",
      "deprecated: one folder with resources", false },
    { "config", OPTION_LIST, AT(config), "", "Configuration files; later ones win", false },
    { "enable-api-logging", OPTION_TRI, AT(api_logging), "", "log each API call", false },
    { "allowed-origins", OPTION_STR, AT(allowed_origins), "",
      "origins for CORS, comma-separated; none: no CORS", false },
    { "dapr-graceful-shutdown-seconds", OPTION_INT, AT(graceful_seconds), "5",
      "time to finish work at the end; 0: no limit", false },
    { "dapr-block-shutdown-duration", OPTION_DURATION, AT(block_shutdown), "",
      "keep the APIs open so long at the end", false },
    { "enable-mtls", OPTION_BOOL, AT(enable_mtls), "false", "TLS between sidecars", false },
    { "sentry-address", OPTION_STR, AT(sentry_address), "", "host:port of who signs certificates",
      false },
    { "control-plane-address", OPTION_STR, AT(control_plane_address), "", "control plane", true },
    { "control-plane-trust-domain", OPTION_STR, AT(control_plane_trust_domain), "localhost",
      "trust domain of the sentry", false },
    { "control-plane-namespace", OPTION_STR, AT(control_plane_namespace), "default",
      "namespace of the sentry", false },
    { "sentry-request-jwt-audiences", OPTION_LIST, AT(sentry_audiences), "",
      "audiences of the JWT that the sentry is asked for", false },
    { "placement-host-address", OPTION_STR, AT(placement_host_address), "", "actor placement",
      true },
    { "scheduler-host-address", OPTION_LIST, AT(scheduler_hosts), "", "scheduler", true },
    { "scheduler-job-streams", OPTION_INT, AT(scheduler_job_streams), "3",
      "streams to the scheduler", true },
    { "actors-disseminate-timeout", OPTION_DURATION, AT(actors_disseminate_timeout), "30s",
      "actor placement", true },
    { "hot-reload-reconcile-interval", OPTION_DURATION, AT(hot_reload_interval), "0s",
      "how often resources are compared; 0: every 60 s", false },
    { "disable-builtin-k8s-secret-store", OPTION_BOOL, AT(disable_k8s_secrets), "false",
      "no Kubernetes secrets", true },
    { "log-level", OPTION_STR, AT(log_level), "info", "debug, info, warn, error or fatal", false },
    { "log-as-json", OPTION_BOOL, AT(log_as_json), "false", "log lines as JSON", false },
    { "log-file", OPTION_STR, AT(log_file), "", "log to this file", false },
    { "metrics-port", OPTION_PORT, AT(metrics_port), "9090", "port of the metrics", false },
    { "metrics-listen-address", OPTION_STR, AT(metrics_listen_address), "0.0.0.0", "its address",
      false },
    { "enable-metrics", OPTION_BOOL, AT(enable_metrics), "true", "serve metrics", false },
    { "version", OPTION_BOOL, AT(version), "false", "print the version and end", false },
    { "build-info", OPTION_BOOL, AT(build_info), "false", "print how it was built and end", false },
    { "wait", OPTION_BOOL, AT(wait), "false", "wait until a sidecar on dapr-http-port is ready",
      false },
    { "reminders-service", OPTION_STR, AT(reminders_service), "", "deprecated", true },
    { "actors-service", OPTION_STR, AT(actors_service), "", "deprecated", true },
    { "enable-chaos", OPTION_BOOL, AT(enable_chaos), "false",
      "allow faults on purpose: proa chaos, kind Chaos; also $PROA_ENABLE_CHAOS", false },
    { "workers", OPTION_INT, AT(workers), "0", "threads that serve; 0: one a core", false },
    { "help", OPTION_BOOL, AT(help), "false", "print this and end", false },
};
_Static_assert(COUNT(table) <= sizeof((struct options *)0)->given,
               "given[] has a place for each row");

static const struct row *find(str name)
{
    for (size_t i = 0; i < COUNT(table); i++)
        if (str_eq(str_c(table[i].name), name))
            return &table[i];
    return NULL;
}

static int add_list(struct option_list *l, str value, struct arena *a, const char *name,
                    struct error *err)
{
    str item;
    for (str rest = value; value.n && str_next(&rest, ',', &item);) {
        if (l->n == OPTION_LIST_MAX)
            return fail(err, INVALID, NULL, "--%s: more than %d values", name, OPTION_LIST_MAX);
        if (!(l->v[l->n] = arena_cstr(a, item)))
            return fail(err, EXHAUSTED, NULL, "out of memory");
        l->n++;
    }
    return 0;
}

static int bad_value(struct error *err, const struct row *row, str value, const char *want)
{
    return fail(err, INVALID, NULL, "invalid argument \"" STR_FMT "\" for \"--%s\" flag: %s",
                STR_ARG(str_take(value, 100)), row->name, want);
}

static int set_port(struct options *o, const struct row *row, str value, struct error *err)
{
    int64_t *to = (int64_t *)((char *)o + row->off);
    int64_t v = 0;
    if (value.n && (!str_to_i64(value, &v) || v < 0 || v > 65535))
        return bad_value(err, row, value, "a port is a number from 0 to 65535");
    *to = v;
    return 0;
}

static int set_truth(char *to, const struct row *row, str value, struct error *err)
{
    bool truth;
    if (row->kind == OPTION_TRI && !value.n)
        return 0;
    if (!str_to_bool(value, &truth))
        return bad_value(err, row, value, "want true or false");
    if (row->kind == OPTION_BOOL)
        *(bool *)to = truth;
    else
        *(enum option_tri *)to = truth ? OPTION_YES : OPTION_NO;
    return 0;
}

static int set_number(int64_t *to, const struct row *row, str value, struct error *err)
{
    if (row->kind == OPTION_INT)
        return str_to_i64(value, to) ? 0 : bad_value(err, row, value, "want a whole number");
    if (row->kind == OPTION_SIZE)
        return quantity_parse(value, to)
                   ? 0
                   : bad_value(err, row, value, "want a quantity such as 4Mi or 1048576");
    return !value.n || duration_parse(value, to)
               ? 0
               : bad_value(err, row, value, "want a duration such as 500ms or 1m30s");
}

static int set(struct options *o, const struct row *row, str value, struct arena *a,
               struct error *err)
{
    char *to = (char *)o + row->off;
    switch (row->kind) {
    case OPTION_STR:
        *(const char **)to = arena_cstr(a, value);
        return *(const char **)to ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
    case OPTION_BOOL:
    case OPTION_TRI:
        return set_truth(to, row, value, err);
    case OPTION_PORT:
        return set_port(o, row, value, err);
    case OPTION_LIST:
        return add_list((struct option_list *)to, value, a, row->name, err);
    case OPTION_INT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return set_number((int64_t *)to, row, value, err);
    }
    return 0;
}

static int unknown(str name, struct error *err)
{
    struct suggest near = { .word = name };
    for (size_t i = 0; i < COUNT(table); i++)
        suggest_offer(&near, str_c(table[i].name));
    char hint[SUGGEST_MAX];
    return fail(err, INVALID, NULL, "unknown flag: --" STR_FMT "%s", STR_ARG(str_take(name, 60)),
                suggest_text(&near, hint));
}

/* One argument; *i moves on when the value is the next one. */
static int parse_one(int argc, char **argv, int *i, struct arena *a, struct options *o,
                     struct error *err)
{
    str arg = str_c(argv[*i]), name, value;
    if (!str_starts(arg, S("-")) || arg.n < 2)
        return fail(err, INVALID, NULL, "unexpected argument \"" STR_FMT "\"",
                    STR_ARG(str_take(arg, 60)));
    if (str_eq(arg, S("-h")))
        arg = S("--help");
    arg = str_skip(arg, str_starts(arg, S("--")) ? 2 : 1); /* -app-id is --app-id (surprise 11) */
    bool has_value = str_cut(arg, '=', &name, &value);
    const struct row *row = find(name);
    if (!row)
        return unknown(name, err);
    bool flag = row->kind == OPTION_BOOL || row->kind == OPTION_TRI;
    if (!has_value && flag)
        value = S("true");
    else if (!has_value) {
        if (*i + 1 >= argc)
            return fail(err, INVALID, NULL, "flag needs an argument: --%s", row->name);
        value = str_c(argv[++*i]);
    }
    o->given[row - table] = 1;
    return set(o, row, value, a, err);
}

static void set_unless_given(const struct options *o, const char *flag, const char *variable,
                             const char **value)
{
    const char *said = getenv(variable);
    if (said && said[0] && !options_given(o, flag))
        *value = said;
}

/* How long a connection to a peer is kept without a call. */
static int read_conn_idle(struct options *o, struct error *err)
{
    str text = str_c(getenv("DAPR_GRPC_MAX_CONN_IDLE"));
    int64_t ns = SEC(180);
    if (text.n && (!duration_parse(text, &ns) || ns <= 0))
        return fail(err, INVALID, NULL,
                    "DAPR_GRPC_MAX_CONN_IDLE: \"" STR_FMT "\" isn't a time such as 3m",
                    STR_ARG(text));
    o->conn_idle_ns = (uint64_t)ns;
    return 0;
}

static int read_environment(struct options *o, struct error *err)
{
    o->api_token = getenv("DAPR_API_TOKEN");
    o->app_token = getenv("APP_API_TOKEN");
    o->namespace_ = getenv("NAMESPACE");
    o->host_ip = getenv("DAPR_HOST_IP");
    o->trust_anchors = getenv("DAPR_TRUST_ANCHORS");
    o->sentry_identity = getenv("SENTRY_LOCAL_IDENTITY");
    o->sentry_token_file = getenv("DAPR_SENTRY_TOKEN_FILE");
    set_unless_given(o, "control-plane-trust-domain", "DAPR_CONTROLPLANE_TRUST_DOMAIN",
                     &o->control_plane_trust_domain);
    set_unless_given(o, "control-plane-namespace", "DAPR_CONTROLPLANE_NAMESPACE",
                     &o->control_plane_namespace);
    o->disable_h2c = str_truthy(str_c(getenv("DAPR_HTTP_DISABLE_H2C")));
    if (!o->zone[0] && getenv("PROA_ZONE"))
        o->zone = getenv("PROA_ZONE");
    if (!o->region[0] && getenv("PROA_REGION"))
        o->region = getenv("PROA_REGION");
    if (!options_given(o, "enable-chaos"))
        o->enable_chaos = str_truthy(str_c(getenv("PROA_ENABLE_CHAOS")));
    if (o->api_token && !o->api_token[0])
        o->api_token = NULL;
    if (o->app_token && !o->app_token[0])
        o->app_token = NULL;
    return read_conn_idle(o, err);
}

/* So that no unit overflows when it is converted. */
static void clamp(int64_t *v, int64_t max)
{
    if (*v > max)
        *v = max;
}

/* The two sizes have deprecated names in other units; the new names win. */
static void settle_sizes(struct options *o)
{
    clamp(&o->max_request_mib, INT64_C(1) << 40);
    clamp(&o->read_buffer_kib, INT64_C(1) << 40);
    clamp(&o->read_buffer_size, INT64_C(1) << 50);
    if (!options_given(o, "max-body-size") && options_given(o, "dapr-http-max-request-size"))
        o->max_body_size = o->max_request_mib < 0 ? -1 : o->max_request_mib << 20;
    if (o->max_body_size < 0)
        o->max_body_size = 4 << 20;
    if (!options_given(o, "read-buffer-size") && options_given(o, "dapr-http-read-buffer-size"))
        o->read_buffer_size = o->read_buffer_kib < 0 ? 0 : o->read_buffer_kib << 10;
    if (o->read_buffer_size <= 0)
        o->read_buffer_size = 4 << 10;
}

/* Values that mean "the default" in the contract. */
static void settle(struct options *o)
{
    settle_sizes(o);
    clamp(&o->health_interval_s, SECONDS_MAX);
    clamp(&o->health_timeout_ms, INT64_C(1000) * SECONDS_MAX);
    clamp(&o->graceful_seconds, SECONDS_MAX);
    if (o->app_max_concurrency < 0)
        o->app_max_concurrency = 0;
    if (o->health_interval_s <= 0)
        o->health_interval_s = 5;
    if (o->health_timeout_ms <= 0)
        o->health_timeout_ms = 500;
    if (o->health_threshold < 1 || o->health_threshold > INT32_MAX)
        o->health_threshold = 3;
    if (o->graceful_seconds < 0)
        o->graceful_seconds = 5;
    if (!o->app_protocol[0])
        o->app_protocol = "http";
    if (o->app_ssl && str_ieq(str_c(o->app_protocol), S("http")))
        o->app_protocol = "https";
    else if (o->app_ssl && str_ieq(str_c(o->app_protocol), S("grpc")))
        o->app_protocol = "grpcs";
}

int options_parse(int argc, char **argv, struct arena *a, struct options *o, struct error *err)
{
    *o = (struct options){ 0 };
    for (size_t i = 0; i < COUNT(table); i++) {
        int r = set(o, &table[i], str_c(table[i].def), a, err);
        if (r < 0)
            return r;
    }
    for (int i = 1; i < argc; i++) {
        int r = parse_one(argc, argv, &i, a, o, err);
        if (r < 0)
            return r;
    }
    if (!o->resources_path.n && o->components_path[0])
        o->resources_path.v[o->resources_path.n++] = o->components_path;
    settle(o);
    return read_environment(o, err);
}

bool options_given(const struct options *o, const char *name)
{
    const struct row *row = find(str_c(name));
    return row && o->given[row - table];
}

const char *options_without_effect(const struct options *o, size_t *at)
{
    while (*at < COUNT(table)) {
        const struct row *row = &table[(*at)++];
        if (row->later && o->given[row - table])
            return row->name;
    }
    return NULL;
}

bool options_info(size_t i, struct option_info *ret)
{
    if (i >= COUNT(table))
        return false;
    *ret = (struct option_info){ table[i].name, table[i].def, table[i].help, table[i].kind };
    return true;
}

void options_help(struct buf *out)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        buf_printf(out, "      --%-34s %s", table[i].name, table[i].help);
        if (table[i].def[0] && !str_eq(str_c(table[i].def), S("false")))
            buf_printf(out, " (default %s)", table[i].def);
        buf_put(out, S("\n"));
    }
}
