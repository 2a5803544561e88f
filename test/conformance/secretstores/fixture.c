#include "fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct kvs fixture_kvs(struct arena *a, const char *const *name_value)
{
    size_t n = 0;
    while (name_value && name_value[2 * n])
        n++;
    struct kv *v = arena_alloc(a, (n + 1) * sizeof *v);
    CHECK(v != NULL, "the arena is full");
    for (size_t i = 0; v && i < n; i++)
        v[i] = (struct kv){ str_c(name_value[2 * i]), str_c(name_value[2 * i + 1]) };
    return (struct kvs){ v, v ? n : 0 };
}

int fixture_open(struct fixture *f, const char *type, const char *const *name_value,
                 const struct component_env *env)
{
    *f = (struct fixture){ .type = registry_find(str_c(type), S("v1")) };
    arena_init(&f->arena, MIB(64));
    REQUIRE(f->type != NULL, "no engine %s in the registry", type);
    f->self = mem_zalloc(f->type->size);
    if (env)
        f->env = *env;
    f->env.name = "test";
    f->env.metadata = fixture_kvs(&f->arena, name_value);
    int r = cfg_decode(f->type, f->env.metadata, &f->arena, f->self, NULL, NULL, &f->err);
    if (!r && f->type->open)
        r = f->type->open(f->self, &f->env, &f->err);
    CHECK(!r == !f->err.code, "%s: open returned %d but the error says %d", type, r, f->err.code);
    return r;
}

CO int fixture_join(struct fixture *f, const char *type, const char *const *name_value,
                    const struct component_env *env)
{
    int r = fixture_open(f, type, name_value, env);
    const struct resolver_ops *ops = r ? NULL : CONTAINER_OF(f->type, struct resolver_ops, t);
    return ops && ops->join ? ops->join(f->self, &f->err) : r;
}

void fixture_close(struct fixture *f)
{
    if (f->self && f->type->close)
        f->type->close(f->self);
    mem_free(f->self);
    arena_done(&f->arena);
    f->self = NULL;
}

void fixture_check_rows(const char *kind, const char *const *types)
{
    size_t n, found = 0, n_types = 0;
    const struct component_type *const *all = registry_all(&n);
    while (types[n_types])
        n_types++;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i]->kind, kind) != 0)
            continue;
        size_t row = 0;
        while (row < n_types && strcmp(types[row], all[i]->type) != 0)
            row++;
        CHECK(row < n_types, "%s has no row in this suite", all[i]->type);
        found++;
    }
    CHECK_EQ(found, n_types, "engines of %s", kind);
}

static char dir[64];

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *own_dir(void)
{
    if (dir[0])
        return dir;
    snprintf(dir, sizeof dir, "/tmp/proa-test-XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
    REQUIRE(atexit(remove_dir) == 0);
    return dir;
}

const char *fixture_file(struct arena *a, const char *name, const char *content)
{
    const char *path = arena_printf(a, "%s/%s", own_dir(), name).p;
    REQUIRE(path != NULL);
    if (!content)
        return path;
    FILE *file = fopen(path, "we");
    REQUIRE(file != NULL, "%s", path);
    fputs(content, file);
    CHECK_EQ(fclose(file), 0, "%s", path);
    return path;
}
