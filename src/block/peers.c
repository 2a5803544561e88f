#include "block/peers.h"

#include "block/invoke.h"

static bool was_tried(const struct peer *tried, size_t n, const struct peer *p)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_c(tried[i].address), str_c(p->address)))
            return true;
    return false;
}

CO int peers_ask(const struct peers *p, struct guard_attempt *attempt, struct error *err)
{
    struct resolve_cache *cache = p->b->invoker->resolved;
    str space = p->namespace_.n ? p->namespace_ : str_c(p->b->namespace_);
    struct peer tried[PEERS_TRIED];
    struct peer_asked asked = { .unsent = true };
    int r = -UNAVAILABLE;
    for (size_t n = 0; n < PEERS_TRIED && asked.unsent; n++) {
        struct error cause = { 0 };
        int found = resolve(cache, p->b, p->app_id, space, &tried[n], n ? &cause : err);
        if (found < 0 || was_tried(tried, n, &tried[n]))
            return n ? r : found; /* the error of the first peer stands */
        if (err)
            *err = (struct error){ 0 };
        asked = (struct peer_asked){ 0 };
        r = p->ask(p->arg, &tried[n], &asked, attempt, err);
        if (asked.gone || asked.unsent)
            resolve_failed(cache, p->app_id, space, &tried[n], asked.gone);
        else
            resolve_learn(cache, p->app_id, space, &tried[n]);
    }
    return r;
}

struct policy *peers_builtin(struct blocks *b, str app_id)
{
    return resiliency_has_app(b->resiliency, app_id)
               ? NULL
               : policy_builtin(b->resiliency, BUILTIN_SERVICE_RETRIES);
}
