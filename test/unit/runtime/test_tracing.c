#include "runtime/tracing.h"
#include "test/testing.h"

struct variable {
    const char *name, *value;
};

static str lookup(void *arg, str name)
{
    for (const struct variable *v = arg; v && v->name; v++)
        if (str_eq(str_c(v->name), name))
            return str_c(v->value);
    return (str){ 0 };
}

static struct config_tracing defaults(void)
{
    return (
        struct config_tracing){ .rate = 0.0001, .otel_protocol = S("grpc"), .otel_secure = true };
}

static int settle(const struct config_tracing *c, const struct variable *env, struct arena *a,
                  struct tracing *ret, struct error *err)
{
    *err = (struct error){ 0 };
    memset(ret, 0xee, sizeof *ret);
    return tracing_read(c, S("app"), lookup, (void *)env, a, ret, err);
}

TEST(without_a_word_tracing_is_off)
{
    struct arena a;
    struct tracing t;
    struct error err;
    struct config_tracing c = defaults();
    arena_init(&a, MIB(1));
    CHECK_OK(settle(&c, NULL, &a, &t, &err));
    CHECK(!t.on);
    CHECK_EQ(t.n_targets, 0);
    CHECK(t.rate == 0.0001);
    CHECK_STR(t.resource.service, "app");
    c.rate_text = S("0.5");
    c.rate = 0.5;
    CHECK_OK(settle(&c, NULL, &a, &t, &err));
    CHECK(t.on, "contexts go on without an exporter");
    c.rate = 0;
    c.to_stdout = true;
    CHECK_OK(settle(&c, NULL, &a, &t, &err));
    CHECK(!t.on, "rate 0 is off");
    arena_done(&a);
}

