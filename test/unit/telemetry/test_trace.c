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

static const char PARENT[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(states_are_kept_whole_or_dropped)
{
    static char many[600], long_key[300], long_value[300], full[600];
    for (int i = 0; i < 33; i++)
        strncat(many, i ? ",a=b" : "a=b", sizeof many - strlen(many) - 1);
    memset(long_key, 'k', 257);
    strncat(long_key, "=v", 3);
    memcpy(long_value, "k=", 2);
    memset(long_value + 2, 'v', 257);
    memset(full, 'x', 512);
    for (int i = 0; i < 512; i += 64)
        memcpy(full + i, i ? ",k=" : "k=v", 3);
    static const struct {
        const char *name, *text;
        bool want;
    } row[] = {
        { "one", "congo=t61rcWkgMzE", true },
        { "two", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true },
        { "spaces around members", "a=1 , b=2", true },
        { "empty members", "a=1,,b=2,", true },
        { "a tenant", "fw529a3039@dt=FfAAAAAAAAA", true },
        { "spaces inside a value", "a=b c", true },
        { "empty", "", true },
        { "512 bytes", full, true },
        { "no value", "a", false },
        { "an empty value", "a=", false },
        { "an empty key", "=a", false },
        { "upper case key", "A=b", false },
        { "two equals", "a=b=c", false },
        { "not ASCII", "a=\xc3\xbc", false },
        { "33 members", many, false },
        { "key of 257", long_key, false },
        { "value of 257", long_value, false },
    };
    EACH (row, r) {
        struct trace_context t;
        trace_read(&t, str_c(PARENT), str_c(r->text));
        CHECK_STR(t.state, r->want ? r->text : "", "%s", r->name);
        CHECK_TEXT(t.parent, PARENT, "%s", r->name);
    }
    struct trace_context t;
    full[512] = 'x';
    trace_read(&t, str_c(PARENT), str_of(full, 513));
    CHECK_EQ(t.state.n, 0, "513 bytes");
}

TEST(ids_and_the_sampled_flag)
{
    static const struct {
        char flags;
        bool sampled;
    } row[] = { { '0', false }, { '1', true }, { '2', false }, { '3', true },
                { 'a', false }, { 'b', true }, { 'f', true } };
    struct trace_context t = { 0 };
    CHECK(!trace_sampled(&t));
    EACH (row, r) {
        trace_read(&t, str_c(PARENT), S(""));
        t.parent[54] = r->flags;
        CHECK_EQ(trace_sampled(&t), r->sampled, "%c", r->flags);
        CHECK_STR(trace_id(&t), "0af7651916cd43dd8448eb211c80319c");
    }
}

/* The example of the binary format's specification. */
static const char BINARY[] = "\0\0\x40\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f"
                             "\1\x61\x62\x63\x64\x65\x66\x67\x68\2\1";
static const char BINARY_PARENT[] = "00-404142434445464748494a4b4c4d4e4f-6162636465666768-01";
static const char BINARY_TEXT[] = "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE";

TEST(binary_contexts_are_29_bytes)
{
    char parent[TRACEPARENT_LEN + 1], text[TRACE_BINARY_TEXT + 1];
    REQUIRE(trace_from_binary(str_of(BINARY, 29), parent));
    CHECK_TEXT(parent, BINARY_PARENT);
    struct trace_context t;
    trace_read(&t, str_c(parent), S(""));
    CHECK_STR(trace_binary_text(&t, text), BINARY_TEXT);
    struct trace_context none = { 0 };
    CHECK_EQ(trace_binary_text(&none, text).n, 0);
    for (size_t n = 0; n < 29; n++)
        CHECK(!trace_from_binary(str_of(BINARY, n), parent), "%zu bytes", n);
    static const struct {
        const char *name;
        size_t at, n;
        char value;
    } row[] = {
        { "version 1", 0, 1, 1 },      { "trace id under another field", 1, 1, 1 },
        { "zero trace id", 2, 16, 0 }, { "span id under another field", 18, 1, 0 },
        { "zero span id", 19, 8, 0 },  { "flags under another field", 27, 1, 3 },
    };
    EACH (row, r) {
        char bad[29];
        memcpy(bad, BINARY, sizeof bad);
        memset(bad + r->at, r->value, r->n);
        CHECK(!trace_from_binary(str_of(bad, sizeof bad), parent), "%s", r->name);
    }
}

TEST(grpc_trace_bin_counts_before_traceparent)
{
    static const struct {
        const char *name, *bin, *parent, *want;
    } row[] = {
        { "both", BINARY_TEXT, PARENT, BINARY_PARENT },
        { "padded", "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAgE=", "", BINARY_PARENT },
        { "binary alone", BINARY_TEXT, "", BINARY_PARENT },
        { "traceparent alone", "", PARENT, PARENT },
        { "broken binary", "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoAg", PARENT, PARENT },
        { "not base64", "AABAQUJDREVGR0hJSktMTU5PAWFiY2RlZmdoA!E", PARENT, PARENT },
        { "neither", "", "", "" },
    };
    EACH (row, r) {
        struct trace_context t;
        memset(&t, 0xee, sizeof t);
        trace_read_grpc(&t, str_c(r->bin), str_c(r->parent), S("k=v"));
        CHECK_TEXT(t.parent, r->want, "%s", r->name);
        CHECK_STR(t.state, r->want[0] ? "k=v" : "", "%s", r->name);
    }
}

TEST(baggage)
{
    static char large[8300];
    memset(large, 'v', sizeof large - 1);
    memcpy(large, "k=", 2);
    static const struct {
        const char *name, *text;
        bool want;
    } row[] = {
        { "one", "key1=value1", true },
        { "several", "key1=value1,key2=value2", true },
        { "spaces", " key1 = value1 , key2 = value2 ", true },
        { "properties", "key1=value1;p=q;r=s,key2=v", true },
        { "an empty member", "a=b,,c=d", true },
        { "percent", "key=%20%21", true },
        { "a dot in the key", "user.id=7", true },
        { "an equals in the value", "a=b=c", true },
        { "empty", "", false },
        { "no member", " ,\f,", false },
        { "no value", "invalid-baggage", false },
        { "an empty value", "key=", false },
        { "an empty key", "=value", false },
        { "a property without value", "key=value;p", false },
        { "only properties", ";p=q", false },
        { "a space in the key", "my key=v", false },
        { "not ASCII in the key", "k\xc3\xbc=v", false },
        { "the second is broken", "a=b,c", false },
        { "too long", large, false },
    };
    EACH (row, r)
        CHECK_EQ(trace_baggage_valid(str_c(r->text)), r->want, "%s", r->name);
    CHECK(trace_baggage_valid(str_of(large, TRACE_BAGGAGE_MAX)));
}
