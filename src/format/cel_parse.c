#include "format/cel_ast.h"
#include "format/cel_lex.h"

static const char too_deep[] = "the expression is nested too deeply";

struct parser {
    struct arena *arena;
    str source;
    size_t at;
    struct token now;
    unsigned depth;
    const char *why; /* NULL = no error so far */
    unsigned why_pos;
};

static struct cel_node *parse_expr(struct parser *p);

/* ---- errors, tokens, nodes ---- */

static void *refuse(struct parser *p, unsigned pos, const char *why)
{
    if (!p->why) {
        p->why = why;
        p->why_pos = pos;
    }
    return NULL;
}

PRINTF(3, 4)
static void *refusef(struct parser *p, unsigned pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    str text = arena_vprintf(p->arena, fmt, args);
    va_end(args);
    return refuse(p, pos, text.p ? text.p : cel_no_memory);
}

static bool next(struct parser *p)
{
    cel_lex(p->arena, p->source, &p->at, &p->now);
    if (p->now.kind == TOKEN_BAD)
        (void)refuse(p, p->now.pos, p->now.why);
    return p->now.kind != TOKEN_BAD;
}

static bool at(const struct parser *p, str punct)
{
    return p->now.kind == TOKEN_PUNCT && str_eq(p->now.text, punct);
}

static bool take(struct parser *p, str punct) /* false: not there, or the next token is bad */
{
    return at(p, punct) && next(p);
}

static bool expect(struct parser *p, str punct, const char *why)
{
    if (!at(p, punct))
        return refuse(p, p->now.pos, why);
    return next(p);
}

static struct cel_node *new_node(struct parser *p, enum node_kind kind, unsigned pos)
{
    struct cel_node *n = arena_zalloc(p->arena, sizeof *n);
    if (!n)
        return refuse(p, pos, cel_no_memory);
    n->kind = kind;
    n->pos = pos;
    n->depth = 1;
    n->name = n->path = S("");
    return n;
}

/* The array of children doubles whenever their number reaches a power of two. child may be NULL
 * after an error; then so is the result. */
static struct cel_node *add_child(struct parser *p, struct cel_node *n, struct cel_node *child)
{
    if (!n || !child)
        return NULL;
    if (!(n->n & (n->n - 1))) {
        struct cel_node **more = arena_alloc(p->arena, (n->n ? 2 * n->n : 1) * sizeof *more);
        if (!more)
            return refuse(p, n->pos, cel_no_memory);
        if (n->n)
            memcpy(more, n->child, n->n * sizeof *more);
        n->child = more;
    }
    n->child[n->n++] = child;
    if (child->depth >= n->depth)
        n->depth = child->depth + 1;
    return n->depth > CEL_DEPTH_MAX ? refuse(p, n->pos, too_deep) : n;
}

static struct cel_node *literal(struct parser *p, unsigned pos, struct cel_value v)
{
    struct cel_node *n = new_node(p, NODE_LITERAL, pos);
    if (n)
        n->value = v;
    return n;
}

/* ---- names ---- */

static bool is_reserved(str name)
{
    static const char *const words[] = {
        "as",  "break", "const",   "continue",  "else",   "for", "function", "if",    "import",
        "let", "loop",  "package", "namespace", "return", "var", "void",     "while", "in",
    };
    for (size_t i = 0; i < COUNT(words); i++)
        if (str_eq(name, str_c(words[i])))
            return true;
    return false;
}

static struct cel_node *make_ident(struct parser *p, unsigned pos, str name, bool absolute)
{
    struct cel_node *n = new_node(p, NODE_IDENT, pos);
    if (!n)
        return NULL;
    const str part[] = { S("."), name };
    n->name = name;
    n->path = absolute ? arena_join(p->arena, part, COUNT(part)) : name;
    n->absolute = absolute;
    return n->path.p ? n : refuse(p, pos, cel_no_memory);
}

static struct cel_node *make_select(struct parser *p, unsigned pos, struct cel_node *of, str field)
{
    struct cel_node *n = add_child(p, new_node(p, NODE_SELECT, pos), of);
    if (!n)
        return NULL;
    n->name = field;
    n->absolute = of->absolute;
    if (of->path.n) {
        const str part[] = { of->path, S("."), field };
        n->path = arena_join(p->arena, part, COUNT(part));
        if (!n->path.p)
            return refuse(p, pos, cel_no_memory);
    }
    return n;
}

/* ---- calls and macros ---- */

