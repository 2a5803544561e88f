#include "cli/console.h"
#include "cli/run_files.h"
#include "cli/run_private.h"
#include "cli/run_process.h"

#include "base/clock.h"
#include "base/id.h"
#include "http/server.h"
#include "loop/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { RUN_ARENA_MAX = 64 << 20, RUN_FIBERS_MAX = 4096, STOP_GRACE_MS = 500 };
enum { EXIT_KILLED = 130 };

/* ---- what the user is told ---- */

static void note(struct run *run, bool show, const char *level, const char *app, const char *fmt,
                 va_list args)
{
    char text[600];
    vsnprintf(text, sizeof(text), fmt, args);
    page_event(run->page, level, str_c(app), str_c(text), clock_wall_ns());
    if (show)
        log_screen_line(&run->screen, "proa", -1, " ", str_c(text));
}

void run_say(struct run *run, const char *level, const char *app, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(run, true, level, app, fmt, args);
    va_end(args);
}

void run_note(struct run *run, const char *level, const char *app, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(run, false, level, app, fmt, args);
    va_end(args);
}

/* ---- on worker 0 ---- */

CO static void watch_over(struct run *run)
{
    SHIELD();
    bool told = false;
    while (!run_is_over(run)) {
        if (run->stopping && !told) {
            told = true; /* all at once: who waits for another gets its answer while both drain */
            for (size_t i = 0; i < run->n_members; i++)
                member_stop(run->member[i]);
        }
        (void)waitq_wait(&run->changed);
    }
    (void)wait_group_wait(&run->processes);
}

static int worst_exit(const struct run *run)
{
    int code = EXIT_OK;
    for (size_t i = 0; i < run->n_members; i++) {
        const struct member *m = run->member[i];
        if (m->sidecar.failed)
            code = EXIT_FAILED;
        if (m->app.failed) /* a lone app's code is the run's */
            code = run->n_members == 1 ? process_exit_code(m->app.status) : EXIT_FAILED;
    }
    return run->killed ? EXIT_KILLED : code;
}

/* On failure all that was started is gone again. */
CO static int start_members(struct run *run, struct error *err)
{
    SHIELD();
    int r = watch_start(run, err);
    for (size_t i = 0; !r && i < run->n_members; i++)
        r = member_begin(run->member[i], err);
    if (!r)
        r = scale_start(run, err);
    if (!r)
        return 0;
    for (size_t i = 0; i < run->n_members; i++)
        member_kill(run->member[i]);
    (void)wait_group_wait(&run->processes);
    return r;
}

CO static void end_helpers(struct run *run)
{
    SHIELD();
    run->quit = true;
    waitq_wake_all(&run->changed, 0);
    waitq_wake_all(&run->fed, 0);
    if (run->signal_fiber)
        fiber_cancel(run->signal_fiber);
    if (run->follower)
        fiber_cancel(run->follower);
    (void)wait_group_wait(&run->helpers);
}

/* Of the longest label that there may be, so that the bars stand below each other. */
static size_t label_width(const struct run *run)
{
    size_t width = 0;
    for (size_t i = 0; i < run->n_members; i++) {
        const struct member *m = run->member[i];
        size_t n = strlen(m->plan->label);
        n += m->group->has_rule && m->group->rule.max > 9;
        width = n > width ? n : width;
    }
    return width;
}

CO static void run_fiber(void *arg)
{
    struct run *run = arg;
    int r = log_screen_open(&run->screen, STDOUT_FILENO, label_width(run), &run->error);
    if (r)
        return;
    run->signals = pipe_open(run->signal_fd);
    if (!run->signals)
        r = fail(&run->error, EXHAUSTED, NULL, "can't take signals: out of memory");
    if (!r)
        r = start_members(run, &run->error);
    if (!r)
        watch_over(run);
    end_helpers(run);
    run->exit_code = worst_exit(run);
    log_screen_close(&run->screen);
    pipe_close(run->signals);
}

