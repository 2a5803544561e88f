#include "format/cel_ast.h"

#include <math.h>

enum { EQUAL_DEPTH_MAX = 64 }; /* levels of lists and maps that == goes down */

/* ---- failing ---- */

const char cel_no_memory[] = "out of the memory set aside for it";

bool cel_fail(struct cel_run *r, unsigned pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    str text = arena_vprintf(r->arena, fmt, args);
    va_end(args);
    if (!text.p)
        return cel_exhausted(r, pos, cel_no_memory);
    r->code = INVALID;
    r->pos = pos;
    r->why = text.p;
    return false;
}

bool cel_exhausted(struct cel_run *r, unsigned pos, const char *why)
{
    r->code = EXHAUSTED;
    r->pos = pos;
    r->why = why;
    return false;
}

void *cel_alloc(struct cel_run *r, unsigned pos, size_t size)
{
    void *p = arena_alloc(r->arena, size ? size : 1);
    if (!p)
        (void)cel_exhausted(r, pos, cel_no_memory);
    return p;
}

bool cel_charge(struct cel_run *r, unsigned pos, size_t bytes)
{
    r->steps += 1 + bytes / 256;
    if (r->steps <= r->max_steps)
        return true;
    return cel_exhausted(r, pos, "the expression takes too many steps");
}

/* ---- kinds ---- */

const char *cel_kind_name(enum cel_kind kind)
{
    static const char *const names[] = {
        "null_type",
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "type",
    };
    return names[kind];
}

bool cel_is_number(const struct cel_value *v)
{
    return v->kind == CEL_INT || v->kind == CEL_UINT || v->kind == CEL_DOUBLE;
}

int cel_json(struct arena *a, struct json v, struct cel_value *ret)
{
    struct cel_value r = { .kind = CEL_NULL };
    switch (v.type) {
    case JSON_NONE:
    case JSON_NULL:
        break;
    case JSON_BOOL:
        r.kind = CEL_BOOL;
        (void)!json_bool(v, &r.b);
        break;
    case JSON_NUMBER:
        r.kind = CEL_DOUBLE;
        if (!json_double(v, &r.d))
            r.d = v.raw.p[0] == '-' ? -INFINITY : INFINITY;
        break;
    case JSON_STRING:
        r.kind = CEL_STRING;
        if (json_string(a, v, &r.s))
            return -EXHAUSTED;
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        r.kind = v.type == JSON_ARRAY ? CEL_LIST : CEL_MAP;
        r.json = v;
        break;
    }
    *ret = r;
    return 0;
}

static bool is_json(const struct cel_value *v)
{
    return v->json.type != JSON_NONE;
}

static bool from_json(struct cel_run *r, unsigned pos, struct json v, struct cel_value *ret)
{
    return !cel_json(r->arena, v, ret) || cel_exhausted(r, pos, cel_no_memory);
}

/* ---- order and equality ---- */

static enum cel_order order_of(int64_t difference)
{
    return difference < 0 ? ORDER_LESS : difference > 0 ? ORDER_GREATER : ORDER_EQUAL;
}

static enum cel_order order_i64(int64_t a, int64_t b)
{
    return order_of((a > b) - (a < b));
}

static enum cel_order order_double(double a, double b)
{
    return isnan(a) || isnan(b) ? ORDER_NONE : order_of((a > b) - (a < b));
}

static enum cel_order reverse(enum cel_order o)
{
    return o == ORDER_LESS ? ORDER_GREATER : o == ORDER_GREATER ? ORDER_LESS : o;
}

static enum cel_order order_numbers(const struct cel_value *a, const struct cel_value *b)
{
    if (a->kind > b->kind)
        return reverse(order_numbers(b, a));
    if (a->kind == CEL_DOUBLE)
        return order_double(a->d, b->d);
    if (b->kind == CEL_DOUBLE) /* the integer is rounded, as the specification's cases want it */
        return order_double(a->kind == CEL_INT ? (double)a->i : (double)a->u, b->d);
    if (a->kind == CEL_UINT)
        return order_of((a->u > b->u) - (a->u < b->u));
    if (b->kind == CEL_INT)
        return order_i64(a->i, b->i);
    return a->i < 0 || (uint64_t)a->i < b->u ? ORDER_LESS
           : (uint64_t)a->i > b->u           ? ORDER_GREATER
                                             : ORDER_EQUAL;
}

bool cel_compare(const struct cel_value *a, const struct cel_value *b, enum cel_order *ret)
{
    if (cel_is_number(a) && cel_is_number(b)) {
        *ret = order_numbers(a, b);
        return true;
    }
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case CEL_BOOL:
        *ret = order_i64(a->b, b->b);
        return true;
    case CEL_STRING:
    case CEL_BYTES:
        *ret = order_of(str_cmp(a->s, b->s));
        return true;
    case CEL_TIMESTAMP:
        *ret = a->t.s != b->t.s ? order_i64(a->t.s, b->t.s) : order_i64(a->t.ns, b->t.ns);
        return true;
    case CEL_DURATION:
        *ret = order_i64(a->i, b->i);
        return true;
    default:
        return false;
    }
}