static const struct {
    const char *name;
    size_t n_args; /* variable included */
    enum cel_macro macro;
} macros[] = {
    { "all", 2, MACRO_ALL },
    { "exists", 2, MACRO_EXISTS },
    { "exists_one", 2, MACRO_EXISTS_ONE },
    { "map", 2, MACRO_MAP },
    { "map", 3, MACRO_MAP },
    { "existsOne", 2, MACRO_EXISTS_ONE },
    { "filter", 2, MACRO_FILTER },
};

/* call holds the arguments, the target first. NULL without an error: it is no macro. */
static struct cel_node *make_loop(struct parser *p, struct cel_node *call, str name)
{
    size_t i = 0, n_args = call->n - 1;
    while (i < COUNT(macros) &&
           !(str_eq(str_c(macros[i].name), name) && macros[i].n_args == n_args))
        i++;
    if (i == COUNT(macros))
        return NULL;
    const struct cel_node *var = call->child[1];
    if (var->kind != NODE_IDENT || var->absolute)
        return refusef(p, var->pos, "%s() takes the name of a variable first", macros[i].name);

    call->kind = NODE_LOOP;
    call->macro = macros[i].macro;
    call->name = var->name;
    struct cel_node *transform = macros[i].macro == MACRO_MAP ? call->child[n_args] : NULL;
    struct cel_node *predicate = transform && n_args == 2 ? NULL : call->child[2];
    call->child[1] = predicate;
    call->child[2] = transform; /* a macro call has a target and two arguments at least */
    call->n = 3;
    return call;
}

/* matches() with a literal pattern: compiled now, and refused now. */
static struct cel_node *prepare_regex(struct parser *p, struct cel_node *call)
{
    bool matches = str_eq(str_c(call->fn->name), S("matches"));
    if (!matches || call->child[1]->kind != NODE_LITERAL ||
        call->child[1]->value.kind != CEL_STRING)
        return call;
    const char *why;
    call->regex = regex_compile(p->arena, call->child[1]->value.s, &why);
    if (call->regex)
        return call;
    if (why == regex_no_memory)
        return refuse(p, call->pos, cel_no_memory);
    return refusef(p, call->child[1]->pos, "matches(): %s", why);
}

static struct cel_node *make_call(struct parser *p, struct cel_node *call, str name, bool member)
{
    struct cel_node *loop = member && call->n > 1 ? make_loop(p, call, name) : NULL;
    if (loop || p->why)
        return loop;
    call->fn = cel_function_find(name, member, call->n);
    if (call->fn)
        return prepare_regex(p, call);
    if (cel_function_exists(name))
        return refusef(p, call->pos, "the function " STR_FMT "() takes other arguments",
                       STR_ARG(name));
    const char *guess = cel_function_suggest(name);
    return refusef(p, call->pos, "undeclared reference to the function '" STR_FMT "'%s%s%s",
                   STR_ARG(str_take(name, 100)), *guess ? "; did you mean '" : "", guess,
                   *guess ? "'?" : "");
}

/* Comma-separated expressions up to close, which is taken. */
static struct cel_node *parse_items(struct parser *p, struct cel_node *into, str close,
                                    bool trailing_comma)
{
    while (into && !at(p, close)) {
        into = add_child(p, into, parse_expr(p));
        if (!into || at(p, close))
            break;
        if (!expect(p, S(","), "expected ',' or the closing bracket"))
            return NULL;
        if (at(p, close) && !trailing_comma)
            return refuse(p, p->now.pos, "an argument is missing after ','");
    }
    return into && next(p) ? into : NULL;
}

static struct cel_node *parse_call(struct parser *p, unsigned pos, struct cel_node *target,
                                   str name)
{
    struct cel_node *call = new_node(p, NODE_CALL, pos);
    if (target)
        call = add_child(p, call, target);
    if (!next(p)) /* '(' */
        return NULL;
    call = parse_items(p, call, S(")"), false);
    return call ? make_call(p, call, name, target != NULL) : NULL;
}

static struct cel_node *parse_has(struct parser *p, unsigned pos)
{
    if (!next(p)) /* '(' */
        return NULL;
    struct cel_node *of = parse_expr(p);
    if (!of || !expect(p, S(")"), "expected ')'"))
        return NULL;
    if (of->kind != NODE_SELECT)
        return refuse(p, pos, "has() takes a field: has(a.b)");
    of->kind = NODE_HAS;
    of->path = S("");
    return of;
}

/* ---- primaries ---- */

