#include "cli/run_files.h"
#include "cli/run_plan.h"

#include "base/buf.h"
#include "test/testing.h"

#include <unistd.h>

static int next_port(void *arg, uint16_t *ret)
{
    uint16_t *next = arg;
    *ret = (*next)++;
    return 0;
}

static int no_port(void *arg, uint16_t *ret)
{
    return -EXHAUSTED;
}

struct fixture {
    struct arena arena;
    struct {
        struct run_instance instance[8];
        size_t n;
    } plan;
    struct error err;
    uint16_t port;
    char *environ[4];
    struct plan_settings s;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){ .port = 5000 };
    arena_init(&f->arena, MIB(4));
    f->environ[0] = (char *)"PATH=/usr/bin:/bin";
    f->environ[1] = (char *)"DAPR_HTTP_PORT=1";
    f->environ[2] = (char *)"LANG=C";
    f->s = (struct plan_settings){ .self = "/self",
                                   .names_config = "/run/names.yaml",
                                   .environ = f->environ,
                                   .free_port = next_port,
                                   .arg = &f->port };
}

static int plan(struct fixture *f, struct run_app *app, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        app[i].dir = app[i].dir ? app[i].dir : "/tmp";
        app[i].protocol = app[i].protocol ? app[i].protocol : "http";
        app[i].instances = app[i].instances ? app[i].instances : 1;
    }
    const struct run_template t = { .app = app, .n_apps = n };
    int r = plan_check(&t, &f->s, &f->err);
    f->plan.n = 0;
    for (size_t i = 0; !r && i < n; i++)
        for (unsigned k = 1; !r && k <= plan_instances(&app[i], &f->s); k++)
            r = plan_make(&app[i], k, &f->s, &f->arena, &f->plan.instance[f->plan.n++], &f->err);
    return r;
}

static const char *joined(struct fixture *f, char *const *words)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, KIB(64));
    for (; *words; words++)
        buf_printf(&b, "%s ", *words);
    return arena_cstr(&f->arena, buf_str(&b));
}

static const char *variable(char *const *env, const char *name)
{
    const char *found = NULL;
    for (; *env; env++)
        if (strncmp(*env, name, strlen(name)) == 0 && (*env)[strlen(name)] == '=') {
            CHECK(!found, "%s is there twice", name);
            found = *env + strlen(name) + 1;
        }
    return found;
}

TEST(a_sidecar_gets_ports_and_names_and_loopback)
{
    struct fixture f;
    begin(&f);
    struct run_app app = { .id = "orders", .app_port = 8080, .http_port = 3500 };
    CHECK_OK(plan(&f, &app, 1), "%s", f.err.text);
    REQUIRE(f.plan.n == 1);
    const struct run_instance *in = &f.plan.instance[0];
    CHECK_TEXT(in->sidecar.path, "/self");
    CHECK_TEXT(joined(&f, in->sidecar.argv),
               "proa sidecar --app-id=orders --app-port=8080 --dapr-http-port=3500 "
               "--dapr-grpc-port=5000 --dapr-internal-grpc-port=5001 --metrics-port=5002 "
               "--dapr-listen-addresses=127.0.0.1 --dapr-internal-grpc-listen-address=127.0.0.1 "
               "--metrics-listen-address=127.0.0.1 --config=/run/names.yaml "
               "--app-protocol=http ");
    CHECK_TEXT(in->api, "127.0.0.1:3500");
    CHECK_TEXT(in->name, "orders-1");
    CHECK_TEXT(in->label, "orders");
    CHECK(!in->command.path, "no command, no app process");
    arena_done(&f.arena);
}

TEST(an_app_gets_the_variables_of_daprs_command_line)
{
    struct fixture f;
    begin(&f);
    const char *command[] = { "sh", "-c", "true" };
    const struct kv env[] = { { S("LANG"), S("de") }, { S("APP_ID"), S("mine") } };
    struct run_app app = { .id = "orders",
                           .app_port = 8080,
                           .protocol = "grpc",
                           .ssl = true,
                           .command = { command, 3 },
                           .env = { env, 2 } };
    CHECK_OK(plan(&f, &app, 1), "%s", f.err.text);
    char *const *e = f.plan.instance[0].command.env;
    CHECK_TEXT(variable(e, "APP_PORT"), "8080");
    CHECK_TEXT(variable(e, "APP_PROTOCOL"), "grpcs");
    CHECK_TEXT(variable(e, "DAPR_HTTP_PORT"), "5000", "ours replaces the inherited one");
    CHECK_TEXT(variable(e, "DAPR_GRPC_PORT"), "5001");
    CHECK_TEXT(variable(e, "DAPR_METRICS_PORT"), "5003");
    CHECK_TEXT(variable(e, "LANG"), "de");
    CHECK_TEXT(variable(e, "APP_ID"), "mine", "the template's own wins");
    CHECK_TEXT(variable(e, "PATH"), "/usr/bin:/bin");
    CHECK(!variable(e, "APP_CHANNEL_ADDRESS"));
    CHECK_TEXT(joined(&f, f.plan.instance[0].command.argv), "sh -c true ");
    CHECK_TEXT(variable(f.plan.instance[0].sidecar.env, "LANG"), "C");
    arena_done(&f.arena);
}

