#include "base/error.h"
#include "fiber/private.h"

struct fiber *fiber_self(void)
{
    struct sched *s = sched_self();
    return s ? s->current : NULL;
}

const char *fiber_name(const struct fiber *f)
{
    return f->name;
}

static struct fiber *must_self(void)
{
    struct fiber *f = fiber_self();
    PRE(f);
    return f;
}

/* What a suspension must return at once: 0 = it may begin. */
static int interrupted(const struct fiber *f)
{
    if (f->cancelled && !f->shielded)
        return -CANCELLED;
    return f->deadline <= f->sched->now ? -TIMEOUT : 0;
}

/* A span begins now, not at the start of the round: others may have computed since. */
static uint64_t fresh_now(struct sched *s)
{
    return s->now = s->config.now(s->config.ctx);
}

CO static void wait_until(struct fiber *f, enum fiber_state state, uint64_t at)
{
    f->state = state;
    if (at != UINT64_MAX)
        heap_add(&f->sched->timers, &f->timer, at);
    sched_suspend(f);
}

/* A wake that came first stands, even if the fiber was cancelled before it ran again: what was
 * handed over with it (a lock, an item) would be lost otherwise. */
static int outcome(const struct fiber *f)
{
    if (f->cause == CAUSE_WAKE)
        return f->value;
    return f->cancelled && !f->shielded ? -CANCELLED : -TIMEOUT;
}

int fiber_park(void)
{
    struct fiber *f = must_self();
    int r = interrupted(f);
    if (r)
        return r;
    wait_until(f, FIBER_PARKED, f->deadline);
    return outcome(f);
}

bool fiber_wake(struct fiber *f, int value)
{
    if (f->state != FIBER_PARKED)
        return false;
    PRE(f->sched == sched_self());
    f->cause = CAUSE_WAKE;
    f->value = value;
    sched_ready(f);
    return true;
}

void fiber_yield(void)
{
    struct fiber *f = must_self();
    f->state = FIBER_READY;
    list_append(&f->sched->later, &f->link);
    sched_suspend(f);
}

int fiber_sleep(uint64_t ns)
{
    struct fiber *f = must_self();
    int r = interrupted(f);
    if (r)
        return r;
    uint64_t now = fresh_now(f->sched), end = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
    wait_until(f, FIBER_SLEEPING, min_u64(end, f->deadline));
    r = outcome(f);
    return r == -TIMEOUT && end <= f->deadline ? 0 : r;
}

void fiber_cancel(struct fiber *f)
{
    f->cancelled = true;
    if (f->shielded || (f->state != FIBER_PARKED && f->state != FIBER_SLEEPING))
        return;
    f->cause = CAUSE_CANCEL;
    sched_ready(f);
}

bool fiber_cancelled(void)
{
    return must_self()->cancelled;
}

uint64_t fiber_deadline(void)
{
    return must_self()->deadline;
}

static struct fiber_scope push(struct fiber *f)
{
    return (struct fiber_scope){ f, f->deadline, f->shielded };
}

struct fiber_scope fiber_deadline_push(uint64_t ns_from_now)
{
    struct fiber *f = must_self();
    struct fiber_scope scope = push(f);
    uint64_t now = fresh_now(f->sched);
    if (ns_from_now < UINT64_MAX - now)
        f->deadline = min_u64(f->deadline, now + ns_from_now);
    return scope;
}

struct fiber_scope fiber_shield_push(void)
{
    struct fiber *f = must_self();
    struct fiber_scope scope = push(f);
    f->shielded = true;
    f->deadline = UINT64_MAX;
    return scope;
}

void fiber_scope_pop(struct fiber_scope *scope)
{
    PRE(scope->fiber == fiber_self());
    scope->fiber->deadline = scope->deadline;
    scope->fiber->shielded = scope->shielded;
}
