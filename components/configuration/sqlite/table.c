#include "components/configuration/sqlite/table.h"

#include "base/hash.h"
#include "format/json.h"

static const char *const sql_template[TABLE_SQL] = {
    [TABLE_GET] = "SELECT key, value, version, metadata FROM %s WHERE key = ?1",
    [TABLE_ALL] = "SELECT key, value, version, metadata FROM %s ORDER BY key",
};

/* A new value gets a new version by itself, so that it can be edited with the sqlite3 shell. */
static const char make_template[] =
    "CREATE TABLE IF NOT EXISTS %1$s (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, "
    "version INTEGER NOT NULL DEFAULT 1, metadata TEXT);"
    "CREATE TRIGGER IF NOT EXISTS %1$s_version AFTER UPDATE OF value ON %1$s "
    "WHEN NEW.value IS NOT OLD.value AND NEW.version IS OLD.version BEGIN "
    "UPDATE %1$s SET version = OLD.version + 1 WHERE key = NEW.key; END";

int table_sql(const char *table, struct arena *a, const char **ret, struct error *err)
{
    for (size_t i = 0; i < TABLE_SQL; i++)
        if (!(ret[i] = arena_printf(a, sql_template[i], table).p))
            return fail(err, EXHAUSTED, NULL, "out of memory");
    return 0;
}

int table_make(struct sqlite_conn *c, const char *table, struct arena *a, struct error *err)
{
    str sql = arena_printf(a, make_template, table);
    return sql.p ? sqlite_exec(c, sql.p, "making the table", err)
                 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int read_metadata(str text, struct arena *a, struct kvs *ret)
{
    struct json v, key, value;
    if (!text.n || json_parse(text, &v, NULL) < 0 || v.type != JSON_OBJECT)
        return 0;
    struct kv *kv = arena_alloc(a, json_count(v) * sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    struct json_iter it = json_iter(v);
    size_t n = 0;
    while (json_next(&it, &key, &value)) {
        if (value.type != JSON_STRING)
            continue;
        str k, t;
        if (json_string(a, key, &k) < 0 || json_string(a, value, &t) < 0)
            return -EXHAUSTED;
        kv[n++] = (struct kv){ k, t };
    }
    *ret = (struct kvs){ kv, n };
    return 0;
}

/* Columns are texts of the statement: copied before its next step. */
static int add_row(struct table_read *t, sqlite3_stmt *q, struct error *err)
{
    struct configuration_item *to = &t->items[t->n];
    *to = (struct configuration_item){
        .key = arena_dup(t->a, sqlite_column(q, 0)),
        .value = arena_dup(t->a, sqlite_column(q, 1)),
        .version = arena_dup(t->a, sqlite_column(q, 2)),
    };
    str metadata = arena_dup(t->a, sqlite_column(q, 3));
    if (!to->key.p || !to->value.p || !to->version.p || !metadata.p ||
        read_metadata(metadata, t->a, &to->metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "the configuration doesn't fit into memory");
    t->n++;
    return 0;
}

static int grow(struct table_read *t, size_t *cap, struct error *err)
{
    if (t->n < *cap)
        return 0;
    if (t->n >= TABLE_ROWS_MAX)
        return fail(err, EXHAUSTED, NULL, "the table has more than %d keys: ask for single ones",
                    TABLE_ROWS_MAX);
    size_t more = *cap ? *cap * 2 : 64;
    struct configuration_item *v = arena_alloc(t->a, more * sizeof *v);
    if (!v)
        return fail(err, EXHAUSTED, NULL, "the configuration doesn't fit into memory");
    if (t->n)
        memcpy(v, t->items, t->n * sizeof *v);
    t->items = v;
    *cap = more;
    return 0;
}

static int read_rows(struct table_read *t, struct sqlite_conn *c, sqlite3_stmt *q, size_t *cap,
                     struct error *err)
{
    int r;
    while ((r = sqlite_step(c, q, "reading the configuration", err)) == SQLITE_ROW) {
        int code = grow(t, cap, err);
        if (code >= 0)
            code = add_row(t, q, err);
        if (code < 0) {
            sqlite_done(q);
            return code;
        }
    }
    return r < 0 ? r : 0;
}

int table_read(struct sqlite_conn *c, void *arg, struct error *err)
{
    struct table_read *t = arg;
    size_t cap = 0;
    t->n = 0;
    t->items = NULL;
    sqlite3_stmt *q = sqlite_stmt(c, t->n_keys ? TABLE_GET : TABLE_ALL, err);
    if (!q)
        return -(int)err->code;
    if (!t->n_keys)
        return read_rows(t, c, q, &cap, err);
    int r = 0;
    for (size_t i = 0; r == 0 && i < t->n_keys; i++) {
        sqlite_bind_str(q, 1, t->keys[i]);
        r = read_rows(t, c, q, &cap, err);
    }
    return r;
}

static uint64_t mix(uint64_t h, str s)
{
    return (h ^ hash_stable(s)) * 0x9e3779b97f4a7c15u + s.n;
}

uint64_t table_hash(const struct configuration_item *item)
{
    uint64_t h = mix(mix(0, item->value), item->version);
    for (size_t i = 0; i < item->metadata.n; i++)
        h = mix(mix(h, item->metadata.v[i].key), item->metadata.v[i].value);
    return h ? h : 1;
}
