/* Replaces the instances of an app one by one, so that as many as before take calls all the time: a
 * further one comes up first, then each of the others goes and comes back under its name and on its
 * ports, then the further one goes. */
#include "cli/run_private.h"

#include "base/clock.h"

enum { READY_MS = 60000, NUMBERS_MAX = PLAN_INSTANCES_MAX };

static bool ended(const struct run *run)
{
    return run->stopping || run->quit;
}

/* Whether instance number becomes healthy; it may vanish meanwhile. */
CO static bool await_ready(struct run_group *g, unsigned number)
{
    DEADLINE(MS(READY_MS));
    for (;;) {
        const struct member *m = member_find(g, number);
        if (!m || m->stopped || ended(g->run))
            return false;
        if (m->healthy && !m->stopping)
            return true;
        if (waitq_wait(&g->run->changed) < 0)
            return false;
    }
}

CO static int bring_up(struct run_group *g, unsigned number, struct error *err)
{
    struct member *m = member_new(g, number, err);
    if (!m)
        return -(int)err->code;
    int r = member_begin(m, err);
    if (!r && await_ready(g, number))
        return 0;
    m = member_find(g, number);
    if (m)
        member_remove(m);
    return r ? r
             : fail(err, UNAVAILABLE, NULL,
                    "%s-%u didn't become ready within %d s: its log tells why", g->app->id, number,
                    READY_MS / 1000);
}

/* Until it's gone: draining has deadlines of its own. */
CO static void take_down(struct run_group *g, unsigned number)
{
    SHIELD();
    struct member *m = member_find(g, number);
    if (m)
        member_remove(m);
    while (member_find(g, number))
        (void)waitq_wait(&g->run->changed);
}

static size_t numbers_of(const struct run_group *g, unsigned ret[NUMBERS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < g->run->n_members; i++) {
        const struct member *m = g->run->member[i];
        if (m->group != g || m->removing)
            continue;
        size_t at = n++;
        for (; at && ret[at - 1] > m->plan->number; at--)
            ret[at] = ret[at - 1];
        ret[at] = m->plan->number;
    }
    return n;
}

CO static int replace_all(struct run_group *g, struct error *err)
{
    unsigned number[NUMBERS_MAX], extra = group_free_number(g);
    size_t n = numbers_of(g, number);
    int r = bring_up(g, extra, err);
    for (size_t i = 0; !r && i < n && !ended(g->run); i++) {
        take_down(g, number[i]);
        r = ended(g->run) ? 0 : bring_up(g, number[i], err);
    }
    if (r) /* the further one stands in for the one that didn't come back */
        return r;
    if (!ended(g->run))
        take_down(g, extra);
    return 0;
}

CO static void restart(void *arg)
{
    struct run_group *g = arg;
    struct run *run = g->run;
    struct error err = { 0 };
    run_say(run, "info", g->app->id, "%s: restarting one by one", g->app->id);
    if (replace_all(g, &err) == 0)
        run_say(run, "info", g->app->id, "%s: restarted", g->app->id);
    else
        run_say(run, "error", g->app->id, "%s: the restart was given up: %s", g->app->id, err.text);
    g->restart_error = err;
    g->n_restarts++;
    g->restarting = false;
    run->n_changing--;
    waitq_wake_all(&run->changed, 0);
    wait_group_done(&run->helpers);
}

/* It goes on when whoever asked for it has left. */
int group_restart(struct run_group *g, struct error *err)
{
    struct run *run = g->run;
    unsigned before = g->n_restarts;
    if (g->restarting)
        return fail(err, EXISTS, NULL, "%s is being changed: try again in a moment", g->app->id);
    if (ended(run))
        return fail(err, UNAVAILABLE, NULL, "the run is ending");
    g->restarting = true;
    run->n_changing++;
    int r = run_spawn(run, "restart", restart, g, err);
    if (r) {
        g->restarting = false;
        run->n_changing--;
        return r;
    }
    while (g->n_restarts == before)
        if ((r = waitq_wait(&run->changed)) < 0)
            return fail(err, (enum code) - r, NULL, "nobody waits for the restart any more");
    *err = g->restart_error;
    return -(int)err->code;
}
