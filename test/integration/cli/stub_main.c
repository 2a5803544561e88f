/* stub_main.c — proa with a sidecar that only pretends, for the tests of everything around it.
 * The stub answers health, a feed whose counts grow, publish and invoke, and drains on SIGTERM. */
#include "cli/cli.h"

#include "base/buf.h"
#include "http/server.h"
#include "loop/stream.h"
#include "loop/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct stub {
    const char *app_id;
    int64_t app_port, http_port;
    unsigned long asked;
};

CO static bool app_listens(const struct stub *s)
{
    char address[32];
    struct stream *stream = NULL;
    struct error err = { 0 };
    if (!s->app_port)
        return true;
    snprintf(address, sizeof(address), "127.0.0.1:%lld", (long long)s->app_port);
    DEADLINE(MS(500));
    if (stream_dial(address, &stream, &err) != 0)
        return false;
    stream_close(stream);
    return true;
}

/* What keeps a system up; n is what all of its counts have grown to. */
static str resilience(struct http_exchange *x, unsigned long n)
{
    return arena_printf(
        x->arena,
        "\"overload\":{\"limit\":20,\"inflight\":3,\"queued\":1,\"admitted\":%lu,\"load\":150,"
        "\"shed\":{\"critical\":0,\"low\":%lu},\"reasons\":{\"priority\":%lu}},"
        "\"instances\":[{\"app\":\"far\",\"address\":\"10.0.0.1:1\",\"zone\":\"b\","
        "\"state\":\"ejected\",\"inflight\":0,\"latency_ms\":2,\"calls\":%lu,\"failed\":0}],"
        "\"breakers\":[{\"target\":\"bank\",\"state\":\"open\"},"
        "{\"target\":\"calm\",\"state\":\"closed\"}],"
        "\"zones\":{\"own\":\"a\",\"region\":\"\",\"calls\":{\"a\":%lu,\"b\":%lu}},"
        "\"chaos\":[{\"name\":\"late\",\"fault\":\"delay\",\"app\":\"far\",\"percent\":25,"
        "\"left_s\":30,\"injected\":4}],",
        n, n, n, n, n, n);
}

CO static int serve_feed(struct stub *s, struct http_exchange *x)
{
    s->asked += 10;
    str more = resilience(x, s->asked);
    str body = arena_printf(
        x->arena,
        "{\"app\":\"%s\",\"pid\":%d,\"in_flight\":1," STR_FMT
        "\"edges\":[{\"from\":\"client\",\"to\":\"%s\",\"kind\":\"invoke\",\"n\":%lu,\"errors\":%"
        "lu,"
        "\"hist\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,%lu]}],"
        "\"topics\":[{\"pubsub\":\"bus\",\"topic\":\"t\",\"consumer\":\"%s\",\"depth\":3,"
        "\"oldest_s\":0.5,\"dead\":0}],"
        "\"resources\":[],\"events\":[{\"id\":1,\"level\":\"info\",\"text\":\"stub is up\"}]}",
        s->app_id, (int)getpid(), STR_ARG(more), s->app_id, s->asked, s->asked / 10, s->asked,
        s->app_id);
    return http_reply(x, 200, NULL, body);
}

/* Says what it got, so that the tests see the whole request. */
CO static int serve_echo(struct http_exchange *x)
{
    str body, type = http_headers_get(&x->req.headers, S("content-type"));
    int r = http_read_all(x, KIB(64), &body);
    if (r)
        return r;
    str text =
        arena_printf(x->arena, STR_FMT " " STR_FMT " [" STR_FMT "] " STR_FMT,
                     STR_ARG(x->req.method), STR_ARG(x->req.target), STR_ARG(type), STR_ARG(body));
    printf("stub: " STR_FMT "\n", STR_ARG(text));
    fflush(stdout);
    return http_reply(x, str_contains(x->req.target, S("missing")) ? 404 : 200, NULL, text);
}

static void handle(void *arg, struct http_exchange *x)
{
    struct stub *s = arg;
    int r;
    if (str_eq(x->req.path, S("/v1.0/healthz/outbound")))
        r = http_reply(x, 204, NULL, S(""));
    else if (str_eq(x->req.path, S("/v1.0/healthz")))
        r = http_reply(x, app_listens(s) ? 204 : 500, NULL, S(""));
    else if (str_eq(x->req.path, S("/proa/v1/feed")))
        r = serve_feed(s, x);
    else
        r = serve_echo(x);
    if (r)
        http_reply_abort(x);
}

static void read_flags(struct stub *s, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        str name, value;
        str_cut(str_c(argv[i]), '=', &name, &value);
        if (str_eq(name, S("--app-id")))
            s->app_id = value.p;
        else if (str_eq(name, S("--app-port")))
            (void)!str_to_i64(value, &s->app_port);
        else if (str_eq(name, S("--dapr-http-port")))
            (void)!str_to_i64(value, &s->http_port);
        printf("stub: %s\n", argv[i]);
    }
    fflush(stdout);
}

static int stub_sidecar(int argc, char **argv)
{
    static struct stub s;
    struct error err = { 0 };
    struct http_server *server;
    char address[32];
    sigset_t stop;
    int sig;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &stop, NULL);
    read_flags(&s, argc, argv);
    snprintf(address, sizeof(address), "127.0.0.1:%lld", (long long)s.http_port);
    const struct http_server_config config = { .handle = handle,
                                               .arg = &s,
                                               .max_header_bytes = KIB(16) };
    if (workers_start(1, 100, &err) != 0 ||
        http_server_open(address, &config, &server, &err) != 0) {
        printf("stub: level=fatal %s\n", err.text);
        return 1;
    }
    (void)sigwait(&stop, &sig);
    (void)http_server_stop(server, MS(200));
    http_server_free(server);
    (void)workers_stop(MS(200));
    printf("stub: drained\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "sidecar") == 0)
        return stub_sidecar(argc - 1, argv + 1);
    return cli_main(argc, argv);
}
