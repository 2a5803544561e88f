#include "policy/relief.h"

enum { VAIN = 5 }; /* so many times as long as was waited in vain nobody waits again */

void relief_see(struct relief *r, const struct relief_facts *facts, uint64_t now_ns)
{
    bool first = !r->most, more = facts->instances > r->most;
    if (more && !first) {
        r->came_ns = now_ns;
        r->again_ns = 0;
    }
    if (more || elapsed_ns(r->came_ns, now_ns) > VAIN * facts->patience_ns)
        r->most = facts->instances;
    r->facts = *facts;
}

bool relief_comes(struct relief *r, uint64_t since_ns, uint64_t now_ns)
{
    uint64_t patience = r->facts.patience_ns;
    if (!r->facts.max)
        return false;
    if (r->came_ns && elapsed_ns(r->came_ns, now_ns) < patience)
        return true;
    if (r->facts.instances >= r->facts.max || now_ns < r->again_ns)
        return false;
    if (elapsed_ns(since_ns, now_ns) < patience)
        return true;
    r->again_ns = now_ns + VAIN * patience;
    return false;
}
