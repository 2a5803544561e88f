#include "cli/scaler_read.h"

#include "test/testing.h"

#include <math.h>

/* Metrics as sidecars write them, and what the control law gets. */

static const char FIRST[] =
    "# HELP proa_scale_concurrency Calls.\n"
    "# TYPE proa_scale_concurrency gauge\n"
    "proa_scale_concurrency{app_id=\"orders\"} 6\n"
    "proa_scale_waiting{app_id=\"orders\"} 2\n"
    "proa_scale_requests_total{app_id=\"orders\"} 1000\n"
    "proa_scale_done_total{app_id=\"orders\"} 900\n"
    "proa_scale_queue_depth{app_id=\"orders\",component=\"b\",topic=\"x\"} 5\n"
    "proa_scale_queue_depth{app_id=\"orders\",component=\"b\",topic=\"y\"} 7\n"
    "proa_scale_queue_age_milliseconds{topic=\"x\"} 1500\n"
    "proa_scale_queue_age_milliseconds{topic=\"y\"} 500\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/a\",le=\"10\"} 50\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/a\",le=\"+Inf\"} 60\n"
    "something_else 3\n";
static const char SECOND[] =
    "proa_scale_concurrency{app_id=\"orders\"} 6\n"
    "proa_scale_waiting{app_id=\"orders\"} 2\n"
    "proa_scale_requests_total{app_id=\"orders\"} 1060\n"
    "proa_scale_done_total{app_id=\"orders\"} 940\n"
    "proa_scale_queue_depth{component=\"b\",topic=\"x\"} 5\n"
    "proa_scale_queue_age_milliseconds{topic=\"x\"} 2000\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/a\",le=\"10\"} 50\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/b\",le=\"10\"} 0\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/b\",le=\"20\"} 100\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/a\",le=\"+Inf\"} 60\n"
    "dapr_http_client_roundtrip_latency_bucket{path=\"/b\",le=\"+Inf\"} 100\n";

static void check_near(double got, double want, const char *what)
{
    CHECK(fabs(got - want) < 1e-6, "%s: %g, want %g", what, got, want);
}

TEST(text_is_added_up)
{
    struct scaler_reading r;
    scaler_read(str_c(FIRST), SEC(1), &r);
    check_near(r.at_once, 6, "at once");
    check_near(r.waiting, 2, "waiting");
    check_near(r.asked, 1000, "asked");
    check_near(r.done, 900, "done");
    check_near(r.depth, 12, "all topics");
    check_near(r.age_ms, 1500, "the oldest");
    REQUIRE(r.n_buckets == 2);
    check_near(r.bucket[0].n, 50, "bucket");
    CHECK(isinf(r.bucket[1].le));
}

TEST(broken_text_is_passed_over)
{
    static const char *const text[] = { "",   "\n\n",  "{",     "a{",      "a{b} ",   "} 3",
                                        "a ", "a b\n", "a{le=", "a{le=\"", "# a 1\n", "a{b}3 c" };
    EACH (text, t) {
        struct scaler_reading r;
        scaler_read(str_c(*t), SEC(1), &r);
        CHECK(!r.n_buckets && !(r.at_once > 0), "%s", *t);
    }
}

TEST(rates_are_between_two_readings_and_each_sidecar_counts)
{
    struct scaler_reading before[3] = { 0 }, now[3] = { 0 };
    struct scale_sample x;
    for (size_t i = 0; i < 2; i++) {
        scaler_read(str_c(FIRST), SEC(10), &before[i]);
        scaler_read(str_c(SECOND), SEC(12), &now[i]);
    }
    scaler_sample(now, before, 3, &x);
    CHECK_EQ(x.instances, 3);
    CHECK_EQ(x.ready, 2, "one didn't answer");
    check_near(x.done, 40, "20 a second each");
    check_near(x.value[SCALE_REQUESTS], 60, "30 a second each");
    check_near(x.value[SCALE_CONCURRENCY], 12 + 20 * (8.0 / 40), "those turned away too");
    check_near(x.value[SCALE_QUEUE_DEPTH], 5, "the same queue");
    check_near(x.value[SCALE_QUEUE_AGE], 2, "seconds");
    CHECK(x.value[SCALE_LATENCY] > 0.01 && x.value[SCALE_LATENCY] <= 0.02, "%g",
          x.value[SCALE_LATENCY]);
    check_near(x.unmet, 4 + 20, "waiting and turned away");
}

TEST(nobody_who_answers_is_unknown)
{
    struct scaler_reading none[2] = { 0 };
    struct scale_sample x;
    scaler_sample(none, none, 2, &x);
    CHECK_EQ(x.ready, 0);
    for (size_t m = 0; m < SCALE_METRICS; m++)
        CHECK(isnan(x.value[m]), "%zu", m);
}

TEST(sidecar_that_began_anew_counts_from_zero)
{
    struct scaler_reading before, now;
    struct scale_sample x;
    scaler_read(str_c(FIRST), SEC(10), &before);
    scaler_read(S("proa_scale_done_total 20\nproa_scale_requests_total 20\n"), SEC(12), &now);
    scaler_sample(&now, &before, 1, &x);
    check_near(x.done, 10, "20 in two seconds");
    check_near(x.value[SCALE_LATENCY], 0, "no calls");
}
