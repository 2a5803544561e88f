#include "flatten.h"

#include "base/map.h"
#include "format/json.h"

struct values { /* the values of one secret, or of all of them */
    struct kv *v;
    size_t n, cap;
    struct map seen;
};

struct walk {
    const struct flatten_options *options;
    struct arena *a;
    struct buf *name; /* of the value at hand, level by level */
    size_t depth;
    struct error *err;
};

static int exhausted(struct walk *w)
{
    return fail(w->err, EXHAUSTED, NULL,
                "too many or too large secrets: at most %d values with names of %d bytes",
                FLATTEN_VALUES_MAX, FLATTEN_NAME_MAX);
}

static int values_grow(struct values *vs, struct arena *a)
{
    size_t cap = vs->cap ? vs->cap * 2 : 8;
    struct kv *v = arena_alloc(a, cap * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    if (vs->n)
        memcpy(v, vs->v, vs->n * sizeof *v);
    vs->v = v;
    vs->cap = cap;
    return 0;
}

static void values_done(struct values *vs)
{
    map_done(&vs->seen);
}

/* Adds the value at the present name. */
static int emit(struct walk *w, struct json value, struct values *out)
{
    str name = buf_str(w->name);
    if (map_has(&out->seen, name))
        return fail(w->err, INVALID, NULL,
                    "two values have the name '" STR_FMT "': rename one of them, or choose another "
                    "nestedSeparator",
                    STR_ARG(name));
    str text = json_is_null(value) ? S("") : value.raw;
    if (value.type == JSON_STRING && json_string(w->a, value, &text))
        return exhausted(w);
    if (out->n == out->cap && values_grow(out, w->a))
        return exhausted(w);
    struct kv kv = { arena_dup(w->a, name), arena_dup(w->a, text) };
    if (!kv.key.p || !kv.value.p || map_put(&out->seen, name, out, NULL))
        return exhausted(w);
    out->v[out->n++] = kv;
    return 0;
}

static int descend(struct walk *w, struct json value, struct values *out);

/* Appends one level to the name, walks what is under it and takes the level away again. */
static int enter(struct walk *w, struct json key, size_t index, struct json value,
                 struct values *out)
{
    size_t before = w->name->len;
    if (w->depth > 0)
        buf_put(w->name, w->options->separator);
    if (key.type == JSON_STRING) {
        if (json_string_put(w->name, key))
            return exhausted(w);
    } else {
        buf_put_u64(w->name, index);
    }
    if (!buf_ok(w->name))
        return exhausted(w);
    w->depth++;
    int r = descend(w, value, out);
    w->depth--;
    w->name->len = before;
    return r;
}

static int descend(struct walk *w, struct json value, struct values *out)
{
    if (value.type != JSON_OBJECT && value.type != JSON_ARRAY)
        return emit(w, value, out);
    if (w->depth >= FLATTEN_DEPTH_MAX)
        return fail(w->err, INVALID, NULL, "secrets are nested deeper than %d levels",
                    FLATTEN_DEPTH_MAX);
    struct json key, item;
    size_t index = 0;
    struct json_iter it = json_iter(value);
    while (json_next(&it, &key, &item)) {
        int r = enter(w, key, index++, item, out);
        if (r)
            return r;
    }
    return 0;
}

static void values_init(struct values *vs)
{
    *vs = (struct values){ 0 };
    map_init(&vs->seen, FLATTEN_VALUES_MAX);
}

/* One secret for each value of the document. */
static int single(struct walk *w, struct json root, struct secret **ret, size_t *ret_n)
{
    AUTO(values_done) struct values all;
    values_init(&all);
    int r = descend(w, root, &all);
    if (r)
        return r;
    struct secret *list = arena_alloc(w->a, (all.n + 1) * sizeof *list);
    if (!list)
        return exhausted(w);
    for (size_t i = 0; i < all.n; i++)
        list[i] = (struct secret){ all.v[i].key, { &all.v[i], 1 } };
    *ret = list;
    *ret_n = all.n;
    return 0;
}

/* The values of one top-level member; a plain one has a single value under its own name. */
static int member(struct walk *w, struct json key, struct json value, struct secret *ret)
{
    AUTO(values_done) struct values vs;
    values_init(&vs);
    str name;
    if (json_string(w->a, key, &name))
        return exhausted(w);
    ret->name = arena_dup(w->a, name);
    if (!ret->name.p)
        return exhausted(w);
    bool nested = value.type == JSON_OBJECT || value.type == JSON_ARRAY;
    int r = nested ? descend(w, value, &vs) : enter(w, key, 0, value, &vs);
    if (r)
        return r;
    ret->values = (struct kvs){ vs.v, vs.n };
    return 0;
}

/* One secret for each top-level member. */
static int multi(struct walk *w, struct json root, struct secret **ret, size_t *ret_n)
{
    struct secret *list = arena_alloc(w->a, (json_count(root) + 1) * sizeof *list);
    if (!list)
        return exhausted(w);
    size_t n = 0;
    struct json key, value;
    struct json_iter it = json_iter(root);
    while (json_next(&it, &key, &value)) {
        int r = member(w, key, value, &list[n++]);
        if (r)
            return r;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int local_file_flatten(str text, const struct flatten_options *options, struct arena *a,
                       struct secret **ret, size_t *ret_n, struct error *err)
{
    struct json root;
    struct json_error at;
    if (json_parse(text, &root, &at))
        return fail(err, INVALID, NULL, "line %u column %u: %s", at.line, at.column, at.text);
    if (root.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "the file must hold one JSON object, not %s",
                    json_type_name(root.type));

    AUTO(buf_done) struct buf name;
    buf_init(&name, FLATTEN_NAME_MAX);
    struct walk w = { .options = options, .a = a, .name = &name, .err = err };
    return options->multi ? multi(&w, root, ret, ret_n) : single(&w, root, ret, ret_n);
}
