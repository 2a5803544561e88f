#include "telemetry/trace.h"

#include "base/id.h"

static bool hex_lower(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

bool trace_parent_valid(str s)
{
    if (s.n != TRACEPARENT_LEN || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
        return false;
    str version = str_of(s.p, 2), trace = str_of(s.p + 3, 32), span = str_of(s.p + 36, 16),
        flags = str_of(s.p + 53, 2);
    return hex_lower(version) && !str_eq(version, S("ff")) && hex_lower(trace) &&
           !all_zero(trace) && hex_lower(span) && !all_zero(span) && hex_lower(flags);
}

void trace_read(struct trace_context *t, str traceparent, str tracestate)
{
    *t = (struct trace_context){ 0 };
    if (!trace_parent_valid(traceparent))
        return;
    memcpy(t->parent, traceparent.p, TRACEPARENT_LEN);
    if (tracestate.n <= 512)
        t->state = tracestate;
}

str trace_id(const struct trace_context *t)
{
    return t->parent[0] ? str_of(t->parent + 3, 32) : S("");
}
