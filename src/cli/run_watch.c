#include "cli/run_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { FEED_BYTES_MAX = 8 << 20, HEALTH_BYTES_MAX = 64 << 10, NAMES_LEFT_MAX = 3 };

void run_pause(struct run *run, uint64_t ns)
{
    DEADLINE(ns);
    while (!run->quit)
        if (waitq_wait(&run->changed) < 0)
            return;
}

/* ---- asking a sidecar ---- */

int run_ask(struct run *run, const char *address, str path, struct arena *a, size_t max,
            str *ret_body)
{
    return run_ask_with(run, address, S("GET"), path, MS(RUN_ASK_MS), a, max, ret_body);
}

int run_ask_with(struct run *run, const char *address, str method, str path, uint64_t ns,
                 struct arena *a, size_t max, str *ret_body)
{
    DEADLINE(ns);
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct error err = { 0 };
    struct http_request req = {
        .method = method,
        .target = path,
        .path = path,
        .authority = S("localhost"),
    };
    http_headers_init(&req.headers, a);
    const char *token = getenv("DAPR_API_TOKEN");
    int r = token ? http_headers_add(&req.headers, S("dapr-api-token"), str_c(token)) : 0;
    if (!r)
        r = http_call_start(run->client, address, &req, S(""), true, &call, &err);
    const struct http_response *res;
    if (!r)
        r = http_call_response(call, &res, &err);
    str body = { 0 };
    if (!r)
        r = http_call_read_all(call, max, &body);
    if (r < 0)
        return r;
    *ret_body = arena_dup(a, body);
    return ret_body->p ? res->status : -EXHAUSTED;
}

static void set_health(struct member *m, bool healthy)
{
    struct run *run = m->run;
    const char *app = m->plan->app->id;
    if (healthy && !m->healthy && m->was_healthy)
        run_say(run, "info", app, "%s is healthy again", m->plan->name);
    else if (!healthy && m->healthy)
        run_say(run, "warn", app, "%s is unhealthy: its sidecar says it isn't ready, or nothing",
                m->plan->name);
    m->healthy = healthy;
    m->was_healthy |= healthy;
    if (healthy)
        waitq_wake_all(&run->changed, 0);
}

/* First only whether the sidecar takes calls, since the app, which it waits for, waits for it. */
CO static void ask_member(struct member *m, struct arena *a)
{
    str body;
    struct error err = { 0 };
    uint64_t life = m->sidecar.started_ns;
    if (!m->sidecar_ready) {
        int status =
            run_ask(m->run, m->plan->api, S("/v1.0/healthz/outbound"), a, HEALTH_BYTES_MAX, &body);
        if (status == 204 && m->sidecar.started_ns == life && m->sidecar.state == PROC_RUNNING) {
            m->sidecar_ready = true;
            waitq_wake_all(&m->ready, 0);
        }
        return;
    }
    int status = run_ask(m->run, m->plan->api, S("/v1.0/healthz"), a, HEALTH_BYTES_MAX, &body);
    if (m->sidecar.started_ns != life || m->sidecar.state != PROC_RUNNING || m->stopping)
        return; /* the answer is of another life */
    bool app_runs = !m->app.exec || m->app.state == PROC_RUNNING || m->app.state == PROC_ASLEEP;
    set_health(m, status == 204 && app_runs);
    status = run_ask(m->run, m->plan->api, S("/proa/v1/feed"), a, PAGE_FEED_MAX, &body);
    if (status == 200 && page_sample(m->run->page, m->index, body, clock_now_ns(), &err) != 0 &&
        !m->feed_told) {
        m->feed_told = true;
        run_say(m->run, "warn", m->plan->app->id, "%s", err.text);
    }
}

/* A Scale with short windows wants to know more often; who is asleep is to be woken at once. */
static uint64_t poll_pause(const struct member *m)
{
    if (!m->healthy || m->app.state == PROC_ASLEEP)
        return MS(RUN_POLL_FAST_MS);
    const struct run_group *g = m->group;
    uint64_t tick = g->has_rule ? g->rule.panic_ns / SCALE_FINE : MS(RUN_POLL_MS);
    uint64_t least = MS(RUN_POLL_FAST_MS), most = min_u64(tick, MS(RUN_POLL_MS));
    return most > least ? most : least;
}

