#include "cli/run_files.h"
#include "cli/run_template.h"

#include "test/testing.h"

#include <sys/stat.h>
#include <unistd.h>

/* A folder of its own, so that conventions (.dapr, ~/.dapr) are in the test's hands. */
struct fixture {
    struct arena arena;
    char dir[64];
    struct run_template t;
    struct error err;
    int r;
};

static void make_dir(struct fixture *f, const char *name)
{
    str path = arena_printf(&f->arena, "%s/%s", f->dir, name);
    REQUIRE(mkdir(path.p, 0700) == 0, "%s", path.p);
}

static void make_file(struct fixture *f, const char *name, const char *text)
{
    str path = arena_printf(&f->arena, "%s/%s", f->dir, name);
    REQUIRE(files_write(path.p, str_c(text), 0600, &f->err) == 0, "%s", f->err.text);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){ .dir = "/tmp/proa-test-XXXXXX" };
    arena_init(&f->arena, MIB(16));
    REQUIRE(mkdtemp(f->dir));
    make_dir(f, "home");
    make_dir(f, "a");
    make_dir(f, "b");
    setenv("HOME", arena_printf(&f->arena, "%s/home", f->dir).p, 1);
}

static void load(struct fixture *f, const char *text)
{
    make_file(f, "dapr.yaml", text);
    f->err = (struct error){ 0 };
    f->r = template_load(f->dir, &f->arena, &f->t, &f->err);
}

static void end(struct fixture *f)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    FILE *p = popen(command, "re");
    REQUIRE(p && pclose(p) == 0);
    arena_done(&f->arena);
}

static const char *in_dir(struct fixture *f, const char *name)
{
    return arena_printf(&f->arena, "%s/%s", f->dir, name).p;
}

static str env_of(struct kvs env, str name)
{
    for (size_t i = 0; i < env.n; i++)
        if (str_eq(env.v[i].key, name))
            return env.v[i].value;
    return S("absent");
}

TEST(a_whole_template_is_read)
{
    struct fixture f;
    begin(&f);
    load(&f, "version: 1\n"
             "name: shop\n"
             "common:\n"
             "  env: { DEBUG: true, LEVEL: 3 }\n"
             "  logLevel: warn\n"
             "  instances: 2\n"
             "apps:\n"
             "  - appID: orders\n"
             "    appDirPath: ./a/\n"
             "    appPort: 8080\n"
             "    appProtocol: GRPC\n"
             "    daprHTTPPort: 3510\n"
             "    daprGRPCPort: -1\n"
             "    command: [\"python3\", \"app.py\", 7]\n"
             "    env: { LEVEL: 4, X: }\n"
             "    enableAppHealthCheck: true\n"
             "    appLogDestination: console\n"
             "    zone: [east, west]\n"
             "    containerImage: for/kubernetes\n"
             "  - appDirPath: b\n"
             "    logLevel: debug\n"
             "    restart: always\n"
             "    env:\n"
             "      - A: 1\n"
             "      - B: 2\n");
    CHECK_OK(f.r, "%s", f.err.text);
    REQUIRE(f.t.n_apps == 2);
    CHECK_TEXT(f.t.name, "shop");
    CHECK_EQ(f.t.n_warnings, 0);
    const struct run_app *a = &f.t.app[0], *b = &f.t.app[1];
    CHECK_TEXT(a->id, "orders");
    CHECK_TEXT(a->dir, in_dir(&f, "a"));
    CHECK_TEXT(a->protocol, "grpc");
    CHECK_TEXT(a->log_level, "warn", "from common");
    CHECK_EQ(a->app_port, 8080);
    CHECK_EQ(a->http_port, 3510);
    CHECK_EQ(a->grpc_port, 0, "-1 means 'choose one'");
    CHECK_EQ(a->instances, 2);
    CHECK(a->health_check);
    REQUIRE(a->command.n == 3 && a->zones.n == 2);
    CHECK_TEXT(a->command.v[2], "7");
    CHECK_TEXT(a->zones.v[1], "west");
    REQUIRE(a->env.n == 3);
    CHECK_STR(env_of(a->env, S("LEVEL")), "4", "the app's own wins");
    CHECK_STR(env_of(a->env, S("DEBUG")), "true");
    CHECK_STR(env_of(a->env, S("X")), "");
    CHECK_TEXT(b->id, "b", "named after its directory");
    CHECK_TEXT(b->log_level, "debug");
    CHECK_TEXT(b->restart, "always");
    CHECK_TEXT(b->protocol, "http");
    CHECK_EQ(b->env.n, 4);
    CHECK_EQ(b->line, 20);
    end(&f);
}

