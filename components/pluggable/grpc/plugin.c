#include "plugin.h"

#include "status.h"
#include "wire.h"

#include <errno.h>
#include <sys/stat.h>

enum { LOOK_MS = 2, HEAD_ARENA_MAX = 64 << 10, TRIES = 4 };

/* Only .call of a start in which the process was found to be a new one is NULL: look again. */
static const struct service {
    unsigned part;
    str init, features, ping; /* features empty: the service has none */
} services[] = {
    { PART_STATE, PLUGIN_PATH("StateStore", "Init"), PLUGIN_PATH("StateStore", "Features"),
      PLUGIN_PATH("StateStore", "Ping") },
    { PART_PUBSUB, PLUGIN_PATH("PubSub", "Init"), PLUGIN_PATH("PubSub", "Features"),
      PLUGIN_PATH("PubSub", "Ping") },
    { PART_SECRET, PLUGIN_PATH("SecretStore", "Init"), PLUGIN_PATH("SecretStore", "Features"),
      PLUGIN_PATH("SecretStore", "Ping") },
    { PART_INPUT, PLUGIN_PATH("InputBinding", "Init"), S(""), PLUGIN_PATH("InputBinding", "Ping") },
    { PART_OUTPUT, PLUGIN_PATH("OutputBinding", "Init"), S(""),
      PLUGIN_PATH("OutputBinding", "Ping") },
};

static const char *path_of(const struct plugin *plugin)
{
    return plugin->address + sizeof "unix:" - 1;
}

/* ---- one message there, one back ---- */

/* On a new connection: whether the socket is another file than before, thus the process too. */
static void notice_restart(struct plugin *plugin)
{
    struct stat st;
    if (stat(path_of(plugin), &st) < 0)
        return; /* it has gone again: the call will say so */
    unsigned long long file = (unsigned long long)st.st_ino ^
                              (unsigned long long)st.st_ctim.tv_sec << 20 ^
                              (unsigned long long)st.st_ctim.tv_nsec << 32;
    if (atomic_exchange(&plugin->file, file) != file)
        atomic_fetch_add(&plugin->starts, 1);
}

CO static int start(struct plugin *plugin, const char *instance, str path, struct http_call **ret,
                    struct error *err)
{
    struct arena a;
    arena_init(&a, HEAD_ARENA_MAX);
    struct http_headers h;
    http_headers_init(&h, &a);
    int r = instance ? http_headers_add(&h, S("x-component-instance"), str_c(instance)) : 0;
    uint64_t deadline = fiber_deadline(), now = sched_now();
    uint64_t left = deadline == UINT64_MAX ? deadline : deadline > now ? deadline - now : 0;
    struct error cause = { 0 };
    if (r == 0)
        r = grpc_call_start(plugin->client, plugin->address, S("localhost"), path, &h, left, ret,
                            &cause);
    arena_done(&a);
    if (r < 0)
        return fail(err, (enum code) - r, NULL,
                    "the pluggable component behind %s can't be called: %s; is it running?",
                    path_of(plugin), cause.text[0] ? cause.text : code_name((enum code) - r));
    if (!http_call_reused(*ret))
        notice_restart(plugin);
    return 0;
}

int plug_send(struct http_call *call, const ProtobufCMessage *m)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, PLUGIN_MESSAGE_MAX);
    int r = wire_pack(m, &out);
    return r < 0 ? r : grpc_call_send(call, buf_str(&out), false);
}

int plug_recv(struct http_call *call, const ProtobufCMessageDescriptor *type, struct arena *a,
              void *ret)
{
    str message;
    int r = grpc_call_recv(call, PLUGIN_MESSAGE_MAX, &message);
    if (r <= 0)
        return r;
    r = wire_unpack(message, type, a, ret);
    return r < 0 ? r : 1;
}

static int broke(const struct plugin *plugin, int r, struct error *err)
{
    if (r == -TIMEOUT)
        return fail(err, TIMEOUT, NULL, "the pluggable component behind %s didn't answer in time",
                    path_of(plugin));
    if (r == -EXHAUSTED)
        return fail(err, EXHAUSTED, NULL, "%s: a message of more than %d MiB", path_of(plugin),
                    PLUGIN_MESSAGE_MAX >> 20);
    if (r == -INTERNAL)
        return fail(err, INTERNAL, NULL, "%s: the answer isn't what the protocol says",
                    path_of(plugin));
    return fail(err, (enum code) - r, NULL,
                "the connection to the pluggable component behind %s broke", path_of(plugin));
}

