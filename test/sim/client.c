#include "test/sim/fleet_private.h"

#include "policy/balance.h"
#include "policy/choice.h"

#include <math.h>

static const uint64_t SWEEP_NS = MS(250), STUCK_NS = MS(500);

/* ---- what is known of the instances ---- */

static bool is_slow(const struct client *c, unsigned method, uint64_t took)
{
    uint64_t median = c->latency[method].median_ns, factor = c->rule->outlier.slow_factor;
    return factor && median && took > factor * median && took > median + MS(2);
}

enum { NO_VERDICT = -1 };

static int verdict(struct client *c, const struct attempt *a, uint64_t took)
{
    int good = is_slow(c, a->method, took) ? OUTLIER_SLOW : OUTLIER_OK;
    switch ((enum answer)a->result) {
    case ANSWER_OK:
        return good;
    case ANSWER_FAILED:
        return OUTLIER_FAILED;
    case ANSWER_SHED:
        return NO_VERDICT;
    case ANSWER_UNSENT:
    case ANSWER_BROKEN:
        return OUTLIER_UNREACHABLE;
    }
    return NO_VERDICT;
}

/* The slowest method's. */
static uint64_t usual(const struct client *c)
{
    uint64_t most = 0;
    for (size_t m = 0; m < METHODS_MAX; m++)
        most = c->latency[m].median_ns > most ? c->latency[m].median_ns : most;
    return most;
}

static void learn(struct client *c, struct attempt *a, int result, bool answered)
{
    struct sim *s = c->fleet->sim;
    struct peer *p = a->peer;
    p->in_flight--;
    c->failures += result == OUTLIER_FAILED || result == OUTLIER_UNREACHABLE;
    p->progress_ns = s->now;
    if (result == NO_VERDICT) {
        outlier_forget(&p->health);
        return;
    }
    if (answered && (result == OUTLIER_OK || result == OUTLIER_SLOW))
        latency_add(&c->latency[a->method], s->now - a->start_ns);
    p->ejections += outlier_record(&c->rule->outlier, &c->group, &p->health,
                                   (enum outlier_result)result, a->start_ns, s->now, sim_unit(s));
}

/* Breaks an attempt off: all that it tells is that it has taken long. */
static void leave(struct client *c, struct attempt *a)
{
    bool slow = is_slow(c, a->method, c->fleet->sim->now - a->start_ns);
    learn(c, a, slow ? OUTLIER_SLOW : NO_VERDICT, false);
    server_abandon(a);
}

static void judge_stuck(struct client *c, uint64_t now)
{
    uint64_t answers = 0, long_ns = c->rule->outlier.slow_factor * c->latency[0].median_ns;
    if (!long_ns)
        return;
    long_ns = long_ns > STUCK_NS ? long_ns : STUCK_NS;
    for (size_t i = 0; i < c->n_peers; i++)
        answers += c->peer[i]->health.good;
    for (size_t i = 0; i < c->n_peers && answers >= 5; i++) {
        struct peer *p = c->peer[i];
        if (p->in_flight && now > p->progress_ns + long_ns)
            p->ejections += outlier_record(&c->rule->outlier, &c->group, &p->health, OUTLIER_FAILED,
                                           p->progress_ns, now, sim_unit(c->fleet->sim));
    }
}

/* ---- zones ---- */

static void hand_out(struct client *c)
{
    double weight[ZONES_MAX] = { 0 }, most = 0;
    size_t healthy[ZONES_MAX] = { 0 }, all[ZONES_MAX] = { 0 };
    for (size_t i = 0; i < c->n_peers; i++) {
        all[c->peer[i]->server->zone]++;
        healthy[c->peer[i]->server->zone] += !c->peer[i]->health.until_ns;
    }
    for (size_t i = 0; i < c->weights.n; i++) {
        uint8_t z = c->weights.zone[i];
        size_t shared = healthy[z] ? healthy[z] : all[z];
        weight[z] = shared ? (double)zone_share(&c->weights, z) / (double)shared : 0;
        most = fmax(most, weight[z]);
    }
    for (size_t i = 0; i < c->n_peers; i++) {
        double full = most > 0 ? weight[c->peer[i]->server->zone] / most * 1000 : 1000;
        c->peer[i]->zone_weight = (uint32_t)ceil(full);
    }
}

