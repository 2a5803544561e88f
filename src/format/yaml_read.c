#include "format/yaml.h"

#include "format/number.h"

#include <math.h>
#include <stdio.h>

struct yaml_split yaml_split(str text, const char *file)
{
    return (struct yaml_split){ .rest = text, .file = file, .line = 1 };
}

static unsigned count_lines(str s)
{
    unsigned n = 0;
    for (ptrdiff_t at; (at = str_find_c(s, '\n')) >= 0; s = str_skip(s, (size_t)at + 1))
        n++;
    return n;
}

bool yaml_split_next(struct yaml_split *s, struct yaml_source *ret)
{
    while (!s->done) {
        ptrdiff_t at = str_find(s->rest, S("\n---"));
        str doc = at < 0 ? s->rest : str_take(s->rest, (size_t)at);
        *ret = (struct yaml_source){ doc, s->file, s->line };
        if (at < 0) {
            s->done = true;
        } else {
            /* What follows "---" on its line isn't part of any document. */
            str after = str_skip(s->rest, (size_t)at + 1);
            ptrdiff_t end = str_find_c(after, '\n');
            s->line += count_lines(doc) + 2;
            s->rest = end < 0 ? S("") : str_skip(after, (size_t)end + 1);
        }
        if (str_trim(doc).n)
            return true;
    }
    return false;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, str key)
{
    if (map && map->type == YAML_MAP)
        for (size_t i = 0; i < map->n; i++)
            if (str_eq(map->pair[i].key->text, key))
                return map->pair[i].value;
    return NULL;
}

bool yaml_is_null(const struct yaml_node *n)
{
    return !n || n->type == YAML_NULL;
}

bool yaml_is_scalar(const struct yaml_node *n)
{
    return n && n->type > YAML_NULL && n->type < YAML_SEQ;
}

const char *yaml_type_name(enum yaml_type type)
{
    static const char *const names[] = {
        "nothing", "true or false", "a whole number", "a number", "a string", "a list", "a map",
    };
    return names[type];
}

str yaml_text(const struct yaml_node *n, str def)
{
    return yaml_is_scalar(n) ? n->canon : def;
}

bool yaml_bool(const struct yaml_node *n, bool *ret)
{
    if (!n || n->type != YAML_BOOL)
        return false;
    *ret = n->canon.p[0] == 't';
    return true;
}

static bool is_number(const struct yaml_node *n)
{
    return n && (n->type == YAML_INT || n->type == YAML_FLOAT);
}

bool yaml_i64(const struct yaml_node *n, int64_t *ret)
{
    return is_number(n) && number_i64(n->canon, ret);
}

bool yaml_double(const struct yaml_node *n, double *ret)
{
    if (!is_number(n))
        return false;
    if (number_double(n->canon, ret))
        return true;
    bool nan = (n->text.p[1] | 0x20) == 'n'; /* .nan; the others are ±.inf */
    *ret = nan ? NAN : n->text.p[0] == '-' ? -INFINITY : INFINITY;
    return true;
}

int yaml_fail(struct error *err, const char *file, const struct yaml_node *n, enum code code,
              const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!n)
        return fail(err, code, NULL, "%s: %s", file, text);
    return fail(err, code, NULL, "%s:%u:%u: %s", file, n->line, n->column, text);
}

static void scalar_to_json(const struct yaml_node *n, struct json_w *w)
{
    if (n->type == YAML_STR)
        json_w_str(w, n->canon);
    else
        json_w_raw(w, n->canon);
}

void yaml_to_json(const struct yaml_node *n, struct json_w *w)
{
    if (!n) {
        json_w_null(w);
    } else if (n->type == YAML_MAP) {
        json_w_object(w);
        for (size_t i = 0; i < n->n; i++) {
            json_w_key(w, n->pair[i].key->text);
            yaml_to_json(n->pair[i].value, w);
        }
        json_w_object_end(w);
    } else if (n->type == YAML_SEQ) {
        json_w_array(w);
        for (size_t i = 0; i < n->n; i++)
            yaml_to_json(n->item[i], w);
        json_w_array_end(w);
    } else {
        scalar_to_json(n, w);
    }
}
