#include "cli/run_template.h"
#include "cli/run_files.h"

#include "format/duration.h"
#include "format/yaml.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PORT_MAX = 65535, ROWS_MAX = 64, NEAR_MAX = 64 };

const char *const run_protocols[] = { "http", "https", "grpc", "grpcs", "h2c", NULL };
const char *const run_log_levels[] = { "debug", "info", "warn", "error", "fatal", NULL };
const char *const run_log_destinations[] = { "console", "file", "fileAndConsole", NULL };
const char *const run_restarts[] = { "always", "on-failure", "never", NULL };

enum field_kind { STR, FOLDED, INT, BOOL, LIST, ENV, PATH, PATHS, QUANTITY, IGNORED };
enum {
    SHARED = 1, /* may stand in 'common' too */
    OURS = 2,   /* not in Dapr's template */
};

struct field {
    const char *key;
    enum field_kind kind;
    size_t off;
    unsigned flags;
    const char *daprd; /* the sidecar's flag; NULL = none, or made by the plan for each instance */
    int64_t min, max;
    const char *const *choices;
};

#define AT(member) offsetof(struct run_app, member)
static const struct field fields[] = {
    { "appID", STR, AT(id) },
    { "appDirPath", STR, AT(dir) }, /* resolved before all other paths */
    { "command", LIST, AT(command) },
    { "appPort", INT, AT(app_port), 0, NULL, -1, PORT_MAX },
    { "daprHTTPPort", INT, AT(http_port), 0, NULL, -1, PORT_MAX },
    { "daprGRPCPort", INT, AT(grpc_port), 0, NULL, -1, PORT_MAX },
    { "daprInternalGRPCPort", INT, AT(internal_port), 0, NULL, -1, PORT_MAX },
    { "metricsPort", INT, AT(metrics_port), 0, NULL, -1, PORT_MAX },
    { "profilePort", INT, AT(profile_port), 0, NULL, -1, PORT_MAX },
    { "unixDomainSocket", STR, AT(unix_socket), 0, "unix-domain-socket" },
    { "appChannelAddress", STR, AT(channel_address), 0, "app-channel-address" },
    { "configFilePath", PATH, AT(config), SHARED },
    { "resourcesPath", PATHS, AT(resources), SHARED, "resources-path" },
    { "resourcesPaths", PATHS, AT(resources), SHARED },
    { "appProtocol", FOLDED, AT(protocol), SHARED, "app-protocol", .choices = run_protocols },
    { "apiListenAddresses", STR, AT(listen_addresses), SHARED },
    { "enableProfiling", BOOL, AT(profiling), SHARED, "enable-profiling" },
    { "logLevel", FOLDED, AT(log_level), SHARED, "log-level", .choices = run_log_levels },
    { "appMaxConcurrency", INT, AT(max_concurrency), SHARED, "app-max-concurrency", -1, INT_MAX },
    { "placementHostAddress", STR, AT(placement), SHARED, "placement-host-address" },
    { "schedulerHostAddress", STR, AT(scheduler), SHARED, "scheduler-host-address" },
    { "appSSL", BOOL, AT(ssl), SHARED, "app-ssl" },
    { "maxBodySize", QUANTITY, AT(max_body_size), SHARED, "max-body-size" },
    { "readBufferSize", QUANTITY, AT(read_buffer_size), SHARED, "read-buffer-size" },
    { "daprHTTPMaxRequestSize", INT, AT(old_max_request_mb), SHARED, "dapr-http-max-request-size",
      -1, INT_MAX },
    { "daprHTTPReadBufferSize", INT, AT(old_read_buffer_kb), SHARED, "dapr-http-read-buffer-size",
      -1, INT_MAX },
    { "enableAppHealthCheck", BOOL, AT(health_check), SHARED, "enable-app-health-check" },
    { "appHealthCheckPath", STR, AT(health_path), SHARED, "app-health-check-path" },
    { "appHealthProbeInterval", INT, AT(health_interval), SHARED, "app-health-probe-interval", 0,
      INT_MAX },
    { "appHealthProbeTimeout", INT, AT(health_timeout), SHARED, "app-health-probe-timeout", 0,
      INT_MAX },
    { "appHealthThreshold", INT, AT(health_threshold), SHARED, "app-health-threshold", 0, INT_MAX },
    { "enableApiLogging", BOOL, AT(api_logging), SHARED, "enable-api-logging" },
    { "runtimePath", PATH, AT(runtime_path), SHARED },
    { "env", ENV, AT(env), SHARED },
    { "appLogDestination", STR, AT(app_log), SHARED, .choices = run_log_destinations },
    { "daprdLogDestination", STR, AT(sidecar_log), SHARED, .choices = run_log_destinations },
    { "containerImage", IGNORED, 0 }, /* these three are for Kubernetes */
    { "containerImagePullPolicy", IGNORED, 0 },
    { "createService", IGNORED, 0 },
    { "instances", INT, AT(instances), SHARED | OURS, NULL, 1, TEMPLATE_INSTANCES_MAX },
    { "restart", STR, AT(restart), SHARED | OURS, .choices = run_restarts },
    { "zone", LIST, AT(zones), SHARED | OURS },
};
#undef AT