TEST(paths_and_conventions_follow_dapr)
{
    struct fixture f;
    begin(&f);
    make_dir(&f, "shared");
    make_file(&f, "shared.yaml", "");
    make_dir(&f, "a/.dapr");
    make_dir(&f, "a/.dapr/resources");
    make_dir(&f, "b/own");
    make_dir(&f, "home/.dapr");
    make_file(&f, "home/.dapr/config.yaml", "");
    load(&f, "version: 1\n"
             "common: { resourcesPath: shared, configFilePath: shared.yaml }\n"
             "apps:\n"
             "  - { appID: local, appDirPath: a }\n"
             "  - { appID: own, appDirPath: b, resourcesPaths: [own, ~/.dapr] }\n"
             "  - { appID: common, appDirPath: . }\n");
    CHECK_OK(f.r, "%s", f.err.text);
    REQUIRE(f.t.n_apps == 3);
    CHECK_EQ(f.t.app[0].resources.n, 1);
    CHECK_TEXT(f.t.app[0].resources.v[0], in_dir(&f, "a/.dapr/resources"));
    CHECK_TEXT(f.t.app[0].config, in_dir(&f, "shared.yaml"));
    REQUIRE(f.t.app[1].resources.n == 2);
    CHECK_TEXT(f.t.app[1].resources.v[0], in_dir(&f, "b/own"));
    CHECK_TEXT(f.t.app[1].resources.v[1], in_dir(&f, "home/.dapr"));
    REQUIRE(f.t.app[2].resources.n == 1);
    CHECK_TEXT(f.t.app[2].resources.v[0], in_dir(&f, "shared"));

    load(&f, "version: 1\napps: [{ appID: x, appDirPath: b }]\n");
    CHECK_OK(f.r, "%s", f.err.text);
    CHECK_TEXT(f.t.app[0].config, in_dir(&f, "home/.dapr/config.yaml"), "the last resort");
    CHECK_EQ(f.t.app[0].resources.n, 0);
    end(&f);
}

TEST(mistakes_are_told_with_their_place)
{
    static const struct {
        const char *name, *text, *want;
    } row[] = {
        { "no version", "apps: []", ":1:1: 'version: 1' is missing" },
        { "other version", "version: 2", ":1:10: version must be 1" },
        { "no apps", "version: 1\n", ":1:1: 'apps' must be a list of at least one app" },
        { "apps no list", "version: 1\napps: 3",
          ":2:7: 'apps' must be a list of at least one app" },
        { "no directory", "version: 1\napps:\n  - appID: a\n",
          ":3:5: this app has no appDirPath: say where its code is ('appDirPath: .')" },
        { "missing directory", "version: 1\napps: [{appID: a, appDirPath: nowhere}]",
          ": appDirPath: there is no " },
        { "near key", "version: 1\napps:\n  - appID: a\n    appDirpath: a\n",
          ":4:5: unknown key 'appDirpath' in an app: did you mean 'appDirPath'?" },
        { "near key in common", "version: 1\ncommon: { enviroment: {}, logLevl: x }",
          ":2:27: unknown key 'logLevl' in common: did you mean 'logLevel'?" },
        { "near key on top", "version: 1\nappps: []\n",
          ":2:1: unknown key 'appps' in the template: did you mean 'apps'?" },
        { "not for common", "version: 1\ncommon:\n  appPort: 1\n",
          ":3:3: 'appPort' can't be in common: put it into each app" },
        { "port is a word", "version: 1\napps:\n  - { appID: a, appDirPath: a, appPort: http }",
          ":3:41: appPort must be a number, not a string" },
        { "port too large", "version: 1\napps:\n  - { appDirPath: a, appPort: 65536 }",
          ":3:31: appPort must be from -1 to 65535" },
        { "command is a text", "version: 1\napps:\n  - { appDirPath: a, command: ls -l }",
          ":3:31: command must be a list of words: [\"python3\", \"app.py\"]" },
        { "protocol", "version: 1\napps:\n  - { appDirPath: a, appProtocol: htpp }",
          ":3:35: appProtocol can't be 'htpp': did you mean 'http'?" },
        { "bool", "version: 1\napps:\n  - { appDirPath: a, enableAppHealthCheck: 3 }",
          ":3:44: enableAppHealthCheck must be true or false, not " },
        { "size", "version: 1\napps:\n  - { appDirPath: a, maxBodySize: large }",
          ":3:35: maxBodySize must be a size such as 4Mi, not 'large'" },
        { "env", "version: 1\napps:\n  - { appDirPath: a, env: [x] }",
          ":3:28: env must be a map of names and values, not a string" },
        { "restart", "version: 1\napps:\n  - { appDirPath: a, restart: on-failur }",
          ":3:31: restart can't be 'on-failur': did you mean 'on-failure'?" },
        { "instances", "version: 1\napps:\n  - { appDirPath: a, instances: 0 }",
          ":3:33: instances must be from 1 to 50" },
        { "same id",
          "version: 1\napps:\n  - {appID: x, appDirPath: a}\n  - {appID: x, appDirPath: "
          "b}",
          ":4:5: another app has the same appID: for copies use 'instances: 2'" },
        { "id with a dot", "version: 1\napps:\n  - {appID: x.y, appDirPath: a}",
          ":3:5: appID must not be empty, nor hold '.' or '/'" },
        { "same port",
          "version: 1\napps:\n  - {appID: x, appDirPath: a, appPort: 80}\n  - {appID: y, "
          "appDirPath: a, daprHTTPPort: 80}",
          ":4:5: port 80 is used twice, by x and y: change one" },
        { "own port",
          "version: 1\napps:\n  - {appID: x, appDirPath: a, appPort: 80, daprHTTPPort: "
          "80}",
          ":3:5: appPort must differ from the sidecar's ports" },
        { "socket of two",
          "version: 1\napps:\n  - {appID: x, appDirPath: a, unixDomainSocket: /t, "
          "instances: 2}",
          ":3:5: unixDomainSocket serves one instance: remove it, or 'instances'" },
        { "no YAML", "version: [1\n", ":" },
        { "empty", "", "a run template is a map with 'version: 1' and 'apps'" },
    };
    struct fixture f;
    begin(&f);
    EACH (row, r) {
        load(&f, r->text);
        CHECK(f.r < 0, "%s", r->name);
        CHECK(str_starts(str_c(f.err.text), str_c(f.dir)), "%s: %s", r->name, f.err.text);
        CHECK(str_contains(str_c(f.err.text), str_c(r->want)), "%s: %s", r->name, f.err.text);
    }
    end(&f);
}

