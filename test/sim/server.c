#include "test/sim/fleet_private.h"

static const uint64_t FAILS_IN_NS = MS(1); /* what fails does so at once */

/* ---- answers ---- */

static void answer(struct attempt *a, enum answer result)
{
    struct server *s = a->server;
    struct fleet *f = s->fleet;
    list_remove(&a->at_server);
    a->result = result;
    a->load = admission_load(s->admission);
    if (!a->call) {
        attempt_free(f, a);
        return;
    }
    if (s->frozen && result != ANSWER_BROKEN)
        return; /* it never comes: the caller's deadline is what ends it */
    a->event.fn = client_answer;
    sim_at(f->sim, &a->event, fleet_arrival(f, s->zone, a->client->zone));
}

/* ---- the app ---- */

static void finish(struct attempt *a);

static void downstream_ended(struct call *c, enum outcome outcome)
{
    struct attempt *a = c->order.arg;
    a->result = outcome == CALL_GOOD ? ANSWER_OK : ANSWER_FAILED;
    a->retried = c->spent;
    finish(a);
}

static void call_downstream(struct attempt *a)
{
    struct sim *s = a->server->fleet->sim;
    uint64_t left = a->place.deadline_ns;
    struct order o = {
        .priority = priority_class(a->place.level),
        .timeout_ns = left == UINT64_MAX ? 0
                      : left > s->now    ? left - s->now
                                         : 1,
        .ended = downstream_ended,
        .arg = a,
    };
    client_call(a->server->client, &o);
}

static void work_is_done(struct sim *s, struct event *e)
{
    struct attempt *a = CONTAINER_OF(e, struct attempt, event);
    if (s->now < a->server->stall_ns)
        sim_at(s, e, a->server->stall_ns);
    else if (a->server->client && a->result == ANSWER_OK)
        call_downstream(a);
    else
        finish(a);
}

static void start(struct server *s, struct attempt *a)
{
    struct sim *sim = s->fleet->sim;
    const struct method *m = &s->method[a->method];
    bool fails = s->fail > 0 && sim_unit(sim) < s->fail;
    double ns = m->service_ns * s->slow;
    if (s->late > 0 && sim_unit(sim) < s->late)
        ns *= s->late_factor;
    s->running++;
    a->running = true;
    a->result = fails ? ANSWER_FAILED : ANSWER_OK;
    a->event.fn = work_is_done;
    sim_after(sim, &a->event,
              fails            ? FAILS_IN_NS
              : m->exponential ? sim_exponential(sim, ns)
                               : (uint64_t)ns);
}

static void pump(struct server *s)
{
    while (s->first && s->running < s->workers && s->fleet->sim->now >= s->stall_ns) {
        struct attempt *a = s->first;
        s->first = a->next;
        if (!s->first)
            s->last = NULL;
        start(s, a);
    }
}

static void finish(struct attempt *a)
{
    struct server *s = a->server;
    bool good = a->result == ANSWER_OK;
    s->running--;
    s->done += good;
    a->running = false;
    list_remove(&a->at_server);
    admission_leave(s->admission, &a->place, good ? ADMISSION_DONE : ADMISSION_FAILED,
                    s->fleet->sim->now);
    answer(a, a->result);
    pump(s);
}

static void begin(struct attempt *a)
{
    struct server *s = a->server;
    s->began_late += a->place.deadline_ns <= s->fleet->sim->now;
    list_append(&s->held, &a->at_server);
    a->next = NULL;
    *(s->last ? &s->last->next : &s->first) = a;
    s->last = a;
    pump(s);
}

/* ---- its sidecar ---- */

static void decided(struct attempt *a)
{
    list_remove(&a->at_server);
    if (a->place.verdict == ADMISSION_OUT)
        answer(a, ANSWER_SHED);
    else
        begin(a);
}

static void on_wake(struct admission_place *p)
{
    decided(CONTAINER_OF(p, struct attempt, place));
}

static void look(struct sim *sim, struct event *e)
{
    struct server *s = CONTAINER_OF(e, struct server, look);
    struct list *next;
    for (struct list *at = s->waiting.next; at != &s->waiting; at = next) {
        struct attempt *a = CONTAINER_OF(at, struct attempt, at_server);
        enum admission_verdict v = admission_check(s->admission, &a->place, sim->now);
        next = at->next; /* not before: others may have been told meanwhile */
        if (v != ADMISSION_WAIT)
            decided(a);
    }
    pump(s);
    if (!list_empty(&s->waiting) || s->first)
        sim_after(sim, e, ADMISSION_LOOK_NS);
}

static void admit(struct attempt *a)
{
    struct server *s = a->server;
    struct sim *sim = s->fleet->sim;
    struct call *c = a->call;
    struct admission_ask ask = {
        .method = a->method + 1u,
        .level = c->level,
        .patient = c->order.patient,
        .deadline_ns = c->deadline_ns,
    };
    if (admission_enter(s->admission, &a->place, &ask, sim->now) != ADMISSION_WAIT)
        decided(a);
    else
        list_append(&s->waiting, &a->at_server);
    if (!sim_is_due(&s->look))
        sim_after(sim, &s->look, ADMISSION_LOOK_NS);
}