_Static_assert(COUNT(fields) <= ROWS_MAX, "the set of fields must fit 64 bits");

struct load {
    struct arena *arena;
    struct run_template *t;
    const char *file;
    const char *dir; /* of the file */
    const char *home;
    struct error *err;
};

static int no_memory(struct load *l)
{
    return fail(l->err, EXHAUSTED, NULL, "%s: out of memory: the template is too large", l->file);
}

static void *field_at(struct run_app *app, const struct field *f)
{
    return (char *)app + f->off;
}

/* ---- one value ---- */

static int wrong_type(struct load *l, const struct field *f, const struct yaml_node *n,
                      const char *want)
{
    return yaml_fail(l->err, l->file, n, INVALID, "%s must be %s, not %s", f->key, want,
                     yaml_type_name(n->type));
}

static int check_choice(struct load *l, const struct field *f, const struct yaml_node *n,
                        const char *value)
{
    size_t count = 0;
    char all[128] = "";
    for (; f->choices && f->choices[count]; count++) {
        if (strcmp(f->choices[count], value) == 0)
            return 0;
        size_t used = strlen(all);
        snprintf(all + used, sizeof(all) - used, "%s%s", count ? ", " : "", f->choices[count]);
    }
    if (!count)
        return 0;
    const char *near = option_suggest(value, f->choices, count);
    if (near)
        return yaml_fail(l->err, l->file, n, INVALID, "%s can't be '%s': did you mean '%s'?",
                         f->key, value, near);
    return yaml_fail(l->err, l->file, n, INVALID, "%s can't be '%s': use one of %s", f->key, value,
                     all);
}