static void weigh_zones(struct client *c, uint64_t now)
{
    struct zone_host host[PEERS_MAX];
    uint64_t health = c->n_peers;
    for (size_t i = 0; i < c->n_peers; i++) {
        struct peer *p = c->peer[i];
        host[i] = (struct zone_host){ .zone = p->server->zone,
                                      .healthy = !p->health.until_ns,
                                      .load = p->load,
                                      .load_ns = p->load_ns };
        health += (p->hash | 1) * (host[i].healthy ? 3 : 5);
    }
    if (zones_due(&c->zones, health != c->health, now)) {
        const struct zone_rules rules = { .zone = zone_map_zone(&c->fleet->zones, c->zone),
                                          .unwell = !outlier_peers_are_well(&c->group) };
        zones_update(&c->zones, &rules, &c->fleet->zones, host, c->n_peers, now, &c->weights);
        c->health = health;
    }
    hand_out(c);
}

static void sweep(struct client *c)
{
    static const double HIGH = 0.95;
    uint64_t now = c->fleet->sim->now;
    struct outlier *health[PEERS_MAX];
    if (now < c->sweep_ns)
        return;
    c->sweep_ns = now + SWEEP_NS;
    for (size_t i = 0; i < c->n_peers; i++)
        health[i] = &c->peer[i]->health;
    budget_share(&c->retries, c->rule->retry_percent / 100.0);
    for (size_t m = 0; m < METHODS_MAX; m++)
        latency_roll(&c->latency[m], HIGH, now);
    judge_stuck(c, now);
    outlier_sweep(&c->group, health, c->n_peers);
    if (c->zone != ZONE_UNKNOWN)
        weigh_zones(c, now);
}

/* ---- one try ---- */

static void look(const struct client *c, struct choice_instance *ret)
{
    uint64_t now = c->fleet->sim->now;
    for (size_t i = 0; i < c->n_peers; i++) {
        struct peer *p = c->peer[i];
        ret[i] = (struct choice_instance){
            .health = &p->health,
            .hash = p->hash,
            .in_flight = p->in_flight + refusals_in_flight(&p->refusals, usual(c), now),
            .utilisation = balance_faded(p->load, now - p->load_ns),
            .zone_weight = p->zone_weight,
            .zone = p->server->zone,
        };
    }
}

static struct attempt *send(struct call *call, struct peer *p, bool is_copy)
{
    struct client *c = call->client;
    struct sim *s = c->fleet->sim;
    struct attempt *a = attempt_new(c->fleet);
    a->call = call;
    a->client = c;
    a->peer = p;
    a->server = p->server;
    a->method = call->order.method;
    a->start_ns = s->now;
    a->is_copy = is_copy;
    a->event.fn = server_receive;
    if (p->in_flight++ == 0)
        p->progress_ns = s->now;
    c->attempts++;
    c->copies += is_copy;
    if (p->server->zone < CELL_ZONES)
        c->to_zone[p->server->zone]++;
    sim_at(s, &a->event, fleet_arrival(c->fleet, c->zone, p->server->zone));
    return a;
}

static void send_copy(struct sim *s, struct event *e)
{
    struct call *call = CONTAINER_OF(e, struct call, next);
    struct client *c = call->client;
    struct choice_instance v[PEERS_MAX];
    if (c->panic || !hedge_take(&c->hedges) || !budget_withdraw(&c->retries, s->now))
        return;
    look(c, v);
    for (size_t i = 0; i < c->n_peers; i++)
        v[i].tried = c->peer[i] == call->live[0]->peer;
    size_t at = choose_other(c->rule, v, c->n_peers, s->now, sim_bits(s));
    if (at < c->n_peers)
        call->live[1] = send(call, c->peer[at], true);
}