void server_receive(struct sim *sim, struct event *e)
{
    struct attempt *a = CONTAINER_OF(e, struct attempt, event);
    struct server *s = a->server;
    (void)sim;
    if (!a->call) {
        attempt_free(s->fleet, a);
        return;
    }
    if (s->down) {
        answer(a, ANSWER_UNSENT);
        return;
    }
    if (s->frozen)
        return;
    s->arrived++;
    admit(a);
}

/* What waits for a place leaves the queue; what the app works on it goes on working on. */
void server_abandon(struct attempt *a)
{
    struct server *s = a->server;
    bool waits = a->place.verdict == ADMISSION_WAIT && !list_empty(&a->at_server);
    a->call = NULL;
    if (waits) {
        (void)admission_abandon(s->admission, &a->place, s->fleet->sim->now);
        list_remove(&a->at_server);
    } else if (sim_is_due(&a->event) || !list_empty(&a->at_server)) {
        return; /* whoever has it frees it */
    }
    attempt_free(s->fleet, a);
}

/* ---- what becomes of it ---- */

static void server_init(struct server *s, struct fleet *f, uint8_t zone, bool limits)
{
    *s = (struct server){ .fleet = f, .zone = zone, .slow = 1, .look.fn = look };
    list_init(&s->waiting);
    list_init(&s->held);
    s->admission = admission_new(&(struct admission_config){ .adaptive = limits, .wake = on_wake });
    PRE(s->admission);
}

static void forget_queue(struct server *s)
{
    s->first = s->last = NULL;
    s->running = 0;
}

void server_kill(struct server *s)
{
    struct sim *sim = s->fleet->sim;
    struct list *node;
    PRE(!s->client);
    s->down = true;
    while ((node = list_pop(&s->waiting))) {
        struct attempt *a = CONTAINER_OF(node, struct attempt, at_server);
        (void)admission_abandon(s->admission, &a->place, sim->now);
        answer(a, ANSWER_BROKEN);
    }
    forget_queue(s);
    while ((node = list_pop(&s->held))) {
        struct attempt *a = CONTAINER_OF(node, struct attempt, at_server);
        sim_cancel(sim, &a->event);
        admission_leave(s->admission, &a->place, ADMISSION_FAILED, sim->now);
        answer(a, ANSWER_BROKEN);
    }
}

void server_start(struct server *s)
{
    admission_free(s->admission);
    s->admission = admission_new(&(struct admission_config){ .adaptive = true, .wake = on_wake });
    PRE(s->admission);
    s->down = false;
}

/* ---- all of them ---- */

void fleet_init(struct fleet *f, struct sim *s, size_t n, unsigned zones, bool limits)
{
    *f = (struct fleet){ .sim = s, .delay_ns = 0.2e6, .far_ns = 1e6, .n_servers = n };
    zone_map_init(&f->zones);
    list_init(&f->free_attempts);
    f->server = sim_alloc(s, n * sizeof *f->server);
    for (size_t i = 0; i < n; i++)
        server_init(&f->server[i], f, zones ? fleet_zone(f, i % zones) : ZONE_UNKNOWN, limits);
}

uint8_t fleet_zone(struct fleet *f, unsigned i)
{
    char name = (char)('a' + i);
    return zone_map_index(&f->zones, str_of(&name, 1), S(""));
}

void fleet_work(struct fleet *f, unsigned workers, double service_ms, bool exponential)
{
    for (size_t i = 0; i < f->n_servers; i++) {
        f->server[i].workers = workers;
        for (size_t m = 0; m < METHODS_MAX; m++)
            f->server[i].method[m] = (struct method){ service_ms * 1e6, exponential };
    }
}

void fleet_done(struct fleet *f)
{
    sim_run_until(f->sim, f->sim->now + SEC(60));
    PRE(f->calls_under_way == 0);
    for (size_t i = 0; i < f->n_servers; i++)
        admission_free(f->server[i].admission);
    zone_map_done(&f->zones);
}

uint64_t fleet_arrival(struct fleet *f, uint8_t from, uint8_t to)
{
    double ns = from == to ? f->delay_ns : f->far_ns;
    return f->sim->now + (uint64_t)(ns * (0.9 + 0.2 * sim_unit(f->sim)));
}

struct attempt *attempt_new(struct fleet *f)
{
    struct list *node = list_pop(&f->free_attempts);
    struct attempt *a =
        node ? CONTAINER_OF(node, struct attempt, at_server) : sim_alloc(f->sim, sizeof *a);
    *a = (struct attempt){ .place.verdict = ADMISSION_OUT };
    list_init(&a->at_server);
    return a;
}

void attempt_free(struct fleet *f, struct attempt *a)
{
    PRE(!sim_is_due(&a->event) && list_empty(&a->at_server));
    list_append(&f->free_attempts, &a->at_server);
}
