#include "cli/option.h"

#include <stdio.h>

enum { SUGGEST_DISTANCE = 2, NAME_MAX_LEN = 64, LIST_MAX = 4096 };

struct parse {
    const struct option_set *set;
    int argc, at;
    char **argv;
    struct arena *arena;
    void *self;
    struct option_list *rest;
    struct error *err;
};

const char *option_suggest(const char *word, const char *const *candidate, size_t n)
{
    const char *best = NULL;
    size_t best_distance = SUGGEST_DISTANCE + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = str_distance(str_c(word), str_c(candidate[i]));
        bool prefix = strlen(word) >= 3 && str_starts(str_c(candidate[i]), str_c(word));
        if (prefix && d > 1)
            d = 1; /* "pub" means "publish" more than it means "run" */
        if (d >= best_distance || d >= strlen(candidate[i]))
            continue;
        best = candidate[i];
        best_distance = d;
    }
    return best;
}

static int list_add(struct arena *a, struct option_list *list, const char *item, struct error *err)
{
    if (list->n == LIST_MAX)
        return fail(err, INVALID, NULL, "more than %d words: shorten the command line", LIST_MAX);
    if ((list->n & (list->n - 1)) == 0) { /* room grows at powers of two */
        size_t cap = list->n ? list->n * 2 : 4;
        const char **v = arena_alloc(a, cap * sizeof(*v));
        if (!v)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        if (list->n)
            memcpy(v, list->v, list->n * sizeof(*v));
        list->v = v;
    }
    list->v[list->n++] = item;
    return 0;
}

static int check_choice(const struct cli_option *o, const char *value, struct error *err)
{
    if (!o->choices)
        return 0;
    size_t n = 0;
    char all[256] = "";
    for (; o->choices[n]; n++) {
        if (strcmp(o->choices[n], value) == 0)
            return 0;
        size_t used = strlen(all);
        snprintf(all + used, sizeof(all) - used, "%s%s", n ? ", " : "", o->choices[n]);
    }
    const char *near = option_suggest(value, o->choices, n);
    if (near)
        return fail(err, INVALID, NULL, "--%s can't be '%s': did you mean '%s'?", o->name, value,
                    near);
    return fail(err, INVALID, NULL, "--%s can't be '%s': use one of %s", o->name, value, all);
}

static int set_list(struct parse *p, const struct cli_option *o, const char *value)
{
    struct option_list *list = (struct option_list *)((char *)p->self + o->off);
    str rest = str_c(value), item;
    while (str_next(&rest, ',', &item)) {
        if (!item.n)
            continue;
        char *copy = arena_cstr(p->arena, item);
        if (!copy)
            return fail(p->err, EXHAUSTED, NULL, "out of memory");
        int r = list_add(p->arena, list, copy, p->err);
        if (r)
            return r;
    }
    return 0;
}

static int set_value(struct parse *p, const struct cli_option *o, const char *value)
{
    void *field = (char *)p->self + o->off;
    int r = check_choice(o, value, p->err);
    if (r)
        return r;
    switch (o->kind) {
    case OPTION_FLAG:
        if (!str_to_bool(str_c(value), field))
            return fail(p->err, INVALID, NULL, "--%s takes true or false, not '%s'", o->name,
                        value);
        return 0;
    case OPTION_STR:
        *(const char **)field = value;
        return 0;
    case OPTION_INT: {
        int64_t v;
        if (!str_to_i64(str_c(value), &v) || v < o->min || v > o->max)
            return fail(p->err, INVALID, NULL, "--%s takes a number from %lld to %lld, not '%s'",
                        o->name, (long long)o->min, (long long)o->max, value);
        *(int64_t *)field = v;
        return 0;
    }
    case OPTION_LIST:
        return set_list(p, o, value);
    }
    return -INTERNAL;
}

static const struct cli_option *find(const struct option_set *set, str name)
{
    for (size_t i = 0; i < set->n; i++)
        if (str_eq(str_c(set->v[i].name), name) ||
            (name.n == 1 && set->v[i].letter && set->v[i].letter == name.p[0]))
            return &set->v[i];
    return NULL;
}

static int unknown(const struct parse *p, const char *arg, str name)
{
    const char *names[NAME_MAX_LEN];
    size_t n = 0;
    for (; n < p->set->n && n < COUNT(names); n++)
        names[n] = p->set->v[n].name;
    char word[NAME_MAX_LEN];
    snprintf(word, sizeof(word), STR_FMT, STR_ARG(name));
    const char *near = option_suggest(word, names, n);
    if (near)
        return fail(p->err, INVALID, NULL, "unknown option '%s': did you mean '--%s'?", arg, near);
    return fail(p->err, INVALID, NULL, "unknown option '%s'", arg);
}

static bool is_number(const char *text)
{
    int64_t v;
    return str_to_i64(str_c(text), &v);
}

/* "--name", "--name=value", "--name value", "-n value", "-nvalue"; one dash is as good as two. */
static int parse_option(struct parse *p, const char *arg)
{
    bool two = arg[1] == '-';
    str name, value, body = str_c(arg + (two ? 2 : 1));
    bool has_value = str_cut(body, '=', &name, &value);
    const struct cli_option *o = find(p->set, name);
    if (!o && !two && body.n > 1 && (o = find(p->set, str_take(body, 1)))) {
        has_value = true;
        value = str_skip(body, 1);
    }
    if (!o)
        return unknown(p, arg, name);
    if (has_value)
        return set_value(p, o, value.p);
    if (o->kind == OPTION_FLAG)
        return set_value(p, o, "true");
    if (o->bare && (p->at == p->argc || !is_number(p->argv[p->at])))
        return set_value(p, o, o->bare);
    if (p->at == p->argc)
        return fail(p->err, INVALID, NULL, "%s needs a value: --%s %s", arg, o->name, o->value);
    return set_value(p, o, p->argv[p->at++]);
}

static int parse_words(struct parse *p, bool *ret_help)
{
    while (p->at < p->argc) {
        const char *arg = p->argv[p->at++];
        bool word = arg[0] != '-' || !arg[1];
        if (strcmp(arg, "--") == 0 || (word && p->set->command_follows)) {
            p->at -= word; /* the word itself begins the command */
            break;
        }
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            *ret_help = true;
            return 0;
        }
        int r = word ? list_add(p->arena, p->rest, arg, p->err) : parse_option(p, arg);
        if (r)
            return r;
    }
    for (; p->at < p->argc; p->at++) {
        int r = list_add(p->arena, p->rest, p->argv[p->at], p->err);
        if (r)
            return r;
    }
    return 0;
}

int option_parse(const struct option_set *set, int argc, char **argv, struct arena *a, void *self,
                 struct option_list *ret_rest, bool *ret_help, struct error *err)
{
    struct parse p = { .set = set,
                       .argc = argc,
                       .argv = argv,
                       .arena = a,
                       .self = self,
                       .rest = ret_rest,
                       .err = err };
    *ret_rest = (struct option_list){ 0 };
    *ret_help = false;
    for (size_t i = 0; i < set->n; i++) {
        if (!set->v[i].def)
            continue;
        int r = set_value(&p, &set->v[i], set->v[i].def);
        if (r)
            return r;
    }
    return parse_words(&p, ret_help);
}
