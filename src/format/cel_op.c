#include "format/cel_ast.h"

#include <math.h>

static const char *const op_text[] = {
    [OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/", [OP_MOD] = "%", [OP_EQ] = "==",
    [OP_NE] = "!=", [OP_LT] = "<",  [OP_LE] = "<=", [OP_GT] = ">",  [OP_GE] = ">=", [OP_IN] = "in",
};

static bool no_overload(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                        const struct cel_value *b)
{
    return cel_fail(r, pos, "no such overload: %s %s %s", cel_kind_name(a->kind), op_text[op],
                    cel_kind_name(b->kind));
}

static bool int_op(struct cel_run *r, unsigned pos, enum cel_op op, int64_t a, int64_t b,
                   struct cel_value *ret)
{
    int64_t v = 0;
    bool overflow = false;
    if ((op == OP_DIV || op == OP_MOD) && !b)
        return cel_fail(r, pos, op == OP_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &v);
        break;
    default:
        overflow = a == INT64_MIN && b == -1;
        if (!overflow)
            v = op == OP_DIV ? a / b : a % b;
        break;
    }
    if (overflow)
        return cel_fail(r, pos, "integer overflow");
    *ret = cel_int(v);
    return true;
}

static bool uint_op(struct cel_run *r, unsigned pos, enum cel_op op, uint64_t a, uint64_t b,
                    struct cel_value *ret)
{
    uint64_t v = 0;
    bool overflow = false;
    if ((op == OP_DIV || op == OP_MOD) && !b)
        return cel_fail(r, pos, op == OP_DIV ? "division by zero" : "modulus by zero");
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &v);
        break;
    default:
        v = op == OP_DIV ? a / b : a % b;
        break;
    }
    if (overflow)
        return cel_fail(r, pos, "unsigned integer overflow");
    *ret = cel_uint(v);
    return true;
}

static bool double_op(enum cel_op op, double a, double b, struct cel_value *ret)
{
    switch (op) {
    case OP_ADD:
        *ret = cel_double(a + b);
        return true;
    case OP_SUB:
        *ret = cel_double(a - b);
        return true;
    case OP_MUL:
        *ret = cel_double(a * b);
        return true;
    case OP_DIV:
        *ret = cel_double(a / b);
        return true;
    default:
        return false; /* no modulus of doubles */
    }
}

static bool concat_text(struct cel_run *r, unsigned pos, const struct cel_value *a,
                        const struct cel_value *b, struct cel_value *ret)
{
    if (!cel_charge(r, pos, a->s.n + b->s.n))
        return false;
    char *p = cel_alloc(r, pos, a->s.n + b->s.n);
    if (!p)
        return false;
    if (a->s.n)
        memcpy(p, a->s.p, a->s.n);
    if (b->s.n)
        memcpy(p + a->s.n, b->s.p, b->s.n);
    *ret = (struct cel_value){ .kind = a->kind, .s = str_of(p, a->s.n + b->s.n) };
    return true;
}

static bool copy_items(struct cel_run *r, unsigned pos, const struct cel_value *from,
                       struct cel_value *to)
{
    struct cel_iter it = cel_iter(from);
    for (bool more = true;; to++) {
        if (!cel_iter_next(r, pos, &it, to, NULL, &more))
            return false;
        if (!more)
            return true;
    }
}

static bool concat_lists(struct cel_run *r, unsigned pos, const struct cel_value *a,
                         const struct cel_value *b, struct cel_value *ret)
{
    size_t n_a = cel_count(a), n = n_a + cel_count(b);
    struct cel_list *list = cel_alloc(r, pos, sizeof *list);
    /* One more: the iterator may write an item that isn't there. */
    struct cel_value *item = list ? cel_alloc(r, pos, (n + 1) * sizeof *item) : NULL;
    if (!item || !copy_items(r, pos, a, item) || !copy_items(r, pos, b, item + n_a))
        return false;
    *list = (struct cel_list){ n, item };
    *ret = (struct cel_value){ .kind = CEL_LIST, .list = list };
    return true;
}

/* ---- timestamps and durations ---- */

static bool add_durations(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return !__builtin_add_overflow(a->i, b->i, &v->i);
}

static bool sub_durations(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return !__builtin_sub_overflow(a->i, b->i, &v->i);
}

static bool add_to_time(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return cel_time_add(a->t, b->i, &v->t);
}

static bool add_time(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return cel_time_add(b->t, a->i, &v->t);
}

static bool sub_from_time(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return b->i != INT64_MIN && cel_time_add(a->t, -b->i, &v->t);
}

static bool sub_times(const struct cel_value *a, const struct cel_value *b, struct cel_value *v)
{
    return cel_time_sub(a->t, b->t, &v->i);
}

