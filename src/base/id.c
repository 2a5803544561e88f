#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* xoshiro256** by Blackman and Vigna: fast, and good enough for ids and jitter. */
static _Thread_local uint64_t state[4];

static uint64_t rol(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

void id_secure_bytes(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        INV(got > 0);
        at += got;
        n -= (size_t)got;
    }
}

uint64_t id_random(void)
{
    if (UNLIKELY(!(state[0] | state[1] | state[2] | state[3])))
        id_secure_bytes(state, sizeof state);
    uint64_t result = rol(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rol(state[3], 45);
    return result;
}

double id_random_unit(void)
{
    return (double)(id_random() >> 11) * 0x1p-53;
}

static const char digit[] = "0123456789abcdef";

void id_hex(const void *p, size_t n, char *ret)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digit[b[i] >> 4];
        ret[2 * i + 1] = digit[b[i] & 15];
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool id_unhex(str hex, void *ret)
{
    if (hex.n % 2)
        return false;
    for (size_t i = 0; i < hex.n; i += 2) {
        int hi = hex_value(hex.p[i]), lo = hex_value(hex.p[i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        ((uint8_t *)ret)[i / 2] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void id_uuid4(char ret[UUID_LEN])
{
    uint64_t r[2] = { id_random(), id_random() };
    uint8_t *b = (uint8_t *)r;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    static const uint8_t group[] = { 4, 2, 2, 2, 6 };
    size_t at = 0;
    for (size_t g = 0; g < COUNT(group); g++) {
        if (g)
            *ret++ = '-';
        id_hex(b + at, group[g], ret);
        ret += 2 * group[g];
        at += group[g];
    }
}

void base64_encode(str in, char *ret)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        const uint8_t *b = (const uint8_t *)in.p + i;
        uint32_t v = (uint32_t)b[0] << 16;
        if (left > 1)
            v |= (uint32_t)b[1] << 8;
        if (left > 2)
            v |= b[2];
        *ret++ = alphabet[v >> 18];
        *ret++ = alphabet[v >> 12 & 63];
        *ret++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *ret++ = left > 2 ? alphabet[v & 63] : '=';
    }
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(str in, char *ret, size_t *ret_len)
{
    if (in.n % 4)
        return false;
    size_t pad = 0;
    while (pad < 2 && pad < in.n && in.p[in.n - 1 - pad] == '=')
        pad++;
    size_t n = 0;
    for (size_t i = 0; i < in.n; i += 4) {
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            int d = i + j >= in.n - pad ? 0 : base64_value(in.p[i + j]);
            if (d < 0)
                return false;
            v = v << 6 | (uint32_t)d;
        }
        size_t take = i + 4 == in.n ? 3 - pad : 3;
        if ((take == 1 && v & 0xffff) || (take == 2 && v & 0xff))
            return false; /* stray bits: the same bytes must have one text only */
        for (size_t j = 0; j < take; j++)
            ret[n++] = (char)(v >> (16 - 8 * j));
    }
    *ret_len = n;
    return true;
}
