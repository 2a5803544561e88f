#include "test/conformance/suite.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORKERS = 2, FIBERS = 4000, VARIANTS_MAX = 8, FILE_MAX = 64 << 10 };

static struct {
    unsigned run, failed, skipped;
    bool verbose;
} total;

/* ---- conformance.conf ---- */

/* A type that was found while we run has no folder: its source's says how such are tested. */
static bool is_added(const struct component_type *t)
{
    size_t n;
    const struct component_type *const *type = registry_added(&n);
    for (size_t i = 0; i < n; i++)
        if (type[i] == t)
            return true;
    return false;
}

static FILE *open_conf(struct arena *a, const struct component_type *t)
{
    static const char *const root[] = { "components", "test/conformance/example_engine" };
    const char *source = getenv("PROA_SOURCE"), *dot = t->type + strlen(t->kind);
    FILE *f = NULL;
    if (is_added(t)) {
        str path =
            arena_printf(a, "%s/components/pluggable/grpc/conformance.conf", source ? source : ".");
        return path.p ? fopen(path.p, "re") : NULL;
    }
    for (size_t i = 0; !f && i < COUNT(root); i++) {
        str path = arena_printf(a, "%s/%s/%s/%s/conformance.conf", source ? source : ".", root[i],
                                t->kind, *dot ? dot + 1 : "");
        f = path.p ? fopen(path.p, "re") : NULL;
    }
    return f;
}

static str read_conf(struct arena *a, const struct component_type *t)
{
    FILE *f = open_conf(a, t);
    char *text = f ? arena_alloc(a, FILE_MAX) : NULL;
    size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;
    if (f)
        (void)fclose(f);
    return str_of(text, n);
}

static void add_field(struct arena *a, struct suite_variant *v, str line)
{
    str key, value;
    (void)str_cut(line, '=', &key, &value);
    value = str_trim(value);
    if (str_starts(value, S("{env:")) && str_ends(value, S("}"))) {
        const char *name = arena_cstr(a, str_take(str_skip(value, 5), value.n - 6));
        const char *text = name ? getenv(name) : NULL;
        v->skip |= !text;
        value = str_c(text);
    }
    INV(v->n_fields < SUITE_FIELDS_MAX);
    v->field[v->n_fields++] = (struct kv){ str_trim(key), value };
}

static size_t read_variants(struct arena *a, const struct component_type *t,
                            struct suite_variant *v)
{
    str text = read_conf(a, t), line;
    size_t n = 0;
    while (str_next(&text, '\n', &line)) {
        if (!line.n || line.p[0] == '#')
            continue;
        if (line.p[0] == '[') {
            INV(n < VARIANTS_MAX);
            v[n++] = (struct suite_variant){ .name = arena_cstr(
                                                 a, str_take(str_skip(line, 1), line.n - 2)) };
        } else if (n && line.p[0] == '@') {
            INV(v[n - 1].n_promises < SUITE_PROMISES_MAX);
            v[n - 1].promise[v[n - 1].n_promises++] = arena_cstr(a, str_skip(line, 1));
        } else if (n && line.p[0] == '$') {
            v[n - 1].server = arena_cstr(a, str_trim(str_skip(line, 1)));
            v[n - 1].skip |= !server_installed(v[n - 1].server);
        } else if (n) {
            add_field(a, &v[n - 1], line);
        }
    }
    if (!n)
        v[n++] = (struct suite_variant){ .name = "default" };
    return n;
}

bool suite_promises(const struct suite *s, const char *promise)
{
    for (size_t i = 0; i < s->variant->n_promises; i++)
        if (strcmp(s->variant->promise[i], promise) == 0)
            return true;
    return false;
}

/* ---- instances ---- */

static str fill_in(struct suite *s, str value)
{
    char text[1024];
    INV(server_fill(&s->server, value, text, sizeof text));
    return arena_dup(&s->config, str_c(text));
}

