/* Hot reload: follows the resources' files and lets components and subscriptions come, go and
 * change while the sidecar serves. What can't change in place (Configuration, HTTPEndpoint,
 * Resiliency: surprise 64) starts the sidecar anew, as SIGHUP does. */
#include "base/clock.h"
#include "base/log.h"
#include "block/binding.h"
#include "block/core/chaos.h"
#include "block/core/live.h"
#include "component/config.h"
#include "loop/watch.h"
#include "loop/worker.h"
#include "runtime/private.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SCOPE[] = "dapr.runtime.hotreload";
static const uint64_t INTERVAL = SEC(60), SETTLE = MS(100), SETTLE_MAX = SEC(2);

/* ---- one component ---- */

CO static bool deliveries_lock(struct runtime *r)
{
    return fiber_mutex_lock(&r->deliveries) >= 0;
}

/* What runs on an instance ends before the instance leaves the catalog. */
CO static void leave(struct runtime *r, struct instance *i)
{
    switch (component_kind_of(i->type->kind)) {
    case KIND_PUBSUB:
        subscriptions_leave(&r->subscriptions, i);
        break;
    case KIND_BINDING:
        binding_leave(i);
        break;
    default:
        break;
    }
}

/* old or new may be NULL. The new one is open; it takes the old one's place, or is closed again. */
CO static void replace(struct runtime *r, struct instance *old, struct instance *new)
{
    struct error err = { 0 };
    PRE(old || new);
    SHIELD(); /* half a replacement is none */
    if (!deliveries_lock(r))
        return;
    if (old)
        leave(r, old);
    if (catalog_swap(&r->blocks, old, new, &err) < 0) {
        log_error(SCOPE, "can't put component %s in place: %s", (new ? new : old)->name, err.text);
        instance_free(new);
    }
    components_count(r);
    life_refresh_deliveries(r);
    fiber_mutex_unlock(&r->deliveries);
}

static struct instance *loaded(struct runtime *r, str name)
{
    for (size_t k = 0; k < COMPONENT_KINDS; k++) {
        struct instance *i = catalog_get(&r->blocks, (enum component_kind)k, name);
        if (i)
            return i;
    }
    return NULL;
}

CO static void remove_component(struct runtime *r, const struct component_resource *c)
{
    char label[COMPONENT_LABEL_MAX];
    struct instance *old = loaded(r, c->head.name);
    if (!old)
        return;
    log_info(SCOPE, "Component removed: %s", component_label(c, label));
    feed_event("info", "component %s removed", label);
    replace(r, old, NULL);
}

/* The new one is opened before the old one goes: what can't be opened changes nothing. */
CO static void put_component(struct runtime *r, const struct component_resource *c)
{
    char label[COMPONENT_LABEL_MAX];
    struct error err = { 0 };
    struct instance *new = NULL, *old = loaded(r, c->head.name);
    component_label(c, label);
    if (!component_wanted(r, c))
        return;
    if (component_open(r, c, &new, &err) < 0 || !new) {
        if (old)
            log_error(SCOPE, "component %s stays as it was: its new definition can't be opened",
                      label);
        return;
    }
    if (old)
        log_info(SCOPE, "Closing existing Component to reload: %s", label);
    replace(r, old, new);
    log_info(SCOPE, "Component %s: %s", old ? "updated" : "added", label);
    feed_event("info", "component %s %s", label, old ? "updated" : "added");
}

/* ---- all of them ---- */

CO static void reload_components(struct runtime *r, const struct resources *new)
{
    for (size_t i = 0; i < r->live->n_components; i++) {
        const struct component_resource *old = &r->live->component[i];
        if (!resources_component(new, old->head.name))
            remove_component(r, old);
    }
    for (size_t i = 0; i < new->n_components; i++) { /* secret stores come first */
        const struct component_resource *c = &new->component[i];
        const struct component_resource *old = resources_component(r->live, c->head.name);
        if (!old || !component_resource_eq(old, c) || !loaded(r, c->head.name))
            put_component(r, c);
    }
}

CO static void reload_subscriptions(struct runtime *r, struct resources *new)
{
    if (!deliveries_lock(r))
        return;
    if (atomic_load(&r->discovered)) {
        subscriptions_update(&r->blocks, &r->subscriptions, new);
        life_refresh_deliveries(r);
    }
    fiber_mutex_unlock(&r->deliveries);
}

static void reload_overload(struct runtime *r, struct resources *new)
{
    if (!apply_overload(r, new))
        log_error(SCOPE, "Overload stays as it was: out of memory");
}

/* ---- a new snapshot ---- */

struct load_job {
    struct runtime *r;
    struct resources *ret;
    struct error err;
    int code;
};

static void load_snapshot(void *arg)
{
    struct load_job *job = arg;
    job->code = resources_read(job->r, &job->ret, &job->err);
}

