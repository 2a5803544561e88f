#include "component/bind.h"

#include "component/suggest.h"
#include "format/duration.h"

#include <stdio.h>

enum { FAULT_MAX = 512 };

static void add(struct bind *b, enum diag_level level, const struct yaml_node *n, const char *fmt,
                va_list args)
{
    char text[FAULT_MAX];
    vsnprintf(text, sizeof text, fmt, args);
    diag_add(b->diags, level, b->file, n ? n->line : 0, n ? n->column : 0, "%s", text);
}

void bind_fail(struct bind *b, const struct yaml_node *n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(b, b->level, n, fmt, args);
    va_end(args);
    b->failed = true;
}

void bind_no_memory(struct bind *b, const struct yaml_node *n)
{
    bind_fail(b, n, "out of memory: the resources are too large");
    b->diags->no_memory = true;
}

void bind_warn(struct bind *b, const struct yaml_node *n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add(b, DIAG_WARN, n, fmt, args);
    va_end(args);
}

static void wrong_type(struct bind *b, const struct yaml_node *n, const char *name,
                       const char *expected)
{
    if (yaml_is_scalar(n))
        bind_fail(b, n, "%s: \"%.*s\" is not %s", name, (int)min_size(n->text.n, 60), n->text.p,
                  expected);
    else
        bind_fail(b, n, "%s: expected %s, found %s", name, expected, yaml_type_name(n->type));
}

static void *room(struct bind *b, const struct yaml_node *n, size_t size, size_t count)
{
    size_t total;
    void *p = NULL;
    if (!__builtin_mul_overflow(size, count, &total))
        p = arena_zalloc(b->arena, total ? total : 1);
    if (!p)
        bind_no_memory(b, n);
    return p;
}

static bool get_bool(const struct yaml_node *n, bool *ret)
{
    return yaml_bool(n, ret) || (yaml_is_scalar(n) && str_to_bool(n->text, ret));
}

static bool get_int(const struct yaml_node *n, int64_t *ret)
{
    return yaml_i64(n, ret) || (yaml_is_scalar(n) && str_to_i64(n->text, ret));
}

static void bind_duration(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                          uint64_t *ret)
{
    int64_t ns = 0;
    bool fits =
        yaml_is_scalar(n) && (!n->text.n || duration_parse_bare(n->text, (int64_t)MS(1), &ns));
    if (!fits || ns < 0)
        wrong_type(b, n, row->name, "a duration such as 30s, or a number of milliseconds");
    else
        *ret = (uint64_t)ns;
}

static void bind_scalar(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                        void *at)
{
    bool yes;
    if (row->kind == BIND_STR) {
        if (!yaml_is_scalar(n))
            wrong_type(b, n, row->name, "a string");
        else
            *(str *)at = n->text;
    } else if (row->kind == BIND_DURATION) {
        bind_duration(b, row, n, at);
    } else if (row->kind == BIND_INT) {
        if (!get_int(n, at))
            wrong_type(b, n, row->name, "a whole number");
    } else if (!get_bool(n, &yes)) {
        wrong_type(b, n, row->name, "true or false");
    } else if (row->kind == BIND_TRI) {
        *(enum tri *)at = yes ? TRI_YES : TRI_NO;
    } else {
        *(bool *)at = yes;
    }
}

static void bind_strs(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                      struct strs *ret)
{
    struct strs list = { .v = room(b, n, sizeof *list.v, n->n) };
    for (size_t i = 0; list.v && i < n->n; i++)
        if (yaml_is_scalar(n->item[i]))
            list.v[list.n++] = n->item[i]->text;
        else
            wrong_type(b, n->item[i], row->name, "a list of strings");
    *ret = list;
}

static void bind_ints(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                      struct ints *ret)
{
    struct ints list = { .v = room(b, n, sizeof *list.v, n->n) };
    for (size_t i = 0; list.v && i < n->n; i++)
        if (get_int(n->item[i], &list.v[list.n]))
            list.n++;
        else
            wrong_type(b, n->item[i], row->name, "a list of whole numbers");
    *ret = list;
}

