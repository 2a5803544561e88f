/* choice.h — which instance of an app gets a call: pure, over plain numbers.
 *
 * In service are those that aren't ejected, nor about to stop; one whose ejection is over gets the
 * next call as its probe. When fewer than the rule's panic share are in service, ejection is likely
 * wrong about whose fault it is, and all that can be reached are used. Of these the one where the
 * session sticks, else the key's (consistent hashing with bounded loads), else by the rule's
 * balance. Weights are those of slow start times the zone's; which zone gets the call is by weight
 * alone, load decides within it.
 *
 * Owner:  the caller's frame.   Thread: any; numbers may change meanwhile, a choice is as good as
 * what was read.   Failure: none.   Limit: CHOICE_MAX instances. Clock and dice are passed in. */
#pragma once

#include "policy/traffic.h"

enum { CHOICE_MAX = 64 };

struct choice_instance {
    struct outlier *health;
    uint64_t hash;        /* of its address */
    uint32_t in_flight;   /* with what it has refused lately: refusals.h */
    uint32_t utilisation; /* permille, as it reports itself; 0 when it doesn't */
    uint32_t zone_weight; /* 0 … 1000; 0 = only if there is nobody else */
    uint32_t zone;        /* any number; load is compared within a zone */
    bool tried;           /* by this call already: not again */
    bool draining;        /* about to stop: only if there is nobody else */
};

struct choice_call {
    const struct traffic_rule *rule;
    uint64_t key;    /* of consistent hashing; 0 = none */
    uint64_t sticky; /* hash of the wanted one's address; 0 = none */
    bool retry;      /* not its first try: it is no probe */
};

/* The index of the chosen one; n: all have been tried. turn: for round robin, shared by the calls
 * of an app; random: 64 uniform bits. */
size_t choose(const struct choice_call *c, const struct choice_instance *v, size_t n,
              _Atomic uint32_t *turn, uint64_t now_ns, uint64_t random, bool *ret_panic);
/* For a copy of a call: one in service, the least loaded of two; n: there is none. */
size_t choose_other(const struct traffic_rule *rule, const struct choice_instance *v, size_t n,
                    uint64_t now_ns, uint64_t random);
