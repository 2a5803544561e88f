#include "url.h"

#include "base/id.h"
#include "format/uri.h"

enum { URL_MAX = 8192 };

static int out_of_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the URL does not fit into the request's memory");
}

/* The URL for people: from behind the user and password on, if it has any. NUL-terminated. */
static str shown(str url)
{
    ptrdiff_t start = str_find(url, S("://"));
    str rest = str_skip(url, start < 0 ? 0 : (size_t)start + 3);
    for (size_t i = strcspn(rest.p, "/?#"); i-- > 0;)
        if (rest.p[i] == '@')
            return str_skip(rest, i + 1);
    return url;
}

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && !strchr("\"<>\\^`{|}", c);
}

/* Control characters are refused, what else a URL can't have is percent-encoded. */
static int escape(struct arena *a, str s, str *ret, struct error *err)
{
    static const char hex[] = "0123456789ABCDEF";
    char *p = arena_alloc(a, s.n * 3 + 1), *at = p;
    if (!p)
        return out_of_memory(err);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < ' ' || c == 0x7f)
            return fail(err, INVALID, NULL, "the URL has a control character at position %zu", i);
        if (is_plain(c)) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = hex[c >> 4];
        *at++ = hex[c & 15];
    }
    *at = 0;
    *ret = str_of(p, (size_t)(at - p));
    return 0;
}

static int basic_auth(struct arena *a, str userinfo, str *ret, struct error *err)
{
    str plain;
    if (uri_decode(a, userinfo, URI_PATH, &plain))
        return fail(err, INVALID, NULL, "the user in the URL has a broken escape");
    if (str_find_c(plain, ':') < 0)
        plain = arena_printf(a, STR_FMT ":", STR_ARG(plain));
    size_t n = base64_len(plain.n);
    char *p = plain.p ? arena_alloc(a, 6 + n + 1) : NULL;
    if (!p)
        return out_of_memory(err);
    memcpy(p, "Basic ", 6);
    base64_encode(plain, p + 6);
    *ret = str_of(p, 6 + n);
    return 0;
}

static int check_scheme(const struct uri *u, str text, struct error *err)
{
    if (str_ieq(u->scheme, S("http")) || str_ieq(u->scheme, S("https")))
        return 0;
    return fail(err, INVALID, NULL, STR_FMT ": a URL must begin with http:// or https://",
                STR_ARG(shown(text)));
}

static int parse(str text, struct uri *ret, struct error *err)
{
    if (text.n > URL_MAX)
        return fail(err, INVALID, NULL, "the URL is longer than %d bytes", URL_MAX);
    if (uri_parse(text, ret))
        return fail(err, INVALID, NULL, STR_FMT ": this is no URL", STR_ARG(shown(text)));
    int r = check_scheme(ret, text, err);
    if (!r && !ret->host.n)
        r = fail(err, INVALID, NULL, STR_FMT ": the URL names no host", STR_ARG(shown(text)));
    return r;
}

static int fill(struct arena *a, str text, struct binding_url *ret, struct error *err)
{
    struct uri u;
    int r = parse(text, &u, err);
    if (r)
        return r;
    struct binding_url url = { .text = text, .tls = str_ieq(u.scheme, S("https")) };
    unsigned usual = url.tls ? 443 : 80;
    const char *open = u.ipv6 ? "[" : "", *close = u.ipv6 ? "]" : "";
    str host = arena_printf(a, "%s" STR_FMT "%s", open, STR_ARG(u.host), close);
    url.address = arena_printf(a, STR_FMT ":%u", STR_ARG(host), u.port ? u.port : usual).p;
    url.authority = u.port ? str_c(url.address) : host;
    const char *slash = u.path.n ? "" : "/", *mark = u.query.n ? "?" : "";
    str part[] = { str_c(slash), u.path, str_c(mark), u.query };
    url.target = arena_join(a, part, COUNT(part));
    if (!host.p || !url.address || !url.target.p)
        return out_of_memory(err);
    if (u.userinfo.n && (r = basic_auth(a, u.userinfo, &url.basic, err)))
        return r;
    *ret = url;
    return 0;
}

int binding_url_make(struct arena *a, str base, str path, struct binding_url *ret,
                     struct error *err)
{
    str text = base;
    if (path.n) {
        while (str_ends(base, S("/")))
            base.n--;
        while (str_starts(path, S("/")))
            path = str_skip(path, 1);
        str part[] = { base, S("/"), path };
        text = arena_join(a, part, COUNT(part));
        if (!text.p)
            return out_of_memory(err);
    }
    int r = escape(a, text, &text, err);
    return r ? r : fill(a, text, ret, err);
}

int binding_url_follow(struct arena *a, const struct binding_url *from, str location,
                       struct binding_url *ret, struct error *err)
{
    str text;
    int r = escape(a, location, &text, err);
    if (r)
        return r;
    if (uri_resolve(a, from->text, text, &text))
        return out_of_memory(err);
    return fill(a, text, ret, err);
}
