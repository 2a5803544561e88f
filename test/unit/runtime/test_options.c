#include "runtime/options.h"
#include "test/testing.h"

struct box {
    struct arena a;
    struct options o;
    struct error err;
};

/* The line is cut at spaces; "''" is an empty argument. */
static int parse(struct box *b, const char *line)
{
    char *argv[40] = { "daprd" };
    int argc = 1;
    str item;
    *b = (struct box){ 0 };
    arena_init(&b->a, MIB(4));
    for (str rest = str_c(line); line[0] && str_next(&rest, ' ', &item);)
        argv[argc++] = str_eq(item, S("''")) ? "" : arena_cstr(&b->a, item);
    return options_parse(argc, argv, &b->a, &b->o, &b->err);
}

TEST(defaults_are_the_contracts)
{
    struct box b;
    CHECK_OK(parse(&b, ""));
    const struct options *o = &b.o;
    CHECK_TEXT(o->mode, "standalone");
    CHECK_TEXT(o->app_protocol, "http");
    CHECK_TEXT(o->app_channel_address, "127.0.0.1");
    CHECK_EQ(o->app_port, 0);
    CHECK_EQ(o->http_port, 3500);
    CHECK_EQ(o->grpc_port, 50001);
    CHECK_EQ(o->metrics_port, 9090);
    CHECK_EQ(o->max_body_size, 4 << 20);
    CHECK_EQ(o->read_buffer_size, 4 << 10);
    CHECK_EQ(o->graceful_seconds, 5);
    CHECK_EQ(o->app_max_concurrency, 0);
    CHECK_EQ(o->health_interval_s, 5);
    CHECK_EQ(o->health_timeout_ms, 500);
    CHECK_EQ(o->health_threshold, 3);
    CHECK_EQ(o->binding_options_timeout, (int64_t)SEC(3));
    CHECK(o->enable_metrics && !o->log_as_json && !o->health_check);
    CHECK_EQ(o->api_logging, OPTION_UNSET);
    arena_done(&b.a);
}

/* Each flag of the table in each way of writing it. */
TEST(every_flag_is_taken_in_every_form)
{
    static const char *const good[] = {
        [OPTION_STR] = "text", [OPTION_BOOL] = "true",    [OPTION_TRI] = "false",
        [OPTION_INT] = "7",    [OPTION_PORT] = "1234",    [OPTION_DURATION] = "1m30s",
        [OPTION_SIZE] = "8Mi", [OPTION_LIST] = "a,b , c",
    };
    struct option_info info;
    for (size_t i = 0; options_info(i, &info); i++) {
        for (int form = 0; form < 4; form++) {
            char flag[100], equals[200];
            bool truth = info.kind == OPTION_BOOL || info.kind == OPTION_TRI;
            const char *dashes = form % 2 ? "-" : "--";
            snprintf(flag, sizeof flag, "%s%s", dashes, info.name);
            snprintf(equals, sizeof equals, "%s=%s", flag, good[info.kind]);
            char *with[] = { "daprd", equals, NULL };
            char *apart[] = { "daprd", flag, truth ? NULL : (char *)good[info.kind], NULL };
            struct box b = { 0 };
            arena_init(&b.a, MIB(4));
            int argc = form < 2 ? 2 : truth ? 2 : 3;
            CHECK_OK(options_parse(argc, form < 2 ? with : apart, &b.a, &b.o, &b.err), "%s: %s",
                     equals, b.err.text);
            CHECK(options_given(&b.o, info.name), "%s", info.name);
            arena_done(&b.a);
        }
        CHECK(info.help[0] && info.def, "%s", info.name);
    }
}

