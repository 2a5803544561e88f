#include "cli/run_private.h"
#include "cli/run_process.h"

#include "base/clock.h"
#include "base/id.h"
#include "loop/worker.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORDS_MS = 1000, NOT_STARTED = 127 };

/* ---- states ---- */

#define TO(state) (1u << (state))
static const unsigned moves[] = {
    [PROC_WAITING] = TO(PROC_RUNNING) | TO(PROC_BACKOFF) | TO(PROC_ENDED),
    [PROC_RUNNING] = TO(PROC_BACKOFF) | TO(PROC_ASLEEP) | TO(PROC_ENDED),
    [PROC_BACKOFF] = TO(PROC_RUNNING) | TO(PROC_BACKOFF) | TO(PROC_ASLEEP) | TO(PROC_ENDED),
    [PROC_ASLEEP] = TO(PROC_RUNNING) | TO(PROC_BACKOFF) | TO(PROC_ENDED),
    [PROC_ENDED] = 0,
};
#undef TO

static void move(struct proc *p, enum proc_state to)
{
    INV(moves[p->state] >> to & 1);
    p->state = to;
}

enum page_state member_state(const struct member *m)
{
    if (m->stopped || m->sidecar.state == PROC_ENDED || (m->app.exec && m->app.state == PROC_ENDED))
        return PAGE_STOPPED;
    if (m->sidecar.state == PROC_BACKOFF || m->app.state == PROC_BACKOFF)
        return m->down ? PAGE_STOPPED : PAGE_RESTARTING;
    if (m->app.state == PROC_ASLEEP)
        return PAGE_ASLEEP;
    if (m->healthy)
        return PAGE_HEALTHY;
    if (m->was_healthy)
        return PAGE_UNHEALTHY;
    return m->sidecar.restarts + m->app.restarts ? PAGE_RESTARTING : PAGE_STARTING;
}

static const char *possessive(const struct proc *p)
{
    return p->is_sidecar ? "'s sidecar" : "";
}

/* ---- output ---- */

static void emit(void *arg, str line)
{
    struct proc *p = arg;
    const struct member *m = p->member;
    if (p->to_screen || (p->is_sidecar && log_is_trouble(line)))
        log_screen_line(&m->run->screen, m->plan->label, m->group->colour,
                        p->is_sidecar ? "◆" : " ", line);
}

CO static void read_output(void *arg)
{
    struct proc *p = arg;
    char chunk[LOG_CHUNK];
    for (;;) {
        if (log_screen_wait_room(&p->member->run->screen) < 0)
            break;
        ssize_t n = pipe_read(p->output, chunk, sizeof(chunk));
        if (n <= 0)
            break;
        log_file_write(&p->file, str_of(chunk, (size_t)n));
        log_lines_feed(&p->lines, str_of(chunk, (size_t)n), emit, p);
    }
    log_lines_end(&p->lines, emit, p);
    p->reader = NULL;
    wait_group_done(&p->reading);
}

static void cut_output(void *arg)
{
    struct proc *p = arg;
    if (p->reader)
        fiber_cancel(p->reader);
}

/* Whoever left the group and kept the pipe could hold us here for ever: then it's cut. */
CO static void finish_output(struct proc *p)
{
    SHIELD();
    struct loop_timer *cut = loop_timer_start(MS(LAST_WORDS_MS), 0, cut_output, p);
    if (!cut)
        cut_output(p);
    (void)wait_group_wait(&p->reading);
    if (cut)
        loop_timer_stop(cut);
    pipe_close(p->output);
    p->output = NULL;
}

/* ---- one life ---- */

static int start(struct proc *p, struct error *err)
{
    struct run *run = p->member->run;
    int fd;
    pid_t pid;
    int r = process_start(p->exec, run->guard->fd, &pid, &fd, err);
    if (r)
        return r;
    p->output = pipe_open(fd);
    p->lines.n = 0;
    wait_group_init(&p->reading);
    wait_group_add(&p->reading);
    p->reader = p->output ? fiber_spawn("output", read_output, p) : NULL;
    p->pid = pid;
    p->exited = false;
    if (p->reader)
        return 0;
    wait_group_done(&p->reading);
    if (!p->output)
        close(fd);
    (void)kill(-pid, SIGKILL); /* and it's reaped like any other */
    return fail(err, EXHAUSTED, NULL, "no room to read what it prints");
}

bool proc_reap(struct proc *p)
{
    if (!p->pid || p->exited)
        return false;
    siginfo_t info = { 0 };
    if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || !info.si_pid)
        return false;
    /* While it's a zombie its number is its group's and nobody else's: what it left goes now. */
    (void)kill(-p->pid, SIGKILL);
    (void)waitpid(p->pid, &p->status, 0);
    guard_tell(p->member->run->guard->fd, -p->pid);
    p->exited = true;
    waitq_wake_all(&p->changed, 0);
    return true;
}

