#include "format/spiffe.h"

static bool domain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static bool only(str s, bool upper_too)
{
    for (size_t i = 0; i < s.n; i++)
        if (!domain_char(s.p[i]) && !(upper_too && s.p[i] >= 'A' && s.p[i] <= 'Z'))
            return false;
    return s.n > 0;
}

/* No escapes and no dots: what isn't there can't be read in two ways. */
static bool is_path(str path)
{
    str segment;
    while (str_starts(path, S("/"))) {
        path = str_skip(path, 1);
        ptrdiff_t end = str_find_c(path, '/');
        segment = end < 0 ? path : str_take(path, (size_t)end);
        path = str_skip(path, segment.n);
        if (!only(segment, true) || str_eq(segment, S(".")) || str_eq(segment, S("..")))
            return false;
    }
    return !path.n;
}

bool spiffe_parse(str id, str *ret_trust_domain, str *ret_path)
{
    if (id.n > SPIFFE_MAX || !str_starts(id, S("spiffe://")))
        return false;
    str rest = str_skip(id, sizeof "spiffe://" - 1);
    ptrdiff_t slash = str_find_c(rest, '/');
    if (slash < 0)
        return false;
    str domain = str_take(rest, (size_t)slash), path = str_skip(rest, (size_t)slash);
    if (domain.n > 255 || !only(domain, false) || !is_path(path))
        return false;
    *ret_trust_domain = domain;
    *ret_path = path;
    return true;
}

bool spiffe_is(str id, str wanted)
{
    str domain, path;
    if (!wanted.n || !spiffe_parse(id, &domain, &path))
        return false;
    return str_eq(wanted.p[0] == '/' ? path : id, wanted);
}
