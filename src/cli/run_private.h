/* run_private.h — the inside of 'proa run', for run*.c only: its processes and who watches them.
 * Owner:  struct run lives in the arena of run_main(); all else hangs on it. Members come and go.
 * Thread: worker 0, which also forks: children are bound to that thread (PR_SET_PDEATHSIG).
 * Fibers: one a process supervises it, one a process reads its output, one an instance asks its
 * sidecar, one takes signals, one ticks, one writes the screen. */
#pragma once

#include "cli/run.h"
#include "cli/run_backoff.h"
#include "cli/run_dir.h"
#include "cli/run_guard.h"
#include "cli/run_log.h"
#include "cli/run_page.h"
#include "cli/run_plan.h"
#include "cli/run_usage.h"

#include "http/client.h"
#include "loop/pipe.h"
#include "policy/scale.h"

#include <limits.h>

enum {
    RUN_POLL_MS = 1000,       /* how often a healthy sidecar is asked */
    RUN_POLL_FAST_MS = 100,   /* … and one that isn't */
    RUN_ASK_MS = 900,         /* for its answer */
    SIDECAR_DRAIN_MS = 10000, /* from SIGTERM to SIGKILL */
    APP_DRAIN_MS = 10000,
    RUN_SLOW_START_MS = 30000, /* then the user is told what isn't up */
};

/* The life of one process. PROC_ASLEEP: an app that isn't needed now (run_scale.c). */
enum proc_state { PROC_WAITING, PROC_RUNNING, PROC_BACKOFF, PROC_ASLEEP, PROC_ENDED };

struct run;
struct member;

struct proc {
    struct member *member;
    const struct run_exec *exec;
    const char *role; /* "app" or "sidecar" */
    bool is_sidecar;
    enum proc_state state;
    pid_t pid; /* 0 = none */
    bool exited, stop;
    bool sleep;  /* isn't to run now, and will be again */
    int status;  /* of the last exit */
    bool failed; /* ended, and not as it should */
    unsigned restarts;
    uint64_t started_ns;
    struct backoff backoff;
    struct waitq changed; /* exited, or stop */
    struct pipe_end *output;
    struct fiber *reader;
    struct wait_group reading;
    struct log_lines lines;
    struct log_file file;
    char path[PATH_MAX]; /* of the file */
    bool to_screen;
};

/* All instances of an app. */
struct run_group {
    struct run *run;
    const struct run_app *app;
    int colour;
    bool has_rule;              /* a Scale is there for it */
    bool restarting;            /* one by one; nothing else changes their number meanwhile */
    unsigned n_restarts;        /* that are over */
    struct error restart_error; /* of the last one */
    bool cant_sleep;            /* its sidecar doesn't know how: told once */
    struct scale_rule rule;
    struct scale scale;
    struct scale_decision decision;
};

/* An instance: an app and its sidecar. What runs on its behalf is in .fibers; it's freed after the
 * last of them. */
struct member {
    struct run *run;
    struct run_group *group;
    const struct run_instance *plan; /* in .arena */
    struct arena arena;
    struct wait_group fibers;
    bool removing;
    bool down;    /* killed on request, with its zone: stays so until it's wanted again */
    size_t index; /* on the page */
    struct proc sidecar, app;
    bool sidecar_ready; /* of its present life */
    bool healthy, was_healthy, feed_told, stopping, stopped;
    struct waitq ready;
    uint64_t cpu_before_ns, cpu_at_ns;
};

struct run_blob { /* one rendering of the feed, shared by those who send it */
    unsigned refs;
    size_t n;
    char bytes[];
};

