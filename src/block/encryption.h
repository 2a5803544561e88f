/* encryption.h — the contract's encryption scheme, dapr.io/enc/v1: a stream of bytes under a key of
 * its own, which is wrapped by a key that never leaves its provider.
 *
 *   dapr.io/enc/v1 \n  manifest (JSON) \n  MAC of the two lines (base64) \n  segment, segment …
 *
 * A segment is 64 KiB of text and a tag; its nonce says its number and whether it is the last one,
 * so that segments can't be changed, swapped, left out or added. The one thing that the format
 * can't tell: a message whose every segment was cut off reads as an empty one, which has none.
 * Owner:  the caller's frame.   Thread: one fiber; suspends where the streams do.
 * Failure: *err, without a tag; nothing is given out that isn't authentic. What was written before
 * a failure stands: the caller breaks its answer off.
 * Limits: a header of ENCRYPTION_SEGMENT bytes, two segments of memory, 2^32 segments. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum { ENCRYPTION_SEGMENT = 64 << 10 };

struct encryption_io {
    /* 1 and a piece that is good until the next call; 0 at the end; negative: the stream broke off
     * (*err may be filled). */
    CO int (*read)(void *arg, str *ret, struct error *err);
    CO int (*write)(void *arg, str data, struct error *err);
    /* Wraps a file key, or unwraps it, by the key of that name. */
    CO int (*key)(void *arg, str name, str algorithm, str in, struct arena *a, str *ret,
                  struct error *err);
    void *arg;
};

struct encryption_options {
    str key, algorithm; /* required; algorithm in any letter case, "AES" and "RSA" are aliases */
    str decryption_key; /* named in the manifest instead of key */
    bool omit_key;      /* names none */
    str cipher;         /* "AES-GCM" (default) or "CHACHA20-POLY1305" */
};

CO int encryption_seal(const struct encryption_options *o, const struct encryption_io *io,
                       struct error *err) WUR;
/* key: instead of the one that the manifest names; empty = that one. */
CO int encryption_open(str key, const struct encryption_io *io, struct error *err) WUR;