/* After the last message, or a failure. Where the peer broke off, it may have said why. */
CO static int ended(struct plugin *plugin, bool etags, struct http_call *call, int r,
                    struct error *err)
{
    struct grpc_status status = { 0 };
    if (r < 0 && r != -UNAVAILABLE)
        return broke(plugin, r, err);
    int known = grpc_call_status(call, &status);
    if (known == 0 && status.code != OK)
        return plugin_status(&status, etags, err);
    if (known < 0 && r == 0)
        r = known;
    return r < 0 ? broke(plugin, r, err) : 0;
}

int plug_ended(struct plug *p, struct http_call *call, int r, struct error *err)
{
    return ended(p->plugin, false, call, r, err);
}

/* What was sent may have been refused before it was all taken: the status counts. */
CO static int exchange(struct plugin *plugin, bool etags, struct http_call *call,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply,
                       struct arena *a, void *ret, struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, PLUGIN_MESSAGE_MAX);
    int r = wire_pack(request, &out);
    if (r < 0)
        return broke(plugin, r, err);
    r = grpc_call_send(call, buf_str(&out), true);
    if (r == 0)
        r = plug_recv(call, reply, a, ret);
    if (r < 0)
        return ended(plugin, etags, call, r, err);
    int code = ended(plugin, etags, call, 0, err);
    return code < 0 || r == 1 ? code : broke(plugin, -INTERNAL, err); /* OK without an answer */
}

/* ---- initialising ---- */

CO static int unary(struct plug *p, str path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *reply, struct arena *a, void *ret,
                    unsigned *ret_starts, struct error *err)
{
    struct http_call *call;
    int r = start(p->plugin, p->env->name, path, &call, err);
    if (r < 0)
        return r;
    *ret_starts = atomic_load(&p->plugin->starts);
    r = exchange(p->plugin, p->parts & PART_STATE, call, request, reply, a, ret, err);
    http_call_free(call);
    return r;
}

static unsigned bits_of(const struct plugin_feature *names, const WIRE(FeaturesResponse) * f)
{
    unsigned bits = 0;
    for (size_t i = 0; i < f->n_features; i++)
        for (const struct plugin_feature *n = names; n->name; n++)
            if (str_eq(str_c(n->name), str_c(f->features[i])))
                bits |= n->bit;
    return bits;
}

