/* wire.h — protobuf-c messages from and to the house's slices.
 * Owner:  everything made or unpacked lives in the given arena.
 * Thread: any.   Failure: -EXHAUSTED for want of memory, -INTERNAL for bytes that are no message.
 */
#pragma once

#include "base/buf.h"
#include "component/component.h"
#include "components.pb-c.h"

/* The messages of components.proto without their package. */
#define WIRE(name) Dapr__Proto__Components__V1__##name
#define WIRE_TYPE(name) (&dapr__proto__components__v1__##name##__descriptor)
typedef WIRE(StringEntry) wire_entry;

static inline ProtobufCBinaryData wire_bytes(str s)
{
    return (ProtobufCBinaryData){ s.n, (uint8_t *)s.p };
}

static inline str wire_slice(ProtobufCBinaryData b)
{
    return str_of(b.data, b.len);
}

/* A map<string, string>; .ok is false when memory ran out. */
int wire_map(struct kvs kvs, struct arena *a, wire_entry ***ret, size_t *ret_n) WUR;
int wire_kvs(wire_entry *const *e, size_t n, struct arena *a, struct kvs *ret) WUR;

int wire_pack(const ProtobufCMessage *m, struct buf *out) WUR;
int wire_unpack(str message, const ProtobufCMessageDescriptor *type, struct arena *a, void *ret)
    WUR;
