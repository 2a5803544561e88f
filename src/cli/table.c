#include "cli/table.h"

#include "cli/console.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

int table_init(struct table *t, struct arena *a)
{
    PRE(t->n_columns <= TABLE_COLUMNS);
    t->n = 0;
    t->row = arena_zalloc(a, TABLE_ROWS_MAX * sizeof(*t->row));
    return t->row ? 0 : -EXHAUSTED;
}

struct table_row *table_add(struct table *t, const char *colour)
{
    if (t->n == TABLE_ROWS_MAX)
        return NULL;
    t->row[t->n].colour = colour;
    return &t->row[t->n++];
}

static int width_of(const struct table *t, size_t column)
{
    size_t width = strlen(t->head[column]);
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->row[i].cell[column]) > width)
            width = strlen(t->row[i].cell[column]);
    return (int)width;
}

static void print_cell(const struct table *t, size_t c, int width, const char *text,
                       const char *colour)
{
    bool left = t->left >> c & 1, coloured = c == t->state && *colour;
    bool last = c + 1 == t->n_columns && left; /* no spaces at the end of a line */
    printf("%s%s%*s%s", c ? "  " : "", coloured ? colour : "",
           last   ? 0
           : left ? -width
                  : width,
           text, coloured ? "\033[0m" : "");
}

void table_print(const struct table *t, bool below_another)
{
    int width[TABLE_COLUMNS];
    bool colour = console_colour(STDOUT_FILENO);
    if (!t->n)
        return;
    if (below_another)
        putchar('\n');
    for (size_t c = 0; c < t->n_columns; c++) {
        width[c] = width_of(t, c);
        print_cell(t, c, width[c], t->head[c], "");
    }
    putchar('\n');
    for (size_t i = 0; i < t->n; i++) {
        for (size_t c = 0; c < t->n_columns; c++)
            print_cell(t, c, width[c], t->row[i].cell[c], colour ? t->row[i].colour : "");
        putchar('\n');
    }
}

void table_text(char cell[TABLE_CELL_MAX], str text)
{
    size_t n = 0;
    if (!text.n)
        text = S("-");
    for (; n < text.n && n < TABLE_CELL_MAX - 1; n++)
        cell[n] = (char)((unsigned char)text.p[n] < ' ' || text.p[n] == 0x7f ? '?' : text.p[n]);
    cell[n] = '\0';
}

void table_member(char cell[TABLE_CELL_MAX], struct json object, str name, struct arena *a)
{
    str s;
    table_text(cell, json_string(a, json_get(object, name), &s) == 0 ? s : S(""));
}

void table_number(char cell[TABLE_CELL_MAX], const char *fmt, double v)
{
    if (isnan(v))
        snprintf(cell, TABLE_CELL_MAX, "-");
    else
        snprintf(cell, TABLE_CELL_MAX, fmt, v);
}

void table_duration(char cell[TABLE_CELL_MAX], double s)
{
    bool minutes = s >= 120, hours = s >= 7200;
    table_number(cell,
                 hours     ? "%.0fh"
                 : minutes ? "%.0fm"
                           : "%.0fs",
                 hours     ? s / 3600
                 : minutes ? s / 60
                           : s);
}
