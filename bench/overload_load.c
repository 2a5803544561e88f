/* overload_load — both ends of the bench of overload control.
 * overload_load app WORKERS MS: an app that does so many calls at once, each of so many ms, the
 * others in turn; prints its port. Its answers say how long the work took in fact.
 * overload_load load PORT PATH SECONDS SKIP RATE…: calls that come by chance whatever becomes of
 * the others, so many a second of each class; prints what became of those after SKIP seconds as
 * JSON, with its own lateness: the time from when a call was due until it was begun.
 *
 * The load must cost little and not more when answers are slow, or it measures itself: the schedule
 * is drawn and the connections are opened before it begins, one thread sends prepared requests
 * and looks at no more than the status and where an answer ends. A call that finds all connections
 * waiting for answers goes out, in order, with the next one that has its own: that is not the
 * load's lateness but what a system that slow does to its callers, and is told as "held". */
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "fiber/sync.h"
#include "http/server.h"
#include "loop/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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
    uint64_t begin_ns = clock_now_ns();
    {
        SHIELD(); /* work that was begun is done, whether or not somebody waits for it */
        (void)fiber_sleep(a->service_ns);
    }
    semaphore_give(&a->workers);
    char took[24];
    snprintf(took, sizeof took, "%ju", (uintmax_t)(clock_now_ns() - begin_ns) / 1000);
    struct http_headers headers;
    http_headers_init(&headers, x->arena);
    if (http_headers_add(&headers, S("service-us"), str_c(took)) >= 0)
        (void)http_reply(x, 200, &headers, S("done"));
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

enum { CLASSES = 5, CONNS_MIN = 64, CONNS_MAX = 4000, ANSWER_MAX = 2048, PATIENCE_S = 15 };
static const char *const class_name[CLASSES] = { "critical", "high", "normal", "low",
                                                 "background" };

struct due {
    uint64_t at_ns;
    size_t class;
};

struct conn {
    int fd;
    const struct due *call; /* whose answer it waits for; NULL: idle */
    size_t n_answer;
    char answer[ANSWER_MAX];
};

struct samples {
    float *ms;
    size_t n;
};

struct load {
    struct sockaddr_in address;
    char request[CLASSES][512];
    double rate[CLASSES];
    size_t n_rates;
    uint64_t begin_ns, measure_ns, end_ns;
    struct due *due; /* the schedule; n_taken of its calls were due so far, n_sent begun */
    size_t n_due, n_taken, n_sent, n_over;
    struct conn *conns, **idle; /* idle: a stack, so that few stay warm */
    size_t n_conns, n_idle;
    int epoll;
    uint64_t offered[CLASSES], ok[CLASSES], shed[CLASSES], failed[CLASSES];
    uint64_t held;
    uint64_t done; /* of those that succeeded, before the end: the others are no goodput of it */
    double service_us;
    struct samples latency, lateness;
};

static void add(struct samples *s, uint64_t ns)
{
    s->ms[s->n++] = (float)ns / 1e6f;
}

/* ---- connections ---- */

static bool open_conn(struct load *l, struct conn *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    if (connect(c->fd, (struct sockaddr *)&l->address, sizeof l->address) < 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) {
        (void)close(c->fd);
        return false;
    }
    l->idle[l->n_idle++] = c;
    return true;
}

/* What became of the call that c waits for. status 0: there was no answer. */
static void conclude(struct load *l, struct conn *c, int status, uint64_t now)
{
    const struct due *d = c->call;
    bool ok = status == 200, in_time = now - d->at_ns < SEC(PATIENCE_S);
    c->call = NULL;
    l->n_over++;
    if (ok && now >= l->measure_ns && now < l->end_ns)
        l->done++;
    if (d->at_ns < l->measure_ns)
        return;
    *(ok && in_time              ? &l->ok[d->class]
      : status == 503 && in_time ? &l->shed[d->class]
                                 : &l->failed[d->class]) += 1;
    if (!ok || !in_time)
        return;
    add(&l->latency, now - d->at_ns);
    const char *took = strcasestr(c->answer, "\r\nservice-us:");
    l->service_us += took ? strtod(took + sizeof "\r\nservice-us:" - 1, NULL) : 0;
}