static struct cel_node *parse_map(struct parser *p)
{
    struct cel_node *map = new_node(p, NODE_MAP, p->now.pos);
    if (!next(p))
        return NULL;
    while (map && !at(p, S("}"))) {
        map = add_child(p, map, parse_expr(p));
        if (!map || !expect(p, S(":"), "expected ':' between key and value"))
            return NULL;
        map = add_child(p, map, parse_expr(p));
        if (!map || at(p, S("}")))
            break;
        if (!expect(p, S(","), "expected ',' or '}'"))
            return NULL;
    }
    return map && next(p) ? map : NULL;
}

/* The frames from here to parse_expr() lie on each other as often as the source nests: no tokens
 * are copied, so that CEL_DEPTH_MAX levels fit the stack of a fiber. */
static struct cel_node *parse_word(struct parser *p)
{
    bool absolute = at(p, S("."));
    if (absolute && !next(p))
        return NULL;
    unsigned pos = p->now.pos;
    str name = p->now.text;
    if (p->now.kind != TOKEN_IDENT)
        return refuse(p, pos, "expected a name after '.'");
    if (!next(p))
        return NULL;
    if (!absolute && (str_eq(name, S("true")) || str_eq(name, S("false"))))
        return literal(p, pos, cel_bool(name.n == 4));
    if (!absolute && str_eq(name, S("null")))
        return literal(p, pos, (struct cel_value){ .kind = CEL_NULL });
    if (is_reserved(name))
        return refusef(p, pos, "'" STR_FMT "' is a reserved word", STR_ARG(name));
    if (at(p, S("(")))
        return str_eq(name, S("has")) ? parse_has(p, pos) : parse_call(p, pos, NULL, name);
    return make_ident(p, pos, name, absolute);
}

static struct cel_node *parse_literal(struct parser *p)
{
    struct cel_value v = p->now.value;
    unsigned pos = p->now.pos;
    if (p->now.kind == TOKEN_INT && v.u > INT64_MAX)
        return refuse(p, pos, "the integer doesn't fit 64 bits; write 1u for an unsigned one");
    if (p->now.kind == TOKEN_INT)
        v = cel_int((int64_t)v.u);
    return next(p) ? literal(p, pos, v) : NULL;
}

static struct cel_node *parse_primary(struct parser *p)
{
    enum token_kind kind = p->now.kind;
    if (kind == TOKEN_IDENT || at(p, S(".")))
        return parse_word(p);
    if (kind == TOKEN_LITERAL || kind == TOKEN_INT)
        return parse_literal(p);
    if (at(p, S("{")))
        return parse_map(p);
    if (at(p, S("["))) {
        struct cel_node *list = new_node(p, NODE_LIST, p->now.pos);
        return next(p) ? parse_items(p, list, S("]"), true) : NULL;
    }
    if (take(p, S("("))) {
        struct cel_node *inner = parse_expr(p);
        return inner && expect(p, S(")"), "expected ')'") ? inner : NULL;
    }
    return refuse(p, p->now.pos,
                  kind == TOKEN_END ? "the expression ends too early"
                                    : "expected a value, a name or '('");
}

static struct cel_node *parse_dot(struct parser *p, struct cel_node *of) /* at '.' */
{
    if (!next(p))
        return NULL;
    bool word = p->now.kind == TOKEN_IDENT;
    unsigned pos = p->now.pos;
    str name = p->now.text;
    if (!word && p->now.kind != TOKEN_QUOTED_IDENT)
        return refuse(p, pos, "expected a field name after '.'");
    if (!next(p))
        return NULL;
    return word && at(p, S("(")) ? parse_call(p, pos, of, name) : make_select(p, pos, of, name);
}

static struct cel_node *parse_member(struct parser *p)
{
    struct cel_node *n = parse_primary(p);
    while (n) {
        unsigned pos = p->now.pos;
        if (at(p, S("."))) {
            n = parse_dot(p, n);
        } else if (at(p, S("["))) {
            n = next(p) ? add_child(p, new_node(p, NODE_INDEX, pos), n) : NULL;
            n = n ? add_child(p, n, parse_expr(p)) : NULL;
            if (n && !expect(p, S("]"), "expected ']'"))
                return NULL;
        } else if (at(p, S("{")) && n->path.n) {
            return refuse(p, pos, "messages can't be built here; write a map: {'field': value}");
        } else {
            break;
        }
    }
    return n;
}

/* ---- operators ---- */