static int set_text(struct load *l, const struct field *f, const struct yaml_node *n,
                    const char **at)
{
    if (!yaml_is_scalar(n))
        return wrong_type(l, f, n, "a text");
    char *value = arena_cstr(l->arena, n->text);
    if (!value)
        return no_memory(l);
    if (f->kind == FOLDED)
        for (char *p = value; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
    int64_t size;
    if (f->kind == QUANTITY && !quantity_parse(n->text, &size))
        return yaml_fail(l->err, l->file, n, INVALID, "%s must be a size such as 4Mi, not '%s'",
                         f->key, value);
    *at = value;
    return check_choice(l, f, n, value);
}

static int set_int(struct load *l, const struct field *f, const struct yaml_node *n, int64_t *at)
{
    int64_t v;
    bool is_number = yaml_i64(n, &v) || (n->type == YAML_STR && str_to_i64(n->text, &v));
    if (!is_number)
        return wrong_type(l, f, n, "a number");
    if (v < f->min || v > f->max)
        return yaml_fail(l->err, l->file, n, INVALID, "%s must be from %lld to %lld", f->key,
                         (long long)f->min, (long long)f->max);
    *at = v;
    return 0;
}

static int list_append(struct load *l, struct option_list *list, str item)
{
    const char **v = arena_alloc(l->arena, (list->n + 1) * sizeof(*v));
    char *copy = arena_cstr(l->arena, item);
    if (!v || !copy)
        return no_memory(l);
    if (list->n)
        memcpy(v, list->v, list->n * sizeof(*v));
    v[list->n] = copy;
    *list = (struct option_list){ v, list->n + 1 };
    return 0;
}

/* A list of texts; a lone text counts as its only item, and for paths may name several by commas.
 */
static int set_list(struct load *l, const struct field *f, const struct yaml_node *n,
                    struct option_list *at)
{
    if (n->type == YAML_SEQ) {
        for (size_t i = 0; i < n->n; i++) {
            if (!yaml_is_scalar(n->item[i]))
                return wrong_type(l, f, n->item[i], "a list of texts");
            int r = list_append(l, at, n->item[i]->text);
            if (r)
                return r;
        }
        return 0;
    }
    if (!yaml_is_scalar(n))
        return wrong_type(l, f, n, "a list of texts");
    if (f->off == offsetof(struct run_app, command))
        return yaml_fail(l->err, l->file, n, INVALID,
                         "command must be a list of words: [\"python3\", \"app.py\"]");
    str rest = n->text, item;
    while (str_next(&rest, ',', &item)) {
        int r = item.n ? list_append(l, at, item) : 0;
        if (r)
            return r;
    }
    return 0;
}

/* Dapr's older documents show a list of one-pair maps, the newer ones a map: both are taken. */
static int set_env(struct load *l, const struct field *f, const struct yaml_node *n, struct kvs *at)
{
    if (n->type != YAML_MAP && n->type != YAML_SEQ)
        return wrong_type(l, f, n, "a map of names and values");
    for (size_t i = 0; n->type == YAML_SEQ && i < n->n; i++) {
        if (n->item[i]->type != YAML_MAP)
            return wrong_type(l, f, n->item[i], "a map of names and values");
        int r = set_env(l, f, n->item[i], at);
        if (r)
            return r;
    }
    if (n->type == YAML_SEQ)
        return 0;
    struct kv *v = arena_alloc(l->arena, (at->n + n->n + 1) * sizeof(*v));
    if (!v)
        return no_memory(l);
    if (at->n)
        memcpy(v, at->v, at->n * sizeof(*v));
    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_pair *p = &n->pair[i];
        if (!yaml_is_scalar(p->value) && !yaml_is_null(p->value))
            return yaml_fail(l->err, l->file, p->value, INVALID, "env: %.*s must be one value",
                             STR_ARG(p->key->text));
        if (!p->key->text.n || str_find_c(p->key->text, '=') >= 0)
            return yaml_fail(l->err, l->file, p->key, INVALID, "env: '%.*s' can't name a variable",
                             STR_ARG(p->key->text));
        v[at->n + i] = (struct kv){ p->key->text, yaml_text(p->value, S("")) };
    }
    *at = (struct kvs){ v, at->n + n->n };
    return 0;
}

static int set_field(struct load *l, const struct field *f, const struct yaml_node *n,
                     struct run_app *app)
{
    void *at = field_at(app, f);
    if (yaml_is_null(n))
        return 0; /* "key:" with nothing behind it: as if it weren't there */
    switch (f->kind) {
    case STR:
    case FOLDED:
    case PATH:
    case QUANTITY:
        return set_text(l, f, n, at);
    case INT:
        return set_int(l, f, n, at);
    case BOOL:
        return yaml_bool(n, at) ? 0 : wrong_type(l, f, n, "true or false");
    case LIST:
    case PATHS:
        return set_list(l, f, n, at);
    case ENV:
        return set_env(l, f, n, at);
    case IGNORED:
        return 0;
    }
    return -INTERNAL;
}

