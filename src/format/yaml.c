#include "format/yaml.h"

#include "format/yaml_scalar.h"

#include <stdlib.h>
#include <yaml.h>

struct anchor {
    struct anchor *next;
    str name;
    struct yaml_node *node;
    size_t weight; /* nodes below it, aliases counted in full */
};

struct cell { /* a pair or an item (key NULL) until the number of them is known */
    struct cell *next;
    struct yaml_node *key, *value;
};

struct builder {
    struct arena *arena;
    const struct yaml_source *src;
    struct error *err;
    yaml_parser_t parser;
    yaml_event_t event;
    struct anchor *anchors;
    unsigned depth;
    size_t n_nodes, n_expanded; /* built; brought in by aliases */
};

static int build(struct builder *b, struct yaml_node **ret);

/* ---- messages ---- */

static int refuse_at(struct builder *b, const yaml_mark_t *at, enum code code, const char *what)
{
    return fail(b->err, code, NULL, "%s:%zu:%zu: %s", b->src->file, at->line + b->src->line,
                at->column + 1, what);
}

static int out_of_memory(struct builder *b)
{
    return fail(b->err, EXHAUSTED, NULL, "%s: too large for the memory set aside for it; split it",
                b->src->file);
}

static const char *remedy(const char *problem)
{
    static const struct {
        const char *part, *remedy;
    } row[] = {
        { "cannot start any token", "indent with spaces, not tabs, and quote special characters" },
        { "mapping values are not allowed", "check the indentation, or quote a value with ': '" },
        { "did not find expected key", "check that keys of one block begin in the same column" },
        { "unexpected end of stream", "close the quote or bracket that is still open" },
        { "could not find expected ':'", "write 'key: value', with a space after the colon" },
        { "unknown escape character", "double the backslash or use single quotes" },
        { "control characters", "remove them, or save the file as UTF-8 text" },
        { "UTF", "save the file as UTF-8" },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (problem && strstr(problem, row[i].part))
            return row[i].remedy;
    return "check indentation and quoting here and in the line before";
}

/* A reader's error knows its byte only; what was read before has no mark. */
static yaml_mark_t mark_of_byte(str text, size_t offset)
{
    yaml_mark_t at = { .index = offset };
    for (size_t i = 0; i < offset && i < text.n; i++) {
        at.column++;
        if (text.p[i] == '\n')
            at.line++, at.column = 0;
    }
    return at;
}

static int refuse_syntax(struct builder *b)
{
    yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(b);
    yaml_mark_t at = p->problem_mark;
    if (p->error == YAML_READER_ERROR)
        at = mark_of_byte(b->src->text, p->problem_offset);
    const char *problem = p->problem ? p->problem : "not YAML";
    return fail(b->err, INVALID, NULL, "%s:%zu:%zu: %s; %s", b->src->file, at.line + b->src->line,
                at.column + 1, problem, remedy(problem));
}

/* ---- building ---- */

static int next_event(struct builder *b)
{
    yaml_event_delete(&b->event);
    return yaml_parser_parse(&b->parser, &b->event) ? 0 : refuse_syntax(b);
}

static str text_of(const void *p)
{
    return str_c(p);
}

static int new_node(struct builder *b, enum yaml_type type, struct yaml_node **ret)
{
    const yaml_mark_t *at = &b->event.start_mark;
    if (++b->n_nodes > YAML_NODES_MAX)
        return refuse_at(b, at, EXHAUSTED, "more than 200000 values in a document; split it");
    struct yaml_node *n = arena_zalloc(b->arena, sizeof *n);
    if (!n)
        return out_of_memory(b);
    n->type = type;
    n->line = (unsigned)at->line + b->src->line;
    n->column = (unsigned)at->column + 1;
    n->text = n->canon = S("");
    *ret = n;
    return 0;
}

static int add_anchor(struct builder *b, str name, struct yaml_node *node, size_t weight)
{
    struct anchor *n = name.n ? arena_alloc(b->arena, sizeof *n) : NULL;
    if (name.n && !n)
        return out_of_memory(b);
    if (n) {
        *n = (struct anchor){ b->anchors, name, node, weight };
        b->anchors = n; /* newest first: a name may be set again */
    }
    return 0;
}

static int copy_name(struct builder *b, const yaml_char_t *anchor, str *ret)
{
    *ret = anchor ? arena_dup(b->arena, text_of(anchor)) : S("");
    return ret->p ? 0 : out_of_memory(b);
}

static size_t weight_now(const struct builder *b)
{
    return b->n_nodes + b->n_expanded;
}

/* Aliases share the node. Whoever walks the tree meets it again each time, so that each use counts:
 * that stops nested aliases from growing without bound ("billion laughs"). */
static int build_alias(struct builder *b, struct yaml_node **ret)
{
    str name = text_of(b->event.data.alias.anchor);
    for (const struct anchor *n = b->anchors; n; n = n->next) {
        if (!str_eq(n->name, name))
            continue;
        b->n_expanded += n->weight;
        if (b->n_expanded > YAML_EXPAND_MAX)
            return refuse_at(b, &b->event.start_mark, EXHAUSTED,
                             "aliases expand to more than 100000 values; write them out");
        *ret = n->node;
        return 0;
    }
    return refuse_at(b, &b->event.start_mark, INVALID,
                     "this alias names no anchor that ends before it; define it with '&name'");
}

/* The short form of a tag: "!!int"; NULL when there is none. */
static int check_tag(struct builder *b, const yaml_char_t *tag, const char *const *allowed,
                     str *ret_short)
{
    str t = tag ? text_of(tag) : S("");
    if (str_starts(t, S("tag:yaml.org,2002:")))
        t = str_skip(t, S("tag:yaml.org,2002:").n);
    *ret_short = t;
    if (!t.n)
        return 0;
    for (; *allowed; allowed++)
        if (str_eq(t, str_c(*allowed)))
            return 0;
    return refuse_at(b, &b->event.start_mark, INVALID,
                     "this tag isn't supported here; leave it out, or quote the value");
}

static int resolve_scalar(struct builder *b, struct yaml_node *n, bool plain, str tag)
{
    static const struct {
        const char *tag;
        enum yaml_type type;
    } row[] = {
        { "null", YAML_NULL }, { "bool", YAML_BOOL }, { "int", YAML_INT }, { "float", YAML_FLOAT }
    };
    n->quoted = !plain;
    n->canon = n->text;
    bool is_string = str_eq(tag, S("str")) || str_eq(tag, S("!")) || str_eq(tag, S("timestamp"));
    if (is_string || (!plain && !tag.n))
        return 0;
    if (yaml_resolve(b->arena, n))
        return out_of_memory(b);
    for (size_t i = 0; i < COUNT(row); i++) {
        bool widened = row[i].type == YAML_FLOAT && n->type == YAML_INT;
        if (str_eq(tag, str_c(row[i].tag)) && n->type != row[i].type && !widened)
            return refuse_at(b, &b->event.start_mark, INVALID,
                             "the value doesn't fit its tag; change one of them");
    }
    return 0;
}

static int build_scalar(struct builder *b, struct yaml_node **ret)
{
    static const char *const tags[] = { "str", "!",     "null",      "bool",
                                        "int", "float", "timestamp", NULL };
    struct yaml_node *n = NULL;
    str name = S(""), tag;
    int r = new_node(b, YAML_STR, &n);
    if (!r)
        r = check_tag(b, b->event.data.scalar.tag, tags, &tag);
    if (!r)
        r = copy_name(b, b->event.data.scalar.anchor, &name);
    if (r)
        return r;

    n->text = arena_dup(b->arena, str_of(b->event.data.scalar.value, b->event.data.scalar.length));
    if (!n->text.p)
        return out_of_memory(b);
    r = resolve_scalar(b, n, b->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE, tag);
    if (!r)
        r = add_anchor(b, name, n, 1);
    *ret = n;
    return r;
}

static int enter(struct builder *b)
{
    if (++b->depth > YAML_DEPTH_MAX)
        return refuse_at(b, &b->event.start_mark, EXHAUSTED, "nested deeper than 100 levels");
    return 0;
}

static int add_cell(struct builder *b, struct cell ***tail, struct yaml_node *key,
                    struct yaml_node *value)
{
    struct cell *c = arena_alloc(b->arena, sizeof *c);
    if (!c)
        return out_of_memory(b);
    *c = (struct cell){ NULL, key, value };
    **tail = c;
    *tail = &c->next;
    return 0;
}

static int build_sequence(struct builder *b, struct yaml_node **ret)
{
    static const char *const tags[] = { "seq", "!", NULL };
    struct yaml_node *n = NULL, *item;
    size_t before = weight_now(b);
    str name = S(""), tag;
    int r = new_node(b, YAML_SEQ, &n);
    if (!r)
        r = check_tag(b, b->event.data.sequence_start.tag, tags, &tag);
    if (!r)
        r = copy_name(b, b->event.data.sequence_start.anchor, &name);
    if (!r)
        r = enter(b);

    struct cell *first = NULL, **tail = &first;
    while (!r && !(r = next_event(b)) && b->event.type != YAML_SEQUENCE_END_EVENT) {
        r = build(b, &item);
        if (!r)
            r = add_cell(b, &tail, NULL, item);
        n->n += !r;
    }
    if (r)
        return r;

    n->item = arena_alloc(b->arena, (n->n + !n->n) * sizeof *n->item);
    if (!n->item)
        return out_of_memory(b);
    size_t i = 0;
    for (struct cell *c = first; c; c = c->next)
        n->item[i++] = c->value;
    b->depth--;
    *ret = n;
    return add_anchor(b, name, n, weight_now(b) - before);
}

static int by_key(const void *a, const void *b)
{
    const struct yaml_node *const *x = a, *const *y = b;
    int r = str_cmp((*x)->text, (*y)->text);
    if (r)
        return r;
    return (*x)->line != (*y)->line ? ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line)
                                    : ((*x)->column > (*y)->column) - ((*x)->column < (*y)->column);
}

