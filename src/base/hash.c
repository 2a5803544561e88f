#include "base/hash.h"

#include "base/id.h"

#include <stdatomic.h>

/* wyhash's idea (128-bit multiply and fold), reduced to what short keys need. */
static uint64_t seed(void)
{
    static _Atomic uint64_t made;
    uint64_t old = atomic_load_explicit(&made, memory_order_relaxed);
    if (LIKELY(old))
        return old;
    uint64_t fresh = id_random() | 1;
    return atomic_compare_exchange_strong(&made, &old, fresh) ? fresh : old;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 r = (unsigned __int128)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

uint64_t hash_bytes(str s)
{
    uint64_t h = seed() ^ (s.n * 0x9e3779b97f4a7c15u);
    while (s.n >= 8) {
        h = fold(h ^ load(s.p, 8), 0xa0761d6478bd642fu);
        s = str_skip(s, 8);
    }
    if (s.n)
        h = fold(h ^ load(s.p, s.n), 0xe7037ed1a0b428dbu);
    return fold(h, 0x8ebc6af09c88c6e3u);
}

uint64_t hash_stable(str s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu; /* MurmurHash3's finaliser: FNV alone mixes its last bytes poorly */
    return h ^ h >> 33;
}

uint16_t hash_crc16(str s)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (uint16_t)((unsigned char)s.p[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* SHA-256 by FIPS 180-4, here because base may not pull in OpenSSL; used once, at start. */
static uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void sha_block(uint32_t *h, const uint8_t *p)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2,
    };
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[i * 4] << 24 | (uint32_t)p[i * 4 + 1] << 16 |
               (uint32_t)p[i * 4 + 2] << 8 | p[i * 4 + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) +
                      ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
                      ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

/* Both kinds pad alike: a bit, zeros, the length in bits. */
static void sha_run(uint32_t *h, str s, void (*block)(uint32_t *h, const uint8_t *p))
{
    uint64_t bits = (uint64_t)s.n * 8;
    for (; s.n >= 64; s = str_skip(s, 64))
        block(h, (const uint8_t *)s.p);
    uint8_t last[128] = { 0 };
    size_t total = s.n < 56 ? 64 : 128;
    if (s.n)
        memcpy(last, s.p, s.n);
    last[s.n] = 0x80;
    for (int i = 0; i < 8; i++)
        last[total - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
    for (size_t at = 0; at < total; at += 64)
        block(h, last + at);
}

static void put_words(const uint32_t *h, uint8_t *ret, int n)
{
    for (int i = 0; i < n; i++)
        ret[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void hash_sha256(str s, uint8_t ret[32])
{
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    sha_run(h, s, sha_block);
    put_words(h, ret, 32);
}

static uint32_t sha1_mix(int i, uint32_t b, uint32_t c, uint32_t d)
{
    if (i < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (i < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (i < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void sha1_block(uint32_t *h, const uint8_t *p)
{
    uint32_t w[80], v[5];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[i * 4] << 24 | (uint32_t)p[i * 4 + 1] << 16 |
               (uint32_t)p[i * 4 + 2] << 8 | p[i * 4 + 3];
    for (int i = 16; i < 80; i++)
        w[i] = ror(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 31);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 80; i++) {
        uint32_t t = ror(v[0], 27) + sha1_mix(i, v[1], v[2], v[3]) + v[4] + w[i];
        memmove(v + 1, v, 4 * sizeof *v);
        v[2] = ror(v[2], 2);
        v[0] = t;
    }
    for (int i = 0; i < 5; i++)
        h[i] += v[i];
}

void hash_sha1(str s, uint8_t ret[20])
{
    uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    sha_run(h, s, sha1_block);
    put_words(h, ret, 20);
}