/* ---- one map ---- */

/* A key near one of ours is a typing error; any other may be of a later Dapr: a warning. */
static int unknown_key(struct load *l, const struct yaml_node *key, const char *const *known,
                       size_t n, const char *where)
{
    const char *near = option_suggest(key->text.p, known, n);
    for (size_t i = 0; i < n && !near; i++)
        if (str_ieq(key->text, str_c(known[i])))
            near = known[i];
    if (near)
        return yaml_fail(l->err, l->file, key, INVALID,
                         "unknown key '%s' in %s: did you mean '%s'?", key->text.p, where, near);
    if (l->t->n_warnings == TEMPLATE_WARNINGS_MAX)
        return 0;
    str text = arena_printf(l->arena, "%s:%u:%u: '%s' in %s is unknown and has no effect", l->file,
                            key->line, key->column, key->text.p, where);
    if (!text.p)
        return no_memory(l);
    l->t->warning[l->t->n_warnings++] = text.p;
    return 0;
}

static int decode_app(struct load *l, const struct yaml_node *map, bool common, struct run_app *app,
                      uint64_t *ret_set)
{
    const char *where = common ? "common" : "an app";
    const char *known[ROWS_MAX];
    size_t n_known = 0;
    for (size_t i = 0; i < COUNT(fields); i++)
        if (!common || (fields[i].flags & SHARED))
            known[n_known++] = fields[i].key;

    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *key = map->pair[i].key;
        size_t row = 0;
        while (row < COUNT(fields) && !str_eq(key->text, str_c(fields[row].key)))
            row++;
        bool found = row < COUNT(fields);
        if (found && common && !(fields[row].flags & SHARED))
            return yaml_fail(l->err, l->file, key, INVALID,
                             "'%s' can't be in common: put it into each app", fields[row].key);
        int r = found ? set_field(l, &fields[row], map->pair[i].value, app)
                      : unknown_key(l, key, known, n_known, where);
        if (r)
            return r;
        if (found && !yaml_is_null(map->pair[i].value))
            *ret_set |= (uint64_t)1 << row;
    }
    return 0;
}

/* ---- paths ---- */

static int resolve(struct load *l, const char *base, const char **path, bool must_exist,
                   const char *key)
{
    if (!*path || !**path)
        return 0;
    const char *full = files_resolve(l->arena, base, *path, l->home);
    if (!full)
        return no_memory(l);
    if (must_exist && access(full, F_OK) != 0)
        return fail(l->err, NOT_FOUND, NULL, "%s: %s: there is no %s", l->file, key, full);
    *path = full;
    return 0;
}

static int resolve_all(struct load *l, const char *base, struct run_app *app)
{
    int r = resolve(l, base, &app->config, true, "configFilePath");
    if (!r)
        r = resolve(l, base, &app->runtime_path, true, "runtimePath");
    for (size_t i = 0; !r && i < app->resources.n; i++)
        r = resolve(l, base, &app->resources.v[i], true, "resourcesPaths");
    return r;
}

/* The nearest of: given for the app, <app>/.dapr/<name>, common's, ~/.dapr/<home_name>. */
static int find_convention(struct load *l, const char *app_dir, const char *name,
                           const char *home_name, const char *common, const char **ret)
{
    str local = arena_printf(l->arena, "%s/.dapr/%s", app_dir, name);
    str home = arena_printf(l->arena, "%s/.dapr/%s", l->home ? l->home : "", home_name);
    if (!local.p || !home.p)
        return no_memory(l);
    if (access(local.p, F_OK) == 0)
        *ret = local.p;
    else if (common)
        *ret = common;
    else if (l->home && access(home.p, F_OK) == 0)
        *ret = home.p;
    return 0;
}

