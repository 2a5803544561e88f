#include "block/core/live.h"

#include "base/mem.h"
#include "component/resource.h"
#include "loop/worker.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WORKERS_MAX = 64 };

struct live {
    pthread_mutex_t lock; /* of .now */
    struct resources *now;
    atomic_uint generation;
    struct live_pin *here[WORKERS_MAX]; /* each its worker's own */
};

struct live *live_new(void)
{
    struct live *l = mem_zalloc(sizeof *l);
    if (l)
        pthread_mutex_init(&l->lock, NULL);
    return l;
}

static void view_free(struct live_pin *p)
{
    if (p)
        resources_unref((struct resources *)p->resources);
    mem_free(p);
}

void live_free(struct live *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < WORKERS_MAX; i++)
        view_free(l->here[i]);
    resources_unref(l->now);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

void live_set(struct live *l, struct resources *r)
{
    pthread_mutex_lock(&l->lock);
    struct resources *old = l->now;
    l->now = resources_ref(r);
    atomic_fetch_add(&l->generation, 1);
    pthread_mutex_unlock(&l->lock);
    resources_unref(old);
}

static struct live_pin *view_new(struct live *l)
{
    struct live_pin *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_lock(&l->lock);
    p->resources = l->now ? resources_ref(l->now) : NULL;
    p->generation = atomic_load(&l->generation);
    pthread_mutex_unlock(&l->lock);
    return p;
}

struct live_pin *live_pin(struct live *l)
{
    if (!l)
        return NULL;
    struct worker *w = worker_self();
    struct live_pin **here = &l->here[w ? worker_index(w) : 0]; /* tests run without workers */
    struct live_pin *p = *here;
    if (UNLIKELY(!p ||
                 p->generation != atomic_load_explicit(&l->generation, memory_order_acquire))) {
        struct live_pin *new = view_new(l);
        if (new) {
            *here = new;
            if (p && !p->n)
                view_free(p);
            else if (p)
                p->replaced = true;
            p = new;
        }
    }
    if (p)
        p->n++;
    return p;
}

void live_unpin(struct live_pin *p)
{
    if (p && --p->n == 0 && p->replaced)
        view_free(p);
}
