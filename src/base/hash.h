/* hash.h — hashes: fast and seeded for tables, CRC-16 for slots, SHA for names.
 * Owner:  none.   Thread: any.   Failure: none. */
#pragma once

#include "base/str.h"

/* For in-memory tables only: seeded once per process, so that callers can't choose collisions. */
uint64_t hash_bytes(str s);
/* The same in every process and on every machine (FNV-1a with a final mix): for consistent hashing.
 */
uint64_t hash_stable(str s);
/* CRC-16/XMODEM, the one of Redis Cluster's hash slots. */
uint16_t hash_crc16(str s);
void hash_sha256(str s, uint8_t ret[32]);
void hash_sha1(str s, uint8_t ret[20]); /* where a protocol asks for it: Redis names scripts so */
