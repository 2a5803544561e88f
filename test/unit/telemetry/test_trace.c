#include "telemetry/trace.h"
#include "test/testing.h"

TEST(traceparents)
{
    static const struct {
        const char *name, *text;
        bool want;
    } row[] = {
        { "good", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true },
        { "not sampled", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true },
        { "a later version", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true },
        { "empty", "", false },
        { "version ff", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
        { "zero trace", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false },
        { "zero span", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false },
        { "upper case", "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", false },
        { "too short", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false },
        { "too long", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011", false },
        { "no hyphen", "00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01", false },
        { "no hex", "00-0gf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
        { "flags", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", false },
        { "spaces", " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false },
    };
    EACH (row, r) {
        struct trace_context t;
        memset(&t, 0xee, sizeof t);
        CHECK_EQ(trace_parent_valid(str_c(r->text)), r->want, "%s", r->name);
        trace_read(&t, str_c(r->text), S("a=b"));
        CHECK_TEXT(t.parent, r->want ? r->text : "", "%s", r->name);
        CHECK_STR(t.state, r->want ? "a=b" : "", "%s", r->name);
        CHECK_EQ(trace_id(&t).n, r->want ? 32 : 0);
    }
}

TEST(a_state_that_is_too_long_is_dropped)
{
    char state[600];
    struct trace_context t;
    memset(state, 'x', sizeof state);
    str parent = S("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    trace_read(&t, parent, str_of(state, 512));
    CHECK_EQ(t.state.n, 512);
    trace_read(&t, parent, str_of(state, 513));
    CHECK_EQ(t.state.n, 0);
    CHECK_STR(trace_id(&t), "0af7651916cd43dd8448eb211c80319c");
}
