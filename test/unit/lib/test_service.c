/* One service, run with the runtime inside or beside a sidecar: both must give the same answers.
 *   test_lib_service inside|beside <the proa binary> */
#include "proa.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static atomic_int failures, events, retries;

#define CHECK(cond, ...) check((cond), __LINE__, #cond, " " __VA_ARGS__)

__attribute__((format(printf, 4, 5))) static void check(bool ok, int line, const char *expr,
                                                        const char *fmt, ...)
{
    if (ok)
        return;
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: %s --", __FILE__, line, expr);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    failures++;
}

/* ---- the service ---- */

static void on_echo(struct proa_request *r, void *arg)
{
    proa_reply(r, 200, r->content_type, r->data, r->len);
    proa_reply(r, 500, NULL, "the second one doesn't count", 28);
}

static void on_orders(struct proa_request *r, void *arg)
{
    char method[100], query[100];
    proa_reply_json(r, 201, "{\"verb\":\"%s\",\"method\":%s,\"query\":%s,\"missing\":\"%s\"}",
                    r->verb, proa_json_quote(r->method, method, sizeof method),
                    proa_json_quote(r->query, query, sizeof query), proa_header(r, "x-none"));
}

static void on_longer(struct proa_request *r, void *arg)
{
    proa_reply(r, 200, "text/plain", "longer", 6);
}

static void on_silent(struct proa_request *r, void *arg)
{
}

static enum proa_verdict on_event(const struct proa_event *e, void *arg)
{
    if (strcmp(e->data, "\"again\"") == 0 && retries++ == 0)
        return PROA_RETRY;
    CHECK(strcmp(e->pubsub, "queue") == 0 && strcmp(e->topic, "t") == 0 && e->id[0], "%s", e->id);
    events++;
    return PROA_DONE;
}

/* ---- what it does once it runs ---- */

static void try_methods(struct proa *p)
{
    static const struct {
        const char *method;
        int code, status;
        const char *want;
    } row[] = {
        { "echo", 0, 200, "{\"x\":1}" },
        { "echo/deeper", 0, 200, "{\"x\":1}" },
        { "orders/17?a=b", 0, 201, "\"method\":\"orders/17\",\"query\":\"a=b\"" },
        { "orders/long", 0, 200, "longer" },
        { "orders/long/er", 0, 200, "longer" },
        { "with space", 0, 200, "longer" },
        { "silent", -PROA_UNKNOWN, 500, "" },
        { "missing", -PROA_NOT_FOUND, 404, "" },
        { "ech", -PROA_NOT_FOUND, 404, "" },
        { "echo\r\nInjected: 1", -PROA_UNKNOWN, 500, "" },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        PROA_RESULT res = { 0 };
        int code = proa_invoke(p, "svc", row[i].method, "POST", "{\"x\":1}", 7, &res);
        CHECK(code == row[i].code && res.code == code, "%s: %d %s", row[i].method, code, res.error);
        CHECK(res.status == row[i].status, "%s: %d", row[i].method, res.status);
        CHECK(res.data && strstr(res.data, row[i].want), "%s: %s", row[i].method, res.data);
        CHECK(!code == !res.error[0], "%s", row[i].method);
    }
    PROA_RESULT res = { 0 };
    CHECK(proa_invoke(p, "nobody", "m", "GET", NULL, 0, &res) < 0 && strstr(res.error, "nobody"),
          "%s", res.error);
}

static void try_state(struct proa *p)
{
    PROA_RESULT none = { 0 }, set = { 0 }, get = { 0 }, stale = { 0 }, bad = { 0 }, txn = { 0 },
                gone = { 0 }, store = { 0 };
    const char *key = "a/key?with#odd&signs";
    CHECK(proa_state_get(p, "store", key, &none) == -PROA_NOT_FOUND, "%s", none.error);
    CHECK(proa_state_set(p, "store", key, "{\"n\":1.50}", 10, NULL, 0, &set) == 0, "%s", set.error);
    CHECK(proa_state_get(p, "store", key, &get) == 0 && strcmp(get.data, "{\"n\":1.50}") == 0, "%s",
          get.error);
    CHECK(get.etag[0], "an etag");
    CHECK(proa_state_set(p, "store", key, "2", 1, "999999", 0, &stale) == -PROA_CONFLICT, "%s",
          stale.error);
    CHECK(proa_state_set(p, "store", key, "{", 1, NULL, 0, &bad) == -PROA_INVALID, "%s", bad.error);
    struct proa_write w[] = { { "t1", "1", 1, NULL }, { key, NULL, 0, NULL } };
    CHECK(proa_state_transact(p, "store", w, 2, &txn) == 0, "%s", txn.error);
    CHECK(proa_state_get(p, "store", key, &gone) == -PROA_NOT_FOUND, "%s", gone.error);
    CHECK(proa_state_get(p, "nostore", "k", &store) == -PROA_INVALID &&
              strstr(store.error, "nostore"),
          "%s", store.error);
}

static void try_queue(struct proa *p)
{
    PROA_RESULT one = { 0 }, two = { 0 }, bad = { 0 };
    struct proa_publish_options o = { .id = "my id & more", .ttl_s = 60 };
    CHECK(proa_publish(p, "queue", "t", "\"hello\"", 7, NULL, &one) == 0, "%s", one.error);
    CHECK(proa_publish(p, "queue", "t", "\"again\"", 7, &o, &two) == 0, "%s", two.error);
    CHECK(proa_publish(p, "noqueue", "t", "1", 1, NULL, &bad) == -PROA_NOT_FOUND, "%s", bad.error);
    for (int i = 0; i < 2000 && events < 2; i++)
        CHECK(proa_sleep_ms(10), "still running");
    CHECK(events >= 2 && retries == 2, "%d events, %d", events, retries);
}

