/* trace_fuzz.c — whatever callers say of their trace: traceparent and tracestate (the first line,
 * and the rest), gRPC's binary form (all of it, raw and as base64), baggage (all of it). Either
 * none, or exactly what came in. */
#include "base/id.h"
#include "fuzz.h"
#include "telemetry/trace.h"

static void check_context(const struct trace_context *t)
{
    FUZZ_CHECK(trace_id(t).n == (t->parent[0] ? 32 : 0));
    for (size_t i = 0; i < trace_id(t).n; i++)
        FUZZ_CHECK(strchr("0123456789abcdef", trace_id(t).p[i]));
    FUZZ_CHECK(t->parent[0] || (!t->state.n && !trace_sampled(t)));
}

static void headers(str data)
{
    str parent, state;
    struct trace_context t;
    (void)str_cut(data, '\n', &parent, &state);
    memset(&t, 0xee, sizeof t);
    trace_read(&t, parent, state);
    bool valid = trace_parent_valid(parent);
    FUZZ_CHECK(str_eq(str_c(t.parent), valid ? parent : S("")));
    FUZZ_CHECK(!t.state.n || (valid && str_eq(t.state, state) && state.n <= TRACE_STATE_MAX));
    check_context(&t);
    memset(&t, 0xee, sizeof t);
    trace_read_grpc(&t, parent, state, S("a=b"));
    check_context(&t);
}

/* What is a context comes back as the same bytes. */
static void binary(str data)
{
    char parent[TRACEPARENT_LEN + 1], text[TRACE_BINARY_TEXT + 2], back[TRACE_BINARY_LEN + 1];
    size_t n;
    struct trace_context t, again;
    if (!trace_from_binary(data, parent))
        return;
    FUZZ_CHECK(trace_parent_valid(str_c(parent)));
    trace_read(&t, str_c(parent), S(""));
    FUZZ_CHECK(trace_binary_text(&t, text).n == TRACE_BINARY_TEXT);
    trace_read_grpc(&again, str_of(text, TRACE_BINARY_TEXT), S(""), S(""));
    FUZZ_CHECK(str_eq(str_c(again.parent), str_c(parent)));
    text[TRACE_BINARY_TEXT] = '=';
    FUZZ_CHECK(base64_decode(str_of(text, TRACE_BINARY_TEXT + 1), back, &n));
    FUZZ_CHECK(str_eq(str_of(back, n), data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str all = str_of(data, size);
    headers(all);
    binary(all);
    if (trace_baggage_valid(all))
        FUZZ_CHECK(all.n <= TRACE_BAGGAGE_MAX && str_find_c(all, '=') > 0);
    return 0;
}
