/* Sentinel: who is the master, and a listener for the news that it's another one. */
#include "components/common/redis/redis_private.h"

#include "base/mem.h"

#include <stdio.h>

#define ONE_OF_MANY_NS SEC(1) /* a Sentinel that is silent for so long is passed over */
#define RETRY_FIRST_NS MS(100)
#define RETRY_LAST_NS SEC(5)

CO static int ask_one(struct share *s, const char *address, char ret[ADDRESS_MAX],
                      struct error *err)
{
    const struct redis *r = s->r;
    DEADLINE(r->n_hosts > 1 ? ONE_OF_MANY_NS : limit_or(r->c.dial_timeout, SEC(5)));
    AUTO(arena_done) struct arena a;
    struct redis_reply reply;
    struct link *link;
    int64_t port;
    str arg[] = { S("SENTINEL"), S("GET-MASTER-ADDR-BY-NAME"), str_c(r->c.sentinel_master) };
    arena_init(&a, KIB(64));
    int code = link_open(r, address, LINK_SENTINEL, &link, err);
    if (code < 0)
        return code;
    code = link_ask(link, arg, COUNT(arg), &a, &reply, err);
    link_close(link);
    if (code == 0)
        code = redis_check(r, &reply, err);
    if (code < 0)
        return code;
    if (reply.kind != REDIS_ARRAY || reply.n != 2 || !str_to_i64(reply.item[1].text, &port))
        return fail(err, UNAVAILABLE, NULL, "the Sentinel at %s knows no master called %s", address,
                    r->c.sentinel_master);
    node_address(ret, reply.item[0].text, port);
    return 0;
}

CO int sentinel_look(struct share *s, struct error *err)
{
    const struct redis *r = s->r;
    char address[ADDRESS_MAX];
    struct node *master;
    int code = -UNAVAILABLE;
    for (size_t i = 0; code < 0 && i < r->n_hosts; i++) {
        size_t at = (s->good_host + i) % r->n_hosts;
        struct error why = { 0 };
        code = ask_one(s, r->host[at], address, &why);
        if (code == 0)
            s->good_host = at;
        else
            (void)fail(err, why.code == TIMEOUT ? UNAVAILABLE : why.code, NULL, "%s", why.text);
        if (code == -CANCELLED || s->closing)
            return fail(err, CANCELLED, NULL, "the call was cancelled");
    }
    if (code < 0)
        return -(int)err->code;
    code = node_at(s, address, &master, err);
    if (code < 0)
        return code;
    struct node *old = s->master;
    s->master = master;
    if (old && old != master)
        node_drop_conns(old, "isn't the master any more");
    return 0;
}

/* ---- news ---- */

/* "name old-ip old-port new-ip new-port" */
static bool is_news(const struct redis *r, const struct redis_reply *m)
{
    str name = str_c(r->c.sentinel_master);
    return m->kind == REDIS_ARRAY && m->n == 3 && m->item[2].kind == REDIS_STRING &&
           str_starts(m->item[2].text, name) && m->item[2].text.n > name.n &&
           m->item[2].text.p[name.n] == ' ';
}

CO static int listen_to(struct redis *r, const char *address, struct arena *a, struct error *err)
{
    struct redis_reply reply;
    struct link *link;
    str arg[] = { S("SUBSCRIBE"), S("+switch-master") };
    int code = link_open(r, address, LINK_SENTINEL, &link, err);
    if (code < 0)
        return code;
    code = link_ask(link, arg, COUNT(arg), a, &reply, err);
    while (code == 0) {
        arena_reset(a);
        code = link_read(link, a, &reply, err);
        if (code == 0 && is_news(r, &reply))
            atomic_fetch_add(&r->generation, 1);
    }
    link_close(link);
    return code;
}

static void watch(void *arg)
{
    struct share *s = arg;
    AUTO(arena_done) struct arena a;
    uint64_t pause = RETRY_FIRST_NS;
    arena_init(&a, KIB(64));
    for (size_t i = 0; !s->closing && !fiber_cancelled(); i++) {
        struct error err = { 0 };
        (void)!listen_to(s->r, s->r->host[i % s->r->n_hosts], &a, &err);
        atomic_fetch_add(&s->r->generation, 1); /* news may have been missed: look */
        if (s->closing || fiber_sleep(pause) < 0)
            break;
        pause = i % s->r->n_hosts ? pause : min_u64(pause * 2, RETRY_LAST_NS);
    }
    s->watch = NULL;
    share_leave(s);
}

int sentinel_watch(struct share *s, struct error *err)
{
    s->watch = fiber_spawn("redis sentinel", watch, s);
    if (!s->watch)
        return fail(err, EXHAUSTED, NULL,
                    "no fiber to listen to Sentinel: raise the limit of fibers");
    s->n_alive++;
    return 0;
}
