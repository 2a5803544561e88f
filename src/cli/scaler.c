#include "cli/scaler.h"
#include "cli/console.h"
#include "cli/scaler_private.h"

#include "base/clock.h"
#include "loop/worker.h"

#include <signal.h>

enum { FIBERS_MAX = 8192, STOP_GRACE_MS = 1000 };

CO static void end(void *arg)
{
    SHIELD();
    struct scaler *s = arg;
    s->ending = true;
    waitq_wake_all(&s->changed, 0);
    (void)wait_group_wait(&s->fibers);
}

static int serve_until(struct scaler *s, const sigset_t *stop, struct error *err)
{
    const struct http_server_config config = { .handle = scaler_serve,
                                               .arg = s,
                                               .max_header_bytes = KIB(16),
                                               .h2 = true,
                                               .h2_only = true,
                                               .long_streams = true };
    struct http_server *server = NULL;
    int sig, r = http_server_open(s->options->address, &config, &server, err);
    if (r)
        return r;
    printf("proa scaler: KEDA's external scaler on %s\n", http_server_address(server));
    (void)fflush(stdout);
    (void)sigwait(stop, &sig);
    if (worker_run(worker_at(0), "end", end, s) != 0)
        r = fail(err, EXHAUSTED, NULL, "no room for another fiber");
    (void)http_server_stop(server, MS(STOP_GRACE_MS));
    http_server_free(server);
    return r;
}

static int scaler_main(const void *options, const struct option_list *words)
{
    static const struct http_client_config client = { .max_conns = 4, .max_idle = 2 };
    struct scaler s = { .options = options };
    struct error err = { 0 };
    sigset_t stop;
    (void)words;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &stop, NULL);
    waitq_init(&s.changed);
    wait_group_init(&s.fibers);
    int r = workers_start(1, FIBERS_MAX, &err);
    if (!r && !(s.client = http_client_new(&client)))
        r = fail(&err, EXHAUSTED, NULL, "out of memory");
    if (!r)
        r = serve_until(&s, &stop, &err);
    if (s.client)
        http_client_free(s.client);
    (void)workers_stop(MS(STOP_GRACE_MS));
    if (r)
        console_error("scaler", &err);
    return r ? EXIT_FAILED : EXIT_OK;
}

#define AT(member) offsetof(struct scaler_options, member)
static const struct cli_option scaler_options[] = {
    { "resources-path", 'd', OPTION_LIST, AT(resources), "DIR",
      .help = "Where the Scale resources are; an app without one has its defaults",
      .hint = OPTION_DIR },
    { "address", 0, OPTION_STR, AT(address), "ADDRESS", .def = "0.0.0.0:9401",
      .help = "Where to listen" },
    { "metrics-port", 0, OPTION_INT, AT(metrics_port), "PORT", .def = "9090",
      .help = "Of the sidecars, where a trigger gives no address", .min = 1, .max = 65535 },
};
#undef AT

const struct command scaler_command = {
    .name = "scaler",
    .args = "",
    .summary = "Tell KEDA how many instances apps should have (its external scaler)",
    .about = "Reads the metrics of an app's sidecars, decides by the app's Scale resource as\n"
             "'proa run' does, and answers KEDA over gRPC. A trigger's metadata has app, and\n"
             "address unless the sidecars are at <app>-dapr.<namespace>.svc.cluster.local.",
    .options = { scaler_options, COUNT(scaler_options) },
    .size = sizeof(struct scaler_options),
    .examples = "proa scaler --resources-path /resources",
    .run = scaler_main,
};
