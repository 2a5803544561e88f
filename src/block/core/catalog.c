#include "block/core/catalog.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "block/core/block.h"
#include "component/resource.h"
#include "loop/worker.h"

/* How a catalog ends. Each worker swaps its pointer by mail; from then on it pins the new one. The
 * old one's pins on that worker only become fewer, and when they are none the worker says so, once.
 * When all have said it and all older catalogs have ended as well, what was only in it is closed: a
 * reader that pinned an older one may have looked things up in any later one. */

enum { WORKERS_MAX = COUNT(((struct blocks *)0)->catalog), DRAIN_MS = 5000 };

struct part { /* a worker's */
    size_t pins;
    bool replaced, drained;
    struct mail mail;
    struct catalog *catalog;
    char apart[64]; /* no two workers write to one cache line */
};

struct catalog {
    struct list link; /* blocks.retired, the oldest first */
    struct blocks *blocks;
    struct map map[COMPONENT_KINDS];
    struct pipeline pipeline[PIPELINES];
    struct instance *leaves; /* goes with this catalog; NULL = nothing does */
    size_t n_drained;        /* workers; worker 0 counts */
    struct part part[WORKERS_MAX];
};

static size_t here(void)
{
    struct worker *w = worker_self();
    return w ? worker_index(w) : 0; /* tests run in fibers without workers */
}

enum component_kind component_kind_of(const char *kind)
{
    static const char *const name[COMPONENT_KINDS] = {
        "state",           "pubsub",        "secretstores", "bindings",
        "middleware.http", "configuration", "lock",         "crypto",
    };
    size_t k = 0;
    while (k < COMPONENT_KINDS && !str_eq(str_c(name[k]), str_c(kind)))
        k++;
    return (enum component_kind)k;
}

/* ---- readers ---- */

static struct catalog *now(const struct blocks *b)
{
    return b->catalog[here()].now;
}

struct catalog *catalog_pin(struct blocks *b)
{
    struct catalog *c = now(b);
    c->part[here()].pins++;
    return c;
}

static void on_drained(struct mail *m);

/* On the worker that has no more pins and gets no new ones. */
static void drained(struct part *p)
{
    p->drained = true;
    p->mail.run = on_drained;
    worker_post(worker_at(0), &p->mail);
}

void catalog_unpin(struct catalog *c)
{
    struct part *p = &c->part[here()];
    INV(p->pins);
    if (--p->pins == 0 && p->replaced && !p->drained)
        drained(p);
}

void catalog_unpinp(struct catalog **c)
{
    if (*c)
        catalog_unpin(*c);
}

struct instance *catalog_get(const struct blocks *b, enum component_kind kind, str name)
{
    return map_get(&now(b)->map[kind], name);
}

size_t catalog_count(const struct blocks *b, enum component_kind kind)
{
    return map_count(&now(b)->map[kind]);
}

struct instance *catalog_next(const struct catalog *c, enum component_kind kind, size_t *at)
{
    struct map_entry *e = map_next(&c->map[kind], at);
    return e ? e->value : NULL;
}

const struct pipeline *catalog_pipeline(const struct blocks *b, enum catalog_pipeline which)
{
    return &now(b)->pipeline[which];
}

/* ---- making ---- */

static struct catalog *catalog_new(struct blocks *b)
{
    struct catalog *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->blocks = b;
    for (size_t i = 0; i < WORKERS_MAX; i++)
        c->part[i].catalog = c;
    for (size_t k = 0; k < COMPONENT_KINDS; k++)
        map_init(&c->map[k], CATALOG_MAX);
    return c;
}

static void catalog_free(struct catalog *c)
{
    for (size_t k = 0; c && k < COMPONENT_KINDS; k++)
        map_done(&c->map[k]);
    for (size_t k = 0; c && k < PIPELINES; k++)
        mem_free(c->pipeline[k].v);
    mem_free(c);
}

static int put(struct catalog *c, struct instance *i, struct error *err)
{
    enum component_kind kind = component_kind_of(i->type->kind);
    if (kind == COMPONENT_KINDS)
        return fail(err, INVALID, NULL, "incorrect type %s", i->type->type);
    if (map_has(&c->map[kind], str_c(i->name)))
        return fail(err, EXISTS, NULL, "a component named %s is loaded already", i->name);
    if (map_put(&c->map[kind], str_c(i->name), i, NULL) < 0)
        return fail(err, EXHAUSTED, NULL, "more than %d components", CATALOG_MAX);
    return 0;
}

int catalogs_init(struct blocks *b)
{
    struct catalog *c = catalog_new(b);
    if (!c)
        return -EXHAUSTED;
    for (size_t i = 0; i < COUNT(b->catalog); i++)
        b->catalog[i].now = c;
    list_init(&b->retired);
    wait_group_init(&b->retiring);
    return 0;
}

int catalog_add(struct blocks *b, struct instance *i, struct error *err)
{
    return put(now(b), i, err);
}