CO static void await_exit(struct proc *p)
{
    SHIELD();
    while (!p->exited)
        (void)waitq_wait(&p->changed);
}

/* Both begin a new life as far as health is concerned: what was asked before says nothing now. */
static void begin_life(struct proc *p)
{
    struct member *m = p->member;
    m->healthy = m->was_healthy = false;
    if (p->is_sidecar) { /* a new one waits for the app */
        m->sidecar_ready = false;
        member_wake(m);
    }
    p->started_ns = clock_now_ns();
    move(p, PROC_RUNNING);
}

CO static void live(struct proc *p)
{
    struct error err = { 0 };
    struct member *m = p->member;
    int r = start(p, &err);
    if (!p->pid) {
        run_say(m->run, "error", m->plan->app->id, "%s%s: %s", m->plan->name, possessive(p),
                err.text);
        p->status = NOT_STARTED << 8;
        p->started_ns = clock_now_ns();
        return;
    }
    begin_life(p);
    if (!r)
        run_note(m->run, "info", m->plan->app->id, "%s%s %s (process %d)", m->plan->name,
                 possessive(p), p->restarts ? "restarted" : "started", (int)p->pid);
    await_exit(p);
    finish_output(p);
    m->healthy = false;
    p->pid = 0;
}

static bool wants_restart(const struct proc *p)
{
    const char *policy = p->member->plan->app->restart;
    if (p->stop || strcmp(policy, "never") == 0)
        return false;
    return strcmp(policy, "always") == 0 || p->status != 0;
}

static void tell_end(struct proc *p, uint64_t delay_ns)
{
    struct member *m = p->member;
    char how[ENDED_MAX];
    process_ended(p->status, how);
    if (p->stop && (p->status == 0 || (WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGTERM)))
        return; /* as it should, and as most do who don't care for SIGTERM */
    if (delay_ns)
        run_say(m->run, "warn", m->plan->app->id, "%s%s %s: restart %u in %.1f s", m->plan->name,
                possessive(p), how, p->restarts + 1, (double)delay_ns / 1e9);
    else
        run_say(m->run, p->status && !p->stop ? "error" : "info", m->plan->app->id, "%s%s %s",
                m->plan->name, possessive(p), how);
}

CO static void pause_restart(struct proc *p, uint64_t ns)
{
    DEADLINE(ns);
    while (!p->stop && !p->sleep)
        if (waitq_wait(&p->changed) < 0)
            break;
}

CO static void back_off(struct proc *p, uint64_t ns)
{
    pause_restart(p, ns);
    while (p->member->down && !p->stop && !p->sleep)
        if (waitq_wait(&p->changed) < 0)
            break;
}

/* An instance is a pair: when one of the two has ended for good, the other goes too. */
static void end(struct proc *p)
{
    struct member *m = p->member;
    move(p, PROC_ENDED);
    p->failed = !p->stop && p->status != 0;
    waitq_wake_all(&p->changed, 0);
    waitq_wake_all(&m->ready, 0);
    member_stop(m);
}

CO static bool await_sidecar(struct member *m)
{
    SHIELD();
    while (!m->sidecar_ready && !m->app.stop && m->sidecar.state != PROC_ENDED)
        (void)waitq_wait(&m->ready);
    return m->sidecar_ready && !m->app.stop;
}

CO static void sleep_until_woken(struct proc *p)
{
    SHIELD();
    move(p, PROC_ASLEEP);
    waitq_wake_all(&p->changed, 0);
    while (p->sleep && !p->stop)
        (void)waitq_wait(&p->changed);
}

CO static void supervise(void *arg)
{
    struct proc *p = arg;
    struct member *m = p->member;
    bool go = p->is_sidecar || await_sidecar(m);
    while (go && !p->stop) {
        live(p);
        if (p->sleep && !p->stop) {
            sleep_until_woken(p);
            continue;
        }
        if (!wants_restart(p)) {
            tell_end(p, 0);
            break;
        }
        uint64_t ran = clock_now_ns() - p->started_ns;
        uint64_t delay = backoff_next(&p->backoff, ran, id_random_unit());
        tell_end(p, delay);
        move(p, PROC_BACKOFF);
        back_off(p, delay);
        p->restarts += !p->stop;
    }
    end(p);
    wait_group_done(&m->run->processes);
    wait_group_done(&m->fibers);
}

/* ---- an instance ---- */

static void proc_init(struct proc *p, struct member *m, const struct run_exec *exec, bool sidecar)
{
    *p = (struct proc){ .member = m,
                        .exec = exec->path ? exec : NULL,
                        .role = sidecar ? "sidecar" : "app",
                        .is_sidecar = sidecar,
                        .file.fd = -1 };
    waitq_init(&p->changed);
}