/* ---- on the main thread ---- */

static int block_signals(int *ret_fd, struct error *err)
{
    static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT(wanted); i++)
        sigaddset(&set, wanted[i]);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
        *ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *ret_fd >= 0 ? 0 : fail(err, UNAVAILABLE, NULL, "no signalfd: %s", strerror(errno));
}

/* The usual port; when somebody has it and it wasn't asked for by number, any other. */
static int open_server(struct run *run, struct arena *a, struct http_server **ret,
                       struct error *err)
{
    const struct http_server_config config = {
        .handle = run_serve, .arg = run, .max_header_bytes = KIB(16), .max_body_bytes = KIB(16)
    };
    const struct run_settings *s = run->settings;
    bool any = s->port < 0;
    unsigned port = any ? (s->no_page ? 0 : RUN_PORT) : (unsigned)s->port;
    struct error first = { 0 };
    int r = -UNAVAILABLE;
    if (!any || port_is_free((uint16_t)port)) {
        str address = arena_printf(a, "127.0.0.1:%u", port);
        r = address.p ? http_server_open(address.p, &config, ret, &first) : -EXHAUSTED;
    }
    if (r && any)
        r = http_server_open("127.0.0.1:0", &config, ret, err);
    else if (r)
        r = fail(err, first.code, NULL, "--port %u: %s", port, first.text);
    if (!r)
        run->address = arena_printf(a, "127.0.0.1:%u", http_server_port(*ret)).p;
    return r || run->address ? r : fail(err, EXHAUSTED, NULL, "out of memory");
}

static int publish_control(struct run *run, const char *name, uint16_t port, struct error *err)
{
    const struct run_control c = {
        .pid = getpid(), .port = port, .name = str_c(name), .token = str_c(run->token)
    };
    return run_dir_write_control(run->dir, &c, err);
}

static char *make_token(struct arena *a)
{
    unsigned char bytes[RUN_TOKEN_LEN / 2];
    char *token = arena_zalloc(a, RUN_TOKEN_LEN + 1);
    id_secure_bytes(bytes, sizeof(bytes));
    if (token)
        id_hex(bytes, sizeof(bytes), token);
    return token;
}

/* Workers run; what is started here is ended here. */
static int serve_and_run(struct run *run, const char *name, struct arena *a, struct error *err)
{
    struct http_server *server = NULL;
    int r = open_server(run, a, &server, err);
    if (!r)
        r = publish_control(run, name, http_server_port(server), err);
    if (!r) {
        r = worker_run(worker_at(0), "run", run_fiber, run);
        if (r)
            r = fail(err, EXHAUSTED, NULL, "no room for another fiber");
    }
    if (!r && run->error.code)
        r = fail(err, run->error.code, NULL, "%s", run->error.text);
    if (server)
        (void)http_server_stop(server, MS(STOP_GRACE_MS));
    http_server_free(server);
    return r;
}

static int with_workers(struct run *run, const char *name, struct arena *a, struct error *err)
{
    int r = workers_start(1, RUN_FIBERS_MAX, err);
    if (r)
        return r;
    const struct http_client_config config = { .max_conns = 4, .max_idle = 2 };
    run->client = http_client_new(&config);
    r = run->client ? serve_and_run(run, name, a, err)
                    : fail(err, EXHAUSTED, NULL, "out of memory");
    if (run->client)
        http_client_free(run->client);
    (void)workers_stop(MS(STOP_GRACE_MS));
    return r;
}

/* All instances that the run begins with: what can be known to fail does so before anything starts.
 */
static int plan_groups(struct run *run, const struct run_template *t, struct error *err)
{
    int r = plan_check(t, run->plan_settings, err);
    for (size_t i = 0; !r && i < t->n_apps; i++) {
        struct run_group *g = &run->group[run->n_groups++];
        *g = (struct run_group){ .run = run, .app = &t->app[i], .colour = (int)i };
        scale_prepare(g, &t->app[i]);
        unsigned n = g->has_rule ? scale_first(g) : plan_instances(g->app, run->plan_settings);
        for (unsigned k = 1; !r && k <= n; k++)
            r = member_new(g, k, err) ? 0 : -(int)err->code;
    }
    return r;
}