static atomic_int spawned;

static void in_a_fiber(void *arg)
{
    spawned += proa_sleep_ms(1);
}

static void block_a_thread(void *arg)
{
    *(int *)arg = 42;
}

static void on_start(struct proa *p, void *arg)
{
    int answer = 0;
    try_methods(p);
    try_state(p);
    PROA_RESULT secret = { 0 };
    CHECK(proa_secret(p, "env", "TEST_LIB_SECRET", &secret) == 0 && strstr(secret.data, "s3cret"),
          "%s", secret.error);
    CHECK(proa_spawn(p, in_a_fiber, NULL) == 0, "spawn");
    CHECK(proa_blocking(block_a_thread, &answer) == 0 && answer == 42, "blocking");
    try_queue(p);
    for (int i = 0; i < 1000 && !spawned; i++)
        proa_sleep_ms(1);
    CHECK(spawned == 1, "the spawned fiber ran");
    proa_stop(p);
}

/* ---- around it ---- */

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        exit(2);
    close(fd);
    return ntohs(a.sin_port);
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        exit(2);
}

static void make_resources(const char *dir)
{
    static const char COMPONENT[] =
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec:\n"
        "  type: %s\n  version: v1\n  metadata: []\n";
    static const char *const row[][2] = { { "store", "state.in-memory" },
                                          { "queue", "pubsub.in-memory" },
                                          { "env", "secretstores.local.env" } };
    char text[500];
    for (size_t i = 0; i < 3; i++) {
        char name[40];
        snprintf(text, sizeof text, COMPONENT, row[i][0], row[i][1]);
        snprintf(name, sizeof name, "%s.yaml", row[i][0]);
        put_file(dir, name, text);
    }
    put_file(
        dir, "retry.yaml",
        "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n"
        "  policies:\n    retries:\n      few: {policy: constant, duration: 10ms, maxRetries: 5}\n"
        "  targets:\n    components:\n      queue: {inbound: {retry: few}}\n");
    snprintf(text, sizeof text,
             "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n"
             "  nameResolution: {component: sqlite, version: v1,\n"
             "    configuration: {connectionString: %s/names.db}}\n",
             dir);
    put_file(dir, "config.cfg", text);
}

static pid_t start_sidecar(const char *proa, const char *dir, int http, int app)
{
    char config[150], resources[150], http_port[40], app_port[40];
    snprintf(config, sizeof config, "--config=%s/config.cfg", dir);
    snprintf(resources, sizeof resources, "--resources-path=%s", dir);
    snprintf(http_port, sizeof http_port, "--dapr-http-port=%d", http);
    snprintf(app_port, sizeof app_port, "--app-port=%d", app);
    char *argv[] = { (char *)proa,
                     "sidecar",
                     "--app-id=svc",
                     config,
                     resources,
                     http_port,
                     app_port,
                     "--dapr-grpc-port=0",
                     "--metrics-port=0",
                     "--dapr-listen-addresses=127.0.0.1",
                     "--dapr-internal-grpc-listen-address=127.0.0.1",
                     NULL };
    pid_t pid;
    if (posix_spawn(&pid, proa, NULL, NULL, argv, environ) != 0)
        exit(2);
    return pid;
}

int main(int argc, char **argv)
{
    bool inside = argc > 2 && strcmp(argv[1], "inside") == 0;
    char dir[] = "/tmp/proa-lib-XXXXXX", config[100];
    if (argc < 3 || !mkdtemp(dir))
        return 2;
    setenv("TEST_LIB_SECRET", "s3cret", 1);
    make_resources(dir);
    snprintf(config, sizeof config, "%s/config.cfg", dir);
    struct proa_options o = { .app_id = "svc",
                              .sidecar_port = free_port(),
                              .resources = dir,
                              .config = config,
                              .workers = 2 };
    o.app_port = inside ? 0 : free_port();
    if (inside)
        setenv("PROA_MODE", "inside", 1); /* the only switch */
    struct proa *p = proa_new(&o);
    if (!p)
        return 2;
    CHECK(proa_method(p, "echo", on_echo, NULL) == 0, "echo");
    CHECK(proa_method(p, "orders", on_orders, NULL) == 0, "orders");
    CHECK(proa_method(p, "orders/long", on_longer, NULL) == 0, "longer");
    CHECK(proa_method(p, "with space", on_longer, NULL) == 0, "with space");
    CHECK(proa_method(p, "silent", on_silent, NULL) == 0, "silent");
    CHECK(proa_topic(p, "queue", "t", on_event, NULL, NULL) == 0, "topic");
    CHECK(proa_on_start(p, on_start, NULL) == 0, "on_start");
    pid_t sidecar = inside ? 0 : start_sidecar(argv[2], dir, o.sidecar_port, o.app_port);
    CHECK(proa_run(p) == 0, "exit status");
    proa_free(p);
    if (sidecar) {
        int status = 0;
        kill(sidecar, SIGTERM);
        waitpid(sidecar, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the sidecar's status %d", status);
    }
    CHECK(events >= 2, "the service ran");
    char command[100];
    static const char *const files[] = {
        "store.yaml", "queue.yaml", "env.yaml",     "retry.yaml",
        "config.cfg", "names.db",   "names.db-wal", "names.db-shm"
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(command, sizeof command, "%s/%s", dir, files[i]);
        (void)unlink(command);
    }
    (void)rmdir(dir);
    printf("%s: %d failures\n", argv[1], failures);
    return failures != 0;
}
