#include "http/h2_keepalive.h"

void h2_keepalive_start(struct h2_keepalive *k, uint64_t now)
{
    k->heard_at = k->free_at = now;
    k->pinged = false;
}

void h2_keepalive_heard(struct h2_keepalive *k, uint64_t now)
{
    k->heard_at = now;
    k->pinged = false;
}

/* When the next PING is due, or when the last has had its time. */
static uint64_t probe_at(const struct h2_keepalive *k)
{
    if (!k->ping_ns)
        return UINT64_MAX;
    return k->pinged ? k->pinged_at + k->timeout_ns : k->heard_at + k->ping_ns;
}

static uint64_t idle_at(const struct h2_keepalive *k, bool has_streams)
{
    return k->idle_ns && !has_streams ? k->free_at + k->idle_ns : UINT64_MAX;
}

enum h2_keepalive_verdict h2_keepalive_look(struct h2_keepalive *k, bool has_streams, uint64_t now)
{
    bool probe = now >= probe_at(k);
    if (probe && k->pinged)
        return H2_DEAD;
    if (now >= idle_at(k, has_streams))
        return H2_IDLE;
    if (!probe)
        return H2_QUIET;
    k->pinged = true;
    k->pinged_at = now;
    return H2_PING;
}

/* The end of the last stream wakes nobody: while there are any, that is looked at now and then. */
uint64_t h2_keepalive_wait(const struct h2_keepalive *k, bool has_streams, uint64_t now)
{
    uint64_t free = has_streams && k->idle_ns ? now + k->idle_ns : idle_at(k, false);
    uint64_t at = min_u64(probe_at(k), free);
    return at == UINT64_MAX ? 0 : at > now ? at - now : 1;
}