/* A component that has no Ping is as good as one that answers it. */
CO static int init_service(struct plug *p, const struct service *s, struct arena *a,
                           unsigned *ret_starts, struct error *err)
{
    WIRE(InitRequest) request = DAPR__PROTO__COMPONENTS__V1__INIT_REQUEST__INIT;
    WIRE(MetadataRequest) metadata = DAPR__PROTO__COMPONENTS__V1__METADATA_REQUEST__INIT;
    WIRE(Nothing) nothing = DAPR__PROTO__COMPONENTS__V1__NOTHING__INIT, *ignored;
    WIRE(FeaturesResponse) * features;
    unsigned ignored_starts;
    request.metadata = &metadata;
    if (wire_map(p->env->metadata, a, &metadata.properties, &metadata.n_properties) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int r = unary(p, s->init, &request.base, WIRE_TYPE(nothing), a, &ignored, ret_starts, err);
    if (r >= 0 && s->features.n && p->names) {
        r = unary(p, s->features, &nothing.base, WIRE_TYPE(features_response), a, &features,
                  &ignored_starts, err);
        if (r >= 0)
            atomic_store(&p->features, bits_of(p->names, features));
    }
    if (r < 0)
        return r;
    struct error cause = { 0 };
    r = unary(p, s->ping, &nothing.base, WIRE_TYPE(nothing), a, &ignored, &ignored_starts, &cause);
    return r >= 0 || r == -UNIMPLEMENTED ? 0 : fail(err, cause.code, NULL, "Ping: %s", cause.text);
}

CO static int init_all(struct plug *p, struct error *err)
{
    struct arena a;
    arena_init(&a, PLUGIN_ARENA_MAX);
    unsigned starts = 0;
    int r = 0;
    for (size_t i = 0; i < COUNT(services) && r >= 0; i++)
        if (p->parts & services[i].part)
            r = init_service(p, &services[i], &a, &starts, err);
    arena_done(&a);
    if (r >= 0)
        atomic_store(&p->initialised, starts);
    return r;
}

/* One fiber does it, the others (they may be of other workers) look again until it has. */
CO static int initialise(struct plug *p, struct error *err)
{
    while (atomic_load(&p->initialised) != atomic_load(&p->plugin->starts)) {
        int r;
        if (atomic_exchange(&p->busy, true)) {
            r = fiber_sleep(MS(LOOK_MS));
            if (r < 0)
                return fail(err, (enum code) - r, NULL,
                            "the pluggable component behind %s is being initialised",
                            path_of(p->plugin));
            continue;
        }
        r = init_all(p, err);
        atomic_store(&p->busy, false);
        if (r < 0)
            return r;
    }
    return 0;
}

int plug_open(struct plug *p, struct plugin *plugin, unsigned parts,
              const struct plugin_feature *names, const struct component_env *env,
              struct error *err)
{
    p->plugin = plugin;
    p->env = env;
    p->parts = parts & plugin->parts;
    p->names = names;
    return initialise(p, err);
}

/* ---- calls ---- */

/* A call to a process that knows this component. */
int plug_stream(struct plug *p, str path, struct http_call **ret, struct error *err)
{
    for (int i = 0; i < TRIES; i++) {
        int r = initialise(p, err);
        if (r >= 0)
            r = start(p->plugin, p->env->name, path, ret, err);
        if (r < 0)
            return r;
        if (atomic_load(&p->initialised) == atomic_load(&p->plugin->starts))
            return 0;
        http_call_free(TAKE(*ret)); /* it is a new process: nothing has been sent to it yet */
    }
    return fail(err, UNAVAILABLE, NULL, "the pluggable component behind %s starts again and again",
                path_of(p->plugin));
}

int plug_call(struct plug *p, str path, const ProtobufCMessage *request,
              const ProtobufCMessageDescriptor *reply, struct arena *a, void *ret,
              struct error *err)
{
    DEADLINE(SEC(PLUGIN_CALL_S));
    struct http_call *call;
    int r = plug_stream(p, path, &call, err);
    if (r < 0)
        return r;
    r = exchange(p->plugin, p->parts & PART_STATE, call, request, reply, a, ret, err);
    http_call_free(call);
    return r;
}

/* ---- what a socket has to offer ---- */

static const struct {
    str service;
    unsigned part;
} offers[] = {
    { S(PLUGIN_PACKAGE "StateStore"), PART_STATE },
    { S(PLUGIN_PACKAGE "QueriableStateStore"), PART_QUERY },
    { S(PLUGIN_PACKAGE "TransactionalStateStore"), PART_TRANSACT },
    { S(PLUGIN_PACKAGE "TransactionalStoreMultiMaxSize"), PART_MAX_SIZE },
    { S(PLUGIN_PACKAGE "PubSub"), PART_PUBSUB },
    { S(PLUGIN_PACKAGE "InputBinding"), PART_INPUT },
    { S(PLUGIN_PACKAGE "OutputBinding"), PART_OUTPUT },
    { S(PLUGIN_PACKAGE "SecretStore"), PART_SECRET },
};

static unsigned parts_of(const WIRE(ReflectedServices) * list)
{
    unsigned parts = 0;
    for (size_t i = 0; list && i < list->n_service; i++)
        for (size_t k = 0; k < COUNT(offers); k++)
            if (str_eq(str_c(list->service[i]->name), offers[k].service))
                parts |= offers[k].part;
    return parts;
}

int plugin_discover(struct plugin *plugin, struct error *err)
{
    WIRE(ReflectionRequest) request = DAPR__PROTO__COMPONENTS__V1__REFLECTION_REQUEST__INIT;
    request.list_services = "*";
    static const str PATH[] = { S("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
                                S("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo") };
    int r = -UNIMPLEMENTED;
    for (size_t i = 0; i < COUNT(PATH) && r == -UNIMPLEMENTED; i++) {
        struct arena a;
        struct http_call *call;
        WIRE(ReflectionResponse) * reply;
        struct error cause = { 0 };
        arena_init(&a, PLUGIN_ARENA_MAX);
        r = start(plugin, NULL, PATH[i], &call, &cause);
        if (r >= 0) {
            r = exchange(plugin, false, call, &request.base, WIRE_TYPE(reflection_response), &a,
                         &reply, &cause);
            http_call_free(call);
        }
        if (r >= 0)
            plugin->parts = parts_of(reply->list_services_response);
        arena_done(&a);
        if (r < 0 && err)
            *err = cause;
    }
    return r;
}
