#include "telemetry/trace.h"

#include "base/id.h"

enum { STATE_MEMBERS = 32, ID_AT = 3, SPAN_AT = 36, FLAGS_AT = 53 };

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
    str version = str_of(s.p, 2), trace = str_of(s.p + ID_AT, 32), span = str_of(s.p + SPAN_AT, 16),
        flags = str_of(s.p + FLAGS_AT, 2);
    return hex_lower(version) && !str_eq(version, S("ff")) && hex_lower(trace) &&
           !all_zero(trace) && hex_lower(span) && !all_zero(span) && hex_lower(flags);
}

/* ---- tracestate ---- */

static bool state_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || memchr("_-*/@", c, 5);
}

static bool state_member(str m)
{
    str key, value;
    if (!str_cut(m, '=', &key, &value) || !key.n || key.n > 256 || !value.n || value.n > 256)
        return false;
    for (size_t i = 0; i < key.n; i++)
        if (!state_key_char(key.p[i]))
            return false;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] > 0x7e || value.p[i] == '=')
            return false;
    return true;
}

static bool state_valid(str s)
{
    size_t n = 0;
    str item;
    if (s.n > TRACE_STATE_MAX)
        return false;
    for (str rest = s; str_next(&rest, ',', &item);)
        if (item.n && (!state_member(item) || ++n > STATE_MEMBERS))
            return false;
    return true;
}

void trace_read(struct trace_context *t, str traceparent, str tracestate)
{
    *t = (struct trace_context){ 0 };
    if (!trace_parent_valid(traceparent))
        return;
    memcpy(t->parent, traceparent.p, TRACEPARENT_LEN);
    if (state_valid(tracestate))
        t->state = tracestate;
}

/* ---- the binary form ---- */

bool trace_from_binary(str b, char ret_parent[TRACEPARENT_LEN + 1])
{
    char p[TRACEPARENT_LEN + 1] = "00-";
    if (b.n != TRACE_BINARY_LEN || b.p[0] != 0 || b.p[1] != 0 || b.p[18] != 1 || b.p[27] != 2)
        return false;
    id_hex(b.p + 2, 16, p + ID_AT);
    id_hex(b.p + 19, 8, p + SPAN_AT);
    id_hex(b.p + 28, 1, p + FLAGS_AT);
    p[35] = p[52] = '-';
    p[TRACEPARENT_LEN] = 0;
    if (!trace_parent_valid(str_of(p, TRACEPARENT_LEN)))
        return false;
    memcpy(ret_parent, p, sizeof p);
    return true;
}

str trace_binary_text(const struct trace_context *t, char to[TRACE_BINARY_TEXT + 1])
{
    char b[TRACE_BINARY_LEN] = { [18] = 1, [27] = 2 };
    if (!t->parent[0] || !id_unhex(str_of(t->parent + ID_AT, 32), b + 2) ||
        !id_unhex(str_of(t->parent + SPAN_AT, 16), b + 19) ||
        !id_unhex(str_of(t->parent + FLAGS_AT, 2), b + 28))
        return S("");
    base64_encode(str_of(b, sizeof b), to); /* 29 bytes: 39 characters and one '=' */
    return str_of(to, TRACE_BINARY_TEXT);
}

/* Senders may pad or not (the gRPC protocol's "Binary-Header"). */
static bool read_binary(str text, char ret_parent[TRACEPARENT_LEN + 1])
{
    char padded[TRACE_BINARY_TEXT + 1], binary[TRACE_BINARY_LEN + 1];
    size_t n;
    if (text.n != TRACE_BINARY_TEXT && text.n != TRACE_BINARY_TEXT + 1)
        return false;
    memcpy(padded, text.p, TRACE_BINARY_TEXT);
    padded[TRACE_BINARY_TEXT] = text.n > TRACE_BINARY_TEXT ? text.p[TRACE_BINARY_TEXT] : '=';
    return base64_decode(str_of(padded, sizeof padded), binary, &n) &&
           trace_from_binary(str_of(binary, n), ret_parent);
}

void trace_read_grpc(struct trace_context *t, str trace_bin, str traceparent, str tracestate)
{
    char parent[TRACEPARENT_LEN + 1];
    if (read_binary(trace_bin, parent))
        traceparent = str_of(parent, TRACEPARENT_LEN);
    trace_read(t, traceparent, tracestate);
}

str trace_id(const struct trace_context *t)
{
    return t->parent[0] ? str_of(t->parent + ID_AT, 32) : S("");
}

bool trace_sampled(const struct trace_context *t)
{
    char c = t->parent[0] ? t->parent[FLAGS_AT + 1] : '0';
    return (c <= '9' ? c - '0' : c - 'a' + 10) & 1;
}

/* ---- baggage ---- */

static bool is_token(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_pair(str s)
{
    str key, value;
    return str_cut(s, '=', &key, &value) && is_token(str_trim(key)) && str_trim(value).n;
}

/* "key=value;property=value;…" */
static bool baggage_member(str m)
{
    str part;
    bool first = true;
    for (str rest = m; str_next(&rest, ';', &part); first = false)
        if ((part.n || first) && !is_pair(part))
            return false;
    return true;
}

bool trace_baggage_valid(str baggage)
{
    str item;
    size_t n = 0;
    if (baggage.n > TRACE_BAGGAGE_MAX)
        return false;
    for (str rest = baggage; str_next(&rest, ',', &item); n += item.n > 0)
        if (item.n && !baggage_member(item))
            return false;
    return n > 0;
}
