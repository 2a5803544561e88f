#include "component/diag.h"

#include <stdio.h>

static struct diag *next_slot(struct diags *d)
{
    if (d->n == DIAGS_MAX)
        return NULL;
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 16;
        struct diag *v = arena_alloc(d->arena, cap * sizeof *v);
        if (!v)
            return NULL;
        if (d->n)
            memcpy(v, d->v, d->n * sizeof *v);
        d->v = v;
        d->cap = cap;
    }
    return &d->v[d->n];
}

void diag_add(struct diags *d, enum diag_level level, const char *file, unsigned line,
              unsigned column, const char *fmt, ...)
{
    if (!d)
        return;
    va_list args;
    va_start(args, fmt);
    struct diag *slot = next_slot(d);
    str text = slot ? arena_vprintf(d->arena, fmt, args) : (str){ 0 };
    va_end(args);
    if (!text.p) {
        d->n_lost++;
        d->no_memory |= d->n < DIAGS_MAX;
        return;
    }
    *slot = (struct diag){ level, file, line, column, text.p };
    d->n++;
}

bool diags_have(const struct diags *d, enum diag_level level)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->v[i].level == level)
            return true;
    return false;
}

const char *diag_print(const struct diag *d, char ret[DIAG_TEXT_MAX])
{
    if (!d->file)
        snprintf(ret, DIAG_TEXT_MAX, "%s", d->text);
    else if (!d->line)
        snprintf(ret, DIAG_TEXT_MAX, "%s: %s", d->file, d->text);
    else
        snprintf(ret, DIAG_TEXT_MAX, "%s:%u:%u: %s", d->file, d->line, d->column, d->text);
    return ret;
}