/* It has ended, in the middle of a call or not: calls that follow need another one. */
static void replace(struct load *l, struct conn *c)
{
    (void)close(c->fd);
    if (c->call)
        conclude(l, c, 0, clock_now_ns());
    else
        for (size_t i = 0; i < l->n_idle; i++)
            if (l->idle[i] == c)
                l->idle[i--] = l->idle[--l->n_idle];
    (void)open_conn(l, c);
}

/* Whether the answer is there whole; it is small, and of one of two forms. */
static bool is_whole(const struct conn *c)
{
    static const char last_chunk[] = "\r\n0\r\n\r\n";
    size_t n_last = sizeof last_chunk - 1;
    const char *end = strstr(c->answer, "\r\n\r\n"), *length;
    if (!end)
        return false;
    length = strcasestr(c->answer, "\r\ncontent-length:");
    if (length && length < end)
        return c->n_answer >= (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
    return c->n_answer > n_last && !memcmp(c->answer + c->n_answer - n_last, last_chunk, n_last);
}

static void on_answer(struct load *l, struct conn *c)
{
    ssize_t n = recv(c->fd, c->answer + c->n_answer, ANSWER_MAX - 1 - c->n_answer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !c->call) {
        replace(l, c);
        return;
    }
    c->n_answer += (size_t)n;
    c->answer[c->n_answer] = '\0';
    if (!is_whole(c))
        return;
    conclude(l, c, c->n_answer > 12 ? (int)strtol(c->answer + 9, NULL, 10) : 0, clock_now_ns());
    l->idle[l->n_idle++] = c;
}

static void send_call(struct load *l)
{
    struct conn *c = l->idle[--l->n_idle];
    c->call = &l->due[l->n_sent++];
    c->n_answer = 0;
    const char *request = l->request[c->call->class];
    size_t n = strlen(request);
    if (send(c->fd, request, n, MSG_NOSIGNAL) != (ssize_t)n)
        replace(l, c);
}

/* ---- the run ---- */

static void take(struct load *l, uint64_t now)
{
    const struct due *d = &l->due[l->n_taken++];
    if (d->at_ns < l->measure_ns)
        return;
    l->offered[d->class]++;
    l->held += !l->n_idle;
    add(&l->lateness, now - d->at_ns);
}

/* Begins what is due; in how many ms there will be more. */
static int begin_due(struct load *l)
{
    while (l->n_taken < l->n_due) {
        uint64_t now = clock_now_ns(), at = l->due[l->n_taken].at_ns;
        if (at > now)
            return (int)((at - now + MS(1) - 1) / MS(1));
        take(l, now);
        if (l->n_idle)
            send_call(l);
    }
    return 100;
}

static void run(struct load *l)
{
    struct epoll_event event[64];
    while (l->n_over < l->n_due && clock_now_ns() < l->end_ns + SEC(PATIENCE_S)) {
        int wait_ms = begin_due(l);
        int n = epoll_wait(l->epoll, event, COUNT(event), wait_ms);
        for (int i = 0; i < n; i++) {
            on_answer(l, event[i].data.ptr);
            while (l->n_idle && l->n_sent < l->n_taken)
                send_call(l);
        }
    }
    for (size_t i = 0; i < l->n_conns; i++)
        if (l->conns[i].call)
            conclude(l, &l->conns[i], 0, clock_now_ns());
    for (; l->n_sent < l->n_due; l->n_sent++)
        l->failed[l->due[l->n_sent].class] += l->due[l->n_sent].at_ns >= l->measure_ns;
}

/* ---- what it prints ---- */

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const struct samples *s, double q)
{
    return s->n ? (double)s->ms[(size_t)((double)(s->n - 1) * q)] : 0;
}

static void print_samples(struct samples *s, const char *prefix)
{
    qsort(s->ms, s->n, sizeof *s->ms, by_size);
    printf(",\"%sp50\":%.2f,\"%sp99\":%.2f,\"%smax\":%.2f", prefix, quantile(s, 0.5), prefix,
           quantile(s, 0.99), prefix, quantile(s, 1));
}

