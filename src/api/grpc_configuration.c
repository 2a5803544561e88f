#include "api/grpc_call.h"
#include "block/configuration.h"
#include "loop/worker.h"
#include "runtime.pb-c.h"

#include <stdlib.h>

typedef Dapr__Proto__Runtime__V1__GetConfigurationRequest get_request;
typedef Dapr__Proto__Runtime__V1__GetConfigurationResponse get_response;
typedef Dapr__Proto__Runtime__V1__SubscribeConfigurationRequest subscribe_request;
typedef Dapr__Proto__Runtime__V1__SubscribeConfigurationResponse update;
typedef Dapr__Proto__Runtime__V1__UnsubscribeConfigurationRequest unsubscribe_request;
typedef Dapr__Proto__Runtime__V1__UnsubscribeConfigurationResponse unsubscribe_response;
typedef Dapr__Proto__Runtime__V1__ConfigurationEntry entry;
typedef Dapr__Proto__Runtime__V1__StringEntry string_entry;

enum { UPDATE_MAX = 128 << 20 };

/* ---- messages ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static int read_query(struct arena *a, char *const *keys, size_t n, string_entry *const *metadata,
                      size_t n_metadata, struct configuration_query *ret)
{
    str *v = arena_alloc(a, (n + 1) * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    for (size_t i = 0; i < n; i++)
        v[i] = pb_str(keys[i]);
    *ret = (struct configuration_query){ v, n, { 0 } };
    return pb_kvs(a, metadata, n_metadata, &ret->metadata);
}

static entry *make_entry(struct arena *a, const struct configuration_item *item)
{
    entry *e = pb_new(a, &dapr__proto__runtime__v1__configuration_entry__descriptor);
    Dapr__Proto__Common__V1__ConfigurationItem *v =
        pb_new(a, &dapr__proto__common__v1__configuration_item__descriptor);
    if (!e || !v || !(e->key = pb_text(a, item->key)) || !(v->value = pb_text(a, item->value)) ||
        !(v->version = pb_text(a, item->version)) ||
        pb_map(a, item->metadata, &v->metadata, &v->n_metadata) < 0)
        return NULL;
    e->value = v;
    return e;
}

static int make_entries(struct arena *a, const struct configuration_item *items, size_t n,
                        entry ***ret, size_t *ret_n)
{
    entry **v = arena_alloc(a, (n + 1) * sizeof(entry *));
    for (size_t i = 0; v && i < n; i++)
        if (!(v[i] = make_entry(a, &items[i])))
            return -EXHAUSTED;
    if (!v)
        return -EXHAUSTED;
    *ret = v;
    *ret_n = n;
    return 0;
}

/* ---- get ---- */

CO int configuration_get_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const get_request *m = in;
    struct instance *store;
    struct configuration_query q;
    struct configuration_item *items = NULL;
    size_t n = 0;
    int r = configuration_find(c->b, pb_str(m->store_name), &store, err);
    if (r < 0)
        return r;
    if (read_query(c->a, m->keys, m->n_keys, m->metadata, m->n_metadata, &q) < 0)
        return grpc_no_memory(err);
    r = block_configuration_get(c->b, store, &q, c->a, &items, &n, err);
    if (r < 0)
        return r;
    get_response *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out || make_entries(c->a, items, n, &out->items, &out->n_items) < 0)
        return grpc_no_memory(err);
    return 0;
}

/* ---- subscriptions: a stream's fiber writes what the engine's fibers bring ---- */

struct stream {
    struct grpc_call *c;
    struct worker *home;
    struct fiber *fiber;
    struct mail stop, gone;
    /* on .home's thread */
    struct offer *offer; /* wants to be written */
    bool writing;
    bool closed;  /* takes no offer any more */
    bool stopped; /* both mails have come: */
    bool left;    /* nobody uses this frame any more */
};

/* An update on its way to the stream; on the frame of the engine's fiber, which waits. */
struct offer {
    struct mail mail;
    struct stream *s;
    str id;
    const struct configuration_item *items;
    size_t n;
    struct ticket ticket;
};

static void on_offer(struct mail *m)
{
    struct offer *o = CONTAINER_OF(m, struct offer, mail);
    if (o->s->closed) {
        ticket_done(&o->ticket, -CANCELLED);
        return;
    }
    o->s->offer = o; /* one at a time: the engine never tells twice at once */
    (void)fiber_wake(o->s->fiber, 0);
}

CO static int tell(void *arg, str id, const struct configuration_item *items, size_t n,
                   struct error *err)
{
    struct stream *s = arg;
    struct offer o = { .mail = { .run = on_offer }, .s = s, .id = id, .items = items, .n = n };
    ticket_init(&o.ticket);
    worker_post(s->home, &o.mail);
    return ticket_wait(&o.ticket);
}