static void run_init(struct run *run)
{
    run->signal_fd = -1;
    run->exit_code = EXIT_FAILED;
    run->started_ns = clock_now_ns();
    waitq_init(&run->changed);
    waitq_init(&run->fed);
    wait_group_init(&run->processes);
    wait_group_init(&run->helpers);
}

static void run_done(struct run *run)
{
    while (run->n_members)
        member_free(run->member[run->n_members - 1]);
    run_blob_unref(run->feed);
    page_free(run->page);
}

static int run_planned(struct run *run, const struct run_template *t, struct arena *a,
                       struct error *err)
{
    struct guard guard;
    const char *name = run->settings->name ? run->settings->name : t->name;
    run_init(run);
    run->token = make_token(a);
    run->group = arena_zalloc(a, (t->n_apps + 1) * sizeof(*run->group));
    run->page = page_new(name, files_resolve(a, NULL, ".", NULL), run->started_ns);
    int r = run->token && run->group && run->page ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
    if (!r)
        r = plan_groups(run, t, err);
    if (!r)
        r = guard_start(&guard, err); /* before there are threads */
    if (!r) {
        run->guard = &guard;
        r = block_signals(&run->signal_fd, err);
        if (!r)
            r = with_workers(run, name, a, err);
        guard_close(&guard);
    }
    run_done(run);
    return r ? r : run->exit_code;
}

static void reserve(struct port_chooser *c, const struct run_template *t)
{
    for (size_t i = 0; i < t->n_apps; i++) {
        const struct run_app *app = &t->app[i];
        const int64_t given[] = { app->app_port,     app->http_port,    app->grpc_port,
                                  app->metrics_port, app->profile_port, app->internal_port };
        for (size_t k = 0; k < COUNT(given); k++)
            port_chooser_reserve(c, (uint16_t)given[k]);
    }
}

static int plan_and_run(const struct run_settings *s, const struct run_template *t, struct arena *a,
                        struct error *err)
{
    struct run_dir dir;
    struct run *run = arena_zalloc(a, sizeof(*run));
    struct port_chooser *ports = arena_alloc(a, sizeof(*ports));
    if (!ports || !run)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    port_chooser_init(ports);
    reserve(ports, t);
    int r = run_dir_make(a, &dir, err);
    if (r) {
        run_dir_remove(&dir);
        return r;
    }
    const struct plan_settings plan_settings = { .self = "/proc/self/exe",
                                                 .names_config = dir.names_config,
                                                 .log_level = s->log_level,
                                                 .environ = environ,
                                                 .instances = s->instances,
                                                 .enable_chaos = s->enable_chaos,
                                                 .free_port = port_chooser_take,
                                                 .give_back = port_chooser_give,
                                                 .arg = ports };
    run->settings = s;
    run->plan_settings = &plan_settings;
    run->dir = &dir;
    r = run_planned(run, t, a, err);
    run_dir_remove(&dir);
    return r;
}

/* What the template leaves open. A run of many goes on without the one that failed, and keeps
 * sidecars' logs off the screen, as Dapr's does; a lone command just runs. */
static void add_defaults(struct run_template *t)
{
    for (size_t i = 0; i < t->n_apps; i++) {
        struct run_app *app = &t->app[i];
        if (!app->restart)
            app->restart = t->file ? "on-failure" : "never";
        if (!app->app_log)
            app->app_log = t->file ? "fileAndConsole" : "console";
        if (!app->sidecar_log)
            app->sidecar_log = t->file ? "file" : "console";
    }
}

