/* table.h — the table of configuration.sqlite: rows of key, value, version and metadata.
 * Owner:  items go into the caller's arena.   Thread: that of the connection.
 * Failure: -CODE with the file's story. Metadata that is no JSON object of texts counts as none. */
#pragma once

#include "component/configuration.h"
#include "components/common/sqlite/conn.h"

enum { TABLE_GET, TABLE_ALL, TABLE_SQL };
enum { TABLE_ROWS_MAX = 100000 };

struct table_read {
    const str *keys; /* n_keys 0: all rows */
    size_t n_keys;
    struct arena *a;
    struct configuration_item *items;
    size_t n;
};

/* The statements, for sqlite_db_config.sql. */
int table_sql(const char *table, struct arena *a, const char **ret, struct error *err) WUR;
int table_make(struct sqlite_conn *c, const char *table, struct arena *a, struct error *err) WUR;
/* arg: struct table_read. May be called again with the same one. */
int table_read(struct sqlite_conn *c, void *arg, struct error *err) WUR;
/* Changes whenever value, version or metadata do; never 0. */
uint64_t table_hash(const struct configuration_item *item);
