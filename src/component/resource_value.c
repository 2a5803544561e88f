/* Values of metadata: references to the environment and to secrets, and templates in the text. */
#include "base/id.h"
#include "component/resource.h"

enum { VALUE_MAX = 1 << 20 };

str component_secret_store(const struct component_resource *c)
{
    for (size_t i = 0; i < c->metadata.n; i++)
        if (c->metadata.v[i].from.secret.name.n)
            return c->secret_store;
    return S("");
}

static bool in_list(str list, str name)
{
    str rest = list, item;
    while (str_next(&rest, ' ', &item))
        if (item.n && str_eq(item, name))
            return true;
    return false;
}

/* The runtime's own settings stay hidden; DAPR_ENV_KEYS, when set, names all that may be read. */
static bool may_read_env(const struct resolve_env *env, str name)
{
    if (str_eq(name, S("APP_API_TOKEN")) || str_istarts(name, S("DAPR_")) ||
        str_find_c(name, ' ') >= 0)
        return false;
    str keys = env->getenv ? env->getenv(env->arg, S("DAPR_ENV_KEYS")) : (str){ 0 };
    return !keys.n || in_list(keys, name);
}

static str from_env(const struct name_value *item, const char *file, const struct resolve_env *env,
                    struct diags *diags)
{
    const char *why = NULL;
    str value = { 0 };
    if (!may_read_env(env, item->env))
        why = "it may not be read from the environment";
    else if (!env->getenv || !(value = env->getenv(env->arg, item->env)).p)
        why = "the environment does not have it";
    if (!why)
        return value;
    diag_add(diags, DIAG_ERROR, file, item->at ? item->at->line : 0,
             item->at ? item->at->column : 0, "envRef %.*s: %s: the value is left empty",
             (int)min_size(item->env.n, 100), item->env.p, why);
    return S("");
}

CO int value_resolve(const struct value_ref *v, str secret_store, const struct resolve_env *env,
                     struct arena *a, str *ret, struct error *err)
{
    if (!v->secret.name.n) {
        *ret = v->value.p ? v->value : S("");
        return 0;
    }
    if (!env->secret)
        return fail(err, NOT_FOUND, NULL, "secret store \"%.*s\" is not loaded",
                    (int)min_size(secret_store.n, 100), secret_store.p);
    return env->secret(env->arg, secret_store, v->secret.name, v->secret.key, a, ret, err);
}

/* ---- templates ---- */

static int put_pod_name(const struct resolve_env *env, struct buf *out, struct error *err)
{
    str pod = env->getenv ? env->getenv(env->arg, S("POD_NAME")) : (str){ 0 };
    if (!pod.n)
        return fail(err, INVALID, NULL,
                    "a value uses {podName}, but POD_NAME is not set in the environment");
    buf_put(out, pod);
    return 0;
}

/* Writes what a template at the start of rest stands for and tells its length; 0 = no template. */
static int put_template(str rest, const struct resolve_env *env, struct buf *out, size_t *ret_len,
                        struct error *err)
{
    char uuid[UUID_LEN];
    size_t len = 0;
    int r = 0;
    if (str_starts(rest, S("{uuid}"))) {
        len = sizeof "{uuid}" - 1;
        id_uuid4(uuid);
        buf_put(out, str_of(uuid, UUID_LEN));
    } else if (str_starts(rest, S("{podName}"))) {
        len = sizeof "{podName}" - 1;
        r = put_pod_name(env, out, err);
    } else if (str_starts(rest, S("{namespace}"))) {
        len = sizeof "{namespace}" - 1;
        buf_put(out, env->namespace_);
        buf_put(out, env->namespace_.n ? S(".") : S(""));
        buf_put(out, env->app_id);
    } else if (str_starts(rest, S("{appID}"))) {
        len = sizeof "{appID}" - 1;
        buf_put(out, env->app_id);
    }
    *ret_len = len;
    return r;
}

static int expand(str text, const struct resolve_env *env, struct arena *a, str *ret,
                  struct error *err)
{
    if (str_find_c(text, '{') < 0) {
        *ret = arena_dup(a, text); /* the value must outlive the snapshot it came from */
        return ret->p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory for a metadata value");
    }
    AUTO(buf_done) struct buf out;
    buf_init(&out, VALUE_MAX);
    for (size_t i = 0, len; i < text.n; i += len) {
        int r = put_template(str_skip(text, i), env, &out, &len, err);
        if (r < 0)
            return r;
        if (!len) {
            buf_putc(&out, text.p[i]);
            len = 1;
        }
    }
    str copy = buf_ok(&out) ? arena_dup(a, buf_str(&out)) : (str){ 0 };
    if (!copy.p)
        return fail(err, EXHAUSTED, NULL,
                    "a metadata value is longer than %d bytes, or out of "
                    "memory",
                    VALUE_MAX);
    *ret = copy;
    return 0;
}

CO static int resolve_item(const struct name_value *item, str secret_store, const char *file,
                           const struct resolve_env *env, struct arena *a, struct kv *ret,
                           struct diags *diags, struct error *err)
{
    struct error cause = { 0 };
    str value = S("");
    if (item->env.n && !item->from.value.n) {
        value = from_env(item, file, env, diags);
    } else if (value_resolve(&item->from, secret_store, env, a, &value, &cause) < 0) {
        diag_add(diags, DIAG_ERROR, file, item->at ? item->at->line : 0,
                 item->at ? item->at->column : 0,
                 "secret of metadata \"%.*s\": %s: the value is left empty",
                 (int)min_size(item->name.n, 100), item->name.p, cause.text);
        value = S("");
    }
    str name = arena_dup(a, item->name);
    if (!name.p)
        return fail(err, EXHAUSTED, NULL, "out of memory for the metadata");
    *ret = (struct kv){ .key = name };
    return expand(value, env, a, &ret->value, err);
}

CO int values_resolve(const struct name_values *items, str secret_store, const char *file,
                      const struct resolve_env *env, struct arena *a, struct kvs *ret,
                      struct diags *diags, struct error *err)
{
    struct kv *v = arena_zalloc(a, (items->n + 1) * sizeof *v);
    if (!v)
        return fail(err, EXHAUSTED, NULL, "out of memory for the metadata");
    for (size_t i = 0; i < items->n; i++) {
        int r = resolve_item(&items->v[i], secret_store, file, env, a, &v[i], diags, err);
        if (r < 0)
            return r;
    }
    *ret = (struct kvs){ v, items->n };
    return 0;
}