static void *open_instance(struct suite *s, struct error *err)
{
    const struct component_type *t = s->type;
    size_t n = 0, max = s->variant->n_fields + s->n_extra;
    struct kv *kv = arena_alloc(&s->config, (max + 1) * sizeof *kv);
    void *self = mem_zalloc(t->size);
    INV(kv && self);
    for (size_t i = 0; i < s->variant->n_fields; i++)
        kv[n++] = (struct kv){ s->variant->field[i].key, fill_in(s, s->variant->field[i].value) };
    for (size_t i = 0; i < s->n_extra; i++)
        kv[n++] = (struct kv){ s->extra[i].key, fill_in(s, s->extra[i].value) };
    s->env = (struct component_env){ .name = "store",
                                     .type = t,
                                     .app_id = "app",
                                     .namespace_ = "",
                                     .metadata = { kv, n },
                                     .host_address = "127.0.0.1" };
    int r = cfg_decode(t, s->env.metadata, &s->config, self, NULL, NULL, err);
    if (r == 0)
        r = t->open(self, &s->env, err);
    else {
        mem_free(self);
        return NULL;
    }
    if (r < 0) {
        t->close(self);
        mem_free(TAKE(self));
    }
    return self;
}

int suite_open(struct suite *s, struct error *err)
{
    s->self = open_instance(s, err);
    return s->self ? 0 : -(int)err->code;
}

void suite_close(struct suite *s)
{
    if (!s->self)
        return;
    s->type->close(s->self);
    mem_free(TAKE(s->self));
}

bool suite_reopen(struct suite *s)
{
    struct error err = { 0 };
    suite_close(s);
    if (suite_open(s, &err) < 0)
        printf("    opening again: %s\n", err.text);
    return CHECK(s->self != NULL);
}

void *suite_open_other(struct suite *s)
{
    struct error err = { 0 };
    void *other = open_instance(s, &err);
    if (!other)
        printf("    opening a second one: %s\n", err.text);
    CHECK(other != NULL);
    return other;
}

void suite_close_other(struct suite *s, void *self)
{
    if (self)
        s->type->close(self);
    mem_free(self);
}

/* ---- helpers of cases ---- */

struct parallel {
    void (*fn)(void *arg, size_t i);
    void *arg;
    atomic_size_t left;
    struct ticket ticket;
};

struct strand {
    struct parallel *p;
    size_t i;
};

static void strand_done(struct parallel *p)
{
    if (atomic_fetch_sub(&p->left, 1) == 1)
        ticket_done(&p->ticket, 0);
}

static void run_strand(void *arg)
{
    struct strand *s = arg;
    s->p->fn(s->p->arg, s->i);
    strand_done(s->p);
}

bool suite_parallel(size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    struct parallel p = { .fn = fn, .arg = arg, .left = n + 1 };
    struct strand *strand = mem_zalloc(n * sizeof *strand);
    bool all = strand;
    INV(strand);
    ticket_init(&p.ticket);
    for (size_t i = 0; i < n; i++) {
        strand[i] = (struct strand){ &p, i };
        if (worker_spawn(worker_at(i % workers_count()), "strand", run_strand, &strand[i]) < 0) {
            all = false;
            strand_done(&p);
        }
    }
    strand_done(&p);
    (void)!ticket_wait(&p.ticket);
    mem_free(strand);
    return all;
}

bool suite_wait(bool (*holds)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t until = clock_now_ns() + limit_ns;
    while (!holds(arg)) {
        if (clock_now_ns() >= until)
            return false;
        if (fiber_sleep(MS(2)) < 0)
            return false;
    }
    return true;
}

bool suite_check(struct suite *s, bool ok, const char *expr, const char *file, int line)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (ok)
        return true;
    const char *slash = strrchr(file, '/');
    pthread_mutex_lock(&lock);
    printf("    %s:%d: %s does not hold\n", slash ? slash + 1 : file, line, expr);
    s->failed++;
    pthread_mutex_unlock(&lock);
    return false;
}

/* ---- running ---- */

struct running {
    struct suite *s;
    const struct suite_case *c;
    bool skipped; /* the open instance doesn't have what the case needs */
};

static void case_fiber(void *arg)
{
    struct running *r = arg;
    struct error err = { 0 };
    if (suite_open(r->s, &err) < 0) {
        printf("    opening: %s\n", err.text);
        r->s->failed++;
        return;
    }
    const struct component_type *t = r->s->type;
    r->skipped = t->features_of && r->c->needs & ~t->features_of(r->s->self);
    if (!r->skipped)
        r->c->run(r->s);
    suite_close(r->s);
}