static bool equal(struct cel_run *r, unsigned pos, const struct cel_value *a,
                  const struct cel_value *b, unsigned depth, bool *ret);

static bool equal_lists(struct cel_run *r, unsigned pos, const struct cel_value *a,
                        const struct cel_value *b, unsigned depth, bool *ret)
{
    struct cel_iter x = cel_iter(a), y = cel_iter(b);
    struct cel_value va, vb;
    bool more = true;
    *ret = cel_count(a) == cel_count(b);
    while (*ret && more) {
        if (!cel_iter_next(r, pos, &x, &va, NULL, &more) ||
            !cel_iter_next(r, pos, &y, &vb, NULL, &more) ||
            (more && !equal(r, pos, &va, &vb, depth, ret)))
            return false;
    }
    return true;
}

static bool equal_maps(struct cel_run *r, unsigned pos, const struct cel_value *a,
                       const struct cel_value *b, unsigned depth, bool *ret)
{
    struct cel_iter it = cel_iter(a);
    struct cel_value key, va, vb;
    bool more = true, found = false;
    *ret = cel_count(a) == cel_count(b);
    while (*ret) {
        if (!cel_iter_next(r, pos, &it, &key, &va, &more))
            return false;
        if (!more)
            break;
        if (!cel_map_find(r, pos, b, &key, &vb, &found))
            return false;
        *ret = found;
        if (found && !equal(r, pos, &va, &vb, depth, ret))
            return false;
    }
    return true;
}

static bool equal(struct cel_run *r, unsigned pos, const struct cel_value *a,
                  const struct cel_value *b, unsigned depth, bool *ret)
{
    enum cel_order order;
    if (cel_compare(a, b, &order)) {
        *ret = order == ORDER_EQUAL;
        return true;
    }
    *ret = false;
    if (a->kind != b->kind)
        return true;
    if (a->kind == CEL_NULL || a->kind == CEL_TYPE) {
        *ret = a->kind == CEL_NULL || str_eq(a->s, b->s);
        return true;
    }
    if (!depth)
        return cel_exhausted(r, pos, "the values are nested too deeply to compare");
    return a->kind == CEL_LIST ? equal_lists(r, pos, a, b, depth - 1, ret)
                               : equal_maps(r, pos, a, b, depth - 1, ret);
}

bool cel_equal(struct cel_run *r, unsigned pos, const struct cel_value *a,
               const struct cel_value *b, bool *ret)
{
    return equal(r, pos, a, b, EQUAL_DEPTH_MAX, ret);
}

/* ---- lists and maps ---- */

size_t cel_count(const struct cel_value *v)
{
    if (is_json(v))
        return json_count(v->json);
    return v->kind == CEL_LIST ? v->list->n : v->map->n;
}

struct cel_iter cel_iter(const struct cel_value *v)
{
    struct cel_iter it = { .v = v };
    if (is_json(v))
        it.json = json_iter(v->json);
    return it;
}

static bool next_json(struct cel_run *r, unsigned pos, struct cel_iter *it, struct cel_value *key,
                      struct cel_value *value, bool *ret_more)
{
    struct json k, v;
    *ret_more = json_next(&it->json, &k, &v);
    if (!*ret_more)
        return true;
    if (!cel_charge(r, pos, v.raw.n))
        return false;
    if (k.type == JSON_NONE)
        return from_json(r, pos, v, key);
    return from_json(r, pos, k, key) && (!value || from_json(r, pos, v, value));
}

bool cel_iter_next(struct cel_run *r, unsigned pos, struct cel_iter *it, struct cel_value *ret_key,
                   struct cel_value *ret_value, bool *ret_more)
{
    if (is_json(it->v))
        return next_json(r, pos, it, ret_key, ret_value, ret_more);
    *ret_more = it->i < cel_count(it->v);
    if (!*ret_more)
        return true;
    size_t i = it->i++;
    if (it->v->kind == CEL_LIST) {
        *ret_key = it->v->list->item[i];
    } else {
        *ret_key = it->v->map->entry[i].key;
        if (ret_value)
            *ret_value = it->v->map->entry[i].value;
    }
    return cel_charge(r, pos, 0);
}

bool cel_map_find(struct cel_run *r, unsigned pos, const struct cel_value *map,
                  const struct cel_value *key, struct cel_value *ret, bool *ret_found)
{
    *ret_found = false;
    if (is_json(map)) {
        if (!cel_charge(r, pos, map->json.raw.n))
            return false;
        struct json v = { .type = JSON_NONE };
        if (key->kind == CEL_STRING)
            v = json_get(map->json, key->s);
        *ret_found = v.type != JSON_NONE;
        return !*ret_found || from_json(r, pos, v, ret);
    }
    if (!cel_charge(r, pos, map->map->n * 16))
        return false;
    for (size_t i = 0; i < map->map->n; i++) {
        enum cel_order order;
        if (!cel_compare(&map->map->entry[i].key, key, &order) || order != ORDER_EQUAL)
            continue;
        *ret_found = true;
        *ret = map->map->entry[i].value;
        break;
    }
    return true;
}