TEST(where_the_file_sends_spans)
{
    static const struct {
        const char *name, *zipkin, *otel, *protocol;
        bool secure;
        enum trace_protocol want;
        const char *address, *path;
        bool want_secure;
    } row[] = {
        { "zipkin", "http://localhost:9411/api/v2/spans", "", "grpc", true, TRACE_ZIPKIN,
          "localhost:9411", "/api/v2/spans", false },
        { "zipkin without a path", "http://z", "", "grpc", true, TRACE_ZIPKIN, "z:80",
          "/api/v2/spans", false },
        { "zipkin over TLS", "https://z/x", "", "grpc", true, TRACE_ZIPKIN, "z:443", "/x", true },
        { "otlp grpc", "", "c:4317", "grpc", false, TRACE_OTLP_GRPC, "c:4317",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export", false },
        { "secure by default", "", "c:4317", "grpc", true, TRACE_OTLP_GRPC, "c:4317",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export", true },
        { "otlp http", "", "c:4318", "http", false, TRACE_OTLP_HTTP, "c:4318", "/v1/traces",
          false },
        { "its usual port", "", "c", "http", false, TRACE_OTLP_HTTP, "c:4318", "/v1/traces",
          false },
        { "a scheme says more than isSecure", "", "http://c:1", "http", true, TRACE_OTLP_HTTP,
          "c:1", "/v1/traces", false },
        { "a base path", "", "https://c/base/", "http", false, TRACE_OTLP_HTTP, "c:4318",
          "/base/v1/traces", true },
        { "the whole path", "", "c:1/v1/traces", "http", false, TRACE_OTLP_HTTP, "c:1",
          "/v1/traces", false },
        { "IPv6", "", "[::1]:4317", "grpc", false, TRACE_OTLP_GRPC, "[::1]:4317",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export", false },
    };
    EACH (row, r) {
        struct arena a;
        struct tracing t;
        struct error err;
        struct config_tracing c = defaults();
        arena_init(&a, MIB(1));
        c.zipkin = str_c(r->zipkin);
        c.otel_endpoint = str_c(r->otel);
        c.otel_protocol = str_c(r->protocol);
        c.otel_secure = r->secure;
        CHECK_OK(settle(&c, NULL, &a, &t, &err), "%s: %s", r->name, err.text);
        CHECK(t.on);
        CHECK(t.rate == 0.0001, "%s", r->name);
        CHECK_EQ(t.n_targets, 1, "%s", r->name);
        CHECK_EQ(t.target[0].protocol, r->want, "%s", r->name);
        CHECK_TEXT(t.target[0].address, r->address, "%s", r->name);
        CHECK_STR(t.target[0].authority, r->address, "%s", r->name);
        CHECK_STR(t.target[0].path, r->path, "%s", r->name);
        CHECK_EQ(t.target[0].secure, r->want_secure, "%s", r->name);
        CHECK_EQ(t.target[0].timeout_ns, SEC(10), "%s", r->name);
        arena_done(&a);
    }
}

TEST(s59_what_the_environment_says)
{
    static const struct {
        const char *name, *rate;
        struct variable env[6];
        enum trace_protocol want;
        const char *address, *path;
        bool secure;
        double want_rate;
    } row[] = {
        { "an endpoint samples all",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1" } },
          TRACE_OTLP_GRPC,
          "c:1",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
          false,
          1 },
        { "unless a rate is there",
          "0.5",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1" } },
          TRACE_OTLP_GRPC,
          "c:1",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
          false,
          0.5 },
        { "without a scheme it is TLS",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "c:1" }, { "OTEL_EXPORTER_OTLP_PROTOCOL", "http" } },
          TRACE_OTLP_HTTP,
          "c:1",
          "/v1/traces",
          true,
          1 },
        { "INSECURE",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "c:1" }, { "OTEL_EXPORTER_OTLP_INSECURE", "true" } },
          TRACE_OTLP_GRPC,
          "c:1",
          "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
          false,
          1 },
        { "http/protobuf, a base path",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/b" },
            { "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf" } },
          TRACE_OTLP_HTTP,
          "c:1",
          "/b/v1/traces",
          false,
          1 },
        { "the one for traces wins, and is whole",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "http://no:1" },
            { "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/t" },
            { "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc" },
            { "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf" } },
          TRACE_OTLP_HTTP,
          "c:1",
          "/t",
          false,
          1 },
    };
    EACH (row, r) {
        struct arena a;
        struct tracing t;
        struct error err;
        struct config_tracing c = defaults();
        arena_init(&a, MIB(1));
        c.rate_text = str_c(r->rate);
        c.rate = r->rate[0] ? 0.5 : c.rate;
        CHECK_OK(settle(&c, r->env, &a, &t, &err), "%s: %s", r->name, err.text);
        CHECK(t.on && t.n_targets == 1, "%s", r->name);
        CHECK_EQ(t.target[0].protocol, r->want, "%s", r->name);
        CHECK_TEXT(t.target[0].address, r->address, "%s", r->name);
        CHECK_STR(t.target[0].path, r->path, "%s", r->name);
        CHECK_EQ(t.target[0].secure, r->secure, "%s", r->name);
        CHECK(t.rate == r->want_rate, "%s", r->name);
        arena_done(&a);
    }
}

TEST(headers_and_timeouts_of_the_file_hide_the_environments)
{
    static const struct variable env[] = {
        { "OTEL_EXPORTER_OTLP_HEADERS", "general=1" },
        { "OTEL_EXPORTER_OTLP_TRACES_HEADERS", " Api-Key = a%20b%2C , x=y=z ," },
        { "OTEL_EXPORTER_OTLP_TIMEOUT", "1500" },
        { NULL, NULL },
    };
    struct arena a;
    struct tracing t;
    struct error err;
    struct config_tracing c = defaults();
    arena_init(&a, MIB(1));
    c.otel_endpoint = S("c:1");
    CHECK_OK(settle(&c, env, &a, &t, &err));
    struct kvs h = t.target[0].headers;
    CHECK_EQ(h.n, 2);
    CHECK_STR(h.v[0].key, "api-key");
    CHECK_STR(h.v[0].value, "a b,");
    CHECK_STR(h.v[1].value, "y=z");
    CHECK_EQ(t.target[0].timeout_ns, MS(1500));
    str own[] = { S("K=v%20w") };
    c.otel_headers = (struct strs){ own, 1 };
    c.otel_timeout_ns = SEC(3);
    CHECK_OK(settle(&c, env, &a, &t, &err));
    h = t.target[0].headers;
    CHECK_EQ(h.n, 1);
    CHECK_STR(h.v[0].key, "k");
    CHECK_STR(h.v[0].value, "v%20w", "the file's aren't escaped");
    CHECK_EQ(t.target[0].timeout_ns, SEC(3));
    arena_done(&a);
}