static void run_case(const struct component_type *t, const struct suite_variant *v,
                     const struct suite_case *c)
{
    struct suite s = { .type = t, .variant = v };
    struct running r = { .s = &s, .c = c };
    bool lacks = !t->features_of && c->needs & ~t->features;
    const char *missing = c->promise && !suite_promises(&s, c->promise) ? c->promise : NULL;
    const char *tmp = getenv("TMPDIR");
    if (lacks || missing || v->skip) {
        total.skipped++;
        if (total.verbose)
            printf("[  skip  ] %s[%s] %s\n", t->type, v->name, c->name);
        return;
    }
    snprintf(s.dir, sizeof s.dir, "%s/proa.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    INV(mkdtemp(s.dir));
    (void)snprintf(s.server.dir, sizeof s.server.dir, "%s", s.dir);
    if (v->server && !server_start(&s.server, v->server, s.dir)) {
        total.failed++;
        return;
    }
    arena_init(&s.config, MIB(1));
    arena_init(&s.a, MIB(64));
    uint64_t start = clock_now_ns();
    INV(worker_run(worker_at(0), c->name, case_fiber, &r) == 0);
    printf("[%s] %s[%s] %s (%llu ms)\n",
           s.failed    ? "  FAIL  "
           : r.skipped ? "  skip  "
                       : "   ok   ",
           t->type, v->name, c->name, (unsigned long long)((clock_now_ns() - start) / MS(1)));
    (void)fflush(stdout);
    arena_done(&s.a);
    arena_done(&s.config);
    server_stop(&s.server);
    server_remove_dir(s.dir);
    total.run += !r.skipped;
    total.skipped += r.skipped;
    total.failed += s.failed > 0;
}

static void run_type(const struct component_type *t, const struct suite_case *cases, size_t n,
                     const char *only)
{
    struct suite_variant variant[VARIANTS_MAX];
    struct arena a;
    arena_init(&a, MIB(1));
    size_t n_variants = read_variants(&a, t, variant);
    for (size_t v = 0; v < n_variants; v++) {
        if (variant[v].skip)
            printf("[  skip  ] %s[%s]: a variable of the environment or a server is missing\n",
                   t->type, variant[v].name);
        for (size_t i = 0; i < n; i++)
            if (!only || strstr(cases[i].name, only))
                run_case(t, &variant[v], &cases[i]);
    }
    arena_done(&a);
}

/* ---- types that are found while we run: with DAPR_COMPONENTS_SOCKETS_FOLDER ---- */

static struct {
    const struct component_type *type;
    struct component_env env;
    struct kv folder;
    struct arena arena;
    void *self;
    struct error err;
} source;

static void open_source(void *arg)
{
    size_t n;
    const struct component_type *const *all = registry_all(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i]->kind, "source") == 0)
            source.type = all[i];
    INV(source.type && (source.self = mem_zalloc(source.type->size)));
    arena_init(&source.arena, MIB(1));
    source.env = (struct component_env){ .name = "source", .metadata = { &source.folder, 1 } };
    if (cfg_decode(source.type, source.env.metadata, &source.arena, source.self, NULL, NULL,
                   &source.err) >= 0)
        (void)source.type->open(source.self, &source.env, &source.err);
}

static void close_source(void *arg)
{
    source.type->close(source.self);
    mem_free(TAKE(source.self));
    arena_done(&source.arena);
}

static void run_types(const struct component_type *const *type, size_t n, const char *kind,
                      int argc, char **argv, const struct suite_case *cases, size_t n_cases)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(type[i]->kind, kind) == 0 && (argc < 2 || strcmp(argv[1], type[i]->type) == 0))
            run_type(type[i], cases, n_cases, argc > 2 ? argv[2] : NULL);
}

int suite_main(int argc, char **argv, const char *kind, const struct suite_case *cases,
               size_t n_cases)
{
    struct error err = { 0 };
    size_t n_types, left;
    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        total.verbose = true;
        argc--;
        argv++;
    }
    log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = 2 });
    if (workers_start(WORKERS, FIBERS, &err) < 0) {
        printf("no workers: %s\n", err.text);
        return 1;
    }
    const struct component_type *const *type = registry_all(&n_types);
    const char *folder = getenv("DAPR_COMPONENTS_SOCKETS_FOLDER");
    run_types(type, n_types, kind, argc, argv, cases, n_cases);
    if (folder) {
        source.folder = (struct kv){ S("folder"), str_c(folder) };
        INV(worker_run(worker_at(0), "source", open_source, NULL) == 0);
        type = registry_added(&n_types);
        run_types(type, n_types, kind, argc, argv, cases, n_cases);
        INV(worker_run(worker_at(0), "source", close_source, NULL) == 0);
    }
    left = workers_stop(SEC(10));
    printf("%s: %u cases run, %u failed, %u skipped%s\n", kind, total.run, total.failed,
           total.skipped, left ? ", and fibers were left behind" : "");
    return total.failed || left || !total.run;
}
