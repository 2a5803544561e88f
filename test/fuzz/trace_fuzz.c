/* trace_fuzz.c — any traceparent and tracestate (the first line, and the rest): either none, or
 * exactly what came in. */
#include "fuzz.h"
#include "telemetry/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str parent, state;
    struct trace_context t;
    (void)str_cut(str_of(data, size), '\n', &parent, &state);
    memset(&t, 0xee, sizeof t);
    trace_read(&t, parent, state);
    bool valid = trace_parent_valid(parent);
    FUZZ_CHECK(str_eq(str_c(t.parent), valid ? parent : S("")));
    FUZZ_CHECK(str_eq(t.state, valid && state.n <= 512 ? state : S("")));
    FUZZ_CHECK(trace_id(&t).n == (valid ? 32 : 0));
    for (size_t i = 0; i < trace_id(&t).n; i++)
        FUZZ_CHECK(strchr("0123456789abcdef", trace_id(&t).p[i]));
    return 0;
}