TEST(values_are_read_by_their_kind)
{
    static const struct {
        const char *line;
        int want;
        const char *error;
    } row[] = {
        { "--app-port 0", 0, NULL },
        { "--app-port=", 0, NULL },
        { "--app-port 65535", 0, NULL },
        { "--app-port 65536", -INVALID, "a port is a number from 0 to 65535" },
        { "--app-port -1", -INVALID, "a port" },
        { "--app-port 80x", -INVALID, "a port" },
        { "--enable-metrics=maybe", -INVALID, "want true or false" },
        { "--enable-metrics false", -INVALID, "unexpected argument \"false\"" },
        { "--app-max-concurrency 1.5", -INVALID, "want a whole number" },
        { "--app-max-concurrency 99999999999999999999", -INVALID, "want a whole number" },
        { "--app-binding-options-timeout 5", -INVALID, "want a duration" },
        { "--max-body-size 4MB", 0, NULL },
        { "--max-body-size 4Mi", 0, NULL },
        { "--max-body-size much", -INVALID, "want a quantity" },
        { "--app-id", -INVALID, "flag needs an argument: --app-id" },
        { "app-id", -INVALID, "unexpected argument" },
        { "-", -INVALID, "unexpected argument" },
        { "--", -INVALID, "unknown flag: --" },
        { "--=x", -INVALID, "unknown flag: --" },
        { "''", -INVALID, "unexpected argument" },
        { "--app-idd x", -INVALID, "app-id" },
        { "--dapr-htp-port 1", -INVALID, "dapr-http-port" },
        { "--nothing-like-it", -INVALID, "unknown flag: --nothing-like-it" },
        { "-h", 0, NULL },
    };
    EACH (row, r) {
        struct box b;
        int code = parse(&b, r->line);
        if (str_eq(str_c(r->line), S("--max-body-size 4MB")))
            CHECK(code == 0 || b.err.text[0]);
        else
            CHECK_EQ(code, r->want, "%s: %s", r->line, b.err.text);
        if (r->error)
            CHECK(str_contains(str_c(b.err.text), str_c(r->error)), "%s: %s", r->line, b.err.text);
        arena_done(&b.a);
    }
}

TEST(lists_add_up_and_have_a_limit)
{
    struct box b;
    CHECK_OK(parse(&b, "--resources-path a,b --resources-path=c --components-path d"));
    CHECK_EQ(b.o.resources_path.n, 3);
    CHECK_TEXT(b.o.resources_path.v[2], "c");
    CHECK(!b.o.resources_path.v[3]);
    arena_done(&b.a);
    CHECK_OK(parse(&b, "--components-path d"));
    CHECK_EQ(b.o.resources_path.n, 1, "the old flag counts where the new one isn't given");
    arena_done(&b.a);
    char line[600] = "--config=";
    for (int i = 0; i < OPTION_LIST_MAX + 1; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), "x%s", ",");
    CHECK_EQ(parse(&b, line), -INVALID);
    CHECK(str_contains(str_c(b.err.text), S("more than 64")), "%s", b.err.text);
    arena_done(&b.a);
}

TEST(odd_numbers_mean_the_default_or_the_most)
{
    static const struct {
        const char *line;
        size_t off;
        int64_t want;
    } row[] = {
#define AT(field) offsetof(struct options, field)
        { "--app-max-concurrency -1", AT(app_max_concurrency), 0 },
        { "--app-max-concurrency 3", AT(app_max_concurrency), 3 },
        { "--app-health-probe-interval 0", AT(health_interval_s), 5 },
        { "--app-health-probe-interval 9223372036854775807", AT(health_interval_s), 1000000000 },
        { "--app-health-probe-timeout -7", AT(health_timeout_ms), 500 },
        { "--app-health-threshold 0", AT(health_threshold), 3 },
        { "--app-health-threshold 3000000000", AT(health_threshold), 3 },
        { "--dapr-graceful-shutdown-seconds -1", AT(graceful_seconds), 5 },
        { "--dapr-graceful-shutdown-seconds 0", AT(graceful_seconds), 0 },
        { "--dapr-graceful-shutdown-seconds 9223372036854775807", AT(graceful_seconds),
          1000000000 },
        { "--dapr-http-max-request-size 8", AT(max_body_size), 8 << 20 },
        { "--dapr-http-max-request-size -1", AT(max_body_size), 4 << 20 },
        { "--dapr-http-max-request-size 0", AT(max_body_size), 0 },
        { "--dapr-http-max-request-size 9223372036854775807", AT(max_body_size), INT64_C(1) << 60 },
        { "--dapr-http-max-request-size 8 --max-body-size 1Mi", AT(max_body_size), 1 << 20 },
        { "--dapr-http-read-buffer-size 8", AT(read_buffer_size), 8 << 10 },
        { "--dapr-http-read-buffer-size -1", AT(read_buffer_size), 4 << 10 },
        { "--read-buffer-size 0", AT(read_buffer_size), 4 << 10 },
    };
    EACH (row, r) {
        struct box b;
        CHECK_OK(parse(&b, r->line), "%s: %s", r->line, b.err.text);
        CHECK_EQ(*(int64_t *)((char *)&b.o + r->off), r->want, "%s", r->line);
        arena_done(&b.a);
    }
}

