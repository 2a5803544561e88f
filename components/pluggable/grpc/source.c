/* source.c — finds the pluggable components: every socket of a folder is asked which services it
 * has, and becomes types "<category>.<socket's name without extension>".
 * Owner:  the source owns the plugins with their tables, and the client they are called by.
 * Thread: worker 0.   Limits: SOCKETS_MAX sockets; DISCOVER_S seconds for each to answer.
 * Failure: a socket that doesn't answer is left out, with a warning. */
#include "component/source.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/worker.h"
#include "plugin.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum { SOCKETS_MAX = 64, DISCOVER_S = 5 };
static const char SCOPE[] = "dapr.runtime.pluggable";

struct source {
    const char *folder;
    struct http_client *client;
    struct plugin *plugin[SOCKETS_MAX];
    size_t n;
};

static const struct cfg_field source_fields[] = {
    { .name = "folder",
      .kind = CFG_STR,
      .off = offsetof(struct source, folder),
      .def = "/tmp/dapr-components-sockets",
      .doc = "where the sockets are; DAPR_COMPONENTS_SOCKETS_FOLDER" },
};

/* ---- the folder ---- */

struct listing {
    struct source *s;
    int problem; /* errno of opening it */
    bool more, no_memory;
};

static bool is_socket(DIR *d, const char *name)
{
    struct stat st;
    return fstatat(dirfd(d), name, &st, 0) == 0 && S_ISSOCK(st.st_mode);
}

static void add_socket(struct listing *l, const char *name)
{
    struct source *s = l->s;
    struct plugin *p = s->n < SOCKETS_MAX ? mem_zalloc(sizeof *p) : NULL;
    const char *dot = strrchr(name, '.');
    size_t n = dot ? (size_t)(dot - name) : strlen(name);
    l->more = s->n == SOCKETS_MAX;
    l->no_memory = !l->more && !p;
    if (!p)
        return;
    int len = snprintf(p->address, sizeof p->address, "unix:%s/%s", s->folder, name);
    if (!n || len < 0 || (size_t)len >= sizeof p->address) {
        log_warn(SCOPE, "socket %s/%s is left out: its path is too long for an address", s->folder,
                 name);
        mem_free(p);
        return;
    }
    snprintf(p->name, sizeof p->name, "%.*s", (int)n, name);
    p->client = s->client;
    atomic_init(&p->starts, 1);
    s->plugin[s->n++] = p;
}

static void list_folder(void *arg)
{
    struct listing *l = arg;
    DIR *d = opendir(l->s->folder);
    struct dirent *e;
    l->problem = d ? 0 : errno;
    while (d && (e = readdir(d))) {
        if (is_socket(d, e->d_name))
            add_socket(l, e->d_name);
        else if (e->d_type == DT_REG)
            log_warn(SCOPE, "could not use socket for file %s/%s: it is none", l->s->folder,
                     e->d_name);
    }
    if (d)
        (void)closedir(d);
}

/* ---- types ---- */

static void register_type(struct plugin *p, size_t i, const char *kind, struct component_type *t)
{
    snprintf(p->type[i], sizeof p->type[i], "%s.%s", kind, p->name);
    int r = registry_add(t);
    if (r < 0) {
        log_warn(SCOPE, "pluggable component %s (%s) is left out: %s", p->type[i],
                 p->address + sizeof "unix:" - 1,
                 r == -EXISTS ? "there is a component of that type; name the socket differently"
                              : "there are too many");
        t->type = NULL;
        return;
    }
    log_info(SCOPE, "pluggable component '%s' was successfully registered for '%s'", p->name, kind);
}

static void register_types(struct plugin *p)
{
    const struct {
        const char *kind;
        unsigned part;
        struct component_type *t;
        void (*fill)(struct plugin *p);
    } kinds[] = {
        { "state", PART_STATE, &p->state.t, plugin_state_table },
        { "pubsub", PART_PUBSUB, &p->pubsub.t, plugin_pubsub_table },
        { "bindings", PART_INPUT | PART_OUTPUT, &p->bindings.t, plugin_bindings_table },
        { "secretstores", PART_SECRET, &p->secrets.t, plugin_secrets_table },
    };
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (p->parts & kinds[i].part) {
            kinds[i].t->kind = kinds[i].kind;
            kinds[i].t->type = p->type[i];
            kinds[i].t->version = "v1";
            kinds[i].fill(p);
            register_type(p, i, kinds[i].kind, kinds[i].t);
        }
}

/* ---- life ---- */

CO static int source_open(void *self, const struct component_env *env, struct error *err)
{
    struct source *s = self;
    struct listing l = { .s = s };
    struct http_client_config config = { .h2 = true, .dial_timeout_ns = SEC(5) };
    s->client = http_client_new(&config);
    if (!s->client || blocking(list_folder, &l) < 0 || l.no_memory)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    if (l.problem && l.problem != ENOENT)
        log_warn(SCOPE, "pluggable components: %s: %s", s->folder, strerror(l.problem));
    if (l.more)
        log_warn(SCOPE, "pluggable components: more than %d sockets in %s: some are left out",
                 SOCKETS_MAX, s->folder);
    for (size_t i = 0; i < s->n; i++) {
        struct error cause = { 0 };
        DEADLINE(SEC(DISCOVER_S));
        if (plugin_discover(s->plugin[i], &cause) < 0)
            log_warn(SCOPE, "pluggable component is left out: unable to list services: %s",
                     cause.text);
        else
            register_types(s->plugin[i]);
    }
    return 0;
}

static void end_client(void *arg)
{
    http_client_free(arg);
}

CO static void source_close(void *self)
{
    struct source *s = self;
    for (size_t i = 0; i < s->n; i++) {
        struct component_type *t[] = { &s->plugin[i]->state.t, &s->plugin[i]->pubsub.t,
                                       &s->plugin[i]->bindings.t, &s->plugin[i]->secrets.t };
        for (size_t k = 0; k < COUNT(t); k++)
            registry_remove(t[k]);
        mem_free(s->plugin[i]);
    }
    s->n = 0;
    if (s->client) /* it closes connections of all workers, thus not from one of them */
        while (blocking(end_client, s->client) < 0)
            (void)fiber_sleep(MS(10));
    s->client = NULL;
}

extern const struct source_ops source_pluggable_grpc;
const struct source_ops source_pluggable_grpc = {
    .t = {
        .kind = "source",
        .type = "source.pluggable",
        .version = "v1",
        .doc = "pluggable components: processes that serve components on unix sockets",
        .size = sizeof(struct source),
        .fields = source_fields,
        .n_fields = COUNT(source_fields),
        .open = source_open,
        .close = source_close,
    },
};
