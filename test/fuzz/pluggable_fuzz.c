/* pluggable_fuzz.c — whatever a pluggable component answers, and whatever query an app sends to
 * one: no crash, no overread, and an error has a text. Byte 0: which operation; the rest: the
 * answer. */
#include "test/fuzz/fuzz.h"

#include "components/pluggable/grpc/plugin.h"
#include "components/pluggable/grpc/pull.h"
#include "components/pluggable/grpc/query.h"
#include "components/pluggable/grpc/status.h"
#include "components/pluggable/grpc/wire.h"

static str answer;

/* The component's side: bytes instead of a socket. */
int plug_call(struct plug *p, str path, const ProtobufCMessage *request,
              const ProtobufCMessageDescriptor *reply, struct arena *a, void *ret,
              struct error *err)
{
    struct buf out;
    buf_init(&out, MIB(1));
    (void)wire_pack(request, &out);
    buf_done(&out);
    int r = wire_unpack(answer, reply, a, ret);
    return r < 0 ? fail(err, (enum code) - r, NULL, "no message") : 0;
}

int plug_open(struct plug *p, struct plugin *plugin, unsigned parts,
              const struct plugin_feature *names, const struct component_env *env,
              struct error *err)
{
    return 0;
}

int plug_send(struct http_call *call, const ProtobufCMessage *m)
{
    return 0;
}

int pull_start(struct plug *plug, const struct pull_ops *ops, void *arg, struct pull **ret,
               struct error *err)
{
    struct arena a;
    struct pull_message m = { .arena = &a };
    arena_init(&a, MIB(1));
    int r = wire_unpack(answer, ops->type, &a, &m.m);
    if (r >= 0)
        r = ops->handle(arg, &m, err);
    if (r >= 0)
        r = ops->ack(arg, NULL, &m, "text");
    arena_done(&a);
    return fail(err, r < 0 ? (enum code) - r : CANCELLED, NULL, "once");
}

void pull_stop(struct pull *p)
{
}

/* ---- what is read must be readable ---- */

static volatile size_t sum;

static void read_all(str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
}

static void read_kvs(struct kvs kvs)
{
    for (size_t i = 0; i < kvs.n; i++) {
        read_all(kvs.v[i].key);
        read_all(kvs.v[i].value);
    }
}

static int on_message(void *arg, const struct pubsub_message *m, struct error *err)
{
    read_all(m->topic);
    read_all(m->data);
    read_all(m->content_type);
    read_kvs(m->metadata);
    return 0;
}

static int on_event(void *arg, const struct binding_event *e, struct error *err)
{
    read_all(e->data);
    read_kvs(e->metadata);
    *e->ret_data = e->data;
    return 0;
}

static struct plugin plugin;
static const struct kv one_kv = { S("k"), S("v") };
static const struct kvs some = { &one_kv, 1 };

static int state(void *self, unsigned which, struct arena *a, struct error *err)
{
    const str keys[] = { S("a"), S("b"), S("a") };
    struct state_value v[3] = { 0 };
    struct state_query_result *found = NULL;
    size_t n = 0;
    str token;
    int r;
    if (which == 0) {
        r = plugin.state.get(self, keys[0], STRONG, some, a, v, err);
    } else if (which == 1) {
        r = plugin.state.bulk_get(self, keys, COUNT(keys), some, a, v, err);
    } else {
        r = plugin.state.query(self, which == 2 ? S("{}") : answer, some, a, &found, &n, &token,
                               err);
        for (size_t i = 0; r == 0 && i < n; i++) {
            read_all(found[i].key);
            read_all(found[i].value);
            read_all(found[i].etag);
            read_all(found[i].error);
        }
    }
    for (size_t i = 0; r == 0 && i < COUNT(v); i++) {
        read_all(v[i].value);
        read_all(v[i].etag);
        read_kvs(v[i].metadata);
    }
    return r;
}

static int rest(void *self, unsigned which, struct arena *a, struct error *err)
{
    struct pubsub_message m[2] = { { .topic = S("t"), .entry_id = S("1") },
                                   { .topic = S("t"), .entry_id = S("2") } };
    struct pubsub_subscription sub = { .topic = S("t"), .metadata = some, .handle = on_message };
    struct binding_result result = { 0 };
    struct kvs kvs = { 0 };
    struct secret *secret = NULL;
    size_t n = 0;
    void *handle;
    int r;
    switch (which) {
    case 0:
        r = plugin.pubsub.bulk_publish(self, m, 2, err);
        return r > 0 ? 0 : r;
    case 1:
        return plugin.pubsub.subscribe(self, &sub, &handle, err);
    case 2:
        r = plugin.bindings.invoke(self, S("create"), S("x"), some, a, &result, err);
        read_all(result.data);
        read_kvs(result.metadata);
        return r;
    case 3:
        return plugin.bindings.start(self, on_event, NULL, err);
    case 4:
        r = plugin.secrets.get(self, S("a"), some, a, &kvs, err);
        read_kvs(kvs);
        return r;
    default:
        r = plugin.secrets.bulk(self, some, a, &secret, &n, err);
        for (size_t i = 0; i < n; i++)
            read_kvs(secret[i].values);
        return r;
    }
}

static int status(struct error *err)
{
    enum code code = answer.n ? (enum code)(answer.p[0] & 15) + 1 : UNKNOWN;
    struct grpc_status s = { .code = code, .message = answer, .details = str_skip(answer, 1) };
    int r = plugin_status(&s, answer.n & 1, err);
    FUZZ_CHECK(r < 0 && err->code == (enum code) - r && err->own_at <= strlen(err->text));
    FUZZ_CHECK(!err->http || (err->http >= 200 && err->http <= 999));
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(16) char self[4096];
    struct component_env env = { .name = "x", .type = &plugin.bindings.t, .metadata = some };
    struct error err = { 0 };
    struct arena a;
    int r;
    plugin.parts = ~0u;
    plugin_state_table(&plugin);
    plugin_pubsub_table(&plugin);
    plugin_bindings_table(&plugin);
    plugin_secrets_table(&plugin);
    memset(self, 0, sizeof self);
    ((struct plug *)(void *)self)->env = &env;
    arena_init(&a, MIB(1));
    unsigned which = size ? data[0] % 12 : 0;
    answer = size ? str_of(data + 1, size - 1) : S("");
    if (which < 4) {
        r = state(self, which, &a, &err);
    } else if (which < 10) {
        r = rest(self, which - 4, &a, &err);
    } else if (which == 10) {
        r = plugin.bindings.t.open(self, &env, &err);
        plugin.bindings.t.close(self);
    } else {
        r = status(&err);
    }
    FUZZ_CHECK(r == 0 || err.text[0]);
    arena_done(&a);
    return 0;
}