static void print(struct load *l, double cpu_s)
{
    printf("{\"seconds\":%.3f,\"cpu_s\":%.2f,\"done\":%ju,\"held\":%ju,\"service_ms\":%.2f",
           (double)(l->end_ns - l->measure_ns) / 1e9, cpu_s, (uintmax_t)l->done, (uintmax_t)l->held,
           l->latency.n ? l->service_us / (double)l->latency.n / 1000 : 0);
    print_samples(&l->latency, "");
    print_samples(&l->lateness, "late_");
    for (size_t i = 0; i < l->n_rates; i++)
        printf(",\"%s\":{\"offered\":%ju,\"ok\":%ju,\"shed\":%ju,\"failed\":%ju}", class_name[i],
               (uintmax_t)l->offered[i], (uintmax_t)l->ok[i], (uintmax_t)l->shed[i],
               (uintmax_t)l->failed[i]);
    printf("}\n");
}

/* ---- before it ---- */

static size_t class_of(const struct load *l, double share)
{
    size_t class = 0;
    while (class + 1 < l->n_rates && share >= l->rate[class])
        share -= l->rate[class ++];
    return class;
}

/* Arrivals by chance; at is in seconds from the beginning. */
static bool draw_schedule(struct load *l, double per_s, double seconds)
{
    size_t max = (size_t)(per_s * seconds + 10 * sqrt(per_s * seconds)) + 10;
    l->due = mem_alloc(max * sizeof *l->due);
    l->latency.ms = mem_zalloc(max * sizeof *l->latency.ms);
    l->lateness.ms = mem_zalloc(max * sizeof *l->lateness.ms);
    if (!l->due || !l->latency.ms || !l->lateness.ms)
        return false;
    double at = 0;
    while (l->n_due < max && (at += -log(1 - id_random_unit()) / per_s) < seconds)
        l->due[l->n_due++] =
            (struct due){ (uint64_t)(at * 1e9), class_of(l, id_random_unit() * per_s) };
    return true;
}

/* As many as half a second of calls may need; a system that has more of them waiting holds calls.
 */
static bool open_conns(struct load *l, double per_s)
{
    size_t n = CONNS_MIN + min_size(CONNS_MAX, (size_t)(per_s / 2));
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->conns = mem_zalloc(n * sizeof *l->conns);
    l->idle = mem_alloc(n * sizeof *l->idle);
    if (l->epoll < 0 || !l->conns || !l->idle)
        return false;
    for (; l->n_conns < n; l->n_conns++)
        if (!open_conn(l, &l->conns[l->n_conns]))
            return false;
    return true;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_load(int argc, char **argv)
{
    static struct load l;
    double seconds = strtod(argv[2], NULL), per_s = 0;
    l.address = (struct sockaddr_in){ .sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)strtoul(argv[0], NULL, 10)),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 4; i < argc && l.n_rates < CLASSES; i++, l.n_rates++) {
        per_s += l.rate[l.n_rates] = strtod(argv[i], NULL);
        snprintf(l.request[l.n_rates], sizeof *l.request,
                 "GET %s HTTP/1.1\r\nhost: 127.0.0.1:%s\r\nproa-priority: %s\r\n\r\n", argv[1],
                 argv[0], class_name[l.n_rates]);
    }
    if (!draw_schedule(&l, per_s, seconds) || !open_conns(&l, per_s)) {
        perror("overload_load: can't prepare the calls");
        return 1;
    }
    double cpu = cpu_s();
    l.begin_ns = clock_now_ns();
    l.measure_ns = l.begin_ns + (uint64_t)(strtod(argv[3], NULL) * 1e9);
    l.end_ns = l.begin_ns + (uint64_t)(seconds * 1e9);
    for (size_t i = 0; i < l.n_due; i++)
        l.due[i].at_ns += l.begin_ns;
    run(&l);
    print(&l, cpu_s() - cpu);
    return 0; /* what it holds ends with the process */
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
        r = run_load(argc - 2, argv + 2);
    else
        fprintf(stderr, "usage: %s app WORKERS MS | load PORT PATH SECONDS SKIP RATE…\n", argv[0]);
    if (err.code)
        fprintf(stderr, "%s\n", err.text);
    return r;
}
