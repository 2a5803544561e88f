/* overload_load — both ends of the bench of overload control.
 * overload_load app WORKERS MS: an app that does so many calls at once, each of so many ms, the
 * others in turn; prints its port.
 * overload_load load PORT PATH SECONDS SKIP RATE…: calls that come by chance whatever becomes of
 * the others, so many a second of each class; prints what became of those after SKIP seconds as
 * JSON, with its own lag: the time from when a call was due until it was begun. */
#include "base/id.h"
#include "base/mem.h"
#include "fiber/sync.h"
#include "http/client.h"
#include "http/server.h"
#include "loop/worker.h"

#include "base/clock.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- the app ---- */

struct app {
    struct semaphore workers;
    uint64_t service_ns;
};

CO static void serve(void *arg, struct http_exchange *x)
{
    struct app *a = arg;
    if (!str_eq(x->req.path, S("/work"))) {
        (void)http_reply(x, 404, NULL, S(""));
        return;
    }
    if (semaphore_take(&a->workers) < 0)
        return;
    {
        SHIELD(); /* work that was begun is done, whether or not somebody waits for it */
        (void)fiber_sleep(a->service_ns);
    }
    semaphore_give(&a->workers);
    (void)http_reply(x, 200, NULL, S("done"));
}

static int run_app(uint64_t workers, uint64_t ms, struct error *err)
{
    static struct app app;
    struct http_server *server;
    semaphore_init(&app.workers, workers);
    app.service_ns = MS(ms);
    struct http_server_config config = { .handle = serve, .arg = &app };
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    if (workers_start(1, 20000, err) < 0 ||
        http_server_open("127.0.0.1:0", &config, &server, err) < 0)
        return 1;
    printf("%u\n", http_server_port(server));
    fflush(stdout);
    int signal;
    sigwait(&stop, &signal);
    (void)http_server_stop(server, MS(100));
    http_server_free(server);
    (void)workers_stop(SEC(1));
    return 0;
}

/* ---- the load ---- */

enum { CLASSES = 5, LATENCIES = 400000, LATES = 32 };
static const char *const class_name[CLASSES] = { "critical", "high", "normal", "low",
                                                 "background" };

struct load {
    struct http_client *client;
    char address[32];
    str path;
    double rate[CLASSES];
    size_t n_rates;
    uint64_t begin_ns, measure_ns, end_ns;
    struct wait_group calls;
    uint64_t offered[CLASSES], ok[CLASSES], shed[CLASSES], failed[CLASSES];
    uint64_t done; /* of those that succeeded, before the end: the others are no goodput of it */
    float *latency_ms;
    size_t n_latencies;
    uint64_t late[LATES]; /* calls by how late they were begun, to the power of two of a us */
};

struct one {
    struct load *load;
    size_t class;
    uint64_t arrival_ns;
};

/* The status of the answer; negative: there was none. */
CO static int ask(const struct one *o)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct arena arena;
    arena_init(&arena, 64 << 10);
    struct http_request req = { .method = S("GET"), .target = o->load->path };
    http_headers_init(&req.headers, &arena);
    const struct http_response *res;
    struct error err = { 0 };
    str body;
    int r = http_headers_add(&req.headers, S("proa-priority"), str_c(class_name[o->class]));
    if (r >= 0)
        r = http_call_start(o->load->client, o->load->address, &req, S(""), true, &call, &err);
    if (r >= 0)
        r = http_call_response(call, &res, &err);
    if (r >= 0)
        r = http_call_read_all(call, 64 << 10, &body);
    r = r < 0 ? r : res->status;
    arena_done(&arena);
    return r;
}

CO static void call_main(void *arg)
{
    struct one *o = arg;
    struct load *l = o->load;
    DEADLINE(SEC(15));
    int status = ask(o);
    uint64_t now = clock_now_ns();
    if (status == 200 && now >= l->measure_ns && now < l->end_ns)
        l->done++;
    if (o->arrival_ns >= l->measure_ns) {
        l->offered[o->class]++;
        *(status == 200   ? &l->ok[o->class]
          : status == 503 ? &l->shed[o->class]
                          : &l->failed[o->class]) += 1;
        if (status == 200 && l->n_latencies < LATENCIES)
            l->latency_ms[l->n_latencies++] = (float)(now - o->arrival_ns) / 1e6f;
    }
    wait_group_done(&l->calls);
    mem_free(o);
}

/* A machine that is too busy to call in time is to be told from one that is served too late. */
static void note_lag(struct load *l, uint64_t at_ns)
{
    uint64_t us = (clock_now_ns() - at_ns) / 1000;
    size_t i = 0;
    while (us >> i && i < LATES - 1)
        i++;
    if (at_ns >= l->measure_ns)
        l->late[i]++;
}

