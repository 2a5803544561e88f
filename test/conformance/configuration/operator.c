#include "test/conformance/configuration/operator.h"

#include "loop/worker.h"

#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

struct edit {
    struct suite *s;
    const char *key, *value;
    bool ok;
};

static str field(const struct suite *s, const char *name)
{
    return kvs_get(s->env.metadata, str_c(name));
}

/* What somebody at the sqlite3 shell would type; on a pool thread, since it may wait. */
static void edit_sqlite(void *arg)
{
    struct edit *e = arg;
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    char path[128], sql[200];
    str table = field(e->s, "tableName");
    snprintf(path, sizeof path, "%s/configuration.db", e->s->dir);
    snprintf(sql, sizeof sql,
             e->value ? "INSERT INTO %.*s (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE "
                        "SET value = ?2"
                      : "DELETE FROM %.*s WHERE key = ?1",
             table.n ? (int)table.n : 13, table.n ? table.p : "configuration");
    e->ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
            sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
            sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK &&
            sqlite3_bind_text(q, 1, e->key, -1, SQLITE_STATIC) == SQLITE_OK &&
            (!e->value || sqlite3_bind_text(q, 2, e->value, -1, SQLITE_STATIC) == SQLITE_OK) &&
            sqlite3_step(q) == SQLITE_DONE;
    if (!e->ok)
        printf("    editing: %s\n", db ? sqlite3_errmsg(db) : "no database");
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
}

CO void operator_set(struct suite *s, const char *key, const char *value)
{
    static const struct {
        const char *type;
        void (*edit)(void *edit);
    } row[] = {
        { "configuration.sqlite", edit_sqlite },
    };
    struct edit e = { .s = s, .key = key, .value = value };
    for (size_t i = 0; i < COUNT(row); i++)
        if (strcmp(row[i].type, s->type->type) == 0)
            CHECK(blocking(row[i].edit, &e) == 0);
    CHECK(e.ok);
}
