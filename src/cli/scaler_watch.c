#include "cli/scaler_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    METRICS_MAX = 16 << 20,
    SCRAPE_MS = 900,
    TICK_MIN_MS = 100,
    TICK_MAX_MS = 1000,
    FIRST_MS = 5000
};

/* ---- the rule ---- */

static str environment(void *arg, str name)
{
    char key[128];
    (void)arg;
    snprintf(key, sizeof(key), STR_FMT, STR_ARG(name));
    const char *v = getenv(key);
    return v ? str_c(v) : (str){ 0 };
}

struct reading {
    struct scaled *app;
    int result;
    struct error err;
};

/* On the pool. An app without a Scale has the defaults; a faulty one is refused. */
static void read_rule(void *arg)
{
    struct reading *r = arg;
    const struct option_list *paths = &r->app->scaler->options->resources;
    const struct resource_options opt = {
        .path = paths->v, .n_paths = paths->n, .app_id = str_c(r->app->app), .getenv = environment
    };
    struct resources *res = NULL;
    char text[DIAG_TEXT_MAX];
    scale_rule_defaults(&r->app->rule);
    if (!paths->n)
        return;
    r->result = resources_load(&opt, &res, &r->err);
    if (r->result)
        return;
    if (res->scale)
        r->app->rule = res->scale->rule;
    for (size_t i = 0; !res->scale && !r->result && i < res->diags.n; i++)
        if (res->diags.v[i].level != DIAG_WARN)
            r->result = fail(&r->err, INVALID, NULL, "%s", diag_print(&res->diags.v[i], text));
    resources_unref(res);
}

/* ---- where the sidecars are ---- */

struct lookup {
    struct scaled *app;
    char (*peer)[64];
    size_t n;
};

static void add_host(struct lookup *l, const char *host, const char *port)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char name[INET6_ADDRSTRLEN];
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return;
    for (struct addrinfo *i = found; i && l->n < SCALER_INSTANCES; i = i->ai_next) {
        if (getnameinfo(i->ai_addr, i->ai_addrlen, name, sizeof(name), NULL, 0, NI_NUMERICHOST) !=
            0)
            continue;
        snprintf(l->peer[l->n++], sizeof(l->peer[0]),
                 i->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", name, port);
    }
    freeaddrinfo(found);
}

/* On the pool: every address of every name in the list. */
static void look_up(void *arg)
{
    struct lookup *l = arg;
    str rest = str_c(l->app->address), item;
    while (str_next(&rest, ',', &item)) {
        char copy[SCALER_ADDRESS_MAX];
        snprintf(copy, sizeof(copy), STR_FMT, STR_ARG(item));
        char *colon = strrchr(copy, ':');
        if (!colon)
            continue;
        *colon = '\0';
        add_host(l, copy, colon + 1);
    }
}

/* Readings go along with their addresses. */
static void keep(struct scaled *s, const struct lookup *l)
{
    for (size_t i = 0; i < l->n; i++) {
        s->now[i] = (struct scaler_reading){ 0 };
        for (size_t k = 0; k < s->n; k++)
            if (strcmp(s->peer[k], l->peer[i]) == 0)
                s->now[i] = s->before[k];
    }
    memcpy(s->peer, l->peer, l->n * sizeof(s->peer[0]));
    memcpy(s->before, s->now, l->n * sizeof(s->before[0]));
    s->n = l->n;
}

CO static bool find_sidecars(struct scaled *s)
{
    struct lookup l = { .app = s, .peer = mem_zalloc(SCALER_INSTANCES * sizeof(*l.peer)) };
    bool good = l.peer && blocking(look_up, &l) == 0;
    if (good)
        keep(s, &l);
    mem_free(l.peer);
    return good;
}

/* ---- one look ---- */

struct scrape {
    struct scaled *app;
    size_t i;
    struct wait_group *group;
};

CO static int get_metrics(struct http_client *client, const char *address, struct arena *a,
                          str *ret)
{
    DEADLINE(MS(SCRAPE_MS));
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct error err = { 0 };
    struct http_request req = { .method = S("GET"),
                                .target = S("/metrics"),
                                .path = S("/metrics"),
                                .authority = S("localhost") };
    const struct http_response *res = NULL;
    http_headers_init(&req.headers, a);
    int r = http_call_start(client, address, &req, S(""), true, &call, &err);
    if (!r)
        r = http_call_response(call, &res, &err);
    str body = { 0 };
    if (!r && res->status == 200)
        r = http_call_read_all(call, METRICS_MAX, &body);
    if (r)
        return r;
    *ret = arena_dup(a, body);
    return ret->p && body.n ? 0 : -UNAVAILABLE;
}

CO static void scrape(void *arg)
{
    struct scrape *x = arg;
    struct scaled *s = x->app;
    AUTO(arena_done) struct arena a;
    arena_init(&a, 4 * METRICS_MAX);
    str text;
    s->now[x->i] = (struct scaler_reading){ 0 };
    if (get_metrics(s->scaler->client, s->peer[x->i], &a, &text) == 0)
        scaler_read(text, clock_now_ns(), &s->now[x->i]);
    wait_group_done(x->group);
}