static bool time_op(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                    const struct cel_value *b, struct cel_value *ret)
{
    static const struct {
        enum cel_kind a;
        enum cel_op op;
        enum cel_kind b, result;
        bool (*fn)(const struct cel_value *a, const struct cel_value *b, struct cel_value *v);
    } row[] = {
        { CEL_DURATION, OP_ADD, CEL_DURATION, CEL_DURATION, add_durations },
        { CEL_DURATION, OP_SUB, CEL_DURATION, CEL_DURATION, sub_durations },
        { CEL_DURATION, OP_ADD, CEL_TIMESTAMP, CEL_TIMESTAMP, add_time },
        { CEL_TIMESTAMP, OP_ADD, CEL_DURATION, CEL_TIMESTAMP, add_to_time },
        { CEL_TIMESTAMP, OP_SUB, CEL_DURATION, CEL_TIMESTAMP, sub_from_time },
        { CEL_TIMESTAMP, OP_SUB, CEL_TIMESTAMP, CEL_DURATION, sub_times },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        if (row[i].a != a->kind || row[i].op != op || row[i].b != b->kind)
            continue;
        struct cel_value v = { .kind = row[i].result };
        if (!row[i].fn(a, b, &v))
            return cel_fail(r, pos, "timestamp or duration out of range");
        *ret = v;
        return true;
    }
    return no_overload(r, pos, op, a, b);
}

/* ---- all kinds ---- */

static bool arithmetic(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                       const struct cel_value *b, struct cel_value *ret)
{
    bool time = a->kind == CEL_TIMESTAMP || a->kind == CEL_DURATION;
    if (time)
        return time_op(r, pos, op, a, b, ret);
    if (a->kind != b->kind)
        return no_overload(r, pos, op, a, b);
    switch (a->kind) {
    case CEL_INT:
        return int_op(r, pos, op, a->i, b->i, ret);
    case CEL_UINT:
        return uint_op(r, pos, op, a->u, b->u, ret);
    case CEL_DOUBLE:
        return double_op(op, a->d, b->d, ret) || no_overload(r, pos, op, a, b);
    case CEL_STRING:
    case CEL_BYTES:
        return op == OP_ADD ? concat_text(r, pos, a, b, ret) : no_overload(r, pos, op, a, b);
    case CEL_LIST:
        return op == OP_ADD ? concat_lists(r, pos, a, b, ret) : no_overload(r, pos, op, a, b);
    default:
        return no_overload(r, pos, op, a, b);
    }
}

static bool ordered(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                    const struct cel_value *b, struct cel_value *ret)
{
    enum cel_order order;
    if (!cel_compare(a, b, &order))
        return no_overload(r, pos, op, a, b);
    bool less = order == ORDER_LESS, equal = order == ORDER_EQUAL, greater = order == ORDER_GREATER;
    bool v = op == OP_LT   ? less
             : op == OP_LE ? less || equal
             : op == OP_GT ? greater
                           : greater || equal;
    *ret = cel_bool(v);
    return true;
}

static bool contains(struct cel_run *r, unsigned pos, const struct cel_value *item,
                     const struct cel_value *in, struct cel_value *ret)
{
    struct cel_value v;
    bool hit = false;
    if (in->kind == CEL_MAP) {
        if (!cel_map_find(r, pos, in, item, &v, &hit))
            return false;
        *ret = cel_bool(hit);
        return true;
    }
    if (in->kind != CEL_LIST)
        return no_overload(r, pos, OP_IN, item, in);
    struct cel_iter it = cel_iter(in);
    for (bool more = true; !hit;) {
        if (!cel_iter_next(r, pos, &it, &v, NULL, &more))
            return false;
        if (!more)
            break;
        if (!cel_equal(r, pos, item, &v, &hit))
            return false;
    }
    *ret = cel_bool(hit);
    return true;
}

bool cel_binary(struct cel_run *r, unsigned pos, enum cel_op op, const struct cel_value *a,
                const struct cel_value *b, struct cel_value *ret)
{
    bool same;
    switch (op) {
    case OP_EQ:
    case OP_NE:
        if (!cel_equal(r, pos, a, b, &same))
            return false;
        *ret = cel_bool(same == (op == OP_EQ));
        return true;
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        return ordered(r, pos, op, a, b, ret);
    case OP_IN:
        return contains(r, pos, a, b, ret);
    default:
        return arithmetic(r, pos, op, a, b, ret);
    }
}

bool cel_negate(struct cel_run *r, unsigned pos, const struct cel_value *a, struct cel_value *ret)
{
    if (a->kind == CEL_DOUBLE) {
        *ret = cel_double(-a->d);
        return true;
    }
    if (a->kind != CEL_INT)
        return cel_fail(r, pos, "no such overload: -%s", cel_kind_name(a->kind));
    return int_op(r, pos, OP_SUB, 0, a->i, ret);
}

bool cel_matches(struct cel_run *r, unsigned pos, const struct regex *re, str text,
                 struct cel_value *ret)
{
    size_t need = regex_scratch(re);
    if (need > r->scratch_size) {
        r->scratch = cel_alloc(r, pos, need);
        if (!r->scratch)
            return false;
        r->scratch_size = need;
    }
    /* A match may take text × pattern operations; a step stands for about sixteen of them. */
    if (!cel_charge(r, pos, (text.n + 1) * regex_size(re) * 16))
        return false;
    *ret = cel_bool(regex_match(re, text, r->scratch));
    return true;
}
