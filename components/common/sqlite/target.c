#include "components/common/sqlite/target.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoding as SQLite's own URIs do it; a '%' without two digits stays as it is. */
static char *decode(struct arena *arena, str s, bool plus_is_space)
{
    char *out = arena_alloc(arena, s.n + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%' && i + 2 < s.n && hex_digit(s.p[i + 1]) >= 0 && hex_digit(s.p[i + 2]) >= 0) {
            c = (char)(hex_digit(s.p[i + 1]) << 4 | hex_digit(s.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = 0;
    return strlen(out) == n ? out : NULL; /* "%00" would cut the name */
}

bool sqlite_is_identifier(const char *name)
{
    for (const char *p = name; *p; p++)
        if (!(*p == '_' || (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z')))
            return false;
    return *name != 0;
}

static bool is_pragma_value(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.' && c != ' ')
            return false;
    }
    return s.n > 0;
}

static int forbidden(str name, struct error *err)
{
    static const struct {
        const char *name, *instead;
    } row[] = {
        { "busy_timeout", "use the metadata field busyTimeout" },
        { "journal_mode", "use the metadata field disableWAL" },
        { "foreign_keys", "leave it out" },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_ieq(name, str_c(row[i].name)))
            return fail(err, INVALID, NULL,
                        "found forbidden option '_pragma=%s' in the connection string: %s",
                        row[i].name, row[i].instead);
    return 0;
}

/* "name(value)" or "name=value". */
static int add_pragma(struct sqlite_target *t, struct arena *arena, str text, struct error *err)
{
    str name, value;
    if (!str_cut(text, '(', &name, &value))
        (void)str_cut(text, '=', &name, &value);
    name = str_trim(name);
    value = str_trim(value);
    if (str_ends(value, S(")")))
        value = str_trim(str_take(value, value.n - 1));
    int r = forbidden(name, err);
    if (r < 0)
        return r;
    const char *ident = arena_cstr(arena, name);
    if (!ident)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (!sqlite_is_identifier(ident) || !is_pragma_value(value))
        return fail(err, INVALID, NULL,
                    "option '_pragma=%.*s' in the connection string: write it as name(value)",
                    (int)min_size(text.n, 100), text.p);
    if (t->n_pragmas == SQLITE_PRAGMAS_MAX)
        return fail(err, INVALID, NULL, "more than %d _pragma options in the connection string",
                    SQLITE_PRAGMAS_MAX);
    str sql = arena_printf(arena, "PRAGMA %s = " STR_FMT, ident, STR_ARG(value));
    if (!sql.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    t->pragma[t->n_pragmas++] = sql.p;
    return 0;
}

static int add_option(struct sqlite_target *t, struct arena *arena, str option, struct error *err)
{
    str key, value;
    (void)str_cut(option, '=', &key, &value);
    const char *text = decode(arena, value, true);
    if (!text)
        return fail(err, INVALID, NULL, "option \"" STR_FMT "\" of the connection string: bad text",
                    STR_ARG(key));
    value = str_c(text);
    if (str_eq(key, S("_pragma")))
        return add_pragma(t, arena, value, err);
    if (str_eq(key, S("mode"))) {
        t->read_only |= str_eq(value, S("ro"));
        t->must_exist |= str_eq(value, S("rw"));
        t->memory |= str_eq(value, S("memory"));
    } else if (str_eq(key, S("immutable"))) {
        t->read_only |= str_eq(value, S("1"));
    }
    return 0; /* cache, _txlock, _time_format …: nothing that we would do otherwise */
}

/* "file:" and the authority ("//", "//localhost") away. */
static str strip_scheme(str s)
{
    if (!str_istarts(s, S("file:")))
        return s;
    s = str_skip(s, 5);
    if (!str_starts(s, S("//")))
        return s;
    ptrdiff_t slash = str_find_c(str_skip(s, 2), '/');
    return slash < 0 ? S("") : str_skip(s, 2 + (size_t)slash);
}

int sqlite_target_parse(str text, struct arena *arena, struct sqlite_target *ret, struct error *err)
{
    struct sqlite_target t = { .path = "" };
    str head, options, option, fragment;
    text = str_trim(text);
    if (!text.n)
        return fail(err, INVALID, NULL, "missing connection string");

    (void)str_cut(text, '?', &head, &options);
    t.memory = str_istarts(head, S(":memory:")) || str_istarts(head, S("file::memory:"));
    while (str_next(&options, '&', &option)) {
        int r = option.n ? add_option(&t, arena, option, err) : 0;
        if (r < 0)
            return r;
    }
    if (!t.memory) {
        (void)str_cut(strip_scheme(head), '#', &head, &fragment);
        t.path = decode(arena, head, false);
        if (!t.path || !*t.path)
            return fail(err, INVALID, NULL,
                        "connection string \"%.*s\" names no file: write a path such as "
                        "/var/lib/app/data.db",
                        (int)min_size(text.n, 200), text.p);
    }
    *ret = t;
    return 0;
}