/* Handlers whose component isn't loaded are left out silently: facts 8. */
static int link_pipeline(struct catalog *c, const struct config_handlers *h, struct pipeline *ret)
{
    ret->v = mem_zalloc(h->n * sizeof(struct instance *));
    if (!ret->v)
        return -EXHAUSTED;
    for (size_t i = 0; i < h->n; i++) {
        struct instance *m = map_get(&c->map[KIND_MIDDLEWARE], h->v[i].name);
        if (m && type_is(m->type, h->v[i].type, h->v[i].version))
            ret->v[ret->n++] = m;
    }
    return 0;
}

static int link_pipelines(struct catalog *c, struct error *err)
{
    if (!c->blocks->resources)
        return 0;
    const struct configuration *config = &c->blocks->resources->config;
    if (link_pipeline(c, &config->http_pipeline, &c->pipeline[PIPELINE_HTTP]) < 0 ||
        link_pipeline(c, &config->app_http_pipeline, &c->pipeline[PIPELINE_APP]) < 0)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    return 0;
}

int catalog_link(struct blocks *b, struct error *err)
{
    return link_pipelines(now(b), err);
}

static int copy(struct catalog *to, const struct catalog *from, const struct instance *but,
                struct error *err)
{
    for (size_t k = 0; k < COMPONENT_KINDS; k++) {
        struct instance *i;
        for (size_t at = 0; (i = catalog_next(from, (enum component_kind)k, &at));)
            if (i != but && put(to, i, err) < 0)
                return -EXHAUSTED;
    }
    return 0;
}

/* ---- swapping ---- */

struct swap { /* on the writer's frame, which waits for all of them */
    struct mail mail;
    struct catalog *old, *new;
    struct ticket *done;
    _Atomic size_t *left;
};

static void on_swap(struct mail *m)
{
    struct swap *s = CONTAINER_OF(m, struct swap, mail);
    struct part *p = &s->old->part[here()];
    s->old->blocks->catalog[here()].now = s->new;
    p->replaced = true;
    if (!p->pins)
        drained(p);
    if (atomic_fetch_sub(s->left, 1) == 1)
        ticket_done(s->done, 0);
}

CO static void retire(void *arg)
{
    struct catalog *c = arg;
    struct blocks *b = c->blocks;
    instance_free(TAKE(c->leaves));
    catalog_free(c);
    wait_group_done(&b->retiring);
}

/* Ends what nobody can hold any more, the oldest first. On worker 0, outside of fibers. */
static void end_drained(struct blocks *b)
{
    while (!list_empty(&b->retired)) {
        struct catalog *c = CONTAINER_OF(b->retired.next, struct catalog, link);
        /* Without room for a fiber it stays until the next one drains, or the end. */
        if (c->n_drained < workers_count() || !fiber_spawn("retire", retire, c))
            return;
        wait_group_add(&b->retiring);
        list_remove(&c->link);
    }
}

static void on_drained(struct mail *m)
{
    struct catalog *c = CONTAINER_OF(m, struct part, mail)->catalog;
    c->n_drained++;
    end_drained(c->blocks);
}

CO int catalog_swap(struct blocks *b, struct instance *remove, struct instance *add,
                    struct error *err)
{
    struct catalog *old = now(b), *new = catalog_new(b);
    if (!new)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (copy(new, old, remove, err) < 0 || (add && put(new, add, err) < 0) ||
        link_pipelines(new, err) < 0) {
        catalog_free(new);
        return err ? -(int)err->code : -EXHAUSTED;
    }
    size_t n = workers_count();
    struct swap *s = mem_zalloc(n * sizeof *s);
    if (!s) {
        catalog_free(new);
        return fail(err, EXHAUSTED, NULL, "out of memory");
    }
    old->leaves = remove;
    list_append(&b->retired, &old->link);
    _Atomic size_t left = n;
    struct ticket done;
    ticket_init(&done);
    for (size_t i = 0; i < n; i++) {
        s[i] = (struct swap){ { .run = on_swap }, old, new, &done, &left };
        worker_post(worker_at(i), &s[i].mail);
    }
    (void)ticket_wait(&done);
    mem_free(s);
    return 0;
}

/* ---- the end ---- */

CO static void close_all(struct catalog *c)
{
    static const enum component_kind order[] = {
        KIND_BINDING, KIND_PUBSUB, KIND_CONFIGURATION, KIND_LOCK,
        KIND_CRYPTO,  KIND_STATE,  KIND_MIDDLEWARE,    KIND_SECRET,
    };
    for (size_t k = 0; k < COUNT(order); k++) {
        struct instance *i;
        for (size_t at = 0; (i = catalog_next(c, order[k], &at));)
            instance_free(i);
    }
}

CO void catalogs_done(struct blocks *b)
{
    struct catalog *c = now(b);
    SHIELD();
    /* Mail of their workers may still be on its way. */
    for (int i = 0; !list_empty(&b->retired) && i < DRAIN_MS; i++) {
        end_drained(b);
        (void)fiber_sleep(MS(1));
    }
    (void)wait_group_wait(&b->retiring);
    if (c)
        close_all(c);
    catalog_free(c);
    for (size_t i = 0; i < COUNT(b->catalog); i++)
        b->catalog[i].now = NULL;
}
