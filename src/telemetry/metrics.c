#include "telemetry/metrics.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/json_chars.h"
#include "telemetry/metric_rules.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static const double latency_bounds[] = {
    1,   2,   3,   4,   5,   6,   8,   10,  13,  16,  20,   25,   30,   40,    50,    65,    80,
    100, 130, 160, 200, 250, 300, 400, 500, 650, 800, 1000, 2000, 5000, 10000, 20000, 50000, 100000,
};
static const double size_bounds[] = {
    1024,    2048,     4096,     16384,     65536,      262144,     1048576,
    4194304, 16777216, 67108864, 268435456, 1073741824, 4294967296,
};
struct metric_buckets metric_latency_ms = { latency_bounds, COUNT(latency_bounds) };
const struct metric_buckets metric_size_bytes = { size_bounds, COUNT(size_bounds) };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* taken only to add a cell or a family */
static struct metric_family *families, **families_end = &families;
static const char *app_label = "";
static double started; /* wall seconds */

void metrics_setup(const char *app_id)
{
    app_label = app_id;
    started = (double)clock_wall_ns() / 1e9;
}

bool metrics_latency_buckets(const int64_t *ms, size_t n)
{
    static double bound[METRIC_BUCKETS];
    bool same = n == metric_latency_ms.n;
    for (size_t i = 0; i < n && same; i++)
        same = metric_latency_ms.bound[i] == (double)ms[i];
    if (!n || n > METRIC_BUCKETS || families)
        return same;
    for (size_t i = 0; i < n; i++)
        bound[i] = (double)ms[i];
    metric_latency_ms = (struct metric_buckets){ bound, n };
    return true;
}

static size_t n_labels(const struct metric_family *f)
{
    size_t n = 0;
    while (n < METRIC_LABELS && f->label[n])
        n++;
    return n;
}

static bool same_labels(const struct metric_cell *c, const str *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!str_eq(c->label[i], values[i]))
            return false;
    return true;
}

static struct metric_cell *find(struct metric_family *f, uint64_t hash, const str *values, size_t n)
{
    struct metric_cell *c =
        atomic_load_explicit(&f->slot[hash % METRIC_SLOTS], memory_order_acquire);
    for (; c; c = atomic_load_explicit(&c->next, memory_order_acquire))
        if (c->hash == hash && same_labels(c, values, n))
            return c;
    return NULL;
}

static size_t n_buckets(const struct metric_family *f)
{
    return f->kind == METRIC_HISTOGRAM ? f->buckets->n + 1 : 0;
}

static void link_family(struct metric_family *f)
{
    if (f->registered)
        return;
    f->registered = true;
    *families_end = f;
    families_end = &f->next;
}

