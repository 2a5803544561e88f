/* table.h — a table on the terminal: columns as wide as their widest cell.
 * Owner:  rows lie in the arena.   Thread: one.
 * Limits: TABLE_*; rows past the limit are left out, cells are cut.   Failure: -EXHAUSTED. */
#pragma once

#include "base/arena.h"
#include "format/json.h"

enum { TABLE_COLUMNS = 10, TABLE_CELL_MAX = 96, TABLE_ROWS_MAX = 512 };

struct table_row {
    char cell[TABLE_COLUMNS][TABLE_CELL_MAX];
    const char *colour; /* of the state, "" = none */
};

struct table {
    const char *const *head;
    size_t n_columns;
    unsigned left;  /* bit i: column i stands at the left; the others are numbers */
    unsigned state; /* the column that has the colour */
    struct table_row *row;
    size_t n;
};

#define TABLE_GREEN "\033[32m"
#define TABLE_YELLOW "\033[33m"
#define TABLE_RED "\033[31m"

int table_init(struct table *t, struct arena *a) WUR;
/* A row of empty cells; NULL when there are TABLE_ROWS_MAX. */
struct table_row *table_add(struct table *t, const char *colour);
/* Writes it to stdout, with a blank line before it if there was one above. Nothing without rows. */
void table_print(const struct table *t, bool below_another);

/* Cells. Unknown numbers (NAN) and missing texts are a dash; control characters become '?'. */
void table_text(char cell[TABLE_CELL_MAX], str text);
void table_member(char cell[TABLE_CELL_MAX], struct json object, str name, struct arena *a);
void table_number(char cell[TABLE_CELL_MAX], const char *fmt, double v);
void table_duration(char cell[TABLE_CELL_MAX], double seconds);
