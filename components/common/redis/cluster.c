/* Cluster: which node serves which slot, by CLUSTER SLOTS of whichever node answers. */
#include "components/common/redis/redis_private.h"

#include "base/id.h"
#include "base/mem.h"

#include <stdio.h>

#define ONE_OF_MANY_NS SEC(1) /* a node that is silent for so long is passed over */

struct range {
    int64_t first, last, port;
    str host; /* empty: that of the node that was asked */
};

/* [first, last, [host, port, …], replicas …] */
static bool read_range(const struct redis_reply *v, struct range *ret)
{
    if (v->kind != REDIS_ARRAY || v->n < 3 || v->item[0].kind != REDIS_INTEGER ||
        v->item[1].kind != REDIS_INTEGER || v->item[2].kind != REDIS_ARRAY || v->item[2].n < 2 ||
        v->item[2].item[1].kind != REDIS_INTEGER)
        return false;
    const struct redis_reply *host = &v->item[2].item[0];
    bool named = host->kind == REDIS_STRING && !str_eq(host->text, S("?"));
    *ret = (struct range){ v->item[0].integer, v->item[1].integer, v->item[2].item[1].integer,
                           named ? host->text : S("") };
    return ret->first >= 0 && ret->first <= ret->last && ret->last < SLOTS && ret->port > 0 &&
           ret->port < 65536;
}

static int put_range(struct share *s, const struct redis_reply *v, const char *asked,
                     uint16_t *slot, struct error *err)
{
    char address[ADDRESS_MAX];
    struct range range;
    struct node *n;
    if (!read_range(v, &range))
        return -DATA_LOSS;
    node_address(address, range.host.n ? range.host : node_host(asked), range.port);
    int r = node_at(s, address, &n, err);
    for (int64_t i = range.first; r == 0 && i <= range.last; i++)
        slot[i] = (uint16_t)node_number(s, n);
    return r;
}

static int read_slots(struct share *s, const struct redis_reply *reply, const char *asked,
                      struct error *err)
{
    uint16_t *slot = mem_zalloc(SLOTS * sizeof *slot);
    int r = 0;
    if (!slot)
        return fail(err, EXHAUSTED, NULL, "out of memory for a cluster");
    if (reply->kind != REDIS_ARRAY || !reply->n)
        r = fail(err, UNAVAILABLE, NULL, "the Redis cluster at %s serves no slots", asked);
    for (size_t i = 0; r == 0 && i < reply->n; i++)
        r = put_range(s, &reply->item[i], asked, slot, err);
    if (r < 0) {
        mem_free(slot);
        return fail(err, UNAVAILABLE, NULL, "CLUSTER SLOTS of %s can't be read", asked);
    }
    mem_free(s->slot);
    s->slot = slot;
    return 0;
}

CO static int ask_one(struct share *s, const char *address, bool only, struct error *err)
{
    DEADLINE(only ? limit_or(s->r->c.dial_timeout, SEC(5)) : ONE_OF_MANY_NS);
    AUTO(arena_done) struct arena a;
    struct redis_reply reply;
    struct link *link;
    char asked[ADDRESS_MAX];
    str arg[] = { S("CLUSTER"), S("SLOTS") };
    (void)snprintf(asked, sizeof asked, "%s", address); /* the node may be reused meanwhile */
    arena_init(&a, MIB(16));
    int r = link_open(s->r, asked, LINK_SERVER, &link, err);
    if (r < 0)
        return r;
    r = link_ask(link, arg, COUNT(arg), &a, &reply, err);
    link_close(link);
    if (r == 0)
        r = redis_check(s->r, &reply, err);
    return r < 0 ? r : read_slots(s, &reply, asked, err);
}

/* The nodes that are known first, beginning anywhere; then those of redisHost. */
CO int cluster_look(struct share *s, struct error *err)
{
    size_t known = s->n_nodes, all = known + s->r->n_hosts, start = id_random();
    for (size_t i = 0; i < all; i++) {
        struct error why = { 0 };
        size_t at = i < known ? (start + i) % known : i - known;
        const char *address = i < known ? s->node[at]->address : s->r->host[at];
        int r = ask_one(s, address, all == 1, &why);
        if (r == 0)
            return 0;
        if (s->closing || fiber_cancelled())
            return fail(err, CANCELLED, NULL, "the call was cancelled");
        (void)fail(err, why.code == TIMEOUT ? UNAVAILABLE : why.code, NULL, "%s", why.text);
    }
    return -(int)err->code;
}
