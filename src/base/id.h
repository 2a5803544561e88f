/* id.h — random numbers, UUIDs and the text forms of bytes (hex, base64).
 * Owner:  the caller's buffers.   Thread: any; the generator is per thread, seeded by getrandom(2).
 * Failure: decoders return false; no getrandom at all aborts. Not for keys or tokens that guard. */
#pragma once

#include "base/str.h"

uint64_t id_random(void);
double id_random_unit(void); /* [0, 1) */
/* Fills from getrandom(2) directly: for what must not be guessed. */
void id_secure_bytes(void *p, size_t n);

enum { UUID_LEN = 36 };
void id_uuid4(char ret[UUID_LEN]); /* lower-case, RFC 9562 version 4; no NUL */

void id_hex(const void *p, size_t n, char *ret); /* 2 n characters, lower-case; no NUL */
bool id_unhex(str hex, void *ret);               /* hex.n / 2 bytes; false on any other character */

/* Standard alphabet with padding (RFC 4648 section 4). */
static inline size_t base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}
void base64_encode(str in, char *ret); /* base64_len(in.n) characters; no NUL */
/* ret must have room for in.n / 4 * 3 bytes; false on what isn't strict base64 with padding. */
bool base64_decode(str in, char *ret, size_t *ret_len);