static void plan_copy(struct call *call)
{
    struct client *c = call->client;
    if (!c->rule->hedge.on || !c->idempotent)
        return;
    uint64_t ns = hedge_delay(&c->rule->hedge, &c->latency[call->order.method]);
    hedge_deposit(&c->hedges, &c->rule->hedge);
    call->next.fn = send_copy;
    if (ns)
        sim_after(c->fleet->sim, &call->next, ns);
}

static void end(struct call *call, enum outcome outcome)
{
    struct client *c = call->client;
    sim_cancel(c->fleet->sim, &call->deadline);
    sim_cancel(c->fleet->sim, &call->next);
    for (size_t i = 0; i < COUNT(call->live); i++)
        if (call->live[i])
            leave(c, call->live[i]);
    c->fleet->calls_under_way--;
    if (call->order.ended)
        call->order.ended(call, outcome);
    call->free = c->fleet->free_call;
    c->fleet->free_call = call;
}

static void try_once(struct call *call)
{
    struct client *c = call->client;
    struct sim *s = c->fleet->sim;
    struct choice_instance v[PEERS_MAX];
    const struct choice_call choice = { c->rule, 0, 0, call->n_tried > 0 };
    sweep(c);
    look(c, v);
    for (size_t i = 0; call->n_tried && i < c->n_peers; i++)
        for (size_t t = 0; t < call->n_tried; t++)
            v[i].tried |= c->peer[i] == call->tried[t];
    size_t at = choose(&choice, v, c->n_peers, &c->turn, s->now, sim_bits(s), &c->panic);
    if (at == c->n_peers) {
        end(call, call->failure);
        return;
    }
    call->tried[call->n_tried++] = c->peer[at];
    call->live[0] = send(call, c->peer[at], false);
    plan_copy(call);
}

/* ---- what comes after a failure ---- */

static bool may_go_on(const struct call *call, enum answer result)
{
    struct client *c = call->client;
    uint64_t now = c->fleet->sim->now;
    if (call->n_tried == TRIES_MAX)
        return false;
    switch (result) {
    case ANSWER_UNSENT:
        return true;
    case ANSWER_SHED:
        return c->rule->retry && call->n_tried == 1 && budget_withdraw(&c->retries, now);
    case ANSWER_BROKEN:
        return c->rule->retry && c->idempotent && budget_withdraw(&c->retries, now);
    case ANSWER_OK:
    case ANSWER_FAILED:
        break;
    }
    return false;
}

static void try_again(struct sim *s, struct event *e)
{
    (void)s;
    try_once(CONTAINER_OF(e, struct call, next));
}

static bool wait_for_retry(struct call *call, enum answer result)
{
    struct client *c = call->client;
    struct sim *s = c->fleet->sim;
    uint64_t wait_ns;
    if (!c->retry || call->spent || (result == ANSWER_BROKEN && !c->idempotent))
        return false;
    if (!retry_next(c->retry, &call->retry, s->now, sim_unit(s), &wait_ns) ||
        !budget_withdraw(&c->retries, s->now)) {
        call->spent = true;
        return false;
    }
    call->n_tried = 0;
    call->next.fn = try_again;
    sim_after(s, &call->next, wait_ns);
    return true;
}

static void failed(struct call *call, enum answer result, bool retried)
{
    call->failure = result == ANSWER_SHED ? CALL_SHED : CALL_FAILED;
    call->spent = retried || result == ANSWER_SHED;
    if (call->live[0] || call->live[1])
        return; /* the other copy may still bring a good answer */
    sim_cancel(call->client->fleet->sim, &call->next);
    if (may_go_on(call, result))
        try_once(call);
    else if (!wait_for_retry(call, result))
        end(call, call->failure);
}

