/* cron.c — bindings.cron: an input binding that fires by the clock of this machine.
 * Owner:  the instance holds one ticking fiber and one fiber for each event in flight.
 * Thread: all on the worker that called start; stop may be called on any.
 * Limits: EVENTS_MAX events in flight, then a firing is left out, with a warning.
 * Failure: a bad schedule fails open; what a handler returns is not looked at: the block retries.
 */
#include "format/cron.h"
#include "base/clock.h"
#include "base/log.h"
#include "component/kinds.h"
#include "fiber/sync.h"
#include "loop/worker.h"

#include <stdio.h>
#include <time.h>

#define SCOPE "proa.bindings.cron"

enum { EVENTS_MAX = 64, TIME_TEXT_MAX = 64 };
/* The clock of the wall may be set while we sleep. */
static const uint64_t NAP_MAX_NS = SEC(60);

typedef int handle_fn(void *arg, const struct binding_event *e, struct error *err);

struct cron_binding {
    const char *schedule_text;
    const char *name;
    struct cron schedule;
    CO handle_fn *handle;
    void *arg;
    struct worker *home;
    struct fiber *ticker;
    struct wait_group fibers;
    size_t n_events; /* in flight */
};

/* "2026-01-02 03:04:05.000000006 +0000 UTC", as Go prints a time. */
static void print_utc(uint64_t wall_ns, char ret[TIME_TEXT_MAX])
{
    time_t s = (time_t)(wall_ns / SEC(1));
    struct tm tm;
    char date[32];
    gmtime_r(&s, &tm);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(ret, TIME_TEXT_MAX, "%s.%09llu +0000 UTC", date,
             (unsigned long long)(wall_ns % SEC(1)));
}

CO static void run_event(void *arg)
{
    struct cron_binding *b = arg;
    struct error err = { 0 };
    char now[TIME_TEXT_MAX];
    print_utc(clock_wall_ns(), now);
    const struct kv metadata[] = {
        { S("timeZone"), S("Local") },
        { S("readTimeUTC"), str_c(now) },
    };
    const struct binding_event e = { .metadata = { metadata, COUNT(metadata) } };
    (void)b->handle(b->arg, &e, &err);
    b->n_events--;
    wait_group_done(&b->fibers);
}

static void fire(struct cron_binding *b)
{
    static struct log_limit limit;
    uint64_t missed;
    if (b->n_events < EVENTS_MAX && fiber_spawn("bindings.cron event", run_event, b)) {
        b->n_events++;
        wait_group_add(&b->fibers);
        return;
    }
    if (log_allow(&limit, SEC(10), &missed))
        log_warn(SCOPE, "%s: a firing is left out, %zu events are still being handled (%llu more)",
                 b->name, b->n_events, (unsigned long long)missed);
}

/* Until the wall clock shows `until`; false when the fiber is to end. */
CO static bool sleep_until(uint64_t until)
{
    for (uint64_t now; (now = clock_wall_ns()) < until;)
        if (fiber_sleep(min_u64(until - now, NAP_MAX_NS)))
            return false;
    return true;
}

/* Firings that were slept through, such as by a suspended machine, aren't made up for. */
static uint64_t next_after(const struct cron_binding *b, uint64_t last)
{
    uint64_t next = cron_next(&b->schedule, last, true), now = clock_wall_ns();
    return next && next < now ? cron_next(&b->schedule, now, true) : next;
}

CO static void tick(void *arg)
{
    struct cron_binding *b = arg;
    uint64_t at = next_after(b, clock_wall_ns());
    while (at && sleep_until(at)) {
        fire(b);
        at = next_after(b, at);
    }
    if (!at)
        log_warn(SCOPE, "%s: the schedule '%s' has no further firing", b->name, b->schedule_text);
    b->ticker = NULL;
    wait_group_done(&b->fibers);
}

CO static int cron_open(void *self, const struct component_env *env, struct error *err)
{
    struct cron_binding *b = self;
    b->name = env->name;
    wait_group_init(&b->fibers);
    return cron_parse(str_c(b->schedule_text), &b->schedule, err);
}

CO static int cron_start(void *self, CO handle_fn *handle, void *arg, struct error *err)
{
    struct cron_binding *b = self;
    PRE(!b->ticker);
    b->handle = handle;
    b->arg = arg;
    b->home = worker_self();
    b->ticker = fiber_spawn("bindings.cron", tick, b);
    if (!b->ticker)
        return fail(err, EXHAUSTED, NULL, "no fiber is left for the schedule of %s", b->name);
    wait_group_add(&b->fibers);
    return 0;
}

CO static void stop_here(struct cron_binding *b)
{
    SHIELD();
    if (b->ticker)
        fiber_cancel(b->ticker);
    (void)wait_group_wait(&b->fibers);
}

struct stop {
    struct ticket ticket;
    struct cron_binding *b;
};

CO static void stop_at_home(void *arg)
{
    struct stop *s = arg;
    stop_here(s->b);
    ticket_done(&s->ticket, 0);
}

CO static void cron_stop(void *self)
{
    struct cron_binding *b = self;
    if (!b->home)
        return;
    if (b->home == worker_self()) {
        stop_here(b);
        return;
    }
    SHIELD();
    struct stop s = { .b = b };
    ticket_init(&s.ticket);
    while (worker_spawn(b->home, "bindings.cron stop", stop_at_home, &s))
        (void)fiber_sleep(MS(10)); /* out of memory: leaving without a stop would be worse */
    (void)ticket_wait(&s.ticket);
}

static const struct cfg_field cron_fields[] = {
    { .name = "schedule",
      .kind = CFG_STR,
      .off = offsetof(struct cron_binding, schedule_text),
      .flags = CFG_REQUIRED,
      .doc = "\"@every 1m30s\", \"@hourly\", or a cron line of five or six fields, local time" },
};

const struct binding_ops bindings_cron = {
    .t = {
        .kind = "bindings",
        .type = "bindings.cron",
        .version = "v1",
        .doc = "calls the app by a schedule",
        .size = sizeof(struct cron_binding),
        .fields = cron_fields,
        .n_fields = COUNT(cron_fields),
        .open = cron_open,
        .close = cron_stop,
    },
    .start = cron_start,
    .stop = cron_stop,
};
