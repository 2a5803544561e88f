/* json_chars.h — finds the first byte of a JSON string that needs a look; private to src/format.
 * Owner:  none.   Thread: any.
 * Failure: none; both functions return end when every byte is plain. */
#pragma once

#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What needs a look: control characters, '"', '\\', bytes past ASCII, and for html '<', '>', '&'.
 */
static inline bool json_is_plain(unsigned char c, bool html)
{
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
        return false;
    return !html || (c != '<' && c != '>' && c != '&');
}

static inline const char *json_skip_plain_tail(const char *p, const char *end, bool html)
{
    while (p < end && json_is_plain((unsigned char)*p, html))
        p++;
    return p;
}

#ifdef __SSE2__
static inline const char *json_skip_plain(const char *p, const char *end, bool html)
{
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        /* Signed: bytes past ASCII are negative, so this takes them and the controls at once. */
        __m128i hit = _mm_cmplt_epi8(v, space);
        hit = _mm_or_si128(hit, _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (html) {
            /* '<' and '>' differ in bit 1 alone. */
            __m128i angle = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
            hit = _mm_or_si128(hit, _mm_or_si128(angle, _mm_cmpeq_epi8(v, _mm_set1_epi8('&'))));
        }
        int mask = _mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
    return json_skip_plain_tail(p, end, html);
}
#else
static inline uint64_t json_has_byte(uint64_t v, unsigned char c)
{
    uint64_t x = v ^ (0x0101010101010101u * c);
    return (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;
}

static inline const char *json_skip_plain(const char *p, const char *end, bool html)
{
    const uint64_t high = 0x8080808080808080u;
    for (; end - p >= 8; p += 8) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        uint64_t hit = (v & high) | ((v - 0x2020202020202020u) & ~v & high);
        hit |= json_has_byte(v, '"') | json_has_byte(v, '\\');
        if (html)
            hit |= json_has_byte(v, '<') | json_has_byte(v, '>') | json_has_byte(v, '&');
        if (hit)
            break; /* which byte it was depends on the byte order: the tail loop finds it */
    }
    return json_skip_plain_tail(p, end, html);
}
#endif

/* Length of the UTF-8 sequence at p (1 … 4), 0 when it isn't one: no overlong forms, no surrogates,
 * nothing past U+10FFFF (RFC 3629). */
static inline size_t utf8_len(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    if (!left)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || left < 2 || (s[1] & 0xc0) != 0x80)
        return 0;
    if (s[0] < 0xe0)
        return 2;
    if (left < 3 || (s[2] & 0xc0) != 0x80)
        return 0;
    if (s[0] < 0xf0) {
        bool overlong = s[0] == 0xe0 && s[1] < 0xa0, surrogate = s[0] == 0xed && s[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || (s[3] & 0xc0) != 0x80 || s[0] > 0xf4)
        return 0;
    bool overlong = s[0] == 0xf0 && s[1] < 0x90, past = s[0] == 0xf4 && s[1] >= 0x90;
    return overlong || past ? 0 : 4;
}

/* Writes the UTF-8 form of a code point (at most 0x10ffff) and returns its length. */
static inline size_t utf8_put(uint32_t c, char *ret)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n == 1) {
        ret[0] = (char)c;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)((0xf00 >> n) | c);
    return n;
}

/* The code point of a valid sequence of n bytes. */
static inline uint32_t utf8_get(const char *p, size_t n)
{
    uint32_t c = (unsigned char)p[0];
    if (n == 1)
        return c;
    c &= 0x7fu >> n;
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)p[i] & 0x3f);
    return c;
}
