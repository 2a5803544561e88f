#include "base/log.h"
#include "loop/worker.h"
#include "runtime/private.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIBERS_MAX = 30000, WORKERS_MAX = 64 };

static void print(const struct buf *b)
{
    str s = buf_str(b);
    fwrite(s.p, 1, s.n, stdout);
}

static int usage(void)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, KIB(64));
    buf_put(&out, S("Usage: proa sidecar --app-id <name> [flags]\n\n"
                    "Runs one sidecar: it speaks the Dapr API to the app beside it.\n\nFlags:\n"));
    options_help(&out);
    print(&out);
    return 0;
}

/* One question, by plain blocking calls: there are no workers in this mode. */
static bool answers_204(uint16_t port)
{
    static const char REQUEST[] = "GET /v1.0/healthz/outbound HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval limit = { .tv_usec = 500000 };
    char answer[16] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
              connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
              send(fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) > 0 &&
              recv(fd, answer, sizeof answer - 1, MSG_WAITALL) > 12 &&
              memcmp(answer + 9, "204", 3) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* --wait: until the sidecar on this port is ready, at most 60 s; 0 in any case (surprise 11). */
static int wait_for_sidecar(const struct options *o)
{
    for (int i = 0; i < 600 && !answers_204((uint16_t)o->http_port); i++) {
        struct timespec t = { .tv_nsec = (long)MS(100) };
        nanosleep(&t, NULL);
    }
    return 0;
}

static int setup_log(const struct options *o, struct error *err)
{
    static char hostname[256];
    struct log_config c = { .json = o->log_as_json,
                            .fd = STDOUT_FILENO,
                            .app_id = o->app_id,
                            .version = PROA_VERSION,
                            .instance = hostname };
    if (gethostname(hostname, sizeof hostname - 1) < 0)
        hostname[0] = 0;
    if (!log_parse_level(str_c(o->log_level), &c.level))
        return fail(err, INVALID, NULL,
                    "invalid value for log-level %s: use debug, info, warn, error or fatal",
                    o->log_level);
    if (o->log_file[0]) {
        c.fd = open(o->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (c.fd < 0)
            return fail(err, INVALID, NULL, "can't open the log file %s", o->log_file);
    }
    log_setup(&c);
    return 0;
}

/* A sidecar serves many connections: take all the descriptors that we may. */
static void raise_fd_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

static int start_workers(const struct options *o, struct error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t n = o->workers > 0 ? o->workers : cores > 0 ? cores : 1;
    if (n > WORKERS_MAX)
        n = WORKERS_MAX;
    return workers_start((size_t)n, FIBERS_MAX / (size_t)n, err);
}

static void on_second_signal(int signal)
{
    _exit(1);
}

/* The grace period as a whole, whatever hangs: the contract's exit status for that is 1. */
static void *watch_grace(void *arg)
{
    struct timespec t = { .tv_sec =
                              (time_t)(uintptr_t)arg }; /* all it has: nothing outlives main() */
    nanosleep(&t, NULL);
    log_error(RUNTIME_SCOPE, "Graceful shutdown timeout exceeded, forcing shutdown");
    _exit(1);
}

static void begin_grace(const struct options *o, const sigset_t *signals)
{
    struct sigaction again = { .sa_handler = on_second_signal };
    signal(SIGHUP, SIG_IGN); /* a hot reload may just have asked for it: it's too late */
    sigaction(SIGTERM, &again, NULL);
    sigaction(SIGINT, &again, NULL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    int64_t seconds = o->graceful_seconds;
    if (options_given(o, "dapr-block-shutdown-duration"))
        seconds += o->block_shutdown / (int64_t)SEC(1) + 1;
    pthread_t thread;
    if (o->graceful_seconds > 0 &&
        pthread_create(&thread, NULL, watch_grace, (void *)(uintptr_t)seconds) == 0)
        pthread_detach(thread);
}

/* As the contract's tools grep for it. */
static const char *signal_name(int signal)
{
    return signal == SIGHUP ? "hangup" : signal == SIGINT ? "interrupt" : "terminated";
}

/* One life: until SIGTERM or SIGINT (*ret_again false) or SIGHUP (true). */
static int serve(const struct options *o, const sigset_t *signals, bool *ret_again,
                 struct error *err)
{
    struct runtime *r;
    *ret_again = false;
    int code = runtime_new(o, NULL, &r, err);
    if (code < 0)
        return code;
    code = runtime_start(r, err);
    size_t cut = 0;
    if (code >= 0) {
        int signal = 0;
        while (sigwait(signals, &signal) != 0)
            ;
        log_info(RUNTIME_SCOPE, "Received signal '%s'; beginning shutdown", signal_name(signal));
        *ret_again = signal == SIGHUP;
        if (!*ret_again)
            begin_grace(o, signals);
        cut = runtime_stop(r);
    }
    runtime_free(r);
    if (cut)
        return fail(err, TIMEOUT, NULL, "Graceful shutdown timeout exceeded, forcing shutdown");
    return code;
}

static int run(const struct options *o, struct error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before the threads: they inherit it */
    signal(SIGPIPE, SIG_IGN);
    raise_fd_limit();
    log_info(RUNTIME_SCOPE, "starting Proa Runtime -- version %s", PROA_VERSION);
    const char *name;
    for (size_t at = 0; (name = options_without_effect(o, &at));)
        log_warn(RUNTIME_SCOPE, "--%s has no effect yet", name);
    if (o->app_ssl)
        log_warn(RUNTIME_SCOPE, "--app-ssl is deprecated: use --app-protocol %s", o->app_protocol);
    if (!o->enable_mtls)
        log_info(RUNTIME_SCOPE,
                 "mTLS is disabled. Skipping certificate request and tls validation");
    int code = start_workers(o, err);
    bool again = true;
    while (code >= 0 && again)
        code = serve(o, &signals, &again, err);
    (void)workers_stop(SEC(2));
    return code;
}

int runtime_main(int argc, char **argv)
{
    struct arena arena;
    struct options o;
    struct error err = { 0 };
    arena_init(&arena, MIB(4));
    if (options_parse(argc, argv, &arena, &o, &err) < 0) {
        fprintf(stderr, "%s\nRun with --help for the flags.\n", err.text);
        arena_done(&arena);
        return 2;
    }
    int status = 0;
    if (o.help)
        status = usage();
    else if (o.version)
        puts(PROA_VERSION);
    else if (o.build_info)
        printf("Version: %s\nCompiler: %s\n", PROA_VERSION, __VERSION__);
    else if (o.wait)
        status = wait_for_sidecar(&o);
    else if (setup_log(&o, &err) < 0 || run(&o, &err) < 0) {
        log_at(LOG_FATAL, RUNTIME_SCOPE, "Fatal error from runtime: %s", err.text);
        status = 1;
    } else
        log_info(RUNTIME_SCOPE, "Daprd shutdown gracefully");
    arena_done(&arena);
    return status;
}
