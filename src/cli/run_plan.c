#include "cli/run_plan.h"
#include "cli/run_files.h"

#include "format/yaml.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/id.h"

enum { PORT_LOW = 20000, PORT_TRIES = 500, WORDS_MAX = 256, CONFIG_MAX = 4 << 20 };

struct build {
    const struct plan_settings *s;
    struct arena *arena;
    struct error *err;
    const char *name; /* of the app at hand */
};

static int no_memory(struct build *b)
{
    return fail(b->err, EXHAUSTED, NULL, "%s: out of memory", b->name);
}

/* ---- ports ---- */

bool port_is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int on = 1; /* connections in TIME_WAIT don't make a port taken */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    bool bound = bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0;
    close(fd);
    return bound;
}

void port_chooser_init(struct port_chooser *c)
{
    *c = (struct port_chooser){ .low = PORT_LOW, .high = 32767 };
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    char line[64];
    if (f && fgets(line, sizeof(line), f)) {
        str low, rest;
        uint64_t first;
        str_cut(str_trim(str_c(line)), '\t', &low, &rest);
        if (str_to_u64(str_trim(low), &first) && first > PORT_LOW + 1000 && first < 65536)
            c->high = (uint16_t)(first - 1);
    }
    if (f)
        fclose(f);
}

void port_chooser_reserve(struct port_chooser *c, uint16_t port)
{
    c->taken[port / 64] |= (uint64_t)1 << (port % 64);
}

int port_chooser_take(void *chooser, uint16_t *ret)
{
    struct port_chooser *c = chooser;
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t port = (uint16_t)(c->low + id_random() % (uint64_t)(c->high - c->low + 1));
        if ((c->taken[port / 64] >> (port % 64) & 1) || !port_is_free(port))
            continue;
        port_chooser_reserve(c, port);
        *ret = port;
        return 0;
    }
    return -EXHAUSTED;
}

void port_chooser_give(void *chooser, uint16_t port)
{
    struct port_chooser *c = chooser;
    c->taken[port / 64] &= ~((uint64_t)1 << (port % 64));
}

static int choose_port(struct build *b, int64_t given, bool first, uint16_t *ret)
{
    if (given > 0 && first) {
        *ret = (uint16_t)given;
        return 0;
    }
    if (b->s->free_port(b->s->arg, ret) != 0)
        return fail(b->err, EXHAUSTED, NULL, "%s: no free port on this machine", b->name);
    return 0;
}

/* Given ports are for the first instance; the others get free ones. No appPort = no app channel. */
static int choose_ports(struct build *b, const struct run_app *app, bool first,
                        struct run_ports *ret)
{
    int r = choose_port(b, app->http_port, first, &ret->http);
    if (!r)
        r = choose_port(b, app->grpc_port, first, &ret->grpc);
    if (!r)
        r = choose_port(b, app->internal_port, first, &ret->internal);
    if (!r)
        r = choose_port(b, app->metrics_port, first, &ret->metrics);
    if (!r && app->app_port)
        r = choose_port(b, app->app_port, first, &ret->app);
    if (!r && app->profiling)
        r = choose_port(b, app->profile_port, first, &ret->profile);
    return r;
}

/* ---- words and variables ---- */

struct words {
    struct build *b;
    char **v;
    size_t n;
};

static int add_word(void *arg, const char *word)
{
    struct words *w = arg;
    if (!word)
        return no_memory(w->b);
    if (w->n == WORDS_MAX)
        return fail(w->b->err, EXHAUSTED, NULL, "%s: more than %d words in a command line",
                    w->b->name, WORDS_MAX);
    w->v[w->n++] = (char *)(uintptr_t)word; /* execve() doesn't write to them */
    return 0;
}

static int add_number(struct words *w, const char *flag, unsigned value)
{
    return value ? add_word(w, arena_printf(w->b->arena, "--%s=%u", flag, value).p) : 0;
}

static int add_pair(struct words *w, const char *flag, const char *value)
{
    return value ? add_word(w, arena_printf(w->b->arena, "--%s=%s", flag, value).p) : 0;
}

static int words_begin(struct build *b, struct words *w)
{
    *w = (struct words){ .b = b, .v = arena_zalloc(b->arena, (WORDS_MAX + 1) * sizeof(char *)) };
    return w->v ? 0 : no_memory(b);
}

