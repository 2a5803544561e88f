#include "wire.h"

struct taking {
    struct arena *arena;
    bool failed; /* otherwise it is the message's fault */
};

static void *take(void *arg, size_t size)
{
    struct taking *t = arg;
    void *p = arena_alloc(t->arena, size);
    t->failed |= !p;
    return p;
}

static void leave(void *arg, void *p)
{
}

int wire_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    char *to = buf_reserve(out, n);
    if (!to)
        return -EXHAUSTED;
    buf_commit(out, protobuf_c_message_pack(m, (uint8_t *)to));
    return 0;
}

int wire_unpack(str message, const ProtobufCMessageDescriptor *type, struct arena *a, void *ret)
{
    struct taking t = { .arena = a };
    ProtobufCAllocator allocator = { take, leave, &t };
    ProtobufCMessage *m =
        protobuf_c_message_unpack(type, &allocator, message.n, (const uint8_t *)message.p);
    if (!m)
        return t.failed ? -EXHAUSTED : -INTERNAL;
    *(ProtobufCMessage **)ret = m;
    return 0;
}

int wire_map(struct kvs kvs, struct arena *a, wire_entry ***ret, size_t *ret_n)
{
    wire_entry **e = arena_alloc(a, kvs.n * sizeof(wire_entry *));
    if (!e)
        return -EXHAUSTED;
    for (size_t i = 0; i < kvs.n; i++) {
        e[i] = arena_alloc(a, sizeof(wire_entry));
        if (!e[i])
            return -EXHAUSTED;
        dapr__proto__components__v1__string_entry__init(e[i]);
        e[i]->key = arena_cstr(a, kvs.v[i].key);
        e[i]->value = arena_cstr(a, kvs.v[i].value);
        if (!e[i]->key || !e[i]->value)
            return -EXHAUSTED;
    }
    *ret = e;
    *ret_n = kvs.n;
    return 0;
}

int wire_kvs(wire_entry *const *e, size_t n, struct arena *a, struct kvs *ret)
{
    struct kv *v = arena_alloc(a, n * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        v[i] = (struct kv){ str_c(e[i]->key), str_c(e[i]->value) };
    *ret = (struct kvs){ v, n };
    return 0;
}
