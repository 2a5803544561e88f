#include "test/sim/cells.h"

void cells_open(struct scenario *s, struct cells *x, double use, uint64_t timeout_ns)
{
    fleet_init(&x->fleet, &s->sim, CELLS_SERVERS, CELLS_ZONES, true);
    fleet_work(&x->fleet, CELL_WORKERS, CELL_MS, true);
    x->capacity = (double)CELLS_SERVERS * CELL_WORKERS * 1000 / CELL_MS;
    for (unsigned i = 0; i < CELLS_CALLERS; i++)
        x->client[i] = client_new(&x->fleet, fleet_zone(&x->fleet, i % CELLS_ZONES),
                                  (size_t)(i / CELL_CALLERS) * CELL_SIZE, CELL_SIZE);
    source_init(&x->source, &x->fleet, x->client, CELLS_CALLERS, &s->flow);
    x->source.timeout_ns = timeout_ns;
    source_rate(&x->source, use * x->capacity);
}

void cells_close(struct scenario *s, struct cells *x)
{
    source_rate(&x->source, 0);
    scenario_end(s, &x->fleet);
}

double cells_busy(const struct cells *x, unsigned zone)
{
    double busy = 0, all = 0;
    for (size_t i = zone; i < CELLS_SERVERS; i += CELLS_ZONES) {
        busy += x->fleet.server[i].running;
        all += x->fleet.server[i].workers;
    }
    return busy / all;
}

void cells_look(struct scenario *s, void *arg)
{
    struct cells *x = arg;
    double bad = (double)(flow_offered(&s->flow) ? s->flow.slow : 0);
    for (enum outcome o = CALL_SHED; o < OUTCOMES; o++)
        bad += (double)flow_sum(&s->flow, o);
    double good = gauge_rate(&x->good, (double)flow_sum(&s->flow, CALL_GOOD), s->every_ns);
    bad = gauge_rate(&x->bad, bad, s->every_ns);
    scenario_put(s, "calls/s", "offered",
                 gauge_rate(&x->offered, (double)flow_offered(&s->flow), s->every_ns));
    scenario_put(s, "calls/s", "goodput", good);
    scenario_put(s, "affected, %", "failed, shed or slow", 100 * bad / (good + bad + 1));
    scenario_put(s, "workers in use, %", "zone a", 100 * cells_busy(x, 0));
    scenario_put(s, "workers in use, %", "zone b", 100 * cells_busy(x, 1));
    scenario_put(s, "workers in use, %", "zone c", 100 * cells_busy(x, 2));
}

void cells_reset(struct cells *x)
{
    for (size_t i = 0; i < CELLS_CALLERS; i++)
        for (size_t z = 0; z < CELL_ZONES; z++)
            x->client[i]->to_zone[z] = 0;
}

double cells_across(const struct cells *x)
{
    uint64_t all = 0, own = 0;
    for (size_t i = 0; i < CELLS_CALLERS; i++) {
        own += x->client[i]->to_zone[x->client[i]->zone];
        for (size_t z = 0; z < CELL_ZONES; z++)
            all += x->client[i]->to_zone[z];
    }
    return all ? (double)(all - own) / (double)all : 0;
}
