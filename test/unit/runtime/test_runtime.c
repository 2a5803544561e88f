#include "base/log.h"
#include "runtime/private.h"
#include "test/testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A runtime with the app in this process, over a folder of its own. */
struct box {
    char dir[64];
    struct arena a;
    struct options o;
    struct runtime *r;
    struct error err;
};

static atomic_uint asked; /* GET /dapr/subscribe */

static void app(void *arg, struct http_exchange *x)
{
    if (str_eq(x->req.path, S("/dapr/subscribe"))) {
        atomic_fetch_add(&asked, 1);
        (void)http_reply(x, 200, NULL,
                         S("[{\"pubsubname\":\"queue\",\"topic\":\"t\",\"route\":\"/t\"}]"));
    } else
        (void)http_reply(x, 200, NULL, S("hello"));
}

static void put(struct box *b, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    FILE *f = fopen(path, "we");
    REQUIRE(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void add_component(struct box *b, const char *name, const char *type, const char *metadata)
{
    char text[500];
    snprintf(text, sizeof text,
             "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\nspec:\n"
             "  type: %s\n  version: v1\n  metadata: [%s]\n",
             name, type, metadata);
    char file[64];
    snprintf(file, sizeof file, "%s.yaml", name);
    put(b, file, text);
}

static void box_open(struct box *b)
{
    *b = (struct box){ .dir = "/tmp/proa-runtime-XXXXXX" };
    REQUIRE(mkdtemp(b->dir));
    arena_init(&b->a, MIB(8));
    char text[300];
    snprintf(text, sizeof text,
             "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n"
             "  nameResolution: {component: sqlite, version: v1, configuration: {connectionString: "
             "%s/names.db}}\n  metric: {rules: [{name: x, labels: []}]}\n",
             b->dir);
    put(b, "config.cfg", text);
    log_setup(&(struct log_config){ .level = LOG_FATAL, .fd = 2, .app_id = "svc" });
}

static int start(struct box *b, const char *more)
{
    char resources[100], config[100];
    snprintf(resources, sizeof resources, "--resources-path=%s", b->dir);
    snprintf(config, sizeof config, "--config=%s/config.cfg", b->dir);
    char *argv[] = { "daprd",
                     "--app-id=svc",
                     resources,
                     config,
                     "--dapr-http-port=0",
                     "--dapr-grpc-port=0",
                     "--metrics-port=0",
                     "--dapr-listen-addresses=127.0.0.1",
                     "--dapr-internal-grpc-listen-address=127.0.0.1",
                     (char *)more };
    struct runtime_app inside = { app, NULL };
    REQUIRE(workers_start(2, 1000, &b->err) == 0);
    REQUIRE(options_parse(more ? 10 : 9, argv, &b->a, &b->o, &b->err) == 0, "%s", b->err.text);
    int r = runtime_new(&b->o, &inside, &b->r, &b->err);
    return r < 0 ? r : runtime_start(b->r, &b->err);
}

static void box_close(struct box *b)
{
    runtime_free(b->r);
    CHECK_EQ(workers_stop(SEC(10)), 0);
    arena_done(&b->a);
    static const char *const files[] = { "config.cfg",   "names.db",     "names.db-wal",
                                         "names.db-shm", "store.yaml",   "queue.yaml",
                                         "file.yaml",    "secrets.json", "bad.yaml" };
    EACH (files, f) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", b->dir, *f);
        (void)unlink(path);
    }
    CHECK_EQ(rmdir(b->dir), 0, "%s", b->dir);
}

static bool listens(uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return ok;
}

static void wait_ready(struct box *b)
{
    for (int i = 0; i < 2000 && !runtime_ready(b->r); i++)
        usleep(5000);
    CHECK(runtime_ready(b->r));
}

static void describe(void *arg)
{
    struct box *b = arg;
    struct buf out;
    struct json v;
    buf_init(&out, MIB(4));
    struct sidecar_info info;
    struct arena arena;
    arena_init(&arena, MIB(1));
    CHECK_OK(describe_metadata(b->r, &arena, &info));
    metadata_json(&info, &out);
    arena_done(&arena);
    CHECK_OK(json_parse(buf_str(&out), &v, NULL));
    static const char *const parts[] = {
        "\"id\":\"svc\"",
        "{\"name\":\"store\",\"type\":\"state.in-memory\",\"version\":\"v1\",\"capabilities\":["
        "\"ETAG\",\"TRANSACTIONAL\",\"TTL\",\"ACTOR\"]}",
        "{\"name\":\"file\",\"type\":\"secretstores.local.file\",\"version\":\"v1\","
        "\"capabilities\":"
        "[\"MULTIPLE_KEY_VALUES_PER_SECRET\"]}",
        "\"subscriptions\":[{\"pubsubname\":\"queue\",\"topic\":\"t\",\"rules\":[{\"path\":\"/"
        "t\"}],"
        "\"deadLetterTopic\":\"\",\"type\":\"PROGRAMMATIC\"}]",
    };
    EACH (parts, p)
        CHECK(str_contains(buf_str(&out), str_c(*p)), "%s in %.*s", *p, STR_ARG(buf_str(&out)));
    buf_clear(&out);
    describe_feed(b->r, &out);
    CHECK_OK(json_parse(buf_str(&out), &v, NULL));
    buf_done(&out);
}

TEST(a_runtime_starts_serves_and_ends)
{
    struct box b;
    box_open(&b);
    add_component(&b, "store", "state.in-memory", "");
    add_component(&b, "queue", "pubsub.in-memory", "");
    char metadata[200];
    snprintf(metadata, sizeof metadata,
             "{name: secretsFile, value: %s/secrets.json}, {name: multiValued, value: 'true'}",
             b.dir);
    add_component(&b, "file", "secretstores.local.file", metadata);
    put(&b, "secrets.json", "{\"a\":{\"b\":\"c\"}}");
    CHECK_OK(start(&b, NULL), "%s", b.err.text);
    wait_ready(&b);
    uint16_t http = b.r->http_port, internal = b.r->internal_port;
    CHECK(listens(http) && listens(internal));
    CHECK_OK(worker_run(worker_at(0), "describe", describe, &b));
    CHECK_OK(describe_set(b.r, S("k"), S("v")));
    CHECK_OK(describe_set(b.r, S("k"), S("v2")));
    CHECK(describe_set(b.r, S("k"), str_of(b.dir, 70000)) == -EXHAUSTED);
    CHECK_EQ(runtime_stop(b.r), 0);
    CHECK(!listens(http) && !listens(internal));
    box_close(&b);
}

TEST(a_start_that_fails_leaves_nothing_behind)
{
    static const struct {
        const char *type, *want;
    } row[] = {
        { "state.nothing", "couldn't find component state.nothing" },
        { "nonsense.x", "incorrect type nonsense.x" },
        { "secretstores.local.file", "secretsFile" },
    };
    EACH (row, r) {
        struct box b;
        box_open(&b);
        add_component(&b, "bad", r->type, "");
        CHECK(start(&b, NULL) < 0);
        CHECK(str_contains(str_c(b.err.text), str_c(r->want)), "%s", b.err.text);
        CHECK(str_contains(str_c(b.err.text), S("INIT_COMPONENT_FAILURE")), "%s", b.err.text);
        uint16_t internal = b.r->internal_port;
        CHECK(internal && listens(internal));
        runtime_free(TAKE(b.r));
        CHECK(!listens(internal), "%s", r->type);
        box_close(&b);
    }
}

TEST(options_that_make_no_sense_are_refused)
{
    static const struct {
        const char *flag, *want;
    } row[] = {
        { "--mode=kubernetes", "mode kubernetes isn't supported yet" },
        { "--app-id=", "app-id is required" },
        { "--app-id=a.b", "can't contain a dot" },
        { "--app-protocol=gopher", "none of http, https, h2c, grpc, grpcs" },
        { "--app-health-probe-timeout=9999999", "app-health-probe-timeout" },
        { "--disable-init-endpoints=nothing", "neither config nor subscribe" },
    };
    EACH (row, r) {
        struct arena a;
        struct options o;
        struct error err = { 0 };
        struct runtime *rt = NULL;
        char *argv[] = { "daprd", "--app-id=x", (char *)r->flag };
        arena_init(&a, MIB(4));
        REQUIRE(options_parse(3, argv, &a, &o, &err) == 0, "%s", err.text);
        CHECK(runtime_new(&o, NULL, &rt, &err) < 0);
        CHECK(str_contains(str_c(err.text), str_c(r->want)), "%s: %s", r->flag, err.text);
        CHECK(!rt);
        arena_done(&a);
    }
    runtime_free(NULL);
}

TEST(without_an_app_endpoint_nothing_is_asked)
{
    struct box b;
    box_open(&b);
    add_component(&b, "queue", "pubsub.in-memory", "");
    atomic_store(&asked, 0);
    CHECK_OK(start(&b, "--disable-init-endpoints=subscribe,config"), "%s", b.err.text);
    wait_ready(&b);
    CHECK_EQ(atomic_load(&asked), 0);
    box_close(&b);
}