TEST(the_environment_fills_in_secrets)
{
    struct box b;
    setenv("DAPR_API_TOKEN", "a", 1);
    setenv("APP_API_TOKEN", "", 1);
    setenv("NAMESPACE", "ns", 1);
    setenv("DAPR_HTTP_DISABLE_H2C", "yes", 1);
    CHECK_OK(parse(&b, ""));
    CHECK_TEXT(b.o.api_token, "a");
    CHECK(!b.o.app_token, "empty is none");
    CHECK_TEXT(b.o.namespace_, "ns");
    CHECK(b.o.disable_h2c);
    arena_done(&b.a);
    unsetenv("DAPR_API_TOKEN");
    unsetenv("APP_API_TOKEN");
    unsetenv("NAMESPACE");
    unsetenv("DAPR_HTTP_DISABLE_H2C");
    CHECK_OK(parse(&b, ""));
    CHECK(!b.o.api_token && !b.o.disable_h2c);
    arena_done(&b.a);
}

TEST(idle_time_of_connections_to_peers_is_a_duration)
{
    static const struct {
        const char *text;
        uint64_t want; /* 0: refused */
    } row[] = { { "", SEC(180) }, { "1s", SEC(1) }, { "1h30m", SEC(5400) },
                { "soon", 0 },    { "0s", 0 },      { "-1s", 0 } };
    EACH (row, r) {
        struct box b;
        setenv("DAPR_GRPC_MAX_CONN_IDLE", r->text, 1);
        CHECK_EQ(parse(&b, ""), r->want ? 0 : -INVALID, "%s", r->text);
        CHECK_EQ(b.o.conn_idle_ns, r->want, "%s", r->text);
        arena_done(&b.a);
    }
    unsetenv("DAPR_GRPC_MAX_CONN_IDLE");
}

TEST(a_flag_says_the_zone_else_the_environment_does)
{
    struct box b;
    setenv("PROA_ZONE", "a", 1);
    setenv("PROA_REGION", "north", 1);
    CHECK_OK(parse(&b, "--zone b"));
    CHECK_TEXT(b.o.zone, "b");
    CHECK_TEXT(b.o.region, "north");
    arena_done(&b.a);
    unsetenv("PROA_ZONE");
    unsetenv("PROA_REGION");
    CHECK_OK(parse(&b, "--region south"));
    CHECK_TEXT(b.o.zone, "");
    CHECK_TEXT(b.o.region, "south");
    arena_done(&b.a);
}

TEST(control_plane_flags_win_over_the_environment)
{
    struct box b;
    setenv("DAPR_CONTROLPLANE_TRUST_DOMAIN", "td", 1);
    setenv("DAPR_CONTROLPLANE_NAMESPACE", "ns", 1);
    setenv("DAPR_TRUST_ANCHORS", "pem", 1);
    CHECK_OK(parse(&b, "--control-plane-namespace other --enable-mtls"));
    CHECK_TEXT(b.o.control_plane_trust_domain, "td");
    CHECK_TEXT(b.o.control_plane_namespace, "other");
    CHECK_TEXT(b.o.trust_anchors, "pem");
    CHECK(b.o.enable_mtls);
    arena_done(&b.a);
    unsetenv("DAPR_CONTROLPLANE_TRUST_DOMAIN");
    unsetenv("DAPR_CONTROLPLANE_NAMESPACE");
    unsetenv("DAPR_TRUST_ANCHORS");
    CHECK_OK(parse(&b, ""));
    CHECK_TEXT(b.o.control_plane_trust_domain, "localhost");
    CHECK_TEXT(b.o.control_plane_namespace, "default");
    CHECK(!b.o.trust_anchors && !b.o.enable_mtls);
    arena_done(&b.a);
}

TEST(flags_without_effect_are_named)
{
    struct box b;
    size_t at = 0;
    CHECK_OK(parse(&b, "--app-id x --placement-host-address y --enable-profiling"));
    CHECK_TEXT(options_without_effect(&b.o, &at), "enable-profiling");
    CHECK_TEXT(options_without_effect(&b.o, &at), "placement-host-address");
    CHECK(!options_without_effect(&b.o, &at));
    arena_done(&b.a);
}

TEST(help_names_every_flag)
{
    struct buf out;
    struct option_info info;
    buf_init(&out, KIB(64));
    options_help(&out);
    for (size_t i = 0; options_info(i, &info); i++) {
        char text[100];
        snprintf(text, sizeof text, "--%s", info.name);
        CHECK(str_contains(buf_str(&out), str_c(text)), "%s", text);
    }
    buf_done(&out);
}

TEST(without_memory_parsing_says_so)
{
    FAIL_EACH_ALLOC(n)
    {
        struct box b;
        int r = parse(&b, "");
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0);
        CHECK(r == 0 || b.err.text[0]);
        arena_done(&b.a);
    }
}
