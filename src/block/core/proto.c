#include "block/core/proto.h"

static void *take(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void leave(void *arena, void *p)
{
}

void *proto_unpack(const ProtobufCMessageDescriptor *type, str bytes, struct arena *a)
{
    ProtobufCAllocator memory = { take, leave, a };
    return protobuf_c_message_unpack(type, &memory, bytes.n, (const uint8_t *)bytes.p);
}

int proto_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    char *to = buf_reserve(out, n);
    if (!to)
        return -EXHAUSTED;
    buf_commit(out, protobuf_c_message_pack(m, (uint8_t *)to));
    return 0;
}

int proto_pack_to(const ProtobufCMessage *m, struct arena *a, str *ret)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *p = arena_alloc(a, n);
    if (!p)
        return -EXHAUSTED;
    *ret = str_of(p, protobuf_c_message_pack(m, p));
    return 0;
}
