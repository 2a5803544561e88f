#include "plugin.h"
#include "pull.h"
#include "wire.h"

enum { PARALLEL = 100, OPERATIONS_MAX = 256, OPERATIONS_ARENA_MAX = 256 << 10 };

struct binding {
    struct plug plug;
    struct arena arena;      /* of the operations */
    const char **operations; /* NULL-ended; NULL: no output binding */
    CO int (*handle)(void *arg, const struct binding_event *e, struct error *err);
    void *handle_arg;
    struct pull *pull;
};

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the message is too large for its memory");
}

/* ---- output ---- */

CO static int binding_invoke(void *self, str operation, str data, struct kvs metadata,
                             struct arena *a, struct binding_result *ret, struct error *err)
{
    struct binding *b = self;
    WIRE(InvokeRequest) request = DAPR__PROTO__COMPONENTS__V1__INVOKE_REQUEST__INIT;
    WIRE(InvokeResponse) * reply;
    request.data = wire_bytes(data);
    request.operation = arena_cstr(a, operation);
    if (!request.operation || wire_map(metadata, a, &request.metadata, &request.n_metadata) < 0)
        return no_memory(err);
    int r = plug_call(&b->plug, PLUGIN_PATH("OutputBinding", "Invoke"), &request.base,
                      WIRE_TYPE(invoke_response), a, &reply, err);
    if (r < 0)
        return r;
    ret->data = wire_slice(reply->data);
    return wire_kvs(reply->metadata, reply->n_metadata, a, &ret->metadata) < 0 ? no_memory(err) : 0;
}

static const char *const *binding_operations(void *self)
{
    struct binding *b = self;
    return b->operations;
}

/* Asked once, after Init. */
CO static int list_operations(struct binding *b, struct error *err)
{
    WIRE(Nothing) request = DAPR__PROTO__COMPONENTS__V1__NOTHING__INIT;
    WIRE(ListOperationsResponse) * reply;
    int r = plug_call(&b->plug, PLUGIN_PATH("OutputBinding", "ListOperations"), &request.base,
                      WIRE_TYPE(list_operations_response), &b->arena, &reply, err);
    if (r < 0)
        return r;
    if (reply->n_operations > OPERATIONS_MAX)
        return fail(err, EXHAUSTED, NULL, "the component lists more than %d operations",
                    OPERATIONS_MAX);
    b->operations = arena_zalloc(&b->arena, (reply->n_operations + 1) * sizeof(char *));
    if (!b->operations)
        return no_memory(err);
    for (size_t i = 0; i < reply->n_operations; i++)
        b->operations[i] = reply->operations[i];
    return 0;
}

/* ---- input ---- */

CO static int handle(void *arg, struct pull_message *pulled, struct error *err)
{
    struct binding *b = arg;
    const WIRE(ReadResponse) *from = pulled->m;
    struct binding_event e = { .data = wire_slice(from->data),
                               .arena = pulled->arena,
                               .ret_data = &pulled->reply };
    if (wire_kvs(from->metadata, from->n_metadata, pulled->arena, &e.metadata) < 0)
        return no_memory(err);
    return b->handle(b->handle_arg, &e, err);
}

CO static int ack(void *arg, struct http_call *call, const struct pull_message *pulled, char *text)
{
    const WIRE(ReadResponse) *from = pulled->m;
    WIRE(ReadRequest) request = DAPR__PROTO__COMPONENTS__V1__READ_REQUEST__INIT;
    WIRE(AckError) error = DAPR__PROTO__COMPONENTS__V1__ACK_ERROR__INIT;
    request.message_id = from->message_id;
    request.response_data = wire_bytes(pulled->reply);
    error.message = text;
    request.response_error = text ? &error : NULL;
    return plug_send(call, &request.base);
}

static const struct pull_ops read_events = {
    .path = { "/" PLUGIN_PACKAGE "InputBinding/Read",
              sizeof "/" PLUGIN_PACKAGE "InputBinding/Read" - 1 },
    .type = WIRE_TYPE(read_response),
    .parallel = PARALLEL,
    .handle = handle,
    .ack = ack,
};

CO static int binding_start(void *self,
                            CO int (*handler)(void *arg, const struct binding_event *e,
                                              struct error *err),
                            void *arg, struct error *err)
{
    struct binding *b = self;
    b->handle = handler;
    b->handle_arg = arg;
    return pull_start(&b->plug, &read_events, b, &b->pull, err);
}

CO static void binding_stop(void *self)
{
    struct binding *b = self;
    if (b->pull)
        pull_stop(TAKE(b->pull));
}

/* ---- life ---- */

CO static int binding_open(void *self, const struct component_env *env, struct error *err)
{
    struct binding *b = self;
    struct plugin *plugin = CONTAINER_OF(env->type, struct plugin, bindings.t);
    arena_init(&b->arena, OPERATIONS_ARENA_MAX);
    int r = plug_open(&b->plug, plugin, PART_INPUT | PART_OUTPUT, NULL, env, err);
    return r < 0 || !(plugin->parts & PART_OUTPUT) ? r : list_operations(b, err);
}

static void binding_close(void *self)
{
    struct binding *b = self;
    arena_done(&b->arena);
}

void plugin_bindings_table(struct plugin *p)
{
    bool in = p->parts & PART_INPUT, out = p->parts & PART_OUTPUT;
    struct component_type t = p->bindings.t;
    t.doc = "a binding in a process of its own";
    t.size = sizeof(struct binding);
    t.free_form = true;
    t.open = binding_open;
    t.close = binding_close;
    p->bindings = (struct binding_ops){
        .t = t,
        .operations_of = out ? binding_operations : NULL,
        .invoke = out ? binding_invoke : NULL,
        .start = in ? binding_start : NULL,
        .stop = in ? binding_stop : NULL,
    };
}