static int load(const struct run_settings *s, const struct option_list *words, struct arena *a,
                struct run_template *ret, struct error *err)
{
    if (s->file && words->n)
        return fail(err, INVALID, NULL, "either a template (-f) or a command, not both");
    if (s->file)
        return template_load(s->file, a, ret, err);
    if (words->n || s->app.id || s->app.app_port) {
        struct run_app app = s->app;
        app.command = *words;
        app.log_level = s->log_level;
        return template_from_flags(&app, a, ret, err);
    }
    if (access("dapr.yaml", F_OK) == 0)
        return template_load("dapr.yaml", a, ret, err);
    return fail(err, INVALID, NULL,
                "nothing to run: give a template (-f dapr.yaml) or a command (-- node app.js)");
}

static int run_main(const void *options, const struct option_list *words)
{
    const struct run_settings *s = options;
    AUTO(arena_done) struct arena a;
    arena_init(&a, RUN_ARENA_MAX);
    struct run_template t;
    struct error err = { 0 };
    if (load(s, words, &a, &t, &err) != 0) {
        console_usage_error("run", &err);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < t.n_warnings; i++)
        fprintf(stderr, "proa run: %s\n", t.warning[i]);
    add_defaults(&t);
    int r = plan_and_run(s, &t, &a, &err);
    if (r < 0)
        console_error("run", &err);
    return r < 0 ? EXIT_FAILED : r;
}

/* ---- the command ---- */