CO static void scrape_all(struct scaled *s)
{
    struct wait_group group;
    struct scrape *x = mem_zalloc((s->n + 1) * sizeof(*x));
    wait_group_init(&group);
    SHIELD();
    for (size_t i = 0; x && i < s->n; i++) {
        x[i] = (struct scrape){ s, i, &group };
        wait_group_add(&group);
        if (!fiber_spawn("scrape", scrape, &x[i]))
            wait_group_done(&group);
    }
    (void)wait_group_wait(&group);
    mem_free(x);
}

CO static void look(struct scaled *s)
{
    struct scale_sample sample;
    if (!find_sidecars(s))
        return;
    scrape_all(s);
    scaler_sample(s->now, s->before, s->n, &sample);
    scale_decide(&s->scale, &s->rule, &sample, clock_now_ns(), &s->decision);
    for (size_t i = 0; i < s->n; i++)
        if (s->now[i].at_ns)
            s->before[i] = s->now[i];
    s->known = true;
}

/* ---- for as long as somebody asks ---- */

static void forget(struct scaled *s)
{
    struct scaler *o = s->scaler;
    for (size_t i = 0; i < o->n_apps; i++)
        if (o->app[i] == s)
            o->app[i--] = o->app[--o->n_apps];
    mem_free(s->peer);
    mem_free(s->now);
    mem_free(s->before);
    mem_free(s);
}

CO static void watch(void *arg)
{
    struct scaled *s = arg;
    struct scaler *o = s->scaler;
    while (!o->ending && clock_now_ns() - s->asked_ns < SEC(SCALER_FORGET_S)) {
        look(s);
        waitq_wake_all(&o->changed, 0);
        uint64_t tick = min_u64(s->rule.panic_ns / SCALE_FINE, MS(TICK_MAX_MS));
        DEADLINE(tick > MS(TICK_MIN_MS) ? tick : MS(TICK_MIN_MS));
        while (!o->ending)
            if (waitq_wait(&o->changed) < 0)
                break;
    }
    forget(s);
    wait_group_done(&o->fibers);
}

static struct scaled *scaled_new(struct scaler *o, str app, str address)
{
    struct scaled *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    *s = (struct scaled){ .scaler = o, .asked_ns = clock_now_ns() };
    snprintf(s->app, sizeof(s->app), STR_FMT, STR_ARG(app));
    snprintf(s->address, sizeof(s->address), STR_FMT, STR_ARG(address));
    s->peer = mem_zalloc(SCALER_INSTANCES * sizeof(*s->peer));
    s->now = mem_zalloc(SCALER_INSTANCES * sizeof(*s->now));
    s->before = mem_zalloc(SCALER_INSTANCES * sizeof(*s->before));
    return s;
}

static struct scaled *find(struct scaler *o, str app, str address)
{
    for (size_t i = 0; i < o->n_apps; i++)
        if (str_eq(app, str_c(o->app[i]->app)) && str_eq(address, str_c(o->app[i]->address)))
            return o->app[i];
    return NULL;
}

CO static int begin(struct scaler *o, str app, str address, struct error *err)
{
    if (o->n_apps == SCALER_APPS)
        return fail(err, EXHAUSTED, NULL, "%d apps are watched already", SCALER_APPS);
    struct scaled *s = scaled_new(o, app, address);
    if (!s)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    o->app[o->n_apps++] = s; /* so that nobody else begins it meanwhile */
    struct reading r = { .app = s };
    bool good = s->peer && s->now && s->before && blocking(read_rule, &r) == 0;
    if (!good)
        r.result = fail(&r.err, EXHAUSTED, NULL, "out of memory");
    wait_group_add(&o->fibers);
    if (!r.result && fiber_spawn("watch", watch, s))
        return 0;
    wait_group_done(&o->fibers);
    forget(s);
    waitq_wake_all(&o->changed, 0);
    return fail(err, r.err.code ? r.err.code : EXHAUSTED, NULL, "%s",
                r.err.code ? r.err.text : "no room for another fiber");
}

struct scaled *scaler_find(struct scaler *o, str app, str address, struct error *err)
{
    struct scaled *s = find(o, app, address);
    if (!s && begin(o, app, address, err) < 0)
        return NULL;
    DEADLINE(MS(FIRST_MS));
    while ((s = find(o, app, address)) && !s->known && !o->ending)
        if (waitq_wait(&o->changed) < 0)
            break;
    s = find(o, app, address); /* it may be gone after a wait */
    if (s && s->known) {
        s->asked_ns = clock_now_ns();
        return s;
    }
    (void)fail(err, UNAVAILABLE, NULL, STR_FMT " could not be looked at: try again", STR_ARG(app));
    return NULL;
}
