/* json_string.h — decodes the content of a JSON string piece by piece; private to src/format.
 * Owner:  borrows the view.   Thread: any.   Failure: none: the view is validated. */
#pragma once

#include "format/json.h"

struct json_decode {
    const char *p, *end;
    char unit[4]; /* an escape's bytes */
};

static inline str json_inner(struct json v) /* between the quotes */
{
    return v.raw.n < 2 ? str_of(v.raw.p, 0) : str_of(v.raw.p + 1, v.raw.n - 2);
}

static inline bool json_is_escaped(struct json v)
{
    return v.raw.n && memchr(v.raw.p, '\\', v.raw.n);
}

static inline struct json_decode json_decode(struct json v)
{
    str in = json_inner(v);
    return (struct json_decode){ in.p, in.p + in.n, { 0 } };
}

/* Next piece of decoded text (a run without escapes, or one escape); false at the end. */
bool json_decode_next(struct json_decode *d, str *ret);
