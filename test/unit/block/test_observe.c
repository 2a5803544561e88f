#include "base/clock.h"
#include "block/core/observe.h"
#include "test/testing.h"

static bool shows(const char *line)
{
    struct buf out;
    buf_init(&out, MIB(16));
    metrics_write(&out);
    bool found = str_contains(buf_str(&out), str_c(line));
    buf_done(&out);
    return found;
}

TEST(operations_are_counted_with_the_contracts_names)
{
    metrics_setup("me");
    struct blocks b = { .app_id = "me", .namespace_ = "ns" };
    struct observer get = { .edge = NULL }, bulk = { .edge = NULL };
    uint64_t now = clock_now_ns();
    observe(&get, OBSERVE_STATE, &b, "store", "get", now, true);
    observe(&get, OBSERVE_STATE, &b, "store", "get", now, true);
    observe(&get, OBSERVE_STATE, &b, "store", "get", now, false);
    observe(&bulk, OBSERVE_SECRET, &b, "vault", "bulk_get", now, true);
    observe_egress(&b, S("p"), S("t"), now, true);
    observe_egress_bulk(&b, S("p"), S("t"), now, false);
    observe_ingress(&b, S("p"), S("t"), "retry", "RETRY", now);
    observe_ingress_bulk(&b, S("t"), 7, 0, now);
    observe_ingress_bulk(&b, S("t"), 2, 1, now);
    observe_input(&b, "cron", now, true);
    static const char *const lines[] = {
        "dapr_component_state_count{app_id=\"me\",component=\"store\",namespace=\"ns\",operation="
        "\"get\",success=\"true\"} 2\n",
        "dapr_component_state_count{app_id=\"me\",component=\"store\",namespace=\"ns\",operation="
        "\"get\",success=\"false\"} 1\n",
        "dapr_component_state_latencies_count{app_id=\"me\",component=\"store\",namespace=\"ns\","
        "operation=\"get\",success=\"true\"} 2\n",
        "dapr_component_secret_count{app_id=\"me\",component=\"vault\",namespace=\"ns\",operation="
        "\"bulk_get\",success=\"true\"} 1\n",
        "dapr_component_pubsub_egress_count{app_id=\"me\",component=\"p\",namespace=\"ns\",success="
        "\"true\",topic=\"t\"} 1\n",
        "dapr_component_pubsub_egress_bulk_count{app_id=\"me\",component=\"p\",namespace=\"ns\","
        "success=\"false\",topic=\"t\"} 1\n",
        "dapr_component_pubsub_ingress_count{app_id=\"me\",component=\"p\",namespace=\"ns\","
        "process_"
        "status=\"retry\",status=\"RETRY\",topic=\"t\"} 1\n",
        "dapr_component_pubsub_ingress_bulk_count{app_id=\"me\",component=\"pubsubName\",namespace="
        "\"ns\",process_status=\"success\",topic=\"t\"} 1\n",
        "dapr_component_pubsub_ingress_bulk_count{app_id=\"me\",component=\"pubsubName\",namespace="
        "\"ns\",process_status=\"retry\",topic=\"t\"} 1\n",
        /* recordings, not events */
        "dapr_component_pubsub_ingress_bulk_event_count{app_id=\"me\",component=\"pubsubName\","
        "namespace=\"ns\",process_status=\"success\",topic=\"t\"} 2\n",
        "dapr_component_pubsub_ingress_bulk_event_count{app_id=\"me\",component=\"pubsubName\","
        "namespace=\"ns\",process_status=\"retry\",topic=\"t\"} 1\n",
        "dapr_component_input_binding_count{app_id=\"me\",component=\"cron\",namespace=\"ns\","
        "success=\"true\"} 1\n",
    };
    EACH (lines, l)
        CHECK(shows(*l), "%s", *l);
}

TEST(names_longer_than_an_edges_are_cut)
{
    struct blocks b = { .app_id = "me", .namespace_ = "ns" };
    char long_name[600];
    memset(long_name, 'x', sizeof long_name);
    observe_egress(&b, str_of(long_name, 600), str_of(long_name, 600), clock_now_ns(), true);
    observe_ingress(&b, str_of(long_name, 600), S(""), "drop", "", clock_now_ns());
    struct buf out;
    struct json_w w;
    struct json v;
    buf_init(&out, MIB(4));
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    feed_write(&w);
    json_w_object_end(&w);
    CHECK_OK(json_parse(buf_str(&out), &v, NULL));
    buf_done(&out);
}