static struct metric_cell *new_cell(struct metric_family *f, uint64_t hash, const str *values,
                                    size_t n)
{
    struct metric_cell *c = mem_zalloc(sizeof *c + n_buckets(f) * sizeof c->bucket[0]);
    if (!c)
        return NULL;
    c->hash = hash;
    for (size_t i = 0; i < n; i++) {
        c->label[i] = str_of(mem_dup(values[i].p, values[i].n), values[i].n);
        if (!c->label[i].p) {
            while (i--)
                mem_free((void *)c->label[i].p);
            mem_free(c);
            return NULL;
        }
    }
    struct metric_cell *_Atomic *slot = &f->slot[hash % METRIC_SLOTS];
    atomic_store_explicit(&c->next, atomic_load_explicit(slot, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(slot, c, memory_order_release); /* readers see a complete cell or none */
    atomic_fetch_add_explicit(&f->n_cells, 1, memory_order_relaxed);
    link_family(f);
    return c;
}

uint64_t metric_hash(const str *values, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ hash_bytes(values[i])) * 0x9e3779b97f4a7c15u;
    return h;
}

static struct metric_cell *add(struct metric_family *f, uint64_t hash, const str *values, size_t n)
{
    pthread_mutex_lock(&lock);
    struct metric_cell *c = find(f, hash, values, n);
    if (!c && atomic_load_explicit(&f->n_cells, memory_order_relaxed) < METRIC_CELLS)
        c = new_cell(f, hash, values, n);
    pthread_mutex_unlock(&lock);
    return c;
}

/* The last resort when even the overflow cell can't be allocated; it is never printed. */
static struct metric_cell *nowhere(void)
{
    static _Alignas(struct metric_cell) char
        bin[sizeof(struct metric_cell) + (METRIC_BUCKETS + 1) * sizeof(uint64_t)];
    return (struct metric_cell *)(void *)bin;
}

struct metric_cell *metric_cell(struct metric_family *f, const str *values)
{
    return metric_cell_hashed(f, values, metric_hash(values, n_labels(f)));
}

static struct metric_cell *cell_of(struct metric_family *f, const str *values, uint64_t hash)
{
    size_t n = n_labels(f);
    struct metric_cell *c = find(f, hash, values, n);
    if (LIKELY(c))
        return c;
    if (atomic_load_explicit(&f->n_cells, memory_order_relaxed) < METRIC_CELLS &&
        (c = add(f, hash, values, n)))
        return c;
    str over[METRIC_LABELS];
    for (size_t i = 0; i < n; i++)
        over[i] = S("_overflow");
    hash = metric_hash(over, n);
    c = find(f, hash, over, n);
    if (!c) {
        pthread_mutex_lock(&lock);
        c = find(f, hash, over, n);
        if (!c)
            c = new_cell(f, hash, over, n);
        pthread_mutex_unlock(&lock);
    }
    return c ? c : nowhere();
}

/* With rules of the Configuration values are no longer what callers say: look them up each time. */
static struct metric_cell *ruled_cell(struct metric_family *f, const str *values)
{
    struct arena a;
    str value[METRIC_LABELS];
    size_t n = n_labels(f);
    arena_init(&a, MIB(1));
    for (size_t i = 0; i < n; i++)
        value[i] = values[i];
    metric_rules_apply(f->name, f->label, value, n, &a);
    struct metric_cell *c = cell_of(f, value, metric_hash(value, n));
    arena_done(&a);
    return c;
}

struct metric_cell *metric_cell_hashed(struct metric_family *f, const str *values, uint64_t hash)
{
    return UNLIKELY(metric_rules_present) ? ruled_cell(f, values) : cell_of(f, values, hash);
}

void metric_observe(const struct metric_family *f, struct metric_cell *c, double v)
{
    size_t i = 0;
    while (i < f->buckets->n && v > f->buckets->bound[i])
        i++;
    atomic_fetch_add_explicit(&c->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->value, (int64_t)(v * 1000), memory_order_relaxed);
}

/* What isn't UTF-8 would make a scraper refuse the whole page. */
static void put_escaped(struct buf *out, str s)
{
    for (size_t i = 0, len; i < s.n; i += len ? len : 1) {
        char c = s.p[i];
        len = utf8_len(s.p + i, s.p + s.n);
        if (len != 1) {
            buf_put(out, len ? str_of(s.p + i, len) : S("\xef\xbf\xbd"));
            continue;
        }
        if (c == '"' || c == '\\')
            buf_putc(out, '\\');
        if (c == '\n')
            buf_put(out, S("\\n"));
        else
            buf_putc(out, c);
    }
}

static void put_line(struct buf *out, const struct metric_family *f, const char *suffix,
                     const struct metric_cell *c, const char *le)
{
    bool own = f->label[0] && str_eq(str_c(f->label[0]), S("app_id"));
    buf_printf(out, "%s%s{app_id=\"", f->name, suffix);
    put_escaped(out, own ? c->label[0] : str_c(app_label));
    buf_putc(out, '"');
    for (size_t i = own; i < n_labels(f); i++) {
        buf_printf(out, ",%s=\"", f->label[i]);
        put_escaped(out, c->label[i]);
        buf_putc(out, '"');
    }
    if (le)
        buf_printf(out, ",le=\"%s\"", le);
    buf_put(out, S("} "));
}

static void put_histogram(struct buf *out, const struct metric_family *f,
                          const struct metric_cell *c)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= f->buckets->n; i++) {
        char le[32] = "+Inf";
        if (i < f->buckets->n)
            snprintf(le, sizeof le, "%.17g", f->buckets->bound[i]);
        total += atomic_load_explicit(&c->bucket[i], memory_order_relaxed);
        put_line(out, f, "_bucket", c, le);
        buf_put_u64(out, total);
        buf_putc(out, '\n');
    }
    put_line(out, f, "_sum", c, NULL);
    buf_printf(out, "%.3f\n", (double)atomic_load(&c->value) / 1000);
    put_line(out, f, "_count", c, NULL);
    buf_put_u64(out, total);
    buf_putc(out, '\n');
}

static void put_family(struct buf *out, const struct metric_family *f)
{
    static const char *const kind[] = { "counter", "gauge", "histogram" };
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kind[f->kind]);
    for (size_t s = 0; s < METRIC_SLOTS; s++) {
        const struct metric_cell *c = atomic_load_explicit(&f->slot[s], memory_order_acquire);
        for (; c; c = atomic_load_explicit(&c->next, memory_order_acquire)) {
            if (f->kind == METRIC_HISTOGRAM) {
                put_histogram(out, f, c);
                continue;
            }
            put_line(out, f, "", c, NULL);
            buf_printf(out, "%lld\n", (long long)atomic_load(&c->value));
        }
    }
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static size_t open_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static void put_process(struct buf *out)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    buf_printf(
        out,
        "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n"
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.2f\n"
        "# HELP process_open_fds Number of open file descriptors.\n"
        "# TYPE process_open_fds gauge\nprocess_open_fds %zu\n"
        "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.2f\n",
        (unsigned long long)resident_bytes(), cpu, open_fds(), started);
}

void metrics_write(struct buf *out)
{
    pthread_mutex_lock(&lock);
    for (const struct metric_family *f = families; f; f = f->next)
        put_family(out, f);
    pthread_mutex_unlock(&lock);
    put_process(out);
}
