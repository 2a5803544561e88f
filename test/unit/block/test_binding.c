#include "block/binding.h"
#include "fixture.h"
#include "telemetry/metrics.h"

static struct error last;

static int call(struct fixture *f, const char *name, const char *operation,
                struct binding_result *ret)
{
    last = (struct error){ 0 };
    memset(ret, 0xee, sizeof *ret);
    return block_binding_invoke(&f->b, str_c(name), str_c(operation), S("{}"), (struct kvs){ 0 },
                                &f->arena, ret, &last);
}

TEST_CO(every_refusal_is_ERR_INVOKE_OUTPUT_BINDING)
{
    static const struct {
        const char *name, *operation, *want;
    } row[] = {
        { "b", "", "operation field is missing" },
        { "x", "create", "couldn't find output binding x" },
        { "b", "delete", "binding b does not support operation delete" },
        { "b", "creat", "does not support" },
    };
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "binding", "b", NULL);
    struct binding_result r;
    EACH (row, w) {
        CHECK_EQ(call(&f, w->name, w->operation, &r), -INTERNAL);
        CHECK_TEXT(last.tag, "ERR_INVOKE_OUTPUT_BINDING");
        CHECK(str_contains(str_c(last.text), str_c(w->want)), "%s", last.text);
        CHECK_EQ(r.metadata.n, 0);
    }
    CHECK_EQ(e->calls, 0);
    fixture_close(&f);
}

TEST_CO(metadata_of_the_result_comes_on_failure_too)
{
    struct fixture f;
    fixture_open(&f, NULL);
    struct fake *e = fixture_add(&f, "binding", "b", NULL);
    struct binding_result r;
    CHECK_OK(call(&f, "b", "get", &r));
    CHECK_STR(r.data, "{\"got\":1}");
    e->failures = 1;
    e->code = UNAVAILABLE;
    e->text = "away";
    CHECK_EQ(call(&f, "b", "get", &r), -INTERNAL);
    CHECK_TEXT(last.text, "error invoking output binding b: away");
    CHECK_STR(kvs_get(r.metadata, S("took")), "3ms");
    fixture_close(&f);
}

TEST_CO(each_operation_is_counted_as_itself)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "binding", "counted", NULL);
    struct binding_result r;
    CHECK_OK(call(&f, "counted", "create", &r));
    CHECK_OK(call(&f, "counted", "get", &r));
    CHECK_OK(call(&f, "counted", "get", &r));
    struct buf out;
    buf_init(&out, MIB(4));
    metrics_write(&out);
    static const struct {
        const char *operation, *want;
    } row[] = { { "create", "1\n" }, { "get", "2\n" } };
    EACH (row, w) {
        char line[200];
        snprintf(
            line, sizeof line,
            "component=\"counted\",namespace=\"default\",operation=\"%s\",success=\"true\"} %s",
            w->operation, w->want);
        CHECK(str_contains(buf_str(&out), str_c(line)), "%s", line);
    }
    buf_done(&out);
    fixture_close(&f);
}
