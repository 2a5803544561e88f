#include "block/core/keyprefix.h"

static str lower(struct arena *a, str s)
{
    char *p = arena_cstr(a, s);
    for (size_t k = 0; p && k < s.n; k++)
        if (p[k] >= 'A' && p[k] <= 'Z')
            p[k] |= 0x20;
    return (str){ p, s.n };
}

static str text_of(const struct blocks *b, struct instance *i)
{
    str mode = kvs_get(i->metadata, S("keyPrefix"));
    if (!mode.n || str_ieq(mode, S("appid")))
        return str_c(b->app_id);
    if (str_ieq(mode, S("name")))
        return str_c(i->name);
    if (str_ieq(mode, S("none")))
        return S("");
    if (str_ieq(mode, S("namespace")))
        return b->namespace_raw[0] ? arena_printf(&i->arena, "%s.%s", b->namespace_raw, b->app_id)
                                   : str_c(b->app_id);
    return lower(&i->arena, mode);
}

int keyprefix_of(const struct blocks *b, struct instance *i, str *ret, struct error *err)
{
    str text = text_of(b, i);
    if (text.p && str_contains(text, KEY_SEPARATOR))
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                    "keyPrefix of component %s can't contain '||': choose another", i->name);
    str part[] = { text, text.n ? KEY_SEPARATOR : S("") };
    str joined = text.p ? arena_join(&i->arena, part, COUNT(part)) : text;
    if (!joined.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    *ret = joined;
    return 0;
}

int keyprefix_join(str prefix, str key, struct arena *a, str *ret, struct error *err)
{
    if (str_contains(key, KEY_SEPARATOR))
        return fail(err, INVALID, NULL, "input key/keyPrefix '" STR_FMT "' can't contain '||'",
                    STR_ARG(key));
    str part[] = { prefix, key };
    str joined = arena_join(a, part, COUNT(part));
    if (!joined.p)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    *ret = joined;
    return 0;
}