static void on_stop(struct mail *m)
{
    struct stream *s = CONTAINER_OF(m, struct stream, stop);
    s->stopped = true;
    if (s->writing) /* to a client that may not read: that must not keep anybody */
        fiber_cancel(s->fiber);
    else
        (void)fiber_wake(s->fiber, 0);
}

static void on_gone(struct mail *m)
{
    struct stream *s = CONTAINER_OF(m, struct stream, gone);
    s->left = true;
    (void)fiber_wake(s->fiber, 0);
}

static void ask_stop(void *arg)
{
    struct stream *s = arg;
    worker_post(s->home, &s->stop);
}

static void tell_gone(void *arg)
{
    struct stream *s = arg;
    worker_post(s->home, &s->gone);
}

CO static int write_update(struct stream *s, str id, const struct configuration_item *items,
                           size_t n, struct error *err)
{
    struct arena a;
    arena_init(&a, UPDATE_MAX);
    update *m = pb_new(&a, s->c->method->out);
    int r = 0;
    if (!m || !(m->id = pb_text(&a, id)) || make_entries(&a, items, n, &m->items, &m->n_items) < 0)
        r = grpc_no_memory(err);
    s->writing = true;
    if (r >= 0 && !s->stopped)
        r = grpc_write(s->c, &m->base, err);
    s->writing = false;
    arena_done(&a);
    return r;
}

/* Until the client leaves, or somebody ends the subscription. */
CO static int follow(struct stream *s, struct error *err)
{
    int r = 0;
    while (r >= 0 && !s->stopped) {
        struct offer *o = TAKE(s->offer);
        if (!o) {
            r = fiber_park();
            continue;
        }
        r = write_update(s, o->id, o->items, o->n, err);
        ticket_done(&o->ticket, r);
    }
    return s->stopped ? 0 : fail(err, (enum code) - r, NULL, "the caller has left");
}

/* By the store's name: since the beginning another component may have taken its place. */
CO static void leave(struct stream *s, str store, str id)
{
    SHIELD();
    s->closed = true;
    if (s->offer)
        ticket_done(&TAKE(s->offer)->ticket, -CANCELLED);
    if (!s->stopped) {
        PINNED(s->c->b);
        struct instance *i;
        if (configuration_find(s->c->b, store, &i, NULL) >= 0)
            (void)block_configuration_unsubscribe(s->c->b, i, id, NULL);
    }
    while (!s->left || !s->stopped)
        (void)fiber_park();
}

CO static int subscribe(struct stream *s, const subscribe_request *m, char id[UUID_LEN],
                        struct error *err)
{
    struct grpc_call *c = s->c;
    struct configuration_watcher w = { tell, ask_stop, tell_gone, s };
    struct instance *store;
    struct configuration_query q;
    PINNED(c->b);
    int r = configuration_find(c->b, pb_str(m->store_name), &store, err);
    if (r < 0)
        return r;
    if (read_query(c->a, m->keys, m->n_keys, m->metadata, m->n_metadata, &q) < 0)
        return grpc_no_memory(err);
    qsort((str *)q.keys, q.n_keys, sizeof *q.keys, by_name); /* facts 3.2 */
    return block_configuration_subscribe(c->b, store, &q, &w, id, err);
}

CO int configuration_subscribe_rpc(struct grpc_call *c, struct error *err)
{
    struct stream s = { .c = c,
                        .home = worker_self(),
                        .fiber = fiber_self(),
                        .stop = { .run = on_stop },
                        .gone = { .run = on_gone } };
    void *in;
    char id[UUID_LEN];
    int r = grpc_read(c, c->a, &in, err);
    if (r == 0)
        return fail(err, UNIMPLEMENTED, NULL, "a subscription needs one message");
    if (r > 0)
        r = subscribe(&s, in, id, err);
    if (r < 0)
        return r;
    r = write_update(&s, str_of(id, UUID_LEN), NULL, 0, err); /* the id alone comes first */
    if (r >= 0)
        r = follow(&s, err);
    leave(&s, pb_str(((subscribe_request *)in)->store_name), str_of(id, UUID_LEN));
    return r;
}

/* That it can't be done is an answer, not a failure: facts 3.2. */
CO int configuration_unsubscribe_rpc(struct grpc_call *c, const void *in, void **ret_out,
                                     struct error *err)
{
    const unsubscribe_request *m = in;
    struct instance *store;
    struct error why = { 0 };
    int r = configuration_find(c->b, pb_str(m->store_name), &store, err);
    if (r < 0)
        return r;
    unsubscribe_response *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out)
        return grpc_no_memory(err);
    out->ok = block_configuration_unsubscribe(c->b, store, pb_str(m->id), &why) >= 0;
    out->message = pb_text(c->a, str_c(why.text));
    return out->message ? 0 : grpc_no_memory(err);
}
