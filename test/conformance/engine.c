#include "test/conformance/engine.h"

#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

int engine_open(struct engine *e, const char *type, const char *const *fields, struct error *err)
{
    *e = (struct engine){ .type = registry_find(str_c(type), S("")) };
    INV(e->type);
    arena_init(&e->a, MIB(16));
    for (; *fields; fields++) {
        INV(e->n < COUNT(e->kv));
        (void)str_cut(str_c(*fields), '=', &e->kv[e->n].key, &e->kv[e->n].value);
        e->n++;
    }
    e->env = (struct component_env){
        .name = "engine", .app_id = "app", .namespace_ = "", .metadata = { e->kv, e->n }
    };
    e->self = mem_zalloc(e->type->size);
    INV(e->self);
    int r = cfg_decode(e->type, e->env.metadata, &e->a, e->self, NULL, NULL, err);
    if (r < 0) {
        mem_free(TAKE(e->self));
        return r;
    }
    r = e->type->open(e->self, &e->env, err);
    if (r < 0)
        engine_close(e);
    return r;
}

void engine_close(struct engine *e)
{
    if (e->self)
        e->type->close(e->self);
    mem_free(TAKE(e->self));
    arena_done(&e->a);
}

void scratch_make(struct scratch *s)
{
    snprintf(s->dir, sizeof s->dir, "/tmp/proa.XXXXXX");
    INV(mkdtemp(s->dir));
    snprintf(s->file, sizeof s->file, "%s/x.db", s->dir);
}

void scratch_remove(struct scratch *s)
{
    DIR *d = opendir(s->dir);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(s->dir);
}

size_t scratch_count(const struct scratch *s)
{
    size_t n = 0;
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        (void)closedir(d);
    return n;
}

int64_t scratch_sql(const struct scratch *s, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    int64_t first = -1;
    bool any = false;
    int rc = sqlite3_open(s->file, &db);
    (void)sqlite3_busy_timeout(db, 2000);
    while (rc == SQLITE_OK && *sql) {
        rc = sqlite3_prepare_v2(db, sql, -1, &q, &sql);
        if (rc != SQLITE_OK || !q)
            break;
        while ((rc = sqlite3_step(q)) == SQLITE_ROW)
            if (!any) {
                first = sqlite3_column_int64(q, 0);
                any = true;
            }
        rc = sqlite3_finalize(q);
    }
    if (rc != SQLITE_OK)
        printf("    %s\n", sqlite3_errmsg(db));
    (void)sqlite3_close(db);
    return rc == SQLITE_OK ? first : -1;
}