static int add_conventions(struct load *l, const struct run_app *common, struct run_app *app)
{
    int r = 0;
    if (!app->config)
        r = find_convention(l, app->dir, "config.yaml", "config.yaml", common->config,
                            &app->config);
    if (r || app->resources.n)
        return r;
    const char *dir = NULL;
    const char *shared = common->resources.n ? common->resources.v[0] : NULL;
    r = find_convention(l, app->dir, "resources", "components", shared, &dir);
    if (r || !dir)
        return r;
    if (dir == shared) {
        app->resources = common->resources;
        return 0;
    }
    return list_append(l, &app->resources, str_c(dir));
}

/* ---- putting an app together ---- */

static size_t field_size(const struct field *f)
{
    switch (f->kind) {
    case INT:
        return sizeof(int64_t);
    case BOOL:
        return sizeof(bool);
    case LIST:
    case PATHS:
        return sizeof(struct option_list);
    case ENV:
    case IGNORED:
        return 0; /* merged by name, or nothing at all */
    default:
        return sizeof(const char *);
    }
}

static bool has_env(const struct run_app *app, str key)
{
    for (size_t i = 0; i < app->env.n; i++)
        if (str_eq(app->env.v[i].key, key))
            return true;
    return false;
}

static int merge_env(struct load *l, const struct run_app *common, struct run_app *app)
{
    struct kv *v = arena_alloc(l->arena, (app->env.n + common->env.n + 1) * sizeof(*v));
    if (!v)
        return no_memory(l);
    size_t n = 0;
    for (size_t i = 0; i < common->env.n; i++)
        if (!has_env(app, common->env.v[i].key))
            v[n++] = common->env.v[i];
    for (size_t i = 0; i < app->env.n; i++)
        v[n++] = app->env.v[i];
    app->env = (struct kvs){ v, n };
    return 0;
}

static int merge_common(struct load *l, const struct run_app *common, uint64_t common_set,
                        struct run_app *app, uint64_t app_set)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        const struct field *f = &fields[i];
        /* What conventions decide (config and resources) has been looked up by then. */
        bool wanted = (common_set >> i & 1) && !(app_set >> i & 1) && f->kind != PATHS &&
                      f->off != offsetof(struct run_app, config);
        if (wanted && field_size(f))
            memcpy(field_at(app, f), (const char *)common + f->off, field_size(f));
    }
    return merge_env(l, common, app);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static int bad_app(struct load *l, const struct run_app *app, const char *what)
{
    if (!app->line)
        return fail(l->err, INVALID, NULL, "%s", what);
    return fail(l->err, INVALID, NULL, "%s:%u:%u: %s", l->file, app->line, app->column, what);
}

static void add_defaults(struct run_app *app)
{
    if (!app->id)
        app->id = base_name(app->dir);
    if (!app->protocol)
        app->protocol = "http";
    if (!app->instances)
        app->instances = 1;
    int64_t *const ports[] = { &app->app_port,     &app->http_port,    &app->grpc_port,
                               &app->metrics_port, &app->profile_port, &app->internal_port };
    for (size_t i = 0; i < COUNT(ports); i++)
        if (*ports[i] < 0)
            *ports[i] = 0; /* Dapr writes -1 for 'choose one' */
}

static int check_app(struct load *l, const struct run_app *app)
{
    if (!*app->id || strchr(app->id, '.') || strchr(app->id, '/'))
        return bad_app(l, app, "appID must not be empty, nor hold '.' or '/'");
    if (app->app_port && (app->app_port == app->http_port || app->app_port == app->grpc_port))
        return bad_app(l, app, "appPort must differ from the sidecar's ports");
    if (app->unix_socket && app->instances > 1)
        return bad_app(l, app, "unixDomainSocket serves one instance: remove it, or 'instances'");
    for (size_t i = 0; i < l->t->n_apps; i++)
        if (&l->t->app[i] != app && strcmp(l->t->app[i].id, app->id) == 0)
            return bad_app(l, app, "another app has the same appID: for copies use 'instances: 2'");
    return 0;
}