static bool is_watched(const struct member *m)
{
    return !m->run->quit && !(m->removing && m->stopped);
}

CO static void pause_of(struct member *m)
{
    DEADLINE(poll_pause(m));
    while (is_watched(m))
        if (waitq_wait(&m->run->changed) < 0)
            return;
}

CO static void watch_member(void *arg)
{
    struct member *m = arg;
    struct run *run = m->run;
    while (is_watched(m)) {
        if (m->sidecar.state == PROC_RUNNING) {
            AUTO(arena_done) struct arena a;
            arena_init(&a, 2 * PAGE_FEED_MAX);
            ask_member(m, &a);
        }
        pause_of(m);
    }
    wait_group_done(&m->fibers);
    wait_group_done(&run->helpers);
}

/* ---- signals ---- */

static void on_stop_signal(struct run *run, int sig)
{
    if (!run->stopping) {
        log_screen_status(&run->screen, "");
        run_say(run, "info", NULL, "%s: stopping%s", strsignal(sig),
                run->screen.terminal ? " (once more kills)" : "");
    } else if (!run->killed) {
        run->killed = true;
        for (size_t i = 0; i < run->n_members; i++)
            member_kill(run->member[i]);
    }
    run->stopping = true;
    waitq_wake_all(&run->changed, 0);
}

static void reap(struct run *run)
{
    for (size_t i = 0; i < run->n_members; i++) {
        (void)proc_reap(&run->member[i]->sidecar);
        (void)proc_reap(&run->member[i]->app);
    }
}