/* Sorted, so that a hostile file costs n log n. */
static int check_unique(struct builder *b, const struct yaml_node *map)
{
    const struct yaml_node **key = arena_alloc(b->arena, (map->n + 1) * sizeof *key);
    if (!key)
        return out_of_memory(b);
    for (size_t i = 0; i < map->n; i++)
        key[i] = map->pair[i].key;
    qsort(key, map->n, sizeof *key, by_key);
    for (size_t i = 1; i < map->n; i++)
        if (str_eq(key[i - 1]->text, key[i]->text))
            return yaml_fail(b->err, b->src->file, key[i], INVALID,
                             "the key \"" STR_FMT "\" was already set in line %u; remove one",
                             STR_ARG(str_take(key[i]->text, 100)), key[i - 1]->line);
    return 0;
}

/* ---- merge keys ---- */

static const struct yaml_pair *find_merge(const struct yaml_node *map)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *key = map->pair[i].key;
        if (!key->quoted && key->type == YAML_STR && str_eq(key->text, S("<<")))
            return &map->pair[i];
    }
    return NULL;
}

/* What a '<<' brings in: the pairs of one map, or of each map in a list. */
static const struct yaml_node *const *merged_maps(const struct yaml_pair *merge, size_t *ret_n)
{
    const struct yaml_node *const *one = (const struct yaml_node *const *)&merge->value;
    bool list = merge->value->type == YAML_SEQ;
    *ret_n = list ? merge->value->n : 1;
    return list ? (const struct yaml_node *const *)merge->value->item : one;
}

