/* str.h — a borrowed slice of bytes: pointer and length, not NUL-terminated.
 * Owner:  whoever owns the bytes; a str never frees.
 * Thread: any.   Failure: none; parsing functions return false and leave *ret alone. */
#pragma once

#include "base/defs.h"

#include <string.h>

typedef struct str {
    const char *p;
    size_t n;
} str;

#define S(literal) ((str){ "" literal, sizeof(literal) - 1 })
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)min_size((s).n, 4096), (s).p /* for logs and messages: cut at 4 KiB */

static inline str str_of(const void *p, size_t n)
{
    return (str){ p, n };
}

static inline str str_c(const char *z)
{
    return (str){ z ? z : "", z ? strlen(z) : 0 };
}

static inline bool str_eq(str a, str b)
{
    return a.n == b.n && (!a.n || memcmp(a.p, b.p, a.n) == 0);
}

bool str_ieq(str a, str b); /* ASCII case-insensitive */
int str_cmp(str a, str b);  /* as memcmp, shorter first on a tie */
bool str_starts(str s, str prefix);
bool str_istarts(str s, str prefix);
bool str_ends(str s, str suffix);
str str_skip(str s, size_t n);         /* without the first min(n, s.n) bytes */
str str_take(str s, size_t n);         /* the first min(n, s.n) bytes */
str str_trim(str s);                   /* without ASCII white space at both ends */
ptrdiff_t str_find(str s, str needle); /* offset of the first hit or -1 */
ptrdiff_t str_find_c(str s, char c);
bool str_contains(str s, str needle);
/* Cuts s at the first sep: *ret_head = before it, *ret_tail = after it (empty when there is none).
 * Returns whether sep was there. */
bool str_cut(str s, char sep, str *ret_head, str *ret_tail);
/* Iterates over a separated list: while (str_next(&rest, ',', &item)) …; items are trimmed. */
bool str_next(str *rest, char sep, str *ret_item);

bool str_to_i64(str s, int64_t *ret); /* the whole of s, decimal, optional sign, no overflow */
bool str_to_u64(str s, uint64_t *ret);
bool str_to_bool(str s, bool *ret); /* Go's strconv.ParseBool: 1 t T TRUE true True 0 f F … */
/* strconv.ParseBool or y, yes, on in any case: what Dapr's utils.IsTruthy takes for true. */
bool str_truthy(str s);

/* Edit distance (Levenshtein, adjacent swap counts 1) for 'did you mean'; bytes past 64 are cut. */
size_t str_distance(str a, str b);
