#include "policy/breaker.h"

#include "base/mem.h"
#include "format/cel.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TRIP_STEPS_MAX = 10000, TRIP_ARENA_MAX = 64 << 10 };

struct breaker {
    atomic_uint refs;
    struct breaker_config config;
    pthread_mutex_t lock; /* of all below */
    enum breaker_state state;
    uint64_t generation; /* counts of an older one don't count */
    uint64_t until_ns;   /* closed: when counts are cleared; open: when it half-opens; 0 = never */
    struct breaker_counts counts;
};

#define TO(state) (1u << (state))
static const struct {
    const char *name;
    unsigned next;
} table[BREAKER_STATES] = {
    [BREAKER_CLOSED] = { "closed", TO(BREAKER_OPEN) },
    [BREAKER_HALF_OPEN] = { "half-open", TO(BREAKER_CLOSED) | TO(BREAKER_OPEN) },
    [BREAKER_OPEN] = { "open", TO(BREAKER_HALF_OPEN) },
};

const char *breaker_state_name(enum breaker_state s)
{
    PRE((unsigned)s < BREAKER_STATES);
    return table[s].name;
}

static void new_generation(struct breaker *b, uint64_t now_ns)
{
    static const uint64_t never = 0;
    b->generation++;
    b->counts = (struct breaker_counts){ 0 };
    if (b->state == BREAKER_OPEN)
        b->until_ns = now_ns + b->config.timeout_ns;
    else if (b->state == BREAKER_CLOSED && b->config.interval_ns)
        b->until_ns = now_ns + b->config.interval_ns;
    else
        b->until_ns = never;
}

static void move_to(struct breaker *b, enum breaker_state state, uint64_t now_ns)
{
    INV(table[b->state].next & TO(state));
    b->state = state;
    new_generation(b, now_ns);
}

/* What time alone has changed. */
static void catch_up(struct breaker *b, uint64_t now_ns)
{
    if (!b->until_ns || now_ns <= b->until_ns)
        return;
    if (b->state == BREAKER_OPEN)
        move_to(b, BREAKER_HALF_OPEN, now_ns);
    else
        new_generation(b, now_ns);
}

struct breaker *breaker_new(const struct breaker_config *config, uint64_t now_ns)
{
    struct breaker *b = mem_zalloc(sizeof *b);
    if (!b)
        return NULL;
    b->config = *config;
    if (!b->config.max_requests)
        b->config.max_requests = 1;
    if (!b->config.timeout_ns)
        b->config.timeout_ns = SEC(60);
    atomic_init(&b->refs, 1);
    pthread_mutex_init(&b->lock, NULL);
    new_generation(b, now_ns);
    return b;
}

struct breaker *breaker_ref(struct breaker *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void breaker_unref(struct breaker *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&b->lock);
    mem_free(b);
}

int breaker_enter(struct breaker *b, uint64_t now_ns, uint64_t *ret_ticket, struct error *err)
{
    const char *refusal = NULL;
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    if (b->state == BREAKER_OPEN)
        refusal = "circuit breaker is open";
    else if (b->state == BREAKER_HALF_OPEN && b->counts.requests >= b->config.max_requests)
        refusal = "too many requests";
    else
        b->counts.requests += b->counts.requests < UINT32_MAX;
    uint64_t ticket = b->generation;
    pthread_mutex_unlock(&b->lock);
    if (refusal)
        return fail(err, UNAVAILABLE, NULL, "%s", refusal);
    *ret_ticket = ticket;
    return 0;
}

static bool look_up(void *arg, str name, struct cel_value *ret)
{
    const struct breaker_counts *c = arg;
    const struct {
        str name;
        uint32_t value;
    } known[] = {
        { S("requests"), c->requests },
        { S("totalSuccesses"), c->total_successes },
        { S("totalFailures"), c->total_failures },
        { S("consecutiveSuccesses"), c->consecutive_successes },
        { S("consecutiveFailures"), c->consecutive_failures },
    };
    for (size_t i = 0; i < COUNT(known); i++)
        if (str_eq(known[i].name, name)) {
            *ret = cel_int(known[i].value);
            return true;
        }
    return false;
}

/* A condition that fails to evaluate doesn't trip. */
static bool must_trip(struct breaker *b)
{
    if (!b->config.trip)
        return b->counts.consecutive_failures > 5;
    struct cel_env env = { look_up, &b->counts, TRIP_STEPS_MAX };
    AUTO(arena_done) struct arena arena;
    arena_init(&arena, TRIP_ARENA_MAX);
    bool trip = false;
    return cel_eval_bool(b->config.trip, &env, &arena, &trip, NULL) == 0 && trip;
}

static void bump(uint32_t *count)
{
    *count += *count < UINT32_MAX;
}

static void succeeded(struct breaker *b, uint64_t now_ns)
{
    bump(&b->counts.total_successes);
    bump(&b->counts.consecutive_successes);
    b->counts.consecutive_failures = 0;
    if (b->state == BREAKER_HALF_OPEN && b->counts.consecutive_successes >= b->config.max_requests)
        move_to(b, BREAKER_CLOSED, now_ns);
}

static void failed(struct breaker *b, uint64_t now_ns)
{
    bump(&b->counts.total_failures);
    bump(&b->counts.consecutive_failures);
    b->counts.consecutive_successes = 0;
    if (b->state == BREAKER_HALF_OPEN || (b->state == BREAKER_CLOSED && must_trip(b)))
        move_to(b, BREAKER_OPEN, now_ns);
}

bool breaker_leave(struct breaker *b, uint64_t ticket, bool success, uint64_t now_ns)
{
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    enum breaker_state before = b->state;
    bool counts = ticket == b->generation; /* otherwise the call began in another state */
    if (counts && success)
        succeeded(b, now_ns);
    else if (counts)
        failed(b, now_ns);
    bool changed = b->state != before;
    pthread_mutex_unlock(&b->lock);
    return changed;
}

void breaker_forget(struct breaker *b, uint64_t ticket, uint64_t now_ns)
{
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    if (ticket == b->generation && b->counts.requests)
        b->counts.requests--; /* a probe's place is free again, or half-open would never end */
    pthread_mutex_unlock(&b->lock);
}

enum breaker_state breaker_state(struct breaker *b, uint64_t now_ns)
{
    pthread_mutex_lock(&b->lock);
    catch_up(b, now_ns);
    enum breaker_state state = b->state;
    pthread_mutex_unlock(&b->lock);
    return state;
}

struct breaker_counts breaker_counts(struct breaker *b)
{
    pthread_mutex_lock(&b->lock);
    struct breaker_counts counts = b->counts;
    pthread_mutex_unlock(&b->lock);
    return counts;
}
