/* env.c — secretstores.local.env: the environment of this process as a secret store.
 * Owner:  nothing is held; answers are copied into the caller's arena.
 * Thread: any; nobody here changes the environment.
 * Failure: an unset or hidden name is an empty value, as the contract wants, never an error. */
#include "component/kinds.h"

#include <stdlib.h>

extern char **environ;

enum { NAME_MAX_BYTES = 4096 };

struct local_env {
    const char *prefix;
};

/* What the runtime itself is configured by, tokens among it, is nobody's secret to read. */
static bool hidden(str name)
{
    return str_ieq(name, S("APP_API_TOKEN")) || str_istarts(name, S("DAPR_"));
}

static bool valid_name(str name)
{
    return name.n > 0 && name.n <= NAME_MAX_BYTES && str_find_c(name, '=') < 0 &&
           str_find_c(name, '\0') < 0;
}

/* One secret with one value under its own name. */
static int single(struct arena *a, str name, str value, struct kvs *ret)
{
    struct kv *kv = arena_alloc(a, sizeof *kv);
    if (!kv)
        return -EXHAUSTED;
    *kv = (struct kv){ arena_dup(a, name), arena_dup(a, value) };
    if (!kv->key.p || !kv->value.p)
        return -EXHAUSTED;
    *ret = (struct kvs){ kv, 1 };
    return 0;
}

static int env_get(void *self, str name, struct kvs metadata, struct arena *a, struct kvs *ret,
                   struct error *err)
{
    struct local_env *s = self;
    const char *shown = name.n ? name.p : "";
    str full = arena_printf(a, "%s%.*s", s->prefix, (int)min_size(name.n, NAME_MAX_BYTES), shown);
    if (!full.p)
        return fail(err, EXHAUSTED, NULL, "the secret does not fit into the request's memory");
    const char *value = valid_name(name) && !hidden(full) ? getenv(full.p) : NULL;
    if (single(a, name, str_c(value), ret))
        return fail(err, EXHAUSTED, NULL, "the secret does not fit into the request's memory");
    return 0;
}

static int env_bulk(void *self, struct kvs metadata, struct arena *a, struct secret **ret,
                    size_t *ret_n, struct error *err)
{
    struct local_env *s = self;
    str prefix = str_c(s->prefix);
    size_t n = 0, n_vars = 0;
    while (environ[n_vars])
        n_vars++;
    struct secret *list = arena_alloc(a, (n_vars + 1) * sizeof *list);
    if (!list)
        goto full;

    for (size_t i = 0; i < n_vars; i++) {
        str name, value;
        bool pair = str_cut(str_c(environ[i]), '=', &name, &value);
        if (!pair || hidden(name) || !str_starts(name, prefix) || name.n == prefix.n)
            continue;
        list[n].name = str_skip(name, prefix.n);
        if (single(a, list[n].name, value, &list[n].values))
            goto full;
        list[n].name = list[n].values.v[0].key;
        n++;
    }
    *ret = list;
    *ret_n = n;
    return 0;
full:
    return fail(err, EXHAUSTED, NULL, "the environment does not fit into the request's memory");
}

static const struct cfg_field env_fields[] = {
    { .name = "prefix",
      .kind = CFG_STR,
      .off = offsetof(struct local_env, prefix),
      .doc = "put before each name when the environment is read; bulk answers come without it" },
};

const struct secret_ops secretstores_local_env = {
    .t = {
        .kind = "secretstores",
        .type = "secretstores.local.env",
        .version = "v1",
        .doc = "secrets from the environment variables of the runtime",
        .size = sizeof(struct local_env),
        .fields = env_fields,
        .n_fields = COUNT(env_fields),
    },
    .get = env_get,
    .bulk = env_bulk,
};