struct run {
    const struct run_settings *settings;
    const struct plan_settings *plan_settings;
    struct run_dir *dir;
    struct guard *guard;
    struct run_group *group;
    size_t n_groups;
    struct member *member[PLAN_INSTANCES_MAX];
    size_t n_members;
    size_t n_changing; /* removals and restarts under way: the run isn't over */
    struct log_screen screen;
    struct page *page;
    struct http_client *client;
    int signal_fd;
    struct pipe_end *signals;
    struct fiber *signal_fiber;
    struct fiber *follower;      /* of changed files */
    bool stopping;               /* asked to stop */
    bool killed;                 /* asked twice */
    bool quit;                   /* all processes are gone: helpers end */
    struct waitq changed;        /* a member stopped, or one of the three above */
    struct wait_group processes; /* supervisors */
    struct wait_group helpers;   /* pollers, tick, signals, stoppers */
    size_t n_clients;
    struct run_blob *feed;
    struct waitq fed; /* a new feed is there */
    uint64_t started_ns;
    bool started_told;
    const char *address; /* of the page */
    const char *token;
    struct error error;
    int exit_code;
};

/* run_members.c: the set of instances, which changes */
/* Plans and adds instance number of g. It's not started; NULL on failure. */
struct member *member_new(struct run_group *g, unsigned number, struct error *err) WUR;
void member_free(struct member *m); /* none of its fibers is left */
/* Watches over it and starts it. */
int member_begin(struct member *m, struct error *err) WUR;
/* Begins: it's stopped, and when that is done it's gone from the set. */
void member_remove(struct member *m);
struct member *member_find(struct run_group *g, unsigned number); /* NULL = there is none */
unsigned group_size(const struct run_group *g);                   /* those that leave don't count */
unsigned group_ready(const struct run_group *g);                  /* … that take calls */
unsigned group_free_number(struct run_group *g); /* the lowest one that nobody has */
bool run_is_over(const struct run *run);         /* all have stopped, and none is to come */

/* run_supervise.c */
void member_init(struct member *m);
int member_start(struct member *m, struct error *err) WUR;
/* Begins: sidecar, then app, each with its time to drain; then m->stopped. */
void member_stop(struct member *m);
/* kill -9 of both, and no restart until it is called with false. */
void member_down(struct member *m, bool down);
void member_kill(struct member *m);
/* The app alone: ends, and is started again. The sidecar stays. */
CO void member_sleep(struct member *m);
void member_wake(struct member *m);
/* The child pid has ended. */
bool proc_reap(struct proc *p);
enum page_state member_state(const struct member *m);

/* run_output.c */
/* Opens the log files that the app's settings ask for. */
void output_open(struct member *m);
void output_close(struct member *m);

/* run_watch.c */
int watch_start(struct run *run, struct error *err) WUR;
int watch_begin(struct member *m, struct error *err) WUR;
/* A fiber that ends before the run does. */
int run_spawn(struct run *run, const char *name, fiber_fn *fn, void *arg, struct error *err) WUR;
/* At most ns, or until run->changed is woken. */
CO void run_pause(struct run *run, uint64_t ns);
/* GET path of a sidecar; the body (at most max bytes) is in a. Returns the status or -CODE. */
CO int run_ask(struct run *run, const char *address, str path, struct arena *a, size_t max,
               str *ret_body);
/* The same with another method and time. */
CO int run_ask_with(struct run *run, const char *address, str method, str path, uint64_t ns,
                    struct arena *a, size_t max, str *ret_body);
void run_blob_unref(struct run_blob *b);

/* run_scale.c */
/* What the app's Scale says, before anything starts: g->rule, and app->scaled for the names. */
void scale_prepare(struct run_group *g, struct run_app *app);
unsigned scale_first(const struct run_group *g); /* how many to begin with */
int scale_start(struct run *run, struct error *err) WUR;

/* run_restart.c */
/* Replaces all instances of g, one after the other. -EXISTS it's being done, -CODE and the old ones
 * stay. Suspends until it's done. */
CO int group_restart(struct run_group *g, struct error *err) WUR;

/* run_server.c */
struct http_exchange;
CO void run_serve(void *run, struct http_exchange *x);

/* run.c */
/* To the screen and to the page's events. level "info", "warn" or "error"; app NULL = the run. */
void run_say(struct run *run, const char *level, const char *app, const char *fmt, ...)
    PRINTF(4, 5);
/* To the events alone. */
void run_note(struct run *run, const char *level, const char *app, const char *fmt, ...)
    PRINTF(4, 5);
