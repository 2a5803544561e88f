#include "block/binding.h"

#include "base/clock.h"
#include "base/log.h"
#include "block/app/channel.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "block/core/parallel.h"
#include "block/state.h"
#include "telemetry/span.h"

enum { ARENA_MAX = 64 << 20, TO_AT_ONCE = 10 };
static const char SCOPE[] = "dapr.runtime.processor";

struct binding {
    struct blocks *b;
    struct instance *instance;
    struct observer *observer; /* one an operation, in the order of ops.operations */
    str path;                  /* of the app: "/" + route or name */
    bool running;
};

static const struct binding_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct binding_ops, t);
}

static const char *const *operations(const struct instance *i)
{
    return ops(i)->operations_of ? ops(i)->operations_of(i->self) : ops(i)->operations;
}

int binding_attach(struct blocks *b, struct instance *i, struct error *err)
{
    struct binding *x = arena_zalloc(&i->arena, sizeof *x);
    if (!x)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    x->b = b;
    x->instance = i;
    operation_attach(b, i, "Binding");
    str route = kvs_get(i->metadata, S("route"));
    route = route.n ? route : str_c(i->name);
    str part[] = { str_starts(route, S("/")) ? S("") : S("/"), route };
    x->path = arena_join(&i->arena, part, 2);
    size_t n = 0;
    for (const char *const *at = operations(i); at && *at; at++)
        n++;
    x->observer = arena_zalloc(&i->arena, n * sizeof *x->observer);
    i->extra = x;
    return x->path.p && x->observer ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- output ---- */

struct invoke_call {
    struct instance *instance;
    str operation, data;
    struct kvs metadata;
    struct arena *arena;
    struct binding_result *ret;
};

CO static int try_invoke(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct invoke_call *c = arg;
    return ops(c->instance)
        ->invoke(c->instance->self, c->operation, c->data, c->metadata, c->arena, c->ret, err);
}

/* Its place among the operations; negative: not one of them. */
static ptrdiff_t find_operation(const struct instance *i, str operation)
{
    const char *const *all = operations(i);
    for (const char *const *at = all; at && *at; at++)
        if (str_eq(str_c(*at), operation))
            return at - all;
    return -1;
}

static int refuse(struct error *err, str name, const char *why)
{
    return fail(err, INTERNAL, "ERR_INVOKE_OUTPUT_BINDING",
                "error invoking output binding " STR_FMT ": %s", STR_ARG(name), why);
}

CO int block_binding_invoke(struct blocks *b, str name, str operation, str data,
                            struct kvs metadata, struct arena *a, struct binding_result *ret,
                            struct error *err)
{
    *ret = (struct binding_result){ 0 };
    struct instance *i = catalog_get(b, KIND_BINDING, name);
    ptrdiff_t which = -1;
    struct error cause = { 0 };
    if (!operation.n)
        return refuse(err, name, "operation field is missing from request");
    if (!i || !ops(i)->invoke)
        (void)fail(&cause, NOT_FOUND, NULL, "couldn't find output binding " STR_FMT, STR_ARG(name));
    else if ((which = find_operation(i, operation)) < 0)
        (void)fail(&cause, INVALID, NULL, "binding " STR_FMT " does not support operation " STR_FMT,
                   STR_ARG(name), STR_ARG(str_take(operation, 64)));
    if (cause.code)
        return refuse(err, name, cause.text);
    struct binding *x = i->extra;
    struct invoke_call call = { i, operation, data, metadata, a, ret };
    uint64_t start = clock_now_ns();
    int r = operation_run(i, operations(i)[which], try_invoke, &call, &cause);
    observe(&x->observer[which], OBSERVE_BINDING, b, i->name, operations(i)[which], start, r >= 0);
    return r < 0 ? refuse(err, name, cause.text) : 0;
}

/* ---- input ---- */

struct event_call {
    struct binding *x;
    const struct binding_event *e;
    struct arena *arena;
    int last_status;
    struct app_binding_answer answer;
};

/* An event begins a trace. */
static void begin_span(const struct binding *x, struct span *ret)
{
    static const struct trace_context none;
    str name = str_c(x->instance->name);
    span_start(ret, &none, SPAN_SERVER);
    if (!span_recorded(ret))
        return;
    span_name(ret, (str[]){ S("bindings/"), name }, 2);
    span_attr(ret, S("db.name"), name);
    span_attr(ret, S("db.system"), S("bindings"));
    span_attr(ret, S("db.connection_string"), S("bindings"));
    span_attr_joined(ret, S("db.statement"), (str[]){ S("POST "), x->path }, 2);
    span_attr(ret, S("rpc.service"), S("Dapr"));
}

/* Exactly 200 is success for the policy; after the retries any 2xx will do (surprise 53). */
CO static int try_event(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct event_call *c = arg;
    struct app *app = c->x->b->app;
    struct span span;
    begin_span(c->x, &span);
    struct app_binding_event e = { str_c(c->x->instance->name), c->x->path, c->e, span.context };
    int r = app->channel->binding(app, &e, c->arena, &c->answer, &attempt->http_status, err);
    attempt->grpc_status = app_grpc_code(app, r);
    c->last_status = attempt->http_status;
    if (r < 0)
        span_fail(&span, err ? str_c(err->text) : S("failed"));
    else if (c->e->arena && c->answer.data.n)
        *c->e->ret_data = arena_dup(c->e->arena, c->answer.data);
    span_end(&span);
    return r;
}

/* ---- what the answer to an event asks for: states to save, output bindings to call ---- */

static void complain(const struct binding *x, const char *what, str name, const struct error *err)
{
    log_error(SCOPE, "error executing the app's answer to an event of %s: %s " STR_FMT ": %s",
              x->instance->name, what, STR_ARG(name), err->text);
}

CO static void save_states(struct event_call *c)
{
    struct app_binding_answer *a = &c->answer;
    struct instance *store;
    struct error err = { 0 };
    int r = a->n_states ? state_find(c->x->b, a->store, &store, &err) : 0;
    if (r >= 0 && a->n_states)
        r = block_state_save(c->x->b, store, a->state, a->n_states, c->arena, &err);
    if (r < 0)
        complain(c->x, "saving states in", a->store, &err);
}

CO static int send_to(struct event_call *c, size_t i, struct arena *arena)
{
    struct binding_result result;
    struct error err = { 0 };
    int r = block_binding_invoke(c->x->b, c->answer.to[i], S("create"), c->answer.data,
                                 (struct kvs){ 0 }, arena, &result, &err);
    if (r < 0)
        complain(c->x, "calling output binding", c->answer.to[i], &err);
    return r;
}

CO static void send_one(void *arg, size_t i)
{
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    (void)send_to(arg, i, &arena); /* it has been said */
    arena_done(&arena);
}

/* One after the other ends at the first that fails. */
CO static void send_all(struct event_call *c)
{
    int r = 0;
    if (c->answer.parallel)
        parallel_for(c->answer.n_to, TO_AT_ONCE, send_one, c);
    for (size_t i = 0; i < c->answer.n_to && !c->answer.parallel && r >= 0; i++)
        r = send_to(c, i, c->arena);
}

CO static int on_event(void *arg, const struct binding_event *e, struct error *err)
{
    struct binding *x = arg;
    PINNED(x->b);
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct event_call call = { .x = x, .e = e, .arena = &arena };
    uint64_t start = clock_now_ns();
    int r = operation_event(x->instance, "deliver", try_event, &call, err);
    if (r < 0 && call.last_status >= 200 && call.last_status <= 299)
        r = 0;
    if (r >= 0) {
        save_states(&call);
        send_all(&call);
    }
    observe_input(x->b, x->instance->name, start, r >= 0);
    arena_done(&arena);
    return r;
}

/* direction names input, or the app says that it takes the events. */
CO static bool wanted(struct binding *x, uint64_t timeout_ns)
{
    str direction = kvs_get(x->instance->metadata, S("direction")), item;
    if (direction.n) {
        for (str rest = direction; str_next(&rest, ',', &item);)
            if (str_ieq(item, S("input")))
                return true;
        return false;
    }
    DEADLINE(timeout_ns);
    return x->b->app->channel->wants_binding(x->b->app, str_c(x->instance->name), x->path);
}

CO void bindings_start(struct blocks *b, uint64_t probe_timeout_ns)
{
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(b);
    struct instance *i;
    for (size_t at = 0; b->app && (i = catalog_next(c, KIND_BINDING, &at));) {
        struct binding *x = i->extra;
        if (!ops(i)->start || x->running || !wanted(x, probe_timeout_ns))
            continue;
        struct error err = { 0 };
        x->running = ops(i)->start(i->self, on_event, x, &err) >= 0;
        if (!x->running)
            log_error(SCOPE, "error reading from input binding %s: %s", i->name, err.text);
    }
}

CO void binding_leave(struct instance *i)
{
    SHIELD(); /* an event in flight ends first */
    struct binding *x = i->extra;
    if (x->running)
        ops(i)->stop(i->self);
    x->running = false;
}

CO void bindings_stop(struct blocks *b)
{
    SHIELD();
    AUTO(catalog_unpinp) struct catalog *c = catalog_pin(b);
    struct instance *i;
    for (size_t at = 0; (i = catalog_next(c, KIND_BINDING, &at));)
        binding_leave(i);
}