void member_init(struct member *m)
{
    waitq_init(&m->ready);
    wait_group_init(&m->fibers);
    proc_init(&m->sidecar, m, &m->plan->sidecar, true);
    proc_init(&m->app, m, &m->plan->command, false);
}

static int proc_begin(struct proc *p, struct error *err)
{
    struct run *run = p->member->run;
    wait_group_add(&run->processes);
    wait_group_add(&p->member->fibers);
    if (fiber_spawn(p->role, supervise, p))
        return 0;
    wait_group_done(&p->member->fibers);
    wait_group_done(&run->processes);
    move(p, PROC_ENDED);
    return fail(err, EXHAUSTED, NULL, "no room for another fiber");
}

int member_start(struct member *m, struct error *err)
{
    int r = proc_begin(&m->sidecar, err);
    if (!r && m->app.exec)
        r = proc_begin(&m->app, err);
    else
        move(&m->app, PROC_ENDED);
    return r;
}

static void signal_group(const struct proc *p, int sig)
{
    if (p->pid && !p->exited)
        (void)kill(-p->pid, sig);
}

/* Or until it has ended. */
CO static bool await_state(struct proc *p, enum proc_state state, uint64_t ns)
{
    DEADLINE(ns);
    while (p->state != state && p->state != PROC_ENDED && !p->member->run->killed)
        if (waitq_wait(&p->changed) < 0)
            break;
    return p->state == state || p->state == PROC_ENDED;
}

CO static void stop_proc(struct proc *p, uint64_t drain_ns)
{
    struct run *run = p->member->run;
    if (p->state == PROC_ENDED)
        return;
    p->stop = true;
    signal_group(p, SIGTERM);
    waitq_wake_all(&p->changed, 0);
    waitq_wake_all(&p->member->ready, 0);
    if (await_state(p, PROC_ENDED, drain_ns))
        return;
    if (!run->killed)
        run_say(run, "warn", p->member->plan->app->id, "%s%s doesn't stop: killed",
                p->member->plan->name, possessive(p));
    signal_group(p, SIGKILL);
    SHIELD();
    while (p->state != PROC_ENDED)
        (void)waitq_wait(&p->changed);
}

/* The sidecar first: it takes no new events, and what the app is working on can still be answered
 * and acknowledged. Only then the app. So nothing that was acknowledged is lost, and what wasn't
 * comes again. */
CO static void stop_member(void *arg)
{
    struct member *m = arg;
    struct run *run = m->run;
    stop_proc(&m->sidecar, MS(SIDECAR_DRAIN_MS));
    stop_proc(&m->app, MS(APP_DRAIN_MS));
    m->stopped = true;
    waitq_wake_all(&run->changed, 0);
    wait_group_done(&m->fibers);
    wait_group_done(&run->helpers);
}

void member_sleep(struct member *m)
{
    struct proc *p = &m->app;
    p->sleep = true;
    signal_group(p, SIGTERM);
    waitq_wake_all(&p->changed, 0);
    if (!await_state(p, PROC_ASLEEP, MS(APP_DRAIN_MS)) && p->sleep)
        signal_group(p, SIGKILL);
    SHIELD();
    while (p->sleep && p->state != PROC_ASLEEP && p->state != PROC_ENDED)
        (void)waitq_wait(&p->changed);
}

void member_wake(struct member *m)
{
    m->app.sleep = false;
    waitq_wake_all(&m->app.changed, 0);
    waitq_wake_all(&m->run->changed, 0);
}

void member_down(struct member *m, bool down)
{
    m->down = down;
    if (down) {
        signal_group(&m->sidecar, SIGKILL);
        signal_group(&m->app, SIGKILL);
    }
    waitq_wake_all(&m->sidecar.changed, 0);
    waitq_wake_all(&m->app.changed, 0);
}

void member_kill(struct member *m)
{
    m->sidecar.stop = m->app.stop = true;
    signal_group(&m->sidecar, SIGKILL);
    signal_group(&m->app, SIGKILL);
    waitq_wake_all(&m->sidecar.changed, 0);
    waitq_wake_all(&m->app.changed, 0);
    waitq_wake_all(&m->ready, 0);
}

void member_stop(struct member *m)
{
    struct run *run = m->run;
    if (m->stopping)
        return;
    m->stopping = true;
    m->app.stop = true; /* no restart from now on */
    waitq_wake_all(&m->app.changed, 0);
    wait_group_add(&run->helpers);
    wait_group_add(&m->fibers);
    if (fiber_spawn("stop", stop_member, m))
        return;
    wait_group_done(&m->fibers);
    wait_group_done(&run->helpers);
    member_kill(m);
    m->stopped = true;
    waitq_wake_all(&run->changed, 0);
}