static void bind_kvs(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                     struct kvs *ret)
{
    struct kv *v = room(b, n, sizeof *v, n->n);
    size_t k = 0;
    for (size_t i = 0; v && i < n->n; i++) {
        const struct yaml_node *value = n->pair[i].value;
        if (!yaml_is_null(value) && !yaml_is_scalar(value))
            wrong_type(b, value, row->name, "a map of strings");
        else
            v[k++] = (struct kv){ n->pair[i].key->text, yaml_text(value, S("")) };
    }
    *ret = (struct kvs){ v, k };
}

struct any_list { /* what BIND_LIST and BIND_MAP fill */
    void *v;
    size_t n;
};

static void bind_list(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                      struct any_list *ret)
{
    struct any_list list = { .v = room(b, n, row->sub->size, n->n) };
    for (size_t i = 0; list.v && i < n->n; i++) {
        char *into = (char *)list.v + row->sub->size * list.n++;
        const struct yaml_node *item = row->kind == BIND_MAP ? n->pair[i].value : n->item[i];
        if (row->kind == BIND_MAP)
            *(str *)into = n->pair[i].key->text;
        if (!yaml_is_null(item))
            bind_map(b, row->sub, item, into);
    }
    *ret = list;
}

static void bind_row(struct bind *b, const struct bind_row *row, const struct yaml_node *n,
                     void *into)
{
    void *at = (char *)into + row->off;
    bool want_map = row->kind == BIND_MAP || row->kind == BIND_KVS;
    bool want_list = row->kind == BIND_LIST || row->kind == BIND_STRS || row->kind == BIND_INTS;
    if ((want_map && n->type != YAML_MAP) || (want_list && n->type != YAML_SEQ)) {
        wrong_type(b, n, row->name, want_map ? "a map" : "a list");
        return;
    }
    switch (row->kind) {
    case BIND_STRS:
        bind_strs(b, row, n, at);
        break;
    case BIND_INTS:
        bind_ints(b, row, n, at);
        break;
    case BIND_KVS:
        bind_kvs(b, row, n, at);
        break;
    case BIND_LIST:
    case BIND_MAP:
        bind_list(b, row, n, at);
        break;
    case BIND_STRUCT:
        bind_map(b, row->sub, n, at);
        break;
    case BIND_NODE:
        *(const struct yaml_node **)at = n;
        break;
    case BIND_SKIP:
    case BIND_SELF:
        break;
    default:
        bind_scalar(b, row, n, at);
    }
}

const struct yaml_node *bind_get(const struct yaml_node *map, str name)
{
    for (size_t i = 0; map && map->type == YAML_MAP && i < map->n; i++)
        if (str_ieq(map->pair[i].key->text, name))
            return map->pair[i].value;
    return NULL;
}

static const struct bind_row *find_row(const struct bind_table *t, str name)
{
    for (size_t i = 0; i < t->n_rows; i++)
        if (t->rows[i].name && str_ieq(str_c(t->rows[i].name), name))
            return &t->rows[i];
    return NULL;
}

static void warn_unknown(struct bind *b, const struct bind_table *t, const struct yaml_node *key)
{
    char hint[SUGGEST_MAX];
    struct suggest near = { .word = key->text };
    for (size_t i = 0; i < t->n_rows; i++)
        if (t->rows[i].name)
            suggest_offer(&near, str_c(t->rows[i].name));
    bind_warn(b, key, "%s has no field \"%.*s\"%s: it is ignored", t->what,
              (int)min_size(key->text.n, 60), key->text.p, suggest_text(&near, hint));
}

void bind_map(struct bind *b, const struct bind_table *t, const struct yaml_node *n, void *into)
{
    if (yaml_is_null(n))
        return;
    if (t->scalar && yaml_is_scalar(n)) {
        bind_row(b, t->scalar, n, into);
        return;
    }
    if (n->type != YAML_MAP) {
        wrong_type(b, n, t->what, "a map");
        return;
    }
    for (size_t i = 0; i < t->n_rows; i++)
        if (t->rows[i].kind == BIND_SELF)
            *(const struct yaml_node **)((char *)into + t->rows[i].off) = n;
    for (size_t i = 0; i < n->n; i++) {
        const struct bind_row *row = find_row(t, n->pair[i].key->text);
        if (!row)
            warn_unknown(b, t, n->pair[i].key);
        else if (!yaml_is_null(n->pair[i].value))
            bind_row(b, row, n->pair[i].value, into);
    }
}
