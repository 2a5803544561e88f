#include "format/pbstruct.h"

/* Struct { map<string, Value> fields = 1 }, ListValue { repeated Value values = 1 },
 * Value { null 1, number 2, string 3, bool 4, Struct 5, ListValue 6 }. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2 };

static void put_key(struct buf *out, unsigned number, unsigned type)
{
    buf_putc(out, (char)(number << 3 | type));
}

/* Length-delimited: what was put since 'from' gets its length in front. */
static void close_bytes(struct buf *out, size_t from)
{
    char length[10];
    size_t n = 0;
    if (!buf_ok(out))
        return;
    size_t v = out->len - from;
    do {
        length[n++] = (char)((v & 127) | (v > 127 ? 128 : 0));
        v >>= 7;
    } while (v);
    if (!buf_reserve(out, n))
        return;
    char *p = out->p + out->head + from;
    memmove(p + n, p, out->len - from);
    memcpy(p, length, n);
    buf_commit(out, n);
}

static void put_text(struct buf *out, unsigned number, str text)
{
    put_key(out, number, BYTES);
    size_t from = out->len;
    buf_put(out, text);
    close_bytes(out, from);
}

static void put_string(struct buf *out, unsigned number, struct json v)
{
    put_key(out, number, BYTES);
    size_t from = out->len;
    if (json_string_put(out, v) >= 0)
        close_bytes(out, from);
}

static void put_number(struct buf *out, struct json v)
{
    double d;
    if (!json_double(v, &d)) {
        put_text(out, 3, v.raw);
        return;
    }
    uint64_t bits;
    char le[8];
    memcpy(&bits, &d, sizeof bits);
    for (int i = 0; i < 8; i++)
        le[i] = (char)(bits >> (8 * i));
    put_key(out, 2, FIXED64);
    buf_put(out, str_of(le, sizeof le));
}

static void put_members(struct buf *out, struct json v, bool (*keep)(struct json key),
                        unsigned depth);

static void put_value(struct buf *out, struct json v, unsigned depth)
{
    size_t from;
    bool yes = false;
    switch (depth < PBSTRUCT_DEPTH || v.type < JSON_ARRAY ? v.type : JSON_NONE) {
    case JSON_NULL:
        put_key(out, 1, VARINT);
        buf_putc(out, 0);
        break;
    case JSON_BOOL:
        (void)json_bool(v, &yes);
        put_key(out, 4, VARINT);
        buf_putc(out, (char)yes);
        break;
    case JSON_NUMBER:
        put_number(out, v);
        break;
    case JSON_STRING:
        put_string(out, 3, v);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        put_key(out, v.type == JSON_OBJECT ? 5 : 6, BYTES);
        from = out->len;
        put_members(out, v, NULL, depth + 1);
        close_bytes(out, from);
        break;
    case JSON_NONE:
        put_text(out, 3, v.raw);
        break;
    }
}

/* Of an object: map entries; of an array: values. Both are field 1. */
static void put_members(struct buf *out, struct json v, bool (*keep)(struct json key),
                        unsigned depth)
{
    struct json_iter it = json_iter(v);
    struct json key, value;
    while (buf_ok(out) && json_next(&it, &key, &value)) {
        if (keep && !keep(key))
            continue;
        put_key(out, 1, BYTES);
        size_t entry = out->len, from;
        if (v.type == JSON_OBJECT) {
            put_string(out, 1, key);
            put_key(out, 2, BYTES);
            from = out->len;
            put_value(out, value, depth);
            close_bytes(out, from);
        } else
            put_value(out, value, depth);
        close_bytes(out, entry);
    }
}

void pbstruct_put(struct buf *out, struct json v, bool (*keep)(struct json key))
{
    if (v.type == JSON_OBJECT)
        put_members(out, v, keep, 0);
}
