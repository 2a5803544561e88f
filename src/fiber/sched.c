#include "fiber/private.h"

#include "base/mem.h"

enum { SWITCHES_PER_ROUND = 1000 };

static _Thread_local struct sched *self;

struct sched *sched_new(const struct sched_config *config)
{
    PRE(config->max_fibers >= 1 && config->max_fibers <= 30000);
    PRE(config->stack_size >= KIB(16) && config->stack_size % KIB(4) == 0);
    struct sched *s = mem_zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->config = *config;
    list_init(&s->ready);
    list_init(&s->later);
    list_init(&s->all);
    pool_init(&s->pool, config->stack_size);
    return s;
}

void sched_free(struct sched *s)
{
    if (!s)
        return;
    PRE(!s->n_fibers);
    pool_done(&s->pool);
    heap_done(&s->timers);
    if (self == s)
        self = NULL;
    mem_free(s);
}

struct sched *sched_self(void)
{
    return self;
}

void sched_enter(struct sched *s)
{
    self = s;
}

size_t sched_count(const struct sched *s)
{
    return s->n_fibers;
}

uint64_t sched_now(void)
{
    PRE(self);
    return self->current ? self->now : self->config.now(self->config.ctx);
}

void sched_trim(struct sched *s)
{
    pool_trim(&s->pool);
}

bool sched_trim_due(const struct sched *s)
{
    return !s->pool.trimmed;
}

bool sched_cancel_all(struct sched *s)
{
    LIST_EACH (&s->all, node)
        fiber_cancel(CONTAINER_OF(node, struct fiber, all));
    return !list_empty(&s->ready) || !list_empty(&s->later);
}

void sched_ready(struct fiber *f)
{
    heap_remove(&f->sched->timers, &f->timer);
    f->state = FIBER_READY;
    list_append(&f->sched->ready, &f->link);
}

void sched_suspend(struct fiber *f)
{
    struct sched *s = f->sched;
    hooks_leave(&f->hooks, &s->hooks, f->state == FIBER_DONE);
    context_switch(&f->context, &s->context);
    hooks_arrive(&f->hooks, &s->hooks);
}

/* The first frame of every fiber. */
static void start(void)
{
    struct fiber *f = self->current;
    hooks_arrive(&f->hooks, &f->sched->hooks);
    f->fn(f->arg);
    f->state = FIBER_DONE;
    sched_suspend(f);
    INV(!"a fiber that ended was resumed");
}

struct fiber *fiber_spawn(const char *name, fiber_fn *fn, void *arg)
{
    struct sched *s = self;
    PRE(s);
    /* A timer for each is reserved here, so that parking can't fail. */
    if (s->n_fibers >= s->config.max_fibers || heap_reserve(&s->timers, s->n_fibers + 1) < 0)
        return NULL;
    struct fiber *f = pool_take(&s->pool);
    if (!f)
        return NULL;
    struct hooks hooks = f->hooks;
    *f = (struct fiber){
        .sched = s, .name = name, .fn = fn, .arg = arg, .deadline = UINT64_MAX, .hooks = hooks
    };
    hooks_begin(&f->hooks);
    context_make(&f->context, (void *)f->hooks.bottom, f->hooks.size, start);
    list_append(&s->all, &f->all);
    s->n_fibers++;
    sched_ready(f);
    return f;
}

static void resume(struct sched *s, struct fiber *f)
{
    f->state = FIBER_RUNNING;
    s->current = f;
    hooks_leave(&s->hooks, &f->hooks, false);
    context_switch(&s->context, &f->context);
    hooks_arrive(&s->hooks, &s->hooks);
    s->current = NULL;
    if (f->state != FIBER_DONE)
        return;
    hooks_end(&f->hooks);
    list_remove(&f->all);
    s->n_fibers--;
    pool_give(&s->pool, f);
}

static void expire(struct sched *s)
{
    s->now = s->config.now(s->config.ctx);
    while (heap_next(&s->timers) <= s->now) {
        struct fiber *f = CONTAINER_OF(heap_first(&s->timers), struct fiber, timer);
        f->cause = CAUSE_TIMER;
        sched_ready(f);
    }
}

/* Those that yielded wait for the next round, after those that were ready before. */
static void splice_later(struct sched *s)
{
    for (struct list *node; (node = list_pop(&s->later));)
        list_append(&s->ready, node);
}

uint64_t sched_run(struct sched *s)
{
    PRE(self == s && !s->current);
    hooks_thread(&s->hooks);
    splice_later(s);
    expire(s);
    for (int i = 0; i < SWITCHES_PER_ROUND; i++) {
        struct list *node = list_pop(&s->ready);
        if (!node)
            break;
        resume(s, CONTAINER_OF(node, struct fiber, link));
    }
    if (!list_empty(&s->ready) || !list_empty(&s->later))
        return 0;
    uint64_t next = heap_next(&s->timers);
    if (next == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now = s->config.now(s->config.ctx);
    return next > now ? next - now : 0;
}
