/* OTLP 1.x, https://github.com/open-telemetry/opentelemetry-proto: trace/v1/trace.proto. */
#include "format/json_chars.h"
#include "telemetry/encode.h"

#include <endian.h>

/* Wire types of protobuf. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { LEN_BYTES = 4 }; /* of a nested message's length: a varint of up to 28 bits */

static void put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(out, (char)(v | 0x80));
    buf_putc(out, (char)v);
}

static void put_tag(struct buf *out, unsigned field, unsigned type)
{
    put_varint(out, field << 3 | type);
}

static void put_number(struct buf *out, unsigned field, uint64_t v)
{
    if (!v)
        return;
    put_tag(out, field, VARINT);
    put_varint(out, v);
}

static void put_fixed64(struct buf *out, unsigned field, uint64_t v)
{
    v = htole64(v);
    put_tag(out, field, FIXED64);
    buf_put(out, str_of(&v, sizeof v));
}

static void put_fixed32(struct buf *out, unsigned field, uint32_t v)
{
    v = htole32(v);
    put_tag(out, field, FIXED32);
    buf_put(out, str_of(&v, sizeof v));
}

static void put_bytes(struct buf *out, unsigned field, const void *p, size_t n)
{
    put_tag(out, field, BYTES);
    put_varint(out, n);
    buf_put(out, str_of(p, n));
}

/* A nested message: its length is put in afterwards, as a varint of fixed width. */
static size_t open_message(struct buf *out, unsigned field)
{
    put_tag(out, field, BYTES);
    buf_put(out, str_of("\0\0\0\0", LEN_BYTES));
    return out->len;
}

static void close_message(struct buf *out, size_t start)
{
    if (!buf_ok(out))
        return;
    size_t n = out->len - start;
    unsigned char *len = (unsigned char *)out->p + out->head + start - LEN_BYTES;
    if (n >= 1u << 28)
        out->failed = true;
    for (int i = 0; i < LEN_BYTES; i++, n >>= 7)
        len[i] = (unsigned char)((n & 0x7f) | (i < LEN_BYTES - 1 ? 0x80 : 0));
}

/* A string must be UTF-8: whoever reads it refuses the whole batch otherwise. */
static void put_text(struct buf *out, unsigned field, str s)
{
    size_t start = open_message(out, field);
    for (size_t i = 0, len; i < s.n; i += len ? len : 1) {
        len = utf8_len(s.p + i, s.p + s.n);
        buf_put(out, len ? str_of(s.p + i, len) : S("\xef\xbf\xbd"));
    }
    close_message(out, start);
}

static void put_attribute(struct buf *out, unsigned field, str key, str value)
{
    size_t pair = open_message(out, field);
    put_text(out, 1, key);
    size_t any = open_message(out, 2);
    put_text(out, 1, value);
    close_message(out, any);
    close_message(out, pair);
}

static void put_resource(struct buf *out, const struct trace_resource *r)
{
    size_t start = open_message(out, 1);
    put_attribute(out, 1, S("service.name"), r->service);
    for (size_t i = 0; i < r->n; i++)
        put_attribute(out, 1, r->attribute[i].key, r->attribute[i].value);
    close_message(out, start);
}

static void put_status(struct buf *out, const struct span_block *b)
{
    if (b->status == SPAN_UNSET)
        return;
    size_t start = open_message(out, 15);
    if (b->why.n)
        put_text(out, 2, span_text(b, b->why));
    put_number(out, 3, b->status);
    close_message(out, start);
}

static void put_span(struct buf *out, const struct span_block *b)
{
    size_t start = open_message(out, 2);
    put_bytes(out, 1, b->trace_id, sizeof b->trace_id);
    put_bytes(out, 2, b->id, sizeof b->id);
    if (b->state.n)
        put_text(out, 3, span_text(b, b->state));
    if (b->has_parent)
        put_bytes(out, 4, b->parent, sizeof b->parent);
    put_text(out, 5, span_text(b, b->name));
    put_number(out, 6, b->kind);
    put_fixed64(out, 7, b->start_ns);
    put_fixed64(out, 8, b->end_ns);
    for (size_t i = 0; i < b->n_attrs; i++)
        put_attribute(out, 9, span_text(b, b->key[i]), span_text(b, b->value[i]));
    put_number(out, 10, b->dropped_attrs);
    put_status(out, b);
    put_fixed32(out, 16, 1); /* flags: sampled */
    close_message(out, start);
}

void encode_otlp(struct buf *out, const struct trace_resource *r, const struct span_block *spans)
{
    size_t resource_spans = open_message(out, 1);
    put_resource(out, r);
    size_t scope_spans = open_message(out, 2);
    size_t scope = open_message(out, 1);
    put_text(out, 1, S("proa"));
    put_text(out, 2, S(PROA_VERSION));
    close_message(out, scope);
    for (const struct span_block *b = spans; b; b = b->next)
        put_span(out, b);
    close_message(out, scope_spans);
    close_message(out, resource_spans);
}