static void add_missing(struct yaml_node *to, const struct yaml_node *from)
{
    for (size_t i = 0; i < from->n; i++) {
        bool taken = false;
        for (size_t k = 0; k < to->n && !taken; k++)
            taken = str_eq(to->pair[k].key->text, from->pair[i].key->text);
        if (!taken)
            to->pair[to->n++] = from->pair[i];
    }
}

/* Replaces the pair "<<" by what its maps have and this one lacks: own keys win, then the maps in
 * their order. */
static int apply_merge(struct builder *b, struct yaml_node *map)
{
    enum { MERGE_MAX = 2000 }; /* pairs compared with each other: bounds the square */
    const struct yaml_pair *merge = find_merge(map);
    if (!merge)
        return 0;
    size_t n_from, total = map->n;
    const struct yaml_node *const *from = merged_maps(merge, &n_from);
    for (size_t i = 0; i < n_from; i++) {
        if (from[i]->type != YAML_MAP)
            return yaml_fail(b->err, b->src->file, merge->key, INVALID,
                             "'<<' takes a map or a list of maps; use an alias such as *name");
        total += from[i]->n;
    }
    if (total > MERGE_MAX)
        return yaml_fail(b->err, b->src->file, merge->key, EXHAUSTED,
                         "a merge of more than 2000 keys; write them out");

    struct yaml_pair *pair = arena_alloc(b->arena, total * sizeof *pair);
    if (!pair)
        return out_of_memory(b);
    size_t before = (size_t)(merge - map->pair), after = map->n - before - 1;
    memcpy(pair, map->pair, before * sizeof *pair);
    memcpy(pair + before, merge + 1, after * sizeof *pair);
    map->pair = pair;
    map->n--;
    for (size_t i = 0; i < n_from; i++)
        add_missing(map, from[i]);
    return 0;
}