#define APP(member) offsetof(struct run_settings, app.member)
#define RUN(member) offsetof(struct run_settings, member)
static const struct cli_option run_options[] = {
    { "run-file", 'f', OPTION_STR, RUN(file), "FILE", .help = "Run template, or its directory",
      .hint = OPTION_FILE },
    { "app-id", 'a', OPTION_STR, APP(id), "ID",
      .help = "Name of the app; the directory's name if not given" },
    { "app-port", 'p', OPTION_INT, APP(app_port), "PORT", .help = "Port that the app listens on",
      .max = 65535 },
    { "app-protocol", 'P', OPTION_STR, APP(protocol), "NAME", .help = "What the app speaks",
      .choices = run_protocols },
    { "app-channel-address", 0, OPTION_STR, APP(channel_address), "ADDRESS",
      .help = "Where the app listens, if not 127.0.0.1" },
    { "app-max-concurrency", 0, OPTION_INT, APP(max_concurrency), "N",
      .help = "Calls to the app at the same time; 0 is no limit", .min = -1, .max = INT32_MAX },
    { "app-ssl", 0, OPTION_FLAG, APP(ssl), .help = "The app speaks TLS (better: --app-protocol)" },
    { "resources-path", 'd', OPTION_LIST, APP(resources), "DIR",
      .help = "Directory with components and other resources", .hint = OPTION_DIR },
    { "config", 'c', OPTION_STR, APP(config), "FILE", .help = "A Configuration",
      .hint = OPTION_FILE },
    { "dapr-http-port", 'H', OPTION_INT, APP(http_port), "PORT", .help = "HTTP API of the sidecar",
      .min = -1, .max = 65535 },
    { "dapr-grpc-port", 'G', OPTION_INT, APP(grpc_port), "PORT", .help = "gRPC API of the sidecar",
      .min = -1, .max = 65535 },
    { "dapr-internal-grpc-port", 'I', OPTION_INT, APP(internal_port), "PORT",
      .help = "Where other sidecars reach it", .min = -1, .max = 65535 },
    { "metrics-port", 'M', OPTION_INT, APP(metrics_port), "PORT", .help = "Metrics of the sidecar",
      .min = -1, .max = 65535 },
    { "dapr-listen-addresses", 0, OPTION_STR, APP(listen_addresses), "LIST",
      .help = "Where the APIs listen, if not on 127.0.0.1 alone" },
    { "unix-domain-socket", 'u', OPTION_STR, APP(unix_socket), "DIR",
      .help = "The APIs listen on sockets in there instead of ports", .hint = OPTION_DIR },
    { "max-body-size", 0, OPTION_STR, APP(max_body_size), "SIZE", .help = "Such as 4Mi" },
    { "read-buffer-size", 0, OPTION_STR, APP(read_buffer_size), "SIZE", .help = "Such as 4Ki" },
    { "enable-app-health-check", 0, OPTION_FLAG, APP(health_check),
      .help = "Ask the app now and then whether it's well" },
    { "app-health-check-path", 0, OPTION_STR, APP(health_path), "PATH", .help = "Where to ask" },
    { "app-health-probe-interval", 0, OPTION_INT, APP(health_interval), "SECONDS",
      .help = "How often", .max = INT32_MAX },
    { "app-health-probe-timeout", 0, OPTION_INT, APP(health_timeout), "MS", .help = "How long",
      .max = INT32_MAX },
    { "app-health-threshold", 0, OPTION_INT, APP(health_threshold), "N",
      .help = "Failures in a row until it counts as ill", .max = INT32_MAX },
    { "enable-api-logging", 0, OPTION_FLAG, APP(api_logging), .help = "Log each call of the API" },
    { "enable-profiling", 0, OPTION_FLAG, APP(profiling), .help = "Serve profiles" },
    { "profile-port", 0, OPTION_INT, APP(profile_port), "PORT", .help = "… on this port", .min = -1,
      .max = 65535 },
    { "placement-host-address", 0, OPTION_STR, APP(placement), "ADDRESS",
      .help = "Dapr's placement service, for actors" },
    { "scheduler-host-address", 0, OPTION_STR, APP(scheduler), "ADDRESS",
      .help = "Dapr's scheduler service" },
    { "runtime-path", 0, OPTION_STR, APP(runtime_path), "DIR",
      .help = "Use DIR/.dapr/bin/daprd as sidecar", .hint = OPTION_DIR },
    { "restart", 0, OPTION_STR, APP(restart), "WHEN",
      .help = "Start again what has ended (a template: on-failure; a command: never)",
      .choices = run_restarts },
    { "zone", 0, OPTION_LIST, APP(zones), "NAME", .help = "Zones that the instances are in" },
    { "instances", 'n', OPTION_INT, RUN(instances), "N", .help = "Run each app so many times",
      .max = TEMPLATE_INSTANCES_MAX },
    { "enable-chaos", 0, OPTION_FLAG, RUN(enable_chaos),
      .help = "Allow faults on purpose: proa chaos" },
    { "log-level", 0, OPTION_STR, RUN(log_level), "LEVEL", .help = "Of the sidecars",
      .choices = run_log_levels },
    { "name", 0, OPTION_STR, RUN(name), "NAME", .help = "Of this run, on the page and in status" },
    { "port", 0, OPTION_INT, RUN(port), "PORT", .def = "-1",
      .help = "Of the page on 127.0.0.1; -1: 9400 or, if that's taken, another", .min = -1,
      .max = 65535 },
    { "no-dashboard", 0, OPTION_FLAG, RUN(no_page), .help = "Serve no page, only the control API" },
};
#undef APP
#undef RUN

const struct command run_command = {
    .name = "run",
    .args = "[-- command]",
    .summary = "Run apps with their sidecars on this machine, and a live page that shows them",
    .about = "With -f: all apps of a template as 'dapr run -f' takes it, plus our own keys\n"
             "instances, restart and zone. Else: one command with its sidecar. Without either:\n"
             "./dapr.yaml. What crashes is started again, after pauses that grow. Ctrl-C stops\n"
             "all: sidecars finish what they work on, then the apps; once more kills.",
    .options = { run_options, COUNT(run_options), .command_follows = true },
    .size = sizeof(struct run_settings),
    .max_words = SIZE_MAX,
    .examples = "proa run -f dapr.yaml\n"
                "proa run --app-id orders --app-port 8080 -- python3 app.py",
    .exits = "130  killed by a second Ctrl-C\n"
             "else  a lone command's own exit code, or 128 + the signal that ended it",
    .run = run_main,
};
