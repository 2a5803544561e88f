#include "components/state/sqlite/row.h"

#include "base/clock.h"
#include "base/id.h"
#include "components/common/sqlite/conn.h"

static int corrupt(struct error *err, str key, const char *what)
{
    return fail(err, DATA_LOSS, NULL,
                "the row of key \"%.*s\" can't be read: %s; save the key again or delete it",
                (int)min_size(key.n, 100), key.p, what);
}

/* SQLite writes "2026-01-02 03:04:05" in UTC; a driver of Go may add "T", a fraction or "Z". */
static bool parse_time(str s, uint64_t *ret_ns)
{
    char text[RFC3339_MAX];
    if (s.n < 19 || s.n + 2 > sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[10] = 'T';
    size_t n = s.n;
    char last = text[n - 1];
    if (last >= '0' && last <= '9' && !memchr(text + 19, '+', n - 19) &&
        !memchr(text + 19, '-', n - 19))
        text[n++] = 'Z';
    return clock_parse_rfc3339(str_of(text, n), ret_ns);
}

static int decode_value(str raw, bool binary, struct arena *a, str *ret)
{
    if (!binary) {
        *ret = arena_dup(a, raw);
        return ret->p ? 0 : -EXHAUSTED;
    }
    char *out = arena_alloc(a, raw.n / 4 * 3 + 1);
    size_t n = 0;
    if (!out)
        return -EXHAUSTED;
    if (!base64_decode(raw, out, &n))
        return -DATA_LOSS;
    out[n] = 0;
    *ret = str_of(out, n);
    return 0;
}

int state_row_decode(sqlite3_stmt *s, str key, struct arena *a, struct state_value *ret,
                     struct error *err)
{
    bool binary = sqlite3_column_int(s, 1) != 0;
    uint64_t expire_ns = 0;
    str value, etag;
    int r = decode_value(sqlite_column(s, 0), binary, a, &value);
    if (r == -DATA_LOSS)
        return corrupt(err, key, "is_binary is set, but the value is not base64");
    if (sqlite3_column_type(s, 3) != SQLITE_NULL && !parse_time(sqlite_column(s, 3), &expire_ns))
        return corrupt(err, key, "expiration_time is no time");
    if (r == 0) {
        etag = arena_dup(a, sqlite_column(s, 2));
        r = etag.p ? 0 : -EXHAUSTED;
    }
    if (r < 0)
        return fail(err, EXHAUSTED, NULL, "no memory left in this request for the value of a key");
    ret->found = true;
    ret->value = value;
    ret->etag = etag;
    ret->expire_ns = expire_ns;
    return 0;
}