void client_answer(struct sim *s, struct event *e)
{
    struct attempt *a = CONTAINER_OF(e, struct attempt, event);
    struct client *c = a->client;
    struct call *call = a->call;
    enum answer result = (enum answer)a->result;
    if (!call) { /* has ended, and learnt from it */
        attempt_free(c->fleet, a);
        return;
    }
    if (result != ANSWER_UNSENT && result != ANSWER_BROKEN) {
        a->peer->load = a->load;
        a->peer->load_ns = s->now;
    }
    if (result == ANSWER_SHED)
        refusals_add(&a->peer->refusals, usual(c), s->now);
    learn(c, a, verdict(c, a, s->now - a->start_ns), true);
    bool retried = a->retried;
    call->live[a->is_copy] = NULL;
    attempt_free(c->fleet, a);
    if (result == ANSWER_OK)
        end(call, CALL_GOOD);
    else
        failed(call, result, retried);
}

/* ---- calls ---- */

static void on_deadline(struct sim *s, struct event *e)
{
    (void)s;
    end(CONTAINER_OF(e, struct call, deadline), CALL_TIMEOUT);
}

void client_call(struct client *c, const struct order *o)
{
    struct fleet *f = c->fleet;
    struct sim *s = f->sim;
    struct call *call = f->free_call;
    if (call)
        f->free_call = call->free;
    else
        call = sim_alloc(s, sizeof *call);
    *call = (struct call){ .order = *o, .client = c, .start_ns = s->now, .failure = CALL_FAILED };
    call->level = priority_level(o->priority, (unsigned)(sim_unit(s) * PRIORITY_SUBS));
    call->deadline_ns = o->timeout_ns ? s->now + o->timeout_ns : UINT64_MAX;
    call->deadline.fn = on_deadline;
    if (o->timeout_ns)
        sim_at(s, &call->deadline, call->deadline_ns);
    if (c->retry)
        retry_start(c->retry, &call->retry, s->now);
    f->calls_under_way++;
    c->calls++;
    budget_deposit(&c->retries, s->now);
    try_once(call);
}

static struct peer *peer_new(struct fleet *f, struct server *s)
{
    struct peer *p = sim_alloc(f->sim, sizeof *p);
    p->server = s;
    p->hash = sim_bits(f->sim);
    p->zone_weight = 1000;
    return p;
}

struct client *client_new(struct fleet *f, uint8_t zone, size_t from, size_t n)
{
    struct client *c = sim_alloc(f->sim, sizeof *c);
    PRE(n <= PEERS_MAX && from + n <= f->n_servers);
    c->fleet = f;
    c->zone = zone;
    c->rule = traffic_defaults();
    c->idempotent = true;
    c->n_peers = n;
    c->group.n = (uint32_t)n;
    c->sweep_ns = f->sim->now + (uint64_t)(sim_unit(f->sim) * SWEEP_NS);
    zones_init(&c->zones);
    budget_init(&c->retries, &(struct budget_config){ 0 });
    for (size_t i = 0; i < n; i++)
        c->peer[i] = peer_new(f, &f->server[from + i]);
    return c;
}

static size_t find(const struct client *c, const struct server *s)
{
    size_t i = 0;
    while (i < c->n_peers && c->peer[i]->server != s)
        i++;
    return i;
}

void client_meet(struct client *c, struct server *s)
{
    if (find(c, s) < c->n_peers)
        return;
    PRE(c->n_peers < PEERS_MAX);
    struct peer *p = peer_new(c->fleet, s);
    p->health.returned_ns = c->fleet->sim->now;
    c->peer[c->n_peers++] = p;
    c->group.n = (uint32_t)c->n_peers;
}

void client_forget(struct client *c, const struct server *s)
{
    size_t i = find(c, s);
    if (i == c->n_peers)
        return;
    c->peer[i] = c->peer[--c->n_peers];
    c->group.n = (uint32_t)c->n_peers;
}
