/* proto.h — protobuf-c and the house's slices and arenas.
 * Owner:  what is unpacked lives in the arena; packed bytes go to a buf or the arena.
 * Thread: any.   Failure: NULL or -EXHAUSTED; unpacking has no other cause than bad bytes or the
 * arena's limit. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include <protobuf-c/protobuf-c.h>

static inline str proto_slice(ProtobufCBinaryData b)
{
    return str_of(b.data, b.len);
}
static inline ProtobufCBinaryData proto_bytes(str s) /* borrowed */
{
    return (ProtobufCBinaryData){ s.n, (uint8_t *)s.p };
}

/* NULL: not such a message, or the arena is full. */
void *proto_unpack(const ProtobufCMessageDescriptor *type, str bytes, struct arena *a) WUR;
int proto_pack(const ProtobufCMessage *m, struct buf *out) WUR; /* appends */
int proto_pack_to(const ProtobufCMessage *m, struct arena *a, str *ret) WUR;