/* Any number that is whole, as an index. */
static bool whole_index(const struct cel_value *v, uint64_t *ret)
{
    enum cel_order order = ORDER_NONE;
    struct cel_value zero = cel_int(0), max = cel_uint(UINT32_MAX);
    if (!cel_compare(v, &zero, &order) || order == ORDER_LESS || order == ORDER_NONE ||
        !cel_compare(v, &max, &order) || order == ORDER_GREATER)
        return false;
    *ret = v->kind == CEL_DOUBLE ? (uint64_t)v->d : v->u; /* a positive int has the same bits */
    return v->kind != CEL_DOUBLE || v->d == trunc(v->d);
}

static bool index_list(struct cel_run *r, unsigned pos, const struct cel_value *v,
                       const struct cel_value *key, struct cel_value *ret)
{
    uint64_t i;
    if (!cel_is_number(key))
        return cel_fail(r, pos, "a list is indexed by a number, not by %s",
                        cel_kind_name(key->kind));
    if (!whole_index(key, &i))
        return cel_fail(r, pos, "invalid index of a list");
    if (!is_json(v) && i < v->list->n) {
        *ret = v->list->item[i];
        return true;
    }
    struct json item = { .type = JSON_NONE };
    if (is_json(v)) {
        if (!cel_charge(r, pos, v->json.raw.n))
            return false;
        item = json_at(v->json, (size_t)i);
    }
    if (item.type == JSON_NONE)
        return cel_fail(r, pos, "index out of bounds: %llu", (unsigned long long)i);
    return from_json(r, pos, item, ret);
}

bool cel_index(struct cel_run *r, unsigned pos, const struct cel_value *v,
               const struct cel_value *key, struct cel_value *ret)
{
    bool found;
    if (v->kind == CEL_LIST)
        return index_list(r, pos, v, key, ret);
    if (v->kind != CEL_MAP)
        return cel_fail(r, pos, "no such overload: a value of %s has no members",
                        cel_kind_name(v->kind));
    if (!cel_map_find(r, pos, v, key, ret, &found))
        return false;
    if (found)
        return true;
    if (key->kind == CEL_STRING)
        return cel_fail(r, pos, "no such key: " STR_FMT, STR_ARG(str_take(key->s, 100)));
    return cel_fail(r, pos, "no such key");
}

/* ---- out ---- */

static void put_list(const struct cel_value *v, struct json_w *w)
{
    json_w_array(w);
    for (size_t i = 0; i < v->list->n; i++)
        cel_to_json(v->list->item[i], w);
    json_w_array_end(w);
}

static void put_key(const struct cel_value *key, struct json_w *w)
{
    AUTO(buf_done) struct buf text;
    buf_init(&text, 64);
    if (key->kind == CEL_STRING) {
        json_w_key(w, key->s);
        return;
    }
    struct json_w inner;
    json_w_init(&inner, &text, 0);
    cel_to_json(*key, &inner);
    json_w_key(w, buf_str(&text));
}

static void put_map(const struct cel_value *v, struct json_w *w)
{
    json_w_object(w);
    for (size_t i = 0; i < v->map->n; i++) {
        put_key(&v->map->entry[i].key, w);
        cel_to_json(v->map->entry[i].value, w);
    }
    json_w_object_end(w);
}

void cel_to_json(struct cel_value v, struct json_w *w)
{
    char text[CEL_TIME_MAX];
    if (is_json(&v)) {
        json_w_raw(w, v.json.raw);
        return;
    }
    switch (v.kind) {
    case CEL_NULL:
        json_w_null(w);
        break;
    case CEL_BOOL:
        json_w_bool(w, v.b);
        break;
    case CEL_INT:
        json_w_i64(w, v.i);
        break;
    case CEL_UINT:
        json_w_u64(w, v.u);
        break;
    case CEL_DOUBLE:
        json_w_double(w, v.d);
        break;
    case CEL_STRING:
    case CEL_TYPE:
        json_w_str(w, v.s);
        break;
    case CEL_BYTES:
        json_w_base64(w, v.s);
        break;
    case CEL_LIST:
        put_list(&v, w);
        break;
    case CEL_MAP:
        put_map(&v, w);
        break;
    case CEL_TIMESTAMP:
        json_w_str(w, str_of(text, cel_time_print(v.t, text)));
        break;
    case CEL_DURATION:
        json_w_str(w, str_of(text, cel_duration_print(v.i, text)));
        break;
    }
}
