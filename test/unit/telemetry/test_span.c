#include "base/buf.h"
#include "telemetry/metrics.h"
#include "telemetry/span.h"
#include "test/testing.h"

#include <pthread.h>

static const char SAMPLED[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
static const char UNSAMPLED[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

static void setup(bool on, double rate, bool record)
{
    tracer_setup(&(struct tracer_config){ .on = on, .rate = rate, .record = record });
    span_release(span_take());
}

static struct trace_context context(const char *parent, const char *state)
{
    struct trace_context t;
    trace_read(&t, str_c(parent), str_c(state));
    return t;
}

static size_t length(const struct span_block *b)
{
    size_t n = 0;
    for (; b; b = b->next)
        n++;
    return n;
}

TEST(off_the_callers_context_goes_on_unchanged)
{
    setup(false, 1, true);
    struct trace_context in = context(SAMPLED, "a=b");
    struct span s;
    span_start(&s, &in, SPAN_SERVER);
    CHECK_TEXT(s.context.parent, SAMPLED);
    CHECK_STR(s.context.state, "a=b");
    CHECK(!span_recorded(&s));
    span_attr(&s, S("k"), S("v"));
    span_fail(&s, S("why"));
    span_end(&s);
    struct trace_context none = { 0 };
    span_start(&s, &none, SPAN_SERVER);
    CHECK_TEXT(s.context.parent, "");
    span_end(&s);
    CHECK(!span_take());
}

TEST(the_parent_decides_and_gives_its_trace)
{
    static const struct {
        const char *name, *parent;
        double rate;
        bool record, sampled;
    } row[] = {
        { "sampled, whatever the rate", SAMPLED, 0.0000001, true, true },
        { "not sampled, whatever the rate", UNSAMPLED, 1, true, false },
        { "sampled, but nobody exports", SAMPLED, 1, false, true },
        { "none, all", "", 1, true, true },
        { "none, nothing", "", 0, true, false },
    };
    EACH (row, r) {
        setup(true, r->rate, r->record);
        struct trace_context in = context(r->parent, "a=b");
        struct span s;
        span_start(&s, &in, SPAN_CLIENT);
        CHECK(trace_parent_valid(str_c(s.context.parent)), "%s", r->name);
        CHECK_EQ(trace_sampled(&s.context), r->sampled, "%s", r->name);
        CHECK_EQ(span_recorded(&s), r->sampled && r->record, "%s", r->name);
        if (r->parent[0]) {
            CHECK(str_eq(trace_id(&s.context), trace_id(&in)), "%s", r->name);
            CHECK(memcmp(s.context.parent + 36, in.parent + 36, 16) != 0, "%s", r->name);
            CHECK_STR(s.context.state, "a=b", "%s", r->name);
        }
        span_end(&s);
        struct span_block *b = span_take();
        CHECK_EQ(length(b), r->sampled && r->record, "%s", r->name);
        if (b) {
            CHECK_EQ(b->has_parent, r->parent[0] != 0, "%s", r->name);
            CHECK_EQ(b->kind, SPAN_CLIENT);
            CHECK(b->end_ns >= b->start_ns);
            CHECK_STR(span_text(b, b->state), r->parent[0] ? "a=b" : "", "%s", r->name);
        }
        span_release(b);
    }
}

TEST(ids_are_all_different)
{
    enum { N = 2000 };
    static char seen[N][TRACEPARENT_LEN + 1];
    setup(true, 0, false);
    struct trace_context none = { 0 };
    for (size_t i = 0; i < N; i++) {
        struct span s;
        span_start(&s, &none, SPAN_SERVER);
        memcpy(seen[i], s.context.parent, sizeof seen[i]);
        CHECK(trace_parent_valid(str_c(seen[i])));
    }
    qsort(seen, N, sizeof seen[0], (int (*)(const void *, const void *))strcmp);
    for (size_t i = 1; i < N; i++)
        CHECK(memcmp(seen[i - 1] + 3, seen[i] + 3, 32) != 0);
}

TEST(the_rate_is_the_share_of_traces_that_begin_here)
{
    static const double rates[] = { 0.0001, 0.01, 0.25, 0.5, 0.9 };
    enum { N = 100000 };
    struct trace_context none = { 0 };
    EACH (rates, rate) {
        setup(true, *rate, false);
        size_t n = 0;
        for (size_t i = 0; i < N; i++) {
            struct span s;
            span_start(&s, &none, SPAN_SERVER);
            n += trace_sampled(&s.context);
        }
        double want = *rate * N, far = 6 * __builtin_sqrt(want * (1 - *rate)) + 1;
        CHECK((double)n > want - far && (double)n < want + far, "%zu of %d at %g", n, N, *rate);
    }
}

TEST(s59_the_sampler_describes_itself_as_opentelemetrys_does)
{
    static const struct {
        double rate;
        const char *root;
    } row[] = {
        { 0, "TraceIDRatioBased{0}" },           { 1, "AlwaysOnSampler" },
        { 0.0001, "TraceIDRatioBased{0.0001}" }, { 0.5, "TraceIDRatioBased{0.5}" },
        { 0.00001, "TraceIDRatioBased{1e-05}" }, { 2, "AlwaysOnSampler" },
        { -1, "TraceIDRatioBased{0}" },
    };
    EACH (row, r) {
        char text[TRACER_TEXT], want[TRACER_TEXT];
        tracer_describe(r->rate, text);
        snprintf(want, sizeof want,
                 "ParentBased{root:%s,remoteParentSampled:AlwaysOnSampler,"
                 "remoteParentNotSampled:AlwaysOffSampler,localParentSampled:AlwaysOnSampler,"
                 "localParentNotSampled:AlwaysOffSampler}",
                 r->root);
        CHECK_TEXT(text, want);
    }
}

static struct span begun(void)
{
    struct trace_context none = { 0 };
    struct span s;
    span_start(&s, &none, SPAN_SERVER);
    REQUIRE(span_recorded(&s));
    return s;
}

static struct span_block *ended(struct span *s)
{
    span_end(s);
    struct span_block *b = span_take();
    REQUIRE(b && !b->next);
    return b;
}

TEST(attributes_are_copied_and_bounded)
{
    setup(true, 1, true);
    struct span s = begun();
    char key[32], value[SPAN_VALUE + 100];
    memset(value, 'v', sizeof value);
    span_name(&s, (str[]){ S("CallLocal/"), S("app"), S("/m") }, 3);
    span_attr(&s, S("empty"), S(""));
    span_attr(&s, S("long"), str_of(value, sizeof value));
    for (int i = 0; i < SPAN_ATTRS + 5; i++) {
        snprintf(key, sizeof key, "key%d", i);
        span_attr_joined(&s, str_c(key), (str[]){ S("v"), str_c(key) }, 2);
    }
    memset(key, 'x', sizeof key);
    struct span_block *b = ended(&s);
    CHECK_STR(span_text(b, b->name), "CallLocal/app/m");
    CHECK_EQ(b->n_attrs, SPAN_ATTRS);
    CHECK_EQ(b->dropped_attrs, 6);
    CHECK_STR(span_text(b, b->key[0]), "long");
    CHECK_EQ(b->value[0].n, SPAN_VALUE);
    CHECK_STR(span_text(b, b->key[1]), "key0");
    CHECK_STR(span_text(b, b->value[1]), "vkey0");
    CHECK(b->used <= SPAN_TEXT);
    span_release(b);
}

TEST(text_past_the_block_is_cut)
{
    setup(true, 1, true);
    struct span s = begun();
    char value[SPAN_VALUE];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 8; i++)
        span_attr(&s, S("k"), str_of(value, sizeof value));
    span_name(&s, (str[]){ S("late") }, 1);
    span_fail(&s, S("late"));
    struct span_block *b = ended(&s);
    CHECK_EQ(b->used, SPAN_TEXT);
    CHECK_EQ(b->name.n, 0);
    CHECK_EQ(b->status, SPAN_ERROR);
    CHECK_EQ(b->why.n, 0);
    CHECK_EQ(b->n_attrs, 4);
    CHECK_EQ(b->dropped_attrs, 4);
    span_release(b);
}

TEST(a_http_status_of_400_and_above_is_an_error)
{
    static const struct {
        int status;
        enum span_status want;
        const char *why;
    } row[] = {
        { 200, SPAN_UNSET, "" },          { 204, SPAN_UNSET, "" },
        { 399, SPAN_UNSET, "" },          { 400, SPAN_ERROR, "Code(400)" },
        { 503, SPAN_ERROR, "Code(503)" }, { 0, SPAN_ERROR, "no answer" },
    };
    setup(true, 1, true);
    EACH (row, r) {
        struct span s = begun();
        span_http_status(&s, r->status);
        struct span_block *b = ended(&s);
        CHECK_EQ(b->status, r->want, "%d", r->status);
        CHECK_STR(span_text(b, b->why), r->why, "%d", r->status);
        span_release(b);
    }
}

static bool shows(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(1));
    metrics_write(&out);
    bool found = str_contains(buf_str(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST(past_the_limit_spans_are_dropped_and_counted)
{
    setup(true, 1, true);
    struct trace_context none = { 0 };
    struct span s;
    for (int i = 0; i < SPANS_MAX + 7; i++) {
        span_start(&s, &none, SPAN_SERVER);
        CHECK_EQ(span_recorded(&s), i < SPANS_MAX, "%d", i);
        CHECK(trace_sampled(&s.context), "the context goes on all the same");
        span_end(&s);
    }
    CHECK(shows("proa_trace_spans_total{app_id=\"\",outcome=\"dropped\"} 7\n"));
    struct span_block *all = span_take();
    CHECK_EQ(length(all), SPANS_MAX);
    span_release(all);
    span_start(&s, &none, SPAN_SERVER);
    CHECK(span_recorded(&s), "there is room again");
    span_end(&s);
    span_release(span_take());
}

TEST(without_memory_a_span_is_dropped)
{
    setup(true, 1, true);
    struct trace_context none = { 0 };
    FAIL_EACH_ALLOC(n)
    {
        struct span s;
        span_start(&s, &none, SPAN_SERVER);
        CHECK_EQ(span_recorded(&s), !test_alloc_failed(n));
        CHECK(trace_sampled(&s.context));
        span_end(&s);
    }
    span_release(span_take());
}

enum { THREADS = 6, EACH_MAKES = 5000 };

static void *make(void *arg)
{
    struct trace_context none = { 0 };
    for (int i = 0; i < EACH_MAKES; i++) {
        struct span s;
        span_start(&s, &none, SPAN_SERVER);
        span_attr(&s, S("k"), S("v"));
        span_end(&s);
    }
    return NULL;
}

TEST(threads_end_spans_while_another_takes_them)
{
    pthread_t t[THREADS];
    setup(true, 1, true);
    struct span_block *list;
    size_t n = 0;
    EACH (t, p)
        REQUIRE(pthread_create(p, NULL, make, NULL) == 0);
    for (int i = 0; i < 1000; i++) {
        n += length(list = span_take());
        span_release(list);
    }
    EACH (t, p)
        pthread_join(*p, NULL);
    n += length(list = span_take());
    span_release(list);
    CHECK(n > SPANS_MAX / 2 && n <= THREADS * EACH_MAKES, "%zu", n);
    CHECK(!span_take());
}
