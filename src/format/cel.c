#include "format/cel_ast.h"

int cel_report(struct error *err, enum code code, str source, unsigned pos, const char *what)
{
    unsigned line = 1, column = 1;
    for (size_t i = 0; i < pos && i < source.n; i++) {
        column++;
        if (source.p[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return fail(err, code, NULL, "%u:%u: %s", line, column, what);
}

int cel_compile(struct arena *a, str source, struct cel_program **ret, struct error *err)
{
    if (source.n > CEL_SOURCE_MAX)
        return fail(err, EXHAUSTED, NULL, "the expression is longer than 64 KiB");
    struct cel_program *p = arena_zalloc(a, sizeof *p);
    if (p)
        p->source = arena_dup(a, source);
    if (!p || !p->source.p)
        return fail(err, EXHAUSTED, NULL, "no memory for the expression");
    int r = cel_parse(a, p->source, &p->root, err);
    if (!r)
        *ret = p;
    return r;
}

/* ---- names ---- */

static const struct cel_scope *find_local(const struct cel_scope *s, str name)
{
    while (s && !str_eq(s->name, name))
        s = s->up;
    return s;
}

/* Types are values of their own; variables of the same name go first. */
static bool find_type(str name, struct cel_value *ret)
{
    for (enum cel_kind k = CEL_NULL; k <= CEL_TYPE; k++) {
        str type = str_c(cel_kind_name(k));
        if (str_eq(type, name)) {
            *ret = cel_type(type);
            return true;
        }
    }
    return false;
}

static bool find_variable(struct cel_run *r, str name, struct cel_value *ret)
{
    struct cel_value v = { .kind = CEL_NULL };
    if (!r->env || !r->env->lookup || !r->env->lookup(r->env->arg, name, &v))
        return false;
    *ret = v;
    return true;
}

/* ".a" is asked for as it is first: an env with containers knows the difference. */
static bool find_name(struct cel_run *r, str name, struct cel_value *ret)
{
    if (find_variable(r, name, ret))
        return true;
    if (str_starts(name, S("."))) {
        name = str_skip(name, 1);
        if (find_variable(r, name, ret))
            return true;
    }
    return find_type(name, ret);
}

static bool eval_ident(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    const struct cel_scope *s = n->absolute ? NULL : find_local(r->scope, n->name);
    if (s) {
        *ret = s->value;
        return true;
    }
    return find_name(r, n->path, ret) ||
           cel_fail(r, n->pos, "undeclared reference to '" STR_FMT "'",
                    STR_ARG(str_take(n->name, 100)));
}

static str first_name(str path)
{
    str head, tail;
    (void)str_cut(path, '.', &head, &tail);
    return head;
}

static bool eval_select(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    /* The longest qualified name wins: "a.b" may be one variable. A loop's variable hides them. */
    bool hidden = !n->absolute && find_local(r->scope, first_name(n->path));
    if (n->path.n && !hidden && find_name(r, n->path, ret))
        return true;
    struct cel_value of, key = cel_string(n->name);
    if (!cel_eval_node(r, n->child[0], &of))
        return false;
    if (of.kind != CEL_MAP)
        return cel_fail(r, n->pos, "no such overload: a value of %s has no fields",
                        cel_kind_name(of.kind));
    return cel_index(r, n->pos, &of, &key, ret);
}

static bool eval_has(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_value of, key = cel_string(n->name), found_value;
    bool found;
    if (!cel_eval_node(r, n->child[0], &of))
        return false;
    if (of.kind != CEL_MAP)
        return cel_fail(r, n->pos, "no such overload: a value of %s has no fields",
                        cel_kind_name(of.kind));
    if (!cel_map_find(r, n->pos, &of, &key, &found_value, &found))
        return false;
    *ret = cel_bool(found);
    return true;
}

/* ---- literals of lists and maps ---- */

static bool eval_list(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_list *list = cel_alloc(r, n->pos, sizeof *list);
    struct cel_value *item = list ? cel_alloc(r, n->pos, n->n * sizeof *item) : NULL;
    if (!item)
        return false;
    for (size_t i = 0; i < n->n; i++)
        if (!cel_eval_node(r, n->child[i], &item[i]))
            return false;
    *list = (struct cel_list){ n->n, item };
    *ret = (struct cel_value){ .kind = CEL_LIST, .list = list };
    return true;
}

static bool check_key(struct cel_run *r, unsigned pos, const struct cel_value *map,
                      const struct cel_value *key)
{
    struct cel_value v;
    bool found;
    if (key->kind != CEL_BOOL && key->kind != CEL_INT && key->kind != CEL_UINT &&
        key->kind != CEL_STRING)
        return cel_fail(r, pos, "unsupported key type: %s", cel_kind_name(key->kind));
    if (!cel_map_find(r, pos, map, key, &v, &found))
        return false;
    return !found || cel_fail(r, pos, "the key is in the map already");
}

static bool eval_map(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_map *map = cel_alloc(r, n->pos, sizeof *map);
    struct cel_entry *entry = map ? cel_alloc(r, n->pos, n->n / 2 * sizeof *entry) : NULL;
    if (!entry)
        return false;
    *map = (struct cel_map){ 0, entry };
    struct cel_value v = { .kind = CEL_MAP, .map = map };
    for (size_t i = 0; i < n->n; i += 2) {
        struct cel_entry *e = &entry[i / 2];
        if (!cel_eval_node(r, n->child[i], &e->key) ||
            !check_key(r, n->child[i]->pos, &v, &e->key) ||
            !cel_eval_node(r, n->child[i + 1], &e->value))
            return false;
        map->n++;
    }
    *ret = v;
    return true;
}

/* ---- logic: an error on one side doesn't matter when the other side decides ---- */

struct verdict {
    bool failed;
    unsigned pos;
    const char *why;
};

/* After a failure: keeps it for later and clears it. False when nothing may absorb it. */
static bool absorb(struct cel_run *r, struct verdict *v)
{
    if (r->code != INVALID)
        return false;
    if (!v->failed)
        *v = (struct verdict){ true, r->pos, r->why };
    r->code = OK;
    return true;
}

static bool raise_again(struct cel_run *r, const struct verdict *v)
{
    r->code = INVALID;
    r->pos = v->pos;
    r->why = v->why;
    return false;
}

/* A condition: anything but a boolean is an error. */
static bool eval_condition(struct cel_run *r, const struct cel_node *n, bool *ret)
{
    struct cel_value v;
    if (!cel_eval_node(r, n, &v))
        return false;
    if (v.kind != CEL_BOOL)
        return cel_fail(r, n->pos, "no such overload: expected a bool, not %s",
                        cel_kind_name(v.kind));
    *ret = v.b;
    return true;
}

static bool eval_logic(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool decisive = n->kind == NODE_OR, v = false;
    struct verdict failure = { 0 };
    for (size_t i = 0; i < n->n; i++) {
        if (!eval_condition(r, n->child[i], &v)) {
            if (!absorb(r, &failure))
                return false;
        } else if (v == decisive) {
            *ret = cel_bool(decisive);
            return true;
        }
    }
    *ret = cel_bool(!decisive);
    return !failure.failed || raise_again(r, &failure);
}

static bool eval_not(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool v = false;
    if (!eval_condition(r, n->child[0], &v))
        return false;
    *ret = cel_bool(!v);
    return true;
}

static bool eval_cond(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool v = false;
    return eval_condition(r, n->child[0], &v) && cel_eval_node(r, n->child[v ? 1 : 2], ret);
}

/* ---- loops ---- */

struct loop {
    const struct cel_node *node;
    struct cel_scope scope;
    struct cel_iter it;
    struct cel_value range;
};

static bool loop_start(struct cel_run *r, const struct cel_node *n, struct loop *l)
{
    l->node = n;
    if (!cel_eval_node(r, n->child[0], &l->range))
        return false;
    if (l->range.kind != CEL_LIST && l->range.kind != CEL_MAP)
        return cel_fail(r, n->pos, "no such overload: expected a list or map, not %s",
                        cel_kind_name(l->range.kind));
    l->it = cel_iter(&l->range);
    l->scope.name = n->name;
    l->scope.up = r->scope;
    return true;
}

static bool loop_next(struct cel_run *r, struct loop *l, bool *ret_more)
{
    return cel_iter_next(r, l->node->pos, &l->it, &l->scope.value, NULL, ret_more);
}

/* Evaluates the predicate or the transform with the loop's variable in sight. */
static bool loop_eval(struct cel_run *r, struct loop *l, const struct cel_node *n,
                      struct cel_value *ret)
{
    r->scope = &l->scope;
    bool ok = cel_eval_node(r, n, ret);
    r->scope = l->scope.up;
    return ok;
}

static bool loop_test(struct cel_run *r, struct loop *l, bool *ret)
{
    struct cel_value v = cel_bool(true);
    const struct cel_node *predicate = l->node->child[1];
    if (predicate && !loop_eval(r, l, predicate, &v))
        return false;
    if (v.kind != CEL_BOOL)
        return cel_fail(r, l->node->pos, "no such overload: expected a bool, not %s",
                        cel_kind_name(v.kind));
    *ret = v.b;
    return true;
}

static bool eval_quantifier(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool decisive = n->macro == MACRO_EXISTS, more = false, v = false;
    struct verdict failure = { 0 };
    struct loop l;
    if (!loop_start(r, n, &l))
        return false;
    for (;;) {
        if (!loop_next(r, &l, &more))
            return false;
        if (!more)
            break;
        if (!loop_test(r, &l, &v)) {
            if (!absorb(r, &failure))
                return false;
        } else if (v == decisive) {
            *ret = cel_bool(decisive);
            return true;
        }
    }
    *ret = cel_bool(!decisive);
    return !failure.failed || raise_again(r, &failure);
}

static bool eval_exists_one(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool more = false, v = false;
    size_t hits = 0;
    struct loop l;
    if (!loop_start(r, n, &l))
        return false;
    for (;;) {
        if (!loop_next(r, &l, &more))
            return false;
        if (!more)
            break;
        if (!loop_test(r, &l, &v))
            return false;
        hits += v;
    }
    *ret = cel_bool(hits == 1);
    return true;
}

static bool eval_collect(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    bool more = false, v = false;
    struct loop l;
    if (!loop_start(r, n, &l) || !cel_charge(r, n->pos, l.range.json.raw.n))
        return false;
    struct cel_list *list = cel_alloc(r, n->pos, sizeof *list);
    struct cel_value *item = list ? cel_alloc(r, n->pos, cel_count(&l.range) * sizeof *item) : NULL;
    if (!item)
        return false;
    *list = (struct cel_list){ 0, item };
    for (;;) {
        if (!loop_next(r, &l, &more))
            return false;
        if (!more)
            break;
        if (!loop_test(r, &l, &v))
            return false;
        item[list->n] = l.scope.value;
        if (v && n->child[2] && !loop_eval(r, &l, n->child[2], &item[list->n]))
            return false;
        list->n += v;
    }
    *ret = (struct cel_value){ .kind = CEL_LIST, .list = list };
    return true;
}

static bool eval_loop(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    if (n->macro == MACRO_MAP || n->macro == MACRO_FILTER)
        return eval_collect(r, n, ret);
    return n->macro == MACRO_EXISTS_ONE ? eval_exists_one(r, n, ret) : eval_quantifier(r, n, ret);
}

/* ---- the rest ---- */

static bool eval_call(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_value arg[2]; /* no function takes more */
    for (size_t i = 0; i < n->n; i++)
        if (!cel_eval_node(r, n->child[i], &arg[i]))
            return false;
    if (n->regex && arg[0].kind == CEL_STRING)
        return cel_matches(r, n->pos, n->regex, arg[0].s, ret);
    return n->fn->call(r, n->pos, arg, ret);
}

static bool eval_pair(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_value a, b;
    if (!cel_eval_node(r, n->child[0], &a) || !cel_eval_node(r, n->child[1], &b))
        return false;
    return n->kind == NODE_INDEX ? cel_index(r, n->pos, &a, &b, ret)
                                 : cel_binary(r, n->pos, n->op, &a, &b, ret);
}

static bool eval_negate(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    struct cel_value v;
    return cel_eval_node(r, n->child[0], &v) && cel_negate(r, n->pos, &v, ret);
}

static bool eval_literal(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    (void)r;
    *ret = n->value;
    return true;
}

bool cel_eval_node(struct cel_run *r, const struct cel_node *n, struct cel_value *ret)
{
    static bool (*const eval[])(struct cel_run *, const struct cel_node *, struct cel_value *) = {
        [NODE_LITERAL] = eval_literal, [NODE_IDENT] = eval_ident, [NODE_SELECT] = eval_select,
        [NODE_HAS] = eval_has,         [NODE_INDEX] = eval_pair,  [NODE_CALL] = eval_call,
        [NODE_LIST] = eval_list,       [NODE_MAP] = eval_map,     [NODE_COND] = eval_cond,
        [NODE_AND] = eval_logic,       [NODE_OR] = eval_logic,    [NODE_NOT] = eval_not,
        [NODE_NEGATE] = eval_negate,   [NODE_BINARY] = eval_pair, [NODE_LOOP] = eval_loop,
    };
    return cel_charge(r, n->pos, 0) && eval[n->kind](r, n, ret);
}

int cel_eval(const struct cel_program *p, const struct cel_env *env, struct arena *a,
             struct cel_value *ret, struct error *err)
{
    struct cel_run r = { .program = p, .env = env, .arena = a };
    r.max_steps = env && env->max_steps ? env->max_steps : CEL_STEPS_MAX;
    struct cel_value v = { .kind = CEL_NULL };
    if (!cel_eval_node(&r, p->root, &v))
        return cel_report(err, r.code, p->source, r.pos, r.why);
    *ret = v;
    return 0;
}

int cel_eval_bool(const struct cel_program *p, const struct cel_env *env, struct arena *a,
                  bool *ret, struct error *err)
{
    struct cel_value v = { .kind = CEL_NULL };
    int r = cel_eval(p, env, a, &v, err);
    if (r)
        return r;
    if (v.kind != CEL_BOOL)
        return cel_report(
            err, INVALID, p->source, 0,
            "the expression must give true or false; compare its value with something");
    *ret = v.b;
    return 0;
}

/* ---- free names ---- */

struct names {
    str *ret;
    size_t n, max;
};

static void add_name(struct names *names, str name)
{
    size_t known = min_size(names->n, names->max);
    for (size_t i = 0; i < known; i++)
        if (str_eq(names->ret[i], name))
            return;
    if (names->n < names->max)
        names->ret[names->n] = name;
    names->n++;
}

static void collect(const struct cel_node *n, const struct cel_scope *scope, struct names *names)
{
    struct cel_value type;
    if (!n)
        return;
    if (n->kind == NODE_IDENT && !find_local(n->absolute ? NULL : scope, n->name) &&
        !find_type(n->name, &type))
        add_name(names, n->name);
    struct cel_scope inner = { .up = scope, .name = n->name };
    for (size_t i = 0; i < n->n; i++)
        collect(n->child[i], n->kind == NODE_LOOP && i ? &inner : scope, names);
}

size_t cel_free_names(const struct cel_program *p, str *ret, size_t max)
{
    struct names names = { ret, 0, max };
    collect(p->root, NULL, &names);
    return names.n;
}