static void start(struct load *l, size_t class, uint64_t at_ns)
{
    note_lag(l, at_ns);
    struct one *o = mem_alloc(sizeof *o);
    if (!o)
        return;
    *o = (struct one){ l, class, at_ns };
    wait_group_add(&l->calls);
    if (fiber_spawn("call", call_main, o))
        return;
    l->failed[class]++;
    wait_group_done(&l->calls);
    mem_free(o);
}

static uint64_t gap_ns(double per_s)
{
    return (uint64_t)(-log(1 - id_random_unit()) / per_s * 1e9);
}

CO static void load_main(void *arg)
{
    struct load *l = arg;
    uint64_t next[CLASSES];
    for (size_t i = 0; i < l->n_rates; i++)
        next[i] = l->rate[i] > 0 ? l->begin_ns + gap_ns(l->rate[i]) : UINT64_MAX;
    for (;;) {
        size_t first = 0;
        for (size_t i = 1; i < l->n_rates; i++)
            first = next[i] < next[first] ? i : first;
        if (next[first] >= l->end_ns)
            break;
        uint64_t now = clock_now_ns();
        if (next[first] > now && fiber_sleep(next[first] - now) < 0)
            break;
        start(l, first, next[first]);
        next[first] += gap_ns(l->rate[first]);
    }
    (void)wait_group_wait(&l->calls);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const struct load *l, double q)
{
    return l->n_latencies ? (double)l->latency_ms[(size_t)((double)(l->n_latencies - 1) * q)] : 0;
}

/* In ms, at most twice too much. */
static double lag_quantile(const struct load *l, double q)
{
    uint64_t all = 0, sum = 0;
    size_t i = 0;
    for (size_t k = 0; k < LATES; k++)
        all += l->late[k];
    for (; i < LATES - 1 && (double)(sum += l->late[i]) < q * (double)all; i++)
        ;
    return (double)(UINT64_C(1) << i) / 1000;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print(struct load *l)
{
    qsort(l->latency_ms, l->n_latencies, sizeof *l->latency_ms, by_size);
    printf("{\"seconds\":%.3f,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"lag_p50\":%.3f,"
           "\"lag_p99\":%.3f,\"cpu_s\":%.2f,\"done\":%ju",
           (double)(l->end_ns - l->measure_ns) / 1e9, quantile(l, 0.5), quantile(l, 0.99),
           quantile(l, 1), lag_quantile(l, 0.5), lag_quantile(l, 0.99), cpu_s(),
           (uintmax_t)l->done);
    for (size_t i = 0; i < l->n_rates; i++)
        printf(",\"%s\":{\"offered\":%ju,\"ok\":%ju,\"shed\":%ju,\"failed\":%ju}", class_name[i],
               (uintmax_t)l->offered[i], (uintmax_t)l->ok[i], (uintmax_t)l->shed[i],
               (uintmax_t)l->failed[i]);
    printf("}\n");
}

static int run_load(int argc, char **argv, struct error *err)
{
    static struct load l;
    snprintf(l.address, sizeof l.address, "127.0.0.1:%s", argv[0]);
    l.path = str_c(argv[1]);
    for (int i = 4; i < argc && l.n_rates < CLASSES; i++)
        l.rate[l.n_rates++] = strtod(argv[i], NULL);
    l.client = http_client_new(&(struct http_client_config){ .max_conns = 8000, .max_idle = 4000 });
    l.latency_ms = mem_alloc(LATENCIES * sizeof *l.latency_ms);
    wait_group_init(&l.calls);
    if (!l.client || !l.latency_ms || workers_start(1, 25000, err) < 0)
        return 1;
    l.begin_ns = clock_now_ns();
    l.measure_ns = l.begin_ns + (uint64_t)(strtod(argv[3], NULL) * 1e9);
    l.end_ns = l.begin_ns + (uint64_t)(strtod(argv[2], NULL) * 1e9);
    if (worker_run(worker_at(0), "load", load_main, &l) < 0)
        return 1;
    print(&l);
    http_client_free(l.client);
    mem_free(l.latency_ms);
    return workers_stop(SEC(1)) ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    str what = argc > 1 ? str_c(argv[1]) : S("");
    uint64_t workers, ms;
    int r = 2;
    if (str_eq(what, S("app")) && argc == 4 && str_to_u64(str_c(argv[2]), &workers) &&
        str_to_u64(str_c(argv[3]), &ms))
        r = run_app(workers, ms, &err);
    else if (str_eq(what, S("load")) && argc > 6)
        r = run_load(argc - 2, argv + 2, &err);
    else
        fprintf(stderr, "usage: %s app WORKERS MS | load PORT PATH SECONDS SKIP RATE…\n", argv[0]);
    if (err.code)
        fprintf(stderr, "%s\n", err.text);
    return r;
}