TEST(instances_share_all_but_ports_and_zones)
{
    struct fixture f;
    begin(&f);
    const char *zones[] = { "east", "west" };
    struct run_app app[] = {
        { .id = "a", .app_port = 80, .http_port = 90, .instances = 3, .zones = { zones, 2 } },
        { .id = "batch" },
    };
    CHECK_OK(plan(&f, app, 2), "%s", f.err.text);
    REQUIRE(f.plan.n == 4);
    const struct run_instance *in = f.plan.instance;
    CHECK_EQ(in[0].port.app, 80);
    CHECK_EQ(in[0].port.http, 90);
    CHECK(in[1].port.app >= 5000 && in[2].port.app >= 5000);
    CHECK(in[1].port.app != in[2].port.app && in[1].port.http != in[2].port.http);
    CHECK_TEXT(in[2].label, "a-3");
    CHECK_TEXT(in[1].zone, "west");
    CHECK_TEXT(in[2].zone, "east");
    CHECK_TEXT(variable(in[1].sidecar.env, "PROA_ZONE"), "west");
    CHECK_EQ(in[3].port.app, 0, "no appPort, no app channel");
    CHECK_TEXT(in[3].label, "batch");
    f.s.instances = 2;
    CHECK_OK(plan(&f, app, 2), "%s", f.err.text);
    CHECK_EQ(f.plan.n, 4, "the flag counts for all apps");
    arena_done(&f.arena);
}

TEST(our_names_stay_away_when_the_user_resolves_them)
{
    static const struct {
        const char *name, *text;
        bool ours;
    } row[] = {
        { "silent", "kind: Configuration\nspec: { tracing: { samplingRate: \"1\" } }\n", true },
        { "own", "kind: Configuration\nspec: { nameResolution: { component: mdns } }\n", false },
        { "no YAML", "spec: [", true },
    };
    EACH (row, r) {
        struct fixture f;
        char path[] = "/tmp/proa-test-config-XXXXXX";
        int fd = mkstemp(path);
        REQUIRE(fd >= 0);
        close(fd);
        begin(&f);
        REQUIRE(files_write(path, str_c(r->text), 0600, &f.err) == 0);
        struct run_app app = { .id = "a", .config = path };
        CHECK_OK(plan(&f, &app, 1), "%s", f.err.text);
        str line = str_c(joined(&f, f.plan.instance[0].sidecar.argv));
        ptrdiff_t ours = str_find(line, S("--config=/run/names.yaml"));
        ptrdiff_t theirs = str_find(line, S("--config=/tmp/"));
        CHECK_EQ(ours >= 0, r->ours, "%s", r->name);
        CHECK(theirs > ours, "%s: the user's is merged last", r->name);
        unlink(path);
        arena_done(&f.arena);
    }
}

TEST(what_cannot_start_is_told_before_anything_does)
{
    struct fixture f;
    begin(&f);
    const char *command[] = { "no-such-command-here" };
    struct run_app app = { .id = "x", .command = { command, 1 } };
    CHECK_EQ(plan(&f, &app, 1), -NOT_FOUND);
    CHECK_TEXT(f.err.text, "x: there is no command 'no-such-command-here' in PATH: install it, or "
                           "give its path");

    arena_done(&f.arena);
    begin(&f);
    app = (struct run_app){ .id = "x", .runtime_path = "/nowhere" };
    CHECK_EQ(plan(&f, &app, 1), -NOT_FOUND);
    CHECK(str_contains(str_c(f.err.text), S("/nowhere")), "%s", f.err.text);

    arena_done(&f.arena);
    begin(&f);
    f.s.free_port = no_port;
    app = (struct run_app){ .id = "x" };
    CHECK_EQ(plan(&f, &app, 1), -EXHAUSTED);

    arena_done(&f.arena);
    begin(&f);
    struct run_app many[6] = { 0 };
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = (struct run_app){ .id = "y", .instances = 50 };
    CHECK_EQ(plan(&f, many, COUNT(many)), -EXHAUSTED);
    arena_done(&f.arena);
}

TEST(chosen_ports_are_free_and_never_given_twice)
{
    static struct port_chooser c;
    static bool seen[65536];
    port_chooser_init(&c);
    CHECK(c.low < c.high);
    c.high = (uint16_t)(c.low + 60);
    port_chooser_reserve(&c, c.low);
    seen[c.low] = true;
    size_t n = 0;
    uint16_t port;
    while (n < 40 && port_chooser_take(&c, &port) == 0) {
        CHECK(port >= c.low && port <= c.high && !seen[port], "port %u", port);
        seen[port] = true;
        n++;
    }
    CHECK(n >= 30, "%zu ports", n);
}
