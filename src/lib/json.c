#include "format/json.h"

#include "lib/private.h"

/* "order.items.0.sku": members by name, items by number. */
static bool walk(const char *json, size_t len, const char *path, struct json *ret)
{
    if (json_parse(str_of(json, len), ret, NULL) < 0)
        return false;
    str part;
    for (str rest = str_c(path); path[0] && str_next(&rest, '.', &part);) {
        uint64_t index;
        if (ret->type == JSON_ARRAY)
            *ret = str_to_u64(part, &index) ? json_at(*ret, index) : (struct json){ 0 };
        else
            *ret = json_get(*ret, part);
    }
    return ret->type != JSON_NONE;
}

bool proa_json_str(const char *json, size_t len, const char *path, char *out, size_t size)
{
    struct json v;
    struct arena a;
    str text;
    if (!walk(json, len, path, &v))
        return false;
    arena_init(&a, MIB(64));
    bool ok = json_string(&a, v, &text) >= 0 && text.n < size;
    if (ok) {
        memcpy(out, text.p, text.n);
        out[text.n] = 0;
    }
    arena_done(&a);
    return ok;
}

bool proa_json_int(const char *json, size_t len, const char *path, int64_t *out)
{
    struct json v;
    return walk(json, len, path, &v) && json_i64(v, out);
}

bool proa_json_raw(const char *json, size_t len, const char *path, const char **out,
                   size_t *out_len)
{
    struct json v;
    if (!walk(json, len, path, &v))
        return false;
    *out = v.raw.p;
    *out_len = v.raw.n;
    return true;
}

char *proa_json_quote(const char *s, char *out, size_t size)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, size);
    json_put_string(&b, str_c(s), 0);
    str text = buf_ok(&b) && b.len < size ? buf_str(&b) : S("\"\"");
    if (size < 3)
        return out;
    memcpy(out, text.p, text.n);
    out[text.n] = 0;
    return out;
}