/* Two apps can't have one port; 0 = chosen later. */
static int check_ports(struct load *l)
{
    for (size_t i = 0; i < l->t->n_apps * 4; i++) {
        const struct run_app *a = &l->t->app[i / 4];
        const int64_t pa[] = { a->app_port, a->http_port, a->grpc_port, a->metrics_port };
        for (size_t k = 0; k < i && pa[i % 4]; k++) {
            const struct run_app *b = &l->t->app[k / 4];
            const int64_t pb[] = { b->app_port, b->http_port, b->grpc_port, b->metrics_port };
            if (pa[i % 4] != pb[k % 4])
                continue;
            char text[160];
            snprintf(text, sizeof(text), "port %lld is used twice, by %s and %s: change one",
                     (long long)pa[i % 4], b->id, a->id);
            return bad_app(l, a, text);
        }
    }
    return 0;
}

static int load_app(struct load *l, const struct yaml_node *n, const struct run_app *common,
                    uint64_t common_set, struct run_app *app)
{
    uint64_t set = 0;
    if (n->type != YAML_MAP)
        return yaml_fail(l->err, l->file, n, INVALID, "an app must be a map, such as '- appID: x'");
    app->line = n->line;
    app->column = n->column;
    int r = decode_app(l, n, false, app, &set);
    if (r)
        return r;
    if (!app->dir)
        return yaml_fail(l->err, l->file, n, INVALID,
                         "this app has no appDirPath: say where its code is ('appDirPath: .')");
    r = resolve(l, l->dir, &app->dir, true, "appDirPath");
    if (!r)
        r = resolve_all(l, app->dir, app);
    if (!r)
        r = add_conventions(l, common, app);
    if (!r)
        r = merge_common(l, common, common_set, app, set);
    if (r)
        return r;
    add_defaults(app);
    return 0;
}

static int load_apps(struct load *l, const struct yaml_node *root, const struct run_app *common,
                     uint64_t common_set)
{
    const struct yaml_node *apps = yaml_get(root, S("apps"));
    if (!apps || apps->type != YAML_SEQ || !apps->n)
        return yaml_fail(l->err, l->file, apps ? apps : root, INVALID,
                         "'apps' must be a list of at least one app");
    if (apps->n > TEMPLATE_APPS_MAX)
        return yaml_fail(l->err, l->file, apps, INVALID, "more than %d apps: run them as several",
                         TEMPLATE_APPS_MAX);
    l->t->app = arena_zalloc(l->arena, apps->n * sizeof(struct run_app));
    if (!l->t->app)
        return no_memory(l);
    int r = 0;
    for (size_t i = 0; !r && i < apps->n; i++) {
        r = load_app(l, apps->item[i], common, common_set, &l->t->app[i]);
        l->t->n_apps += !r;
        if (!r)
            r = check_app(l, &l->t->app[i]);
    }
    return r ? r : check_ports(l);
}

static int check_top(struct load *l, const struct yaml_node *root)
{
    static const char *const top[] = { "version", "name", "common", "apps" };
    if (!root || root->type != YAML_MAP)
        return yaml_fail(l->err, l->file, root, INVALID,
                         "a run template is a map with 'version: 1' and 'apps'");
    for (size_t i = 0; i < root->n; i++) {
        const struct yaml_node *key = root->pair[i].key;
        bool known = false;
        for (size_t k = 0; k < COUNT(top); k++)
            known |= str_eq(key->text, str_c(top[k]));
        int r = known ? 0 : unknown_key(l, key, top, COUNT(top), "the template");
        if (r)
            return r;
    }
    const struct yaml_node *version = yaml_get(root, S("version"));
    int64_t v;
    if (!version)
        return yaml_fail(l->err, l->file, root, INVALID, "'version: 1' is missing");
    if (!yaml_i64(version, &v) || v != 1)
        return yaml_fail(l->err, l->file, version, INVALID, "version must be 1");
    return 0;
}

