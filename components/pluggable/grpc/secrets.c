#include "plugin.h"
#include "wire.h"

struct vault {
    struct plug plug;
};

static const struct plugin_feature features[] = {
    { "MULTIPLE_KEY_VALUES_PER_SECRET", SECRET_MULTIPLE }, { NULL, 0 }
};

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
}

CO static int vault_get(void *self, str name, struct kvs metadata, struct arena *a, struct kvs *ret,
                        struct error *err)
{
    struct vault *v = self;
    WIRE(GetSecretRequest) request = DAPR__PROTO__COMPONENTS__V1__GET_SECRET_REQUEST__INIT;
    WIRE(GetSecretResponse) * reply;
    if (!(request.key = arena_cstr(a, name)) ||
        wire_map(metadata, a, &request.metadata, &request.n_metadata) < 0)
        return no_memory(err);
    int r = plug_call(&v->plug, PLUGIN_PATH("SecretStore", "Get"), &request.base,
                      WIRE_TYPE(get_secret_response), a, &reply, err);
    if (r < 0)
        return r;
    return wire_kvs(reply->data, reply->n_data, a, ret) < 0 ? no_memory(err) : 0;
}

CO static int vault_bulk(void *self, struct kvs metadata, struct arena *a, struct secret **ret,
                         size_t *ret_n, struct error *err)
{
    struct vault *v = self;
    WIRE(BulkGetSecretRequest)
    request = DAPR__PROTO__COMPONENTS__V1__BULK_GET_SECRET_REQUEST__INIT;
    WIRE(BulkGetSecretResponse) * reply;
    if (wire_map(metadata, a, &request.metadata, &request.n_metadata) < 0)
        return no_memory(err);
    int r = plug_call(&v->plug, PLUGIN_PATH("SecretStore", "BulkGet"), &request.base,
                      WIRE_TYPE(bulk_get_secret_response), a, &reply, err);
    if (r < 0)
        return r;
    struct secret *s = arena_zalloc(a, reply->n_data * sizeof *s);
    if (!s)
        return no_memory(err);
    for (size_t i = 0; i < reply->n_data; i++) {
        const WIRE(SecretEntry) *e = reply->data[i];
        s[i].name = str_c(e->key);
        if (e->value && wire_kvs(e->value->secrets, e->value->n_secrets, a, &s[i].values) < 0)
            return no_memory(err);
    }
    *ret = s;
    *ret_n = reply->n_data;
    return 0;
}

static unsigned vault_features(void *self)
{
    struct vault *v = self;
    return atomic_load(&v->plug.features);
}

CO static int vault_open(void *self, const struct component_env *env, struct error *err)
{
    struct vault *v = self;
    return plug_open(&v->plug, CONTAINER_OF(env->type, struct plugin, secrets.t), PART_SECRET,
                     features, env, err);
}

static void vault_close(void *self)
{
}

void plugin_secrets_table(struct plugin *p)
{
    struct component_type t = p->secrets.t;
    t.doc = "a secret store in a process of its own";
    t.size = sizeof(struct vault);
    t.features_of = vault_features;
    t.free_form = true;
    t.open = vault_open;
    t.close = vault_close;
    p->secrets = (struct secret_ops){ .t = t, .get = vault_get, .bulk = vault_bulk };
}