/* ---- maps, and the whole ---- */

static int build_pair(struct builder *b, struct cell ***tail)
{
    struct yaml_node *key, *value;
    int r = build(b, &key);
    if (r)
        return r;
    if (key->type == YAML_SEQ || key->type == YAML_MAP)
        return yaml_fail(b->err, b->src->file, key, INVALID,
                         "a key must be a single word or text; quote it if it has [ or {");
    r = next_event(b);
    if (!r)
        r = build(b, &value);
    return r ? r : add_cell(b, tail, key, value);
}

static int finish_map(struct builder *b, struct yaml_node *map, const struct cell *first)
{
    map->pair = arena_alloc(b->arena, (map->n + !map->n) * sizeof *map->pair);
    if (!map->pair)
        return out_of_memory(b);
    size_t i = 0;
    for (const struct cell *c = first; c; c = c->next)
        map->pair[i++] = (struct yaml_pair){ c->key, c->value };
    int r = check_unique(b, map);
    return r ? r : apply_merge(b, map);
}

static int build_map(struct builder *b, struct yaml_node **ret)
{
    static const char *const tags[] = { "map", "!", NULL };
    struct yaml_node *n = NULL;
    size_t before = weight_now(b);
    str name = S(""), tag;
    int r = new_node(b, YAML_MAP, &n);
    if (!r)
        r = check_tag(b, b->event.data.mapping_start.tag, tags, &tag);
    if (!r)
        r = copy_name(b, b->event.data.mapping_start.anchor, &name);
    if (!r)
        r = enter(b);

    struct cell *first = NULL, **tail = &first;
    while (!r && !(r = next_event(b)) && b->event.type != YAML_MAPPING_END_EVENT) {
        r = build_pair(b, &tail);
        n->n += !r;
    }
    if (!r)
        r = finish_map(b, n, first);
    if (r)
        return r;
    b->depth--;
    *ret = n;
    return add_anchor(b, name, n, weight_now(b) - before);
}

static int build(struct builder *b, struct yaml_node **ret)
{
    switch (b->event.type) {
    case YAML_SCALAR_EVENT:
        return build_scalar(b, ret);
    case YAML_SEQUENCE_START_EVENT:
        return build_sequence(b, ret);
    case YAML_MAPPING_START_EVENT:
        return build_map(b, ret);
    case YAML_ALIAS_EVENT:
        return build_alias(b, ret);
    default:
        return refuse_at(b, &b->event.start_mark, INVALID, "a value is missing here; add it");
    }
}

static int build_document(struct builder *b, struct yaml_node **ret)
{
    int r = next_event(b); /* the stream's start */
    if (!r)
        r = next_event(b);
    if (r || b->event.type == YAML_STREAM_END_EVENT)
        return r;
    r = next_event(b); /* behind the document's start */
    if (!r)
        r = build(b, ret);
    if (!r)
        r = next_event(b); /* the document's end */
    if (!r)
        r = next_event(b);
    if (!r && b->event.type != YAML_STREAM_END_EVENT)
        r = refuse_at(b, &b->event.start_mark, INVALID,
                      "a second document begins here; put it behind a line '---'");
    return r;
}

int yaml_parse(struct arena *a, const struct yaml_source *src, const struct yaml_node **ret,
               struct error *err)
{
    struct builder b = { .arena = a, .src = src, .err = err };
    if (src->text.n > YAML_SIZE_MAX)
        return fail(err, EXHAUSTED, NULL, "%s: larger than 16 MiB; split it", src->file);
    if (!yaml_parser_initialize(&b.parser))
        return out_of_memory(&b);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)src->text.p, src->text.n);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);

    struct yaml_node *root = NULL;
    int r = build_document(&b, &root);
    if (!r)
        *ret = root;
    yaml_event_delete(&b.event);
    yaml_parser_delete(&b.parser);
    return r;
}