TEST(an_unknown_key_that_is_near_to_nothing_is_a_warning)
{
    struct fixture f;
    begin(&f);
    load(&f, "version: 1\napps:\n  - appDirPath: a\n    somethingOfALaterDapr: 1\n");
    CHECK_OK(f.r, "%s", f.err.text);
    REQUIRE(f.t.n_warnings == 1);
    CHECK(str_ends(str_c(f.t.warning[0]),
                   S("dapr.yaml:4:5: 'somethingOfALaterDapr' in an app is unknown and has no "
                     "effect")),
          "%s", f.t.warning[0]);
    end(&f);
}

TEST(a_missing_file_is_named)
{
    struct fixture f;
    begin(&f);
    f.r = template_load(in_dir(&f, "none.yaml"), &f.arena, &f.t, &f.err);
    CHECK_EQ(f.r, -NOT_FOUND);
    CHECK(str_contains(str_c(f.err.text), S("none.yaml: No such file")), "%s", f.err.text);
    end(&f);
}

struct words {
    char text[2000];
};

static int add(void *arg, const char *word)
{
    struct words *w = arg;
    strncat(w->text, word, sizeof(w->text) - strlen(w->text) - 2);
    strncat(w->text, " ", 2);
    return 0;
}

TEST(settings_become_the_flags_of_daprd)
{
    struct fixture f;
    struct words w = { "" };
    begin(&f);
    make_dir(&f, "a/res");
    load(&f, "version: 1\n"
             "common: { maxBodySize: 8Mi, enableApiLogging: true, placementHostAddress: \"\" }\n"
             "apps:\n"
             "  - { appDirPath: a, appPort: 1, resourcesPath: res, appMaxConcurrency: 5,\n"
             "      appHealthThreshold: 2, enableApiLogging: false, appProtocol: h2c,\n"
             "      daprHTTPReadBufferSize: 8, unixDomainSocket: /sock, logLevel: debug }\n");
    CHECK_OK(f.r, "%s", f.err.text);
    CHECK_OK(template_sidecar_flags(&f.t.app[0], &f.arena, add, &w));
    str want = arena_printf(&f.arena,
                            "--unix-domain-socket=/sock --resources-path=%s/a/res "
                            "--app-protocol=h2c --log-level=debug --app-max-concurrency=5 "
                            "--max-body-size=8Mi --dapr-http-read-buffer-size=8 "
                            "--app-health-threshold=2 ",
                            f.dir);
    CHECK_TEXT(w.text, want.p);
    end(&f);
}

TEST(loading_survives_each_failed_allocation)
{
    struct fixture f;
    begin(&f);
    make_file(&f, "dapr.yaml",
              "version: 1\ncommon: { env: { A: 1 } }\n"
              "apps: [{ appDirPath: a, command: [x, y], zone: z }]\n");
    FAIL_EACH_ALLOC(n)
    {
        AUTO(arena_done) struct arena a;
        arena_init(&a, MIB(1));
        struct run_template t;
        struct error err = { 0 };
        int r = template_load(f.dir, &a, &t, &err);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu: %s", n, err.text);
    }
    end(&f);
}