/* The inherited environment with ours put over it; a later pair wins over an earlier one. */
static int make_env(struct build *b, const struct kv *kv, size_t n, char *const **ret)
{
    size_t inherited = 0, at = 0;
    while (b->s->environ[inherited])
        inherited++;
    char **env = arena_zalloc(b->arena, (inherited + n + 1) * sizeof(*env));
    if (!env)
        return no_memory(b);
    for (size_t i = 0; i < inherited; i++) {
        str name, value;
        str_cut(str_c(b->s->environ[i]), '=', &name, &value);
        bool replaced = false;
        for (size_t k = 0; k < n; k++)
            replaced |= str_eq(name, kv[k].key);
        if (!replaced)
            env[at++] = b->s->environ[i];
    }
    for (size_t i = 0; i < n; i++) {
        bool later = false;
        for (size_t k = i + 1; k < n; k++)
            later |= str_eq(kv[i].key, kv[k].key);
        if (later)
            continue;
        const str part[] = { kv[i].key, S("="), kv[i].value, { "", 1 } };
        env[at] = (char *)(uintptr_t)arena_join(b->arena, part, COUNT(part)).p;
        if (!env[at++])
            return no_memory(b);
    }
    *ret = env;
    return 0;
}

/* ---- the sidecar ---- */

/* Whether a Configuration of the user's says how names are resolved: then ours stays away. */
static bool sets_name_resolution(struct build *b, const char *path)
{
    str text;
    struct yaml_source doc;
    struct error ignored = { 0 }; /* the sidecar itself will tell what's wrong with the file */
    if (!path || files_read(b->arena, path, CONFIG_MAX, &text, &ignored) != 0)
        return false;
    struct yaml_split split = yaml_split(text, path);
    while (yaml_split_next(&split, &doc)) {
        const struct yaml_node *root;
        if (yaml_parse(b->arena, &doc, &root, &ignored) != 0)
            return false;
        if (!yaml_is_null(yaml_get(yaml_get(root, S("spec")), S("nameResolution"))))
            return true;
    }
    return false;
}

/* On a developer's machine nothing listens to the network unless asked to. Of the two files with
 * Configurations the later is merged over the earlier, so the user's is the last. */
static int add_sidecar_flags(struct words *w, const struct run_instance *in)
{
    static const char loopback[] = "127.0.0.1";
    const struct run_app *app = in->app;
    bool names = !sets_name_resolution(w->b, app->config);
    const struct {
        const char *flag;
        unsigned value;
    } number[] = {
        { "app-port", in->port.app },         { "dapr-http-port", in->port.http },
        { "dapr-grpc-port", in->port.grpc },  { "dapr-internal-grpc-port", in->port.internal },
        { "metrics-port", in->port.metrics }, { "profile-port", in->port.profile },
    };
    const struct {
        const char *flag, *value;
    } pair[] = {
        { "dapr-listen-addresses", app->listen_addresses ? app->listen_addresses : loopback },
        { "dapr-internal-grpc-listen-address", loopback },
        { "metrics-listen-address", loopback },
        { "log-level", app->log_level ? NULL : w->b->s->log_level },
        { "config", names ? w->b->s->names_config : NULL },
        { "config", app->config },
    };
    int r = add_pair(w, "app-id", app->id);
    for (size_t i = 0; !r && i < COUNT(number); i++)
        r = add_number(w, number[i].flag, number[i].value);
    for (size_t i = 0; !r && i < COUNT(pair); i++)
        r = add_pair(w, pair[i].flag, pair[i].value);
    return r ? r : template_sidecar_flags(app, w->b->arena, add_word, w);
}

static int plan_sidecar(struct build *b, struct run_instance *in)
{
    struct words w;
    int r = words_begin(b, &w);
    const char *daprd = NULL;
    if (!r && in->app->runtime_path) {
        daprd = arena_printf(b->arena, "%s/.dapr/bin/daprd", in->app->runtime_path).p;
        if (!daprd || access(daprd, X_OK) != 0)
            return fail(b->err, NOT_FOUND, NULL, "%s: runtimePath holds no .dapr/bin/daprd: %s",
                        b->name, in->app->runtime_path);
    }
    if (!r)
        r = add_word(&w, daprd ? daprd : "proa");
    if (!r && !daprd)
        r = add_word(&w, "sidecar");
    if (!r)
        r = add_sidecar_flags(&w, in);
    struct kv env[2];
    size_t n = 0;
    if (*in->zone)
        env[n++] = (struct kv){ S("PROA_ZONE"), str_c(in->zone) };
    if (b->s->enable_chaos)
        env[n++] = (struct kv){ S("PROA_ENABLE_CHAOS"), S("true") };
    if (!r)
        r = make_env(b, env, n, &in->sidecar.env);
    in->sidecar.path = daprd ? daprd : b->s->self;
    in->sidecar.argv = w.v;
    in->sidecar.dir = in->app->dir;
    return r;
}

/* ---- the app ---- */

static const char *app_protocol(const struct run_app *app)
{
    if (app->ssl && strcmp(app->protocol, "http") == 0)
        return "https";
    if (app->ssl && strcmp(app->protocol, "grpc") == 0)
        return "grpcs";
    return app->protocol;
}

struct variables {
    struct build *b;
    struct kv *v;
    size_t n;
};

static void variable(struct variables *e, str name, const char *value)
{
    if (value && *value)
        e->v[e->n++] = (struct kv){ name, str_c(value) };
}