static struct cel_node *parse_negative(struct parser *p)
{
    unsigned pos = p->now.pos;
    size_t n = 0;
    while (at(p, S("-"))) {
        if (!next(p))
            return NULL;
        n++;
    }
    bool smallest = p->now.kind == TOKEN_INT && p->now.value.u == (uint64_t)INT64_MAX + 1;
    if (smallest) { /* one of the signs belongs to the literal: -9223372036854775808 */
        if (!next(p))
            return NULL;
        struct cel_node *min = literal(p, pos, cel_int(INT64_MIN));
        return n % 2 ? min : add_child(p, new_node(p, NODE_NEGATE, pos), min);
    }
    struct cel_node *of = parse_member(p);
    return n % 2 && of ? add_child(p, new_node(p, NODE_NEGATE, pos), of) : of;
}

static struct cel_node *parse_unary(struct parser *p)
{
    unsigned pos = p->now.pos;
    size_t n = 0;
    while (at(p, S("!"))) {
        if (!next(p))
            return NULL;
        n++;
    }
    struct cel_node *of = !n && at(p, S("-")) ? parse_negative(p) : parse_member(p);
    return n % 2 && of ? add_child(p, new_node(p, NODE_NOT, pos), of) : of;
}

static const struct binary {
    str text;
    int level;
    enum node_kind kind;
    enum cel_op op;
} binaries[] = {
    { S("||"), 1, NODE_OR, 0 },         { S("&&"), 2, NODE_AND, 0 },
    { S("=="), 3, NODE_BINARY, OP_EQ }, { S("!="), 3, NODE_BINARY, OP_NE },
    { S("<="), 3, NODE_BINARY, OP_LE }, { S(">="), 3, NODE_BINARY, OP_GE },
    { S("<"), 3, NODE_BINARY, OP_LT },  { S(">"), 3, NODE_BINARY, OP_GT },
    { S("in"), 3, NODE_BINARY, OP_IN }, { S("+"), 4, NODE_BINARY, OP_ADD },
    { S("-"), 4, NODE_BINARY, OP_SUB }, { S("*"), 5, NODE_BINARY, OP_MUL },
    { S("/"), 5, NODE_BINARY, OP_DIV }, { S("%"), 5, NODE_BINARY, OP_MOD },
};

static const struct binary *binary_at(const struct parser *p, int level)
{
    if (p->now.kind == TOKEN_PUNCT || p->now.kind == TOKEN_IDENT)
        for (size_t i = 0; i < COUNT(binaries); i++)
            if (binaries[i].level >= level && str_eq(p->now.text, binaries[i].text))
                return &binaries[i];
    return NULL;
}

/* Precedence climbing: operators of this level and tighter ones, all left-associative. */
static struct cel_node *parse_binary(struct parser *p, int level)
{
    struct cel_node *left = parse_unary(p);
    const struct binary *b;
    while (left && (b = binary_at(p, level)) != NULL) {
        unsigned pos = p->now.pos;
        struct cel_node *right = next(p) ? parse_binary(p, b->level + 1) : NULL;
        if (!right)
            return NULL;
        /* a || b || c is one node of three: a long chain isn't a deep one. */
        bool chain = b->kind != NODE_BINARY && left->kind == b->kind;
        if (!chain) {
            struct cel_node *n = new_node(p, b->kind, pos);
            if (n)
                n->op = b->op;
            left = add_child(p, n, left);
        }
        left = add_child(p, left, right);
    }
    return left;
}

static struct cel_node *parse_expr(struct parser *p)
{
    if (++p->depth > CEL_DEPTH_MAX)
        return refuse(p, p->now.pos, too_deep);
    struct cel_node *n = parse_binary(p, 1);
    if (n && at(p, S("?"))) {
        n = add_child(p, new_node(p, NODE_COND, p->now.pos), n);
        n = n && next(p) ? add_child(p, n, parse_binary(p, 1)) : NULL;
        n = n && expect(p, S(":"), "expected ':' after '?'") ? add_child(p, n, parse_expr(p))
                                                             : NULL;
    }
    p->depth--;
    return n;
}

int cel_parse(struct arena *a, str source, struct cel_node **ret, struct error *err)
{
    struct parser p = { .arena = a, .source = source };
    struct cel_node *root = next(&p) ? parse_expr(&p) : NULL;
    if (root && p.now.kind != TOKEN_END)
        root = refuse(&p, p.now.pos, "expected an operator, or the end of the expression");
    if (root) {
        *ret = root;
        return 0;
    }
    bool memory = p.why == cel_no_memory || p.why == too_deep;
    return cel_report(err, memory ? EXHAUSTED : INVALID, source, p.why_pos, p.why);
}