static int load_text(struct load *l, str text)
{
    const struct yaml_source src = { .text = text, .file = l->file, .line = 1 };
    const struct yaml_node *root;
    int r = yaml_parse(l->arena, &src, &root, l->err);
    if (!r)
        r = check_top(l, root);
    if (r)
        return r;
    str name = yaml_text(yaml_get(root, S("name")), str_c(base_name(l->dir)));
    l->t->name = arena_cstr(l->arena, name);
    if (!l->t->name)
        return no_memory(l);

    struct run_app common = { 0 };
    uint64_t common_set = 0;
    const struct yaml_node *map = yaml_get(root, S("common"));
    if (!yaml_is_null(map)) {
        if (map->type != YAML_MAP)
            return yaml_fail(l->err, l->file, map, INVALID, "common must be a map");
        r = decode_app(l, map, true, &common, &common_set);
        if (!r)
            r = resolve_all(l, l->dir, &common);
        if (r)
            return r;
    }
    return load_apps(l, root, &common, common_set);
}

int template_load(const char *path, struct arena *a, struct run_template *ret, struct error *err)
{
    *ret = (struct run_template){ 0 };
    struct load l = { .arena = a, .t = ret, .home = getenv("HOME"), .err = err };
    l.file = files_is_dir(path) ? arena_printf(a, "%s/dapr.yaml", path).p : path;
    l.dir = l.file ? files_dir_of(a, l.file) : NULL;
    if (!l.dir)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    ret->file = l.file;
    str text;
    int r = files_read(a, l.file, YAML_SIZE_MAX, &text, err);
    return r ? r : load_text(&l, text);
}

int template_from_flags(const struct run_app *flags, struct arena *a, struct run_template *ret,
                        struct error *err)
{
    *ret = (struct run_template){ 0 };
    struct load l = { .arena = a, .t = ret, .file = "", .home = getenv("HOME"), .err = err };
    l.dir = files_resolve(a, NULL, ".", NULL);
    ret->app = arena_zalloc(a, sizeof(struct run_app));
    if (!l.dir || !ret->app)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    l.file = "command line";
    struct run_app *app = ret->app;
    *app = *flags;
    app->dir = l.dir;
    int r = resolve_all(&l, l.dir, app);
    struct run_app common = { 0 };
    if (!r)
        r = add_conventions(&l, &common, app);
    if (r)
        return r;
    add_defaults(app);
    ret->name = app->id;
    ret->n_apps = 1;
    return check_app(&l, app);
}

/* ---- towards the sidecar ---- */

static int add_flag(const struct field *f, const void *at, struct arena *a,
                    int (*add)(void *, const char *), void *arg)
{
    if (f->kind == PATHS || f->kind == LIST) {
        const struct option_list *list = at;
        for (size_t i = 0; i < list->n; i++) {
            str word = arena_printf(a, "--%s=%s", f->daprd, list->v[i]);
            int r = word.p ? add(arg, word.p) : -EXHAUSTED;
            if (r)
                return r;
        }
        return 0;
    }
    str word = { 0 };
    if (f->kind == INT && *(const int64_t *)at)
        word = arena_printf(a, "--%s=%lld", f->daprd, (long long)*(const int64_t *)at);
    else if (f->kind == BOOL && *(const bool *)at)
        word = arena_printf(a, "--%s=true", f->daprd);
    else if (f->kind != INT && f->kind != BOOL && *(const char *const *)at &&
             **(const char *const *)at)
        word = arena_printf(a, "--%s=%s", f->daprd, *(const char *const *)at);
    else
        return 0;
    return word.p ? add(arg, word.p) : -EXHAUSTED;
}

int template_sidecar_flags(const struct run_app *app, struct arena *a,
                           int (*add)(void *arg, const char *word), void *arg)
{
    for (size_t i = 0; i < COUNT(fields); i++) {
        const struct field *f = &fields[i];
        int r = f->daprd ? add_flag(f, (const char *)app + f->off, a, add, arg) : 0;
        if (r)
            return r;
    }
    return 0;
}