TEST(who_made_the_spans)
{
    static const struct {
        const char *name;
        struct variable env[3];
        const char *service;
        size_t n;
    } row[] = {
        { "nobody says", { { NULL, NULL } }, "app", 0 },
        { "attributes", { { "OTEL_RESOURCE_ATTRIBUTES", "a=b,c=d%20e" } }, "app", 2 },
        { "a service among them",
          { { "OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=s" } },
          "s",
          1 },
        { "both",
          { { "OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=s" }, { "OTEL_SERVICE_NAME", "n" } },
          "n",
          1 },
        { "an empty name", { { "OTEL_SERVICE_NAME", " " } }, "app", 0 },
    };
    EACH (row, r) {
        struct arena a;
        struct tracing t;
        struct error err;
        struct config_tracing c = defaults();
        arena_init(&a, MIB(1));
        CHECK_OK(settle(&c, r->env, &a, &t, &err), "%s", r->name);
        CHECK_STR(t.resource.service, r->service, "%s", r->name);
        CHECK_EQ(t.resource.n, r->n, "%s", r->name);
        if (r->n == 2)
            CHECK_STR(t.resource.attribute[1].value, "d e");
        arena_done(&a);
    }
}

TEST(what_is_wrong_is_said)
{
    static const struct {
        const char *name, *zipkin;
        struct variable env[4];
        const char *want;
    } row[] = {
        { "no address",
          "http://",
          { { NULL, NULL } },
          "tracing: zipkin.endpointAddress \"http://\" is not an address like host:80 or "
          "http://host:80" },
        { "another scheme",
          "ftp://h/x",
          { { NULL, NULL } },
          "tracing: zipkin.endpointAddress begins with ftp:, not http: or https:" },
        { "environment",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "a b" } },
          "tracing: OTEL_EXPORTER_OTLP_ENDPOINT \"a b\" is not an address like host:4317 or "
          "http://host:4317" },
        { "a header without value",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "h" }, { "OTEL_EXPORTER_OTLP_HEADERS", "secret" } },
          "tracing: \"…\" in OTEL_EXPORTER_OTLP_HEADERS is not key=value" },
        { "a broken escape",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "h" }, { "OTEL_EXPORTER_OTLP_HEADERS", "a=%zz" } },
          "tracing: a broken %-escape in OTEL_EXPORTER_OTLP_HEADERS" },
        { "a line feed",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "h" }, { "OTEL_EXPORTER_OTLP_HEADERS", "a=%0a" } },
          "tracing: OTEL_EXPORTER_OTLP_HEADERS has no header's name or value in it" },
        { "a timeout",
          "",
          { { "OTEL_EXPORTER_OTLP_ENDPOINT", "h" }, { "OTEL_EXPORTER_OTLP_TIMEOUT", "10s" } },
          "tracing: OTEL_EXPORTER_OTLP_TIMEOUT \"10s\" is not a number of milliseconds (1 to "
          "3600000)" },
        { "a resource",
          "",
          { { "OTEL_RESOURCE_ATTRIBUTES", "x" } },
          "tracing: \"x\" in OTEL_RESOURCE_ATTRIBUTES is not key=value" },
    };
    EACH (row, r) {
        struct arena a;
        struct tracing t;
        struct error err;
        struct config_tracing c = defaults();
        arena_init(&a, MIB(1));
        c.zipkin = str_c(r->zipkin);
        CHECK_EQ(settle(&c, r->env, &a, &t, &err), -INVALID, "%s", r->name);
        CHECK_TEXT(err.text, r->want, "%s", r->name);
        arena_done(&a);
    }
}

TEST(at_the_arenas_limit_it_fails_cleanly)
{
    static const struct variable env[] = {
        { "OTEL_EXPORTER_OTLP_HEADERS", "a=b" },
        { "OTEL_RESOURCE_ATTRIBUTES", "c=d" },
        { NULL, NULL },
    };
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        struct tracing t;
        struct error err;
        struct config_tracing c = defaults();
        arena_init(&a, MIB(1));
        c.otel_endpoint = S("c:1");
        int r = settle(&c, env, &a, &t, &err);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu: %d %s", n, r, err.text);
        arena_done(&a);
    }
}
