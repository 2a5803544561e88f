#include "telemetry/metrics.h"
#include "test/testing.h"

#include <pthread.h>

static str page(struct buf *out)
{
    buf_clear(out);
    metrics_write(out);
    return buf_str(out);
}

static bool shows(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(64));
    bool found = str_contains(page(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST(counters_gauges_and_histograms_as_text)
{
    static const double bounds[] = { 1, 2.5, 10 };
    static const struct metric_buckets buckets = { bounds, COUNT(bounds) };
    static struct metric_family count = { .name = "a_count", .help = "Counts.", .label = { "x" } };
    static struct metric_family gauge = { .name = "a_gauge", .help = "G.", .kind = METRIC_GAUGE };
    static struct metric_family hist = {
        .name = "a_time", .help = "T.", .kind = METRIC_HISTOGRAM, .buckets = &buckets
    };
    metrics_setup("me");
    metric_add(metric_cell(&count, (str[]){ S("1") }), 3);
    metric_add(metric_cell(&count, (str[]){ S("1") }), 1);
    metric_add(metric_cell(&count, (str[]){ S("") }), 1);
    metric_set(metric_cell(&gauge, NULL), -5);
    static const double seen[] = { 0.5, 1, 2, 2.5, 9, 11, 1e9 };
    EACH (seen, v)
        metric_observe(&hist, metric_cell(&hist, NULL), *v);
    CHECK(shows("# HELP a_count Counts.\n# TYPE a_count counter\n"));
    CHECK(shows("a_count{app_id=\"me\",x=\"1\"} 4\n"));
    CHECK(shows("a_count{app_id=\"me\",x=\"\"} 1\n"));
    CHECK(shows("# TYPE a_gauge gauge\na_gauge{app_id=\"me\"} -5\n"));
    CHECK(shows("# TYPE a_time histogram\n"
                "a_time_bucket{app_id=\"me\",le=\"1\"} 2\n"
                "a_time_bucket{app_id=\"me\",le=\"2.5\"} 4\n"
                "a_time_bucket{app_id=\"me\",le=\"10\"} 5\n"
                "a_time_bucket{app_id=\"me\",le=\"+Inf\"} 7\n"
                "a_time_sum{app_id=\"me\"} 1000000026.000\n"
                "a_time_count{app_id=\"me\"} 7\n"));
    CHECK(shows("process_resident_memory_bytes "));
}

TEST(labels_are_escaped_and_stay_utf8)
{
    static const struct {
        const char *value, *want;
    } row[] = {
        { "a\"b", "a\\\"b" },
        { "a\\b", "a\\\\b" },
        { "a\nb", "a\\nb" },
        { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
        { "\xf0\x9f\x9b\xb6", "\xf0\x9f\x9b\xb6" },
        { "bad\xff", "bad\xef\xbf\xbd" },
        { "cut\xc3", "cut\xef\xbf\xbd" },
        { "\xc0\x80over", "\xef\xbf\xbd\xef\xbf\xbdover" },
    };
    static struct metric_family f = { .name = "b_count", .help = "B.", .label = { "x" } };
    EACH (row, r) {
        char line[100];
        metric_add(metric_cell(&f, (str[]){ str_c(r->value) }), 1);
        snprintf(line, sizeof line, ",x=\"%s\"} 1\n", r->want);
        CHECK(shows(line), "%s", line);
    }
}

TEST(the_same_labels_find_the_same_cell)
{
    static struct metric_family f = { .name = "c_count", .help = "C.", .label = { "x", "y" } };
    struct metric_cell *a = metric_cell(&f, (str[]){ S("a"), S("bc") });
    CHECK(a == metric_cell(&f, (str[]){ S("a"), S("bc") }));
    CHECK(a != metric_cell(&f, (str[]){ S("ab"), S("c") }));
    CHECK(a != metric_cell(&f, (str[]){ S("bc"), S("a") }));
}

TEST(what_comes_after_the_limit_is_counted_together)
{
    static struct metric_family f = { .name = "d_count", .help = "D.", .label = { "x", "y" } };
    char text[16];
    for (int i = 0; i < METRIC_CELLS + 500; i++) {
        snprintf(text, sizeof text, "v%d", i);
        metric_add(metric_cell(&f, (str[]){ str_c(text), S("same") }), 1);
    }
    CHECK(shows("d_count{app_id=\"me\",x=\"_overflow\",y=\"_overflow\"} 500\n"));
    CHECK(shows("d_count{app_id=\"me\",x=\"v0\",y=\"same\"} 1\n"));
    metric_add(metric_cell(&f, (str[]){ S("v0"), S("same") }), 1);
    CHECK(shows("d_count{app_id=\"me\",x=\"v0\",y=\"same\"} 2\n"), "known ones go on");
}

TEST(without_memory_counting_goes_nowhere)
{
    static struct metric_family f[40];
    size_t used = 0;
    FAIL_EACH_ALLOC(n)
    {
        struct metric_family *one = &f[used++ % COUNT(f)];
        if (!one->name)
            *one = (struct metric_family){ .name = "e_count",
                                           .help = "E.",
                                           .kind = METRIC_HISTOGRAM,
                                           .buckets = &metric_latency_ms,
                                           .label = { "x", "y" } };
        struct metric_cell *c = metric_cell(one, (str[]){ S("a"), S("b") });
        REQUIRE(c);
        metric_observe(one, c, 1e12);
    }
}

/* ---- threads ---- */

enum { THREADS = 8, ROUNDS = 20000 };
static struct metric_family shared = {
    .name = "f_count", .help = "F.", .label = { "x" }, .kind = METRIC_COUNTER
};
static struct metric_family shared_time = { .name = "f_time",
                                            .help = "F.",
                                            .kind = METRIC_HISTOGRAM,
                                            .label = { "x" },
                                            .buckets = &metric_latency_ms };

static void *count(void *arg)
{
    char text[16];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(text, sizeof text, "%d", i % 100);
        str label[] = { str_c(text) };
        metric_add(metric_cell(&shared, label), 1);
        metric_observe(&shared_time, metric_cell(&shared_time, label), i % 50);
        if (i % 5000 == 0)
            (void)shows("f_count");
    }
    return NULL;
}

TEST(threads_count_at_once_and_nothing_is_lost)
{
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&t[i], NULL, count, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 100; i++) {
        char line[100];
        snprintf(line, sizeof line, "f_count{app_id=\"me\",x=\"%d\"} %d\n", i,
                 THREADS * ROUNDS / 100);
        CHECK(shows(line), "%s", line);
        snprintf(line, sizeof line, "f_time_count{app_id=\"me\",x=\"%d\"} %d\n", i,
                 THREADS * ROUNDS / 100);
        CHECK(shows(line), "%s", line);
    }
}
