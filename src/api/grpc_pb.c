#include "api/grpc_call.h"

#include "entry.pb-c.h"

typedef Dapr__Proto__Runtime__V1__StringEntry entry;

/* ---- memory: protobuf-c unpacks into an arena ---- */

static void *take(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void leave(void *arena, void *p)
{
}

int grpc_no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

void *pb_new(struct arena *a, const ProtobufCMessageDescriptor *d)
{
    void *m = arena_alloc(a, d->sizeof_message);
    if (m)
        protobuf_c_message_init(d, m);
    return m;
}

int pb_decode(struct arena *a, const ProtobufCMessageDescriptor *d, str bytes, void **ret,
              struct error *err)
{
    ProtobufCAllocator allocator = { take, leave, a };
    void *m = protobuf_c_message_unpack(d, &allocator, bytes.n, (const uint8_t *)bytes.p);
    if (!m)
        return fail(err, INTERNAL, NULL, "error unmarshalling request: not a valid %s", d->name);
    *ret = m;
    return 0;
}

int pb_encode(struct arena *a, const ProtobufCMessage *m, str *ret)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *p = arena_alloc(a, n);
    if (!p)
        return -EXHAUSTED;
    *ret = str_of(p, protobuf_c_message_pack(m, p));
    return 0;
}

/* ---- values ---- */

str pb_str(const char *text)
{
    return str_c(text);
}

str pb_bytes(ProtobufCBinaryData d)
{
    return str_of(d.data, d.len);
}

ProtobufCBinaryData pb_data(str s)
{
    return (ProtobufCBinaryData){ s.n, (uint8_t *)s.p };
}

char *pb_text(struct arena *a, str s)
{
    return arena_cstr(a, s);
}

/* Of two entries with one key the last counts in a map, as it does for kvs_get(). */
int pb_kvs(struct arena *a, entry *const *v, size_t n, struct kvs *ret)
{
    *ret = (struct kvs){ 0 };
    if (!n)
        return 0;
    struct kv *kv = arena_alloc(a, n * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        kv[i] = (struct kv){ pb_str(v[i]->key), pb_str(v[i]->value) };
    *ret = (struct kvs){ kv, n };
    return 0;
}

int pb_map(struct arena *a, struct kvs kvs, entry ***ret, size_t *ret_n)
{
    entry **v = arena_alloc(a, kvs.n * sizeof(entry *));
    for (size_t i = 0; v && i < kvs.n; i++) {
        v[i] = pb_new(a, &dapr__proto__runtime__v1__string_entry__descriptor);
        if (!v[i] || !(v[i]->key = pb_text(a, kvs.v[i].key)) ||
            !(v[i]->value = pb_text(a, kvs.v[i].value)))
            return -EXHAUSTED;
    }
    if (!v)
        return -EXHAUSTED;
    *ret = v;
    *ret_n = kvs.n;
    return 0;
}
