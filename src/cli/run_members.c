#include "cli/run_private.h"

#include "base/mem.h"

enum { MEMBER_ARENA_MAX = 4 << 20 };

/* ---- the set ---- */

struct member *member_find(struct run_group *g, unsigned number)
{
    for (size_t i = 0; i < g->run->n_members; i++)
        if (g->run->member[i]->group == g && g->run->member[i]->plan->number == number)
            return g->run->member[i];
    return NULL;
}

unsigned group_size(const struct run_group *g)
{
    unsigned n = 0;
    for (size_t i = 0; i < g->run->n_members; i++)
        n += g->run->member[i]->group == g && !g->run->member[i]->removing;
    return n;
}

unsigned group_ready(const struct run_group *g)
{
    unsigned n = 0;
    for (size_t i = 0; i < g->run->n_members; i++) {
        const struct member *m = g->run->member[i];
        n += m->group == g && m->healthy && !m->stopping && m->app.state != PROC_ASLEEP;
    }
    return n;
}

unsigned group_free_number(struct run_group *g)
{
    unsigned n = 1;
    while (member_find(g, n))
        n++;
    return n;
}

bool run_is_over(const struct run *run)
{
    if (run->n_changing)
        return false;
    for (size_t i = 0; i < run->n_members; i++)
        if (!run->member[i]->stopped)
            return false;
    return true;
}

/* ---- one comes ---- */

static int show(struct member *m, struct error *err)
{
    const struct run_instance *in = m->plan;
    const struct page_instance p = { in->app->id,  in->name,      in->zone,
                                     in->port.app, in->port.http, in->port.internal };
    if (page_add_instance(m->run->page, &p, &m->index) != 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    return 0;
}

static int plan(struct member *m, unsigned number, struct error *err)
{
    struct run_instance *in = arena_alloc(&m->arena, sizeof(*in));
    if (!in)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    m->plan = in;
    return plan_make(m->group->app, number, m->run->plan_settings, &m->arena, in, err);
}

struct member *member_new(struct run_group *g, unsigned number, struct error *err)
{
    struct run *run = g->run;
    if (run->n_members == PLAN_INSTANCES_MAX) {
        (void)fail(err, EXHAUSTED, NULL, "one run can have %d instances", PLAN_INSTANCES_MAX);
        return NULL;
    }
    struct member *m = mem_zalloc(sizeof(*m));
    if (!m) {
        (void)fail(err, EXHAUSTED, NULL, "out of memory");
        return NULL;
    }
    m->run = run;
    m->group = g;
    arena_init(&m->arena, MEMBER_ARENA_MAX);
    int r = plan(m, number, err);
    if (r || show(m, err)) {
        arena_done(&m->arena);
        mem_free(m);
        return NULL;
    }
    member_init(m);
    run->member[run->n_members++] = m;
    return m;
}

int member_begin(struct member *m, struct error *err)
{
    output_open(m);
    int r = watch_begin(m, err);
    return r ? r : member_start(m, err);
}

/* ---- one goes ---- */

void member_free(struct member *m)
{
    struct run *run = m->run;
    for (size_t i = 0; i < run->n_members; i++)
        if (run->member[i] == m)
            run->member[i--] = run->member[--run->n_members];
    output_close(m);
    plan_done(m->plan, run->plan_settings);
    page_remove_instance(run->page, m->index);
    arena_done(&m->arena);
    mem_free(m);
}

CO static void remove_member(void *arg)
{
    SHIELD();
    struct member *m = arg;
    struct run *run = m->run;
    member_stop(m);
    waitq_wake_all(&run->changed, 0); /* its watcher looks whether it's to end */
    (void)wait_group_wait(&m->fibers);
    run_note(run, "info", m->group->app->id, "%s is gone", m->plan->name);
    member_free(m);
    run->n_changing--;
    waitq_wake_all(&run->changed, 0);
    wait_group_done(&run->helpers);
}

void member_remove(struct member *m)
{
    struct run *run = m->run;
    struct error err = { 0 };
    if (m->removing)
        return;
    m->removing = true;
    run->n_changing++;
    if (run_spawn(run, "remove", remove_member, m, &err) == 0)
        return;
    run->n_changing--;
    member_stop(m); /* it stays in the set, as one that has ended */
}
