/* From what people write to a fault. */
#include "policy/chaos.h"

#include "format/duration.h"
#include "format/json.h"

#include <stdio.h>

static const char *const kinds[CHAOS_KINDS] = { "delay", "error", "reset", "blackhole" };
enum { STATUS_DEFAULT = 503, SHOWN = 40 };

const char *chaos_kind_name(enum chaos_kind kind)
{
    return kinds[kind];
}

static int wrong(struct error *err, const char *what, str value, const char *want)
{
    return fail(err, INVALID, NULL, "%s \"" STR_FMT "\" %s", what, STR_ARG(str_take(value, SHOWN)),
                want);
}

static int copy(const char *what, str value, char *to, size_t size, struct error *err)
{
    if (value.n >= size || (value.n && memchr(value.p, 0, value.n)))
        return wrong(err, what, value, "is too long");
    if (value.n)
        memcpy(to, value.p, value.n);
    to[value.n] = 0;
    return 0;
}

/* It stands in paths and headers as it is. */
static int parse_name(str name, struct chaos_fault *f, struct error *err)
{
    static const char more[] = "._-";
    if (!name.n)
        return fail(err, INVALID, NULL, "a fault needs a name");
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], lower = (char)(c | 32);
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && !memchr(more, c, 3))
            return wrong(err, "name", name, "may have letters, digits and . _ - alone");
    }
    return copy("name", name, f->name, sizeof f->name, err);
}

static int parse_kind(str kind, struct chaos_fault *f, struct error *err)
{
    for (size_t i = 0; i < CHAOS_KINDS; i++)
        if (str_eq(kind, str_c(kinds[i]))) {
            f->kind = (enum chaos_kind)i;
            return 0;
        }
    return wrong(err, "fault", kind, "is none of delay, error, reset, blackhole");
}

static int parse_percent(str text, struct chaos_fault *f, struct error *err)
{
    struct json v;
    f->percent = 100;
    if (text.n && (json_parse(text, &v, NULL) < 0 || !json_double(v, &f->percent) ||
                   f->percent <= 0 || f->percent > 100))
        return wrong(err, "percent", text, "must be a number over 0, at most 100");
    return 0;
}

static bool parse_ns(str text, uint64_t max_ns, uint64_t *ret)
{
    int64_t ns;
    if (!duration_parse(str_trim(text), &ns) || ns <= 0 || (uint64_t)ns > max_ns)
        return false;
    *ret = (uint64_t)ns;
    return true;
}

static int parse_delay(str text, struct chaos_fault *f, struct error *err)
{
    str least, most;
    if (f->kind != CHAOS_DELAY)
        return text.n ? wrong(err, "delay", text, "is for the fault delay alone") : 0;
    bool range = str_cut(text, '-', &least, &most);
    if (!parse_ns(least, CHAOS_LONGEST_NS, &f->delay_ns) ||
        !parse_ns(range ? most : least, CHAOS_LONGEST_NS, &f->delay_max_ns) ||
        f->delay_max_ns < f->delay_ns)
        return wrong(err, "delay", text, "must be such as 50ms or 50ms-200ms, at most 1h");
    return 0;
}

static int parse_status(str text, struct chaos_fault *f, struct error *err)
{
    int64_t n = -1;
    if (f->kind != CHAOS_ERROR)
        return text.n ? wrong(err, "status", text, "is for the fault error alone") : 0;
    if (!text.n)
        n = STATUS_DEFAULT;
    else if (!str_to_i64(text, &n))
        for (int code = 1; code <= UNAUTHENTICATED; code++)
            if (str_ieq(text, str_c(code_name((enum code)code))))
                n = code;
    if (!(n >= 1 && n <= UNAUTHENTICATED) && !(n >= 400 && n <= 599))
        return wrong(err, "status", text,
                     "must be an HTTP status from 400 to 599, or a gRPC code such as UNAVAILABLE");
    f->status = (int)n;
    return 0;
}

static int parse_length(str text, struct chaos_fault *f, struct error *err)
{
    f->for_ns = CHAOS_FOR_NS;
    if (text.n && !parse_ns(text, CHAOS_LONGEST_NS, &f->for_ns))
        return wrong(err, "for", text, "must be a duration such as 30s, at most 1h");
    return 0;
}

int chaos_parse(const struct chaos_words *w, struct chaos_fault *ret, struct error *err)
{
    struct chaos_fault f = { 0 };
    int r = parse_name(w->name, &f, err);
    if (r >= 0)
        r = parse_kind(w->fault, &f, err);
    if (r >= 0)
        r = copy("app", w->app, f.app, sizeof f.app, err);
    if (r >= 0)
        r = copy("method", w->method, f.method, sizeof f.method, err);
    if (r >= 0)
        r = copy("zone", w->zone, f.zone, sizeof f.zone, err);
    if (r >= 0)
        r = copy("component", w->component, f.component, sizeof f.component, err);
    if (r >= 0 && w->component.n && (w->app.n || w->zone.n))
        r = wrong(err, "component", w->component,
                  "can't go with app or zone: a fault is of components or of calls to apps");
    if (r >= 0)
        r = parse_percent(w->percent, &f, err);
    if (r >= 0)
        r = parse_delay(w->delay, &f, err);
    if (r >= 0)
        r = parse_status(w->status, &f, err);
    if (r >= 0)
        r = parse_length(w->length, &f, err);
    if (r >= 0)
        *ret = f;
    return r;
}

const char *chaos_status_text(int status, char ret[24])
{
    if (status <= UNAUTHENTICATED)
        snprintf(ret, 24, "%s", code_name((enum code)status));
    else
        snprintf(ret, 24, "%d", status);
    return ret;
}

/* ---- JSON ---- */

static str *word_called(struct chaos_words *w, str name)
{
    const struct {
        str name;
        str *to;
    } row[] = {
        { S("name"), &w->name },   { S("fault"), &w->fault },
        { S("app"), &w->app },     { S("method"), &w->method },
        { S("zone"), &w->zone },   { S("percent"), &w->percent },
        { S("delay"), &w->delay }, { S("status"), &w->status },
        { S("for"), &w->length },  { S("component"), &w->component },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(name, row[i].name))
            return row[i].to;
    return NULL;
}

int chaos_from_json(struct arena *a, struct json v, struct chaos_fault *ret, struct error *err)
{
    struct chaos_words words = { 0 };
    struct json_iter it = json_iter(v);
    struct json key, value;
    str name;
    if (v.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "a fault is a JSON object");
    while (json_next(&it, &key, &value)) {
        int r = json_string(a, key, &name);
        str *to = r < 0 ? NULL : word_called(&words, name);
        if (r >= 0 && !to)
            return wrong(
                err, "member", name,
                "is none of name, fault, app, component, method, zone, percent, delay, status, "
                "for");
        if (r >= 0 && value.type == JSON_NUMBER)
            *to = value.raw;
        else if (r >= 0)
            r = json_string_or(a, value, S(""), to);
        if (r == -INVALID)
            return wrong(err, "member", name, "must be text or a number");
        if (r < 0)
            return fail(err, EXHAUSTED, NULL, "the fault is too large for its memory");
    }
    return chaos_parse(&words, ret, err);
}