static uint64_t sum(const struct resources *r)
{
    uint64_t sum = r->rest_hash + r->live_hash;
    for (size_t i = 0; i < r->n_components; i++)
        sum += r->component[i].head.hash;
    for (size_t i = 0; i < r->n_subscriptions; i++)
        sum += r->subscription[i].head.hash;
    return sum;
}

/* Starts the sidecar anew. A program with the runtime inside has its own SIGHUP. */
static void restart(struct runtime *r)
{
    if (r->inside.handle) {
        log_warn(SCOPE, "Configuration, HTTPEndpoint or Resiliency have changed: they count after "
                        "this program's next start");
        return;
    }
    log_info(SCOPE, "Configuration, HTTPEndpoint or Resiliency have changed: triggering SIGHUP "
                    "reload");
    kill(getpid(), SIGHUP);
}

/* Nothing is done about files that couldn't be used at a start: people write them in steps. */
static bool usable(const struct load_job *job)
{
    if (job->code < 0)
        log_error(SCOPE, "can't read the resources again: %s", job->err.text);
    else if (job->ret->fatal)
        log_error(SCOPE, "the resources aren't reloaded, what is loaded stays: %s",
                  job->ret->fatal);
    return job->code >= 0 && !job->ret->fatal;
}

CO static void reload(struct runtime *r)
{
    struct load_job job = { .r = r };
    if (blocking(load_snapshot, &job) < 0)
        return;
    bool changed = usable(&job) && sum(job.ret) != sum(r->live);
    if (changed)
        resources_tell(job.ret);
    if (changed && job.ret->rest_hash != r->live->rest_hash)
        restart(r);
    else if (changed) {
        reload_components(r, job.ret);
        reload_subscriptions(r, job.ret);
        if (job.ret->live_hash != r->live->live_hash) {
            log_info(SCOPE, "Resources of proa.dev updated");
            feed_event("info", "resources of proa.dev updated");
            reload_overload(r, job.ret);
        }
        live_set(r->blocks.live, job.ret);
        chaos_reload(r->blocks.chaos, r->live, job.ret);
        resources_unref(r->live);
        r->live = TAKE(job.ret);
    }
    resources_unref(job.ret);
}

/* ---- following the files ---- */

/* The folders of the resources and of the --config files, each once. */
static size_t folders(struct runtime *r, const char *ret[WATCH_MAX])
{
    const struct option_list *list[] = { &r->options->resources_path, &r->options->config };
    size_t n = 0;
    for (size_t k = 0; k < COUNT(list); k++)
        for (size_t i = 0; i < list[k]->n && n < WATCH_MAX; i++) {
            str path = str_c(list[k]->v[i]);
            struct stat st;
            if (stat(path.p, &st) == 0 && !S_ISDIR(st.st_mode)) {
                while (path.n && path.p[path.n - 1] != '/')
                    path.n--;
                path = path.n ? path : S("./");
            }
            const char *folder = arena_cstr(&r->arena, path);
            bool known = !folder;
            for (size_t at = 0; at < n && !known; at++)
                known = str_eq(str_c(ret[at]), path);
            if (!known)
                ret[n++] = folder;
        }
    return n;
}

/* An editor or a `kubectl apply` writes several files: wait until it has finished. */
CO static void settle(struct watch *w)
{
    uint64_t end = clock_now_ns() + SETTLE_MAX;
    int code = 0;
    while (code == 0 && clock_now_ns() < end) {
        DEADLINE(SETTLE);
        code = watch_next(w);
    }
}

/* A change: 0; time for the scheduled comparison: -TIMEOUT. */
CO static int wait_for_change(struct runtime *r, struct watch *w)
{
    DEADLINE(r->options->hot_reload_interval > 0 ? (uint64_t)r->options->hot_reload_interval
                                                 : INTERVAL);
    return w ? watch_next(w) : fiber_sleep(SEC(3600));
}

CO static void follow(struct runtime *r, struct watch *w)
{
    for (;;) {
        int code = wait_for_change(r, w);
        if (code == -CANCELLED || fiber_cancelled())
            return;
        if (code == 0)
            settle(w);
        else
            log_info(SCOPE, "Running scheduled Component reconcile");
        reload(r);
    }
}

CO void reload_main(void *runtime)
{
    struct runtime *r = runtime;
    const char *path[WATCH_MAX];
    struct watch *w = NULL;
    struct error err = { 0 };
    r->reloader = fiber_self();
    if (watch_open(path, folders(r, path), &w, &err) < 0)
        log_warn(SCOPE, "changes of files are seen by comparing them now and then: %s", err.text);
    else
        log_info(SCOPE, "Starting to watch Configuration updates for SIGHUP reload");
    if (!atomic_load(&r->stopping))
        follow(r, w);
    watch_close(w);
    r->reloader = NULL;
    atomic_store(&r->reload_done, true);
}