CO static void take_signals(void *arg)
{
    struct run *run = arg;
    struct signalfd_siginfo info;
    while (!run->quit && pipe_read(run->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            reap(run);
        else
            on_stop_signal(run, (int)info.ssi_signo);
    }
    run->signal_fiber = NULL;
    wait_group_done(&run->helpers);
}

/* ---- once a second ---- */

static void look_at_processes(struct run *run, struct usage *usage)
{
    uint64_t now = clock_now_ns();
    for (size_t i = 0; i < run->n_members; i++) {
        const struct member *m = run->member[i];
        usage[2 * i].group = m->sidecar.pid ? m->sidecar.pid : -1;
        usage[2 * i + 1].group = m->app.pid ? m->app.pid : -1;
    }
    usage_look("/proc", usage, 2 * run->n_members);
    for (size_t i = 0; i < run->n_members; i++) {
        struct member *m = run->member[i];
        const struct proc *first = m->app.exec ? &m->app : &m->sidecar;
        uint64_t cpu = usage[2 * i].cpu_ns + usage[2 * i + 1].cpu_ns;
        struct page_process p = { .state = member_state(m),
                                  .pid = first->pid,
                                  .restarts = m->app.restarts + m->sidecar.restarts,
                                  .cpu = NAN,
                                  .rss_bytes = usage[2 * i].rss_bytes + usage[2 * i + 1].rss_bytes,
                                  .uptime_ns = first->pid ? now - first->started_ns : 0 };
        if (m->cpu_at_ns && now > m->cpu_at_ns && cpu >= m->cpu_before_ns)
            p.cpu = (double)(cpu - m->cpu_before_ns) / (double)(now - m->cpu_at_ns);
        m->cpu_before_ns = cpu;
        m->cpu_at_ns = now;
        page_set_process(run->page, m->index, &p);
    }
}

void run_blob_unref(struct run_blob *b)
{
    if (b && --b->refs == 0)
        mem_free(b);
}

static void render_feed(struct run *run)
{
    uint64_t now = clock_now_ns(), wall = clock_wall_ns();
    AUTO(buf_done) struct buf out;
    buf_init(&out, FEED_BYTES_MAX);
    page_tick(run->page, now, wall);
    if (page_write(run->page, now, wall, &out) != 0)
        return; /* the old one stays until memory comes back */
    str text = buf_str(&out);
    struct run_blob *b = mem_alloc(sizeof(*b) + text.n);
    if (!b)
        return;
    b->refs = 1;
    b->n = text.n;
    memcpy(b->bytes, text.p, text.n);
    run_blob_unref(run->feed);
    run->feed = b;
    waitq_wake_all(&run->fed, 0);
}

static bool is_up(const struct member *m)
{
    return m->healthy || m->stopped;
}

static void show_progress(struct run *run)
{
    char text[256], names[160] = "";
    size_t up = 0, left = 0;
    for (size_t i = 0; i < run->n_members; i++) {
        const struct member *m = run->member[i];
        up += is_up(m);
        if (is_up(m) || left++ >= NAMES_LEFT_MAX)
            continue;
        size_t used = strlen(names);
        snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", m->plan->name);
    }
    snprintf(text, sizeof(text), "  %zu of %zu ready, waiting for %s%s", up, run->n_members, names,
             left > NAMES_LEFT_MAX ? " ..." : "");
    log_screen_status(&run->screen, up == run->n_members ? "" : text);
}

static void tell_address(struct run *run)
{
    char line[160];
    snprintf(line, sizeof(line), "%s  http://%s",
             run->settings->no_page ? "Control (no dashboard)" : "Dashboard", run->address);
    log_screen_line(&run->screen, "proa", -1, " ", str_c(line));
}

/* Once: when all is up, or when it has taken so long that somebody should look why. */
static void tell_start(struct run *run)
{
    size_t up = 0;
    double took = (double)(clock_now_ns() - run->started_ns) / 1e9;
    for (size_t i = 0; i < run->n_members; i++)
        up += is_up(run->member[i]);
    bool all = up == run->n_members;
    if (run->started_told || run->stopping || (!all && took * 1e3 < RUN_SLOW_START_MS))
        return;
    run->started_told = true;
    if (all)
        run_say(run, "info", NULL, "%zu of %zu ready in %.1f s", up, run->n_members, took);
    for (size_t i = 0; !all && i < run->n_members; i++)
        if (!is_up(run->member[i]))
            run_say(run, "warn", run->member[i]->plan->app->id,
                    "%s isn't ready yet: its log tells why; an app with an appPort must listen on "
                    "127.0.0.1:%u",
                    run->member[i]->plan->name, run->member[i]->plan->port.app);
    tell_address(run);
}

/* The start is looked at more often than once a second, the processes aren't. */
CO static void tick(void *arg)
{
    struct run *run = arg;
    struct usage *usage = mem_zalloc(2 * PLAN_INSTANCES_MAX * sizeof(*usage));
    uint64_t next = clock_now_ns();
    while (usage && !run->quit) {
        uint64_t now = clock_now_ns();
        if (!run->started_told && !run->stopping) {
            show_progress(run);
            tell_start(run);
        }
        if (now >= next) {
            look_at_processes(run, usage);
            render_feed(run);
            next = now + SEC(1);
        }
        uint64_t pause = next - clock_now_ns();
        if (!run->started_told && pause > MS(RUN_POLL_FAST_MS))
            pause = MS(RUN_POLL_FAST_MS);
        run_pause(run, pause < SEC(1) ? pause : 0);
    }
    mem_free(usage);
    wait_group_done(&run->helpers);
}

/* ---- all of it ---- */

static int spawn(struct run *run, const char *name, fiber_fn *fn, void *arg,
                 struct fiber **ret_fiber, struct error *err)
{
    wait_group_add(&run->helpers);
    struct fiber *f = fiber_spawn(name, fn, arg);
    if (!f) {
        wait_group_done(&run->helpers);
        return fail(err, EXHAUSTED, NULL, "no room for another fiber");
    }
    if (ret_fiber)
        *ret_fiber = f;
    return 0;
}

int run_spawn(struct run *run, const char *name, fiber_fn *fn, void *arg, struct error *err)
{
    return spawn(run, name, fn, arg, NULL, err);
}

int watch_begin(struct member *m, struct error *err)
{
    wait_group_add(&m->fibers);
    int r = run_spawn(m->run, "watch", watch_member, m, err);
    if (r)
        wait_group_done(&m->fibers);
    return r;
}

int watch_start(struct run *run, struct error *err)
{
    int r = spawn(run, "signals", take_signals, run, &run->signal_fiber, err);
    return r ? r : spawn(run, "tick", tick, run, NULL, err);
}