static int port_variable(struct variables *e, str name, uint16_t port)
{
    str text = arena_printf(e->b->arena, "%u", port);
    if (!text.p)
        return no_memory(e->b);
    if (port)
        e->v[e->n++] = (struct kv){ name, text };
    return 0;
}

/* The variables that Dapr's command line sets, then the template's own, which win. */
static int app_env(struct build *b, struct run_instance *in)
{
    enum { STANDARD = 16 };
    const struct run_app *app = in->app;
    struct variables e = { .b = b };
    e.v = arena_alloc(b->arena, (STANDARD + app->env.n) * sizeof(*e.v));
    if (!e.v)
        return no_memory(b);
    variable(&e, S("APP_ID"), app->id);
    variable(&e, S("APP_PROTOCOL"), app_protocol(app));
    variable(&e, S("APP_CHANNEL_ADDRESS"), app->channel_address);
    variable(&e, S("PROA_ZONE"), in->zone);
    int r = port_variable(&e, S("APP_PORT"), in->port.app);
    if (!r)
        r = port_variable(&e, S("DAPR_HTTP_PORT"), in->port.http);
    if (!r)
        r = port_variable(&e, S("DAPR_GRPC_PORT"), in->port.grpc);
    if (!r)
        r = port_variable(&e, S("DAPR_METRICS_PORT"), in->port.metrics);
    if (r)
        return r;
    for (size_t i = 0; i < app->env.n; i++)
        e.v[e.n++] = app->env.v[i];
    return make_env(b, e.v, e.n, &in->command.env);
}

static const char *variable_of(char *const *env, str name)
{
    for (; *env; env++)
        if (str_starts(str_c(*env), name) && (*env)[name.n] == '=')
            return *env + name.n + 1;
    return NULL;
}

static int plan_command(struct build *b, struct run_instance *in)
{
    const struct option_list *command = &in->app->command;
    in->command.dir = in->app->dir;
    if (!command->n)
        return 0;
    struct words w;
    int r = app_env(b, in);
    if (!r)
        r = words_begin(b, &w);
    for (size_t i = 0; !r && i < command->n; i++)
        r = add_word(&w, command->v[i]);
    if (r)
        return r;
    in->command.argv = w.v;
    in->command.path =
        files_find_command(b->arena, w.v[0], variable_of(in->command.env, S("PATH")));
    if (!in->command.path)
        return fail(b->err, NOT_FOUND, NULL,
                    "%s: there is no command '%s' in PATH: install it, or give its path", b->name,
                    w.v[0]);
    return 0;
}

/* ---- an instance ---- */

unsigned plan_instances(const struct run_app *app, const struct plan_settings *s)
{
    return (unsigned)(s->instances ? s->instances : app->instances);
}

int plan_check(const struct run_template *t, const struct plan_settings *s, struct error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < t->n_apps; i++)
        total += plan_instances(&t->app[i], s);
    return total <= PLAN_INSTANCES_MAX
               ? 0
               : fail(err, EXHAUSTED, NULL, "%zu instances: one run can have %d", total,
                      PLAN_INSTANCES_MAX);
}

int plan_make(const struct run_app *app, unsigned number, const struct plan_settings *s,
              struct arena *a, struct run_instance *ret, struct error *err)
{
    struct build b = { .s = s, .arena = a, .err = err, .name = app->id };
    struct run_instance *in = ret;
    *in = (struct run_instance){ .app = app, .number = number };
    in->name = arena_printf(b.arena, "%s-%u", app->id, number).p;
    in->label = app->scaled || number > 1 || plan_instances(app, s) > 1 ? in->name : app->id;
    in->zone = app->zones.n ? app->zones.v[(number - 1) % app->zones.n] : "";
    int r = in->name ? choose_ports(&b, app, number == 1, &in->port) : no_memory(&b);
    if (r)
        return r;
    in->api =
        app->unix_socket
            ? arena_printf(b.arena, "unix:%s/dapr-%s-http.socket", app->unix_socket, app->id).p
            : arena_printf(b.arena, "127.0.0.1:%u", in->port.http).p;
    if (!in->api)
        return no_memory(&b);
    r = plan_sidecar(&b, in);
    return r ? r : plan_command(&b, in);
}

void plan_done(const struct run_instance *in, const struct plan_settings *s)
{
    const struct run_app *app = in->app;
    const struct {
        uint16_t port;
        int64_t given; /* by the user: it's nobody else's for the whole run */
    } row[] = {
        { in->port.app, app->app_port },         { in->port.http, app->http_port },
        { in->port.grpc, app->grpc_port },       { in->port.internal, app->internal_port },
        { in->port.metrics, app->metrics_port }, { in->port.profile, app->profile_port },
    };
    for (size_t i = 0; s->give_back && i < COUNT(row); i++)
        if (row[i].port && row[i].port != row[i].given)
            s->give_back(s->arg, row[i].port);
}
