/* run_private.h — the inside of 'proa run', for run*.c only: its processes and who watches them.
 * Owner:  struct run lives in run_start()'s frame; all else hangs on it.
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

#include <limits.h>

enum {
    RUN_POLL_MS = 1000,       /* how often a healthy sidecar is asked */
    RUN_POLL_FAST_MS = 100,   /* … and one that isn't */
    RUN_ASK_MS = 900,         /* for its answer */
    SIDECAR_DRAIN_MS = 10000, /* from SIGTERM to SIGKILL */
    APP_DRAIN_MS = 10000,
    RUN_SLOW_START_MS = 30000, /* then the user is told what isn't up */
};

/* The life of one process. */
enum proc_state { PROC_WAITING, PROC_RUNNING, PROC_BACKOFF, PROC_ENDED };

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

/* An instance: an app and its sidecar. */
struct member {
    struct run *run;
    const struct run_instance *plan;
    size_t index;
    struct proc sidecar, app;
    bool sidecar_ready; /* of its present life */
    bool healthy, was_healthy, feed_told, stopping, stopped;
    struct waitq ready;
    uint64_t cpu_before_ns, cpu_at_ns;
    int colour;
};

struct run_blob { /* one rendering of the feed, shared by those who send it */
    unsigned refs;
    size_t n;
    char bytes[];
};

struct run {
    const struct run_settings *settings;
    const struct run_plan *plan;
    struct run_dir *dir;
    struct guard *guard;
    struct member *member;
    size_t n_members;
    struct log_screen screen;
    struct page *page;
    struct http_client *client;
    int signal_fd;
    struct pipe_end *signals;
    struct fiber *signal_fiber;
    bool stopping;               /* asked to stop */
    bool killed;                 /* asked twice */
    bool quit;                   /* all processes are gone: helpers end */
    struct waitq changed;        /* a member stopped, or one of the three above */
    struct wait_group processes; /* supervisors */
    struct wait_group helpers;   /* pollers, tick, signals, stoppers */
    size_t n_stopped, n_clients;
    struct run_blob *feed;
    struct waitq fed; /* a new feed is there */
    uint64_t started_ns;
    bool started_told;
    const char *address; /* of the page */
    const char *token;
    struct error error;
    int exit_code;
};

/* run_supervise.c */
void member_init(struct member *m, struct run *run, size_t index);
int member_start(struct member *m, struct error *err) WUR;
/* Begins: sidecar, then app, each with its time to drain; then run->n_stopped counts it. */
void member_stop(struct member *m);
void member_kill(struct member *m);
/* The child pid has ended. */
bool proc_reap(struct proc *p);
enum page_state member_state(const struct member *m);

/* run_output.c */
/* Opens the log files that the app's settings ask for. */
void output_open(struct member *m);
void output_close(struct member *m);

/* run_watch.c */
int watch_start(struct run *run, struct error *err) WUR;
/* At most ns, or until run->changed is woken. */
CO void run_pause(struct run *run, uint64_t ns);
/* GET path of a sidecar; the body (at most max bytes) is in a. Returns the status or -CODE. */
CO int run_ask(struct run *run, const char *address, str path, struct arena *a, size_t max,
               str *ret_body);
void run_blob_unref(struct run_blob *b);

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
