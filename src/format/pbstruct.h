/* pbstruct.h — JSON as google.protobuf.Struct, in its wire format.
 * Owner:  the bytes go to the caller's buf.   Thread: any.
 * Failure: see buf_ok(). Limits: values nested deeper than PBSTRUCT_DEPTH are given as JSON text,
 * as are numbers that no double holds. */
#pragma once

#include "format/json.h"

enum { PBSTRUCT_DEPTH = 64 };

/* Appends the members of object v whose key keep() accepts (NULL = all). Anything but an object is
 * an empty Struct. */
void pbstruct_put(struct buf *out, struct json v, bool (*keep)(struct json key));
