/* engine_bench — what an engine does per second, without any protocol around it.
 *   engine_bench state.sqlite save 32 3 connectionString=/tmp/x.db
 * operation: save | read | publish | relay (publish to handled, at most WINDOW on the way) | cross
 * (publish in one instance, now and then, to handled in another: what two processes of a file see);
 * then fibers, seconds, fields.
 * Prints operations per second and the latency's 50th, 99th and highest. */
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "component/pubsub.h"
#include "component/state.h"
#include "loop/worker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES = 1 << 20, VALUE = 1024, KEYS = 1000, BATCH = 64, WINDOW = 512 };

static struct {
    const struct component_type *type;
    void *self;
    void *publisher; /* another instance for cross, else self */
    const char *operation;
    size_t n;
    uint64_t stop_at;
    struct kv field[8];
    size_t n_fields;
    atomic_size_t left, sent, failed;
    _Atomic uint64_t done;
    _Atomic uint32_t sample_at;
    uint32_t *sample; /* us, or ns for what is faster */
    struct ticket ticket;
    char value[VALUE];
} b;

static void note(uint64_t start, uint64_t end)
{
    uint32_t at = atomic_fetch_add(&b.sample_at, 1);
    b.sample[at % SAMPLES] = (uint32_t)min_u64(end - start, UINT32_MAX);
    atomic_fetch_add(&b.done, 1);
}

static void complain(const struct error *err)
{
    if (atomic_fetch_add(&b.failed, 1) == 0)
        printf("first failure: %s\n", err->text);
}

static void save(size_t i)
{
    const struct state_ops *ops = CONTAINER_OF(b.type, const struct state_ops, t);
    char key[64];
    for (uint64_t k = 0, start = clock_now_ns(); start < b.stop_at; k++) {
        struct error err = { 0 };
        int n = snprintf(key, sizeof key, "app||key-%zu-%llu", i, (unsigned long long)k % KEYS);
        struct state_write w = { .key = str_of(key, (size_t)n),
                                 .value = str_of(b.value, VALUE),
                                 .json = true };
        if (ops->write(b.self, &w, &err) < 0)
            complain(&err);
        uint64_t end = clock_now_ns();
        note(start, end);
        start = end;
    }
}

/* Something to read; its time doesn't count. */
static void fill(size_t i)
{
    const struct state_ops *ops = CONTAINER_OF(b.type, const struct state_ops, t);
    char key[64];
    for (uint64_t k = 0; k < KEYS; k++) {
        struct error err = { 0 };
        int n = snprintf(key, sizeof key, "app||key-%zu-%llu", i, (unsigned long long)k);
        struct state_write w = { .key = str_of(key, (size_t)n),
                                 .value = str_of(b.value, VALUE),
                                 .json = true };
        if (ops->write(b.self, &w, &err) < 0)
            complain(&err);
    }
}

static void read_keys(size_t i)
{
    const struct state_ops *ops = CONTAINER_OF(b.type, const struct state_ops, t);
    struct arena a;
    char key[64];
    arena_init(&a, MIB(1));
    for (uint64_t k = 0, start = clock_now_ns(); start < b.stop_at;) {
        struct error err = { 0 };
        for (size_t m = 0; m < BATCH; m++, k++) {
            struct state_value v = { 0 };
            int n = snprintf(key, sizeof key, "app||key-%zu-%llu", i, (unsigned long long)k % KEYS);
            if (ops->get(b.self, str_of(key, (size_t)n), CONSISTENCY_NONE, (struct kvs){ 0 }, &a,
                         &v, &err) < 0)
                complain(&err);
        }
        arena_reset(&a);
        uint64_t end = clock_now_ns();
        note(0, (end - start) / BATCH);
        atomic_fetch_add(&b.done, BATCH - 1);
        start = end;
        fiber_yield();
    }
    arena_done(&a);
}

static void publish(size_t i)
{
    const struct pubsub_ops *ops = CONTAINER_OF(b.type, const struct pubsub_ops, t);
    bool relay = strcmp(b.operation, "relay") == 0;
    (void)i;
    for (uint64_t start = clock_now_ns(); start < b.stop_at; start = clock_now_ns()) {
        struct error err = { 0 };
        if (relay && atomic_load(&b.sent) - atomic_load(&b.done) >= WINDOW) {
            (void)!fiber_sleep(MS(1) / 4);
            continue;
        }
        atomic_fetch_add(&b.sent, 1);
        char data[VALUE];
        memcpy(data, b.value, VALUE);
        memcpy(data, &start, sizeof start);
        struct pubsub_message m = { .topic = S("orders"),
                                    .data = str_of(data, VALUE),
                                    .content_type = S("application/json") };
        if (ops->publish(b.publisher, &m, &err) < 0)
            complain(&err);
        if (strcmp(b.operation, "publish") == 0)
            note(start, clock_now_ns());
        if (strcmp(b.operation, "cross") == 0)
            (void)!fiber_sleep(MS(20));
        if (ops->bulk_publish == NULL)
            fiber_yield();
    }
}

static int on_message(void *arg, const struct pubsub_message *m, struct error *err)
{
    uint64_t sent;
    (void)arg;
    (void)err;
    memcpy(&sent, m->data.p, sizeof sent);
    note(sent, clock_now_ns());
    return 0;
}

static void fill_all(void)
{
    for (size_t i = 0; i < b.n; i++)
        fill(i);
}

static void strand(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    if (strcmp(b.operation, "save") == 0)
        save(i);
    else if (strcmp(b.operation, "read") == 0)
        read_keys(i);
    else
        publish(i);
    if (atomic_fetch_sub(&b.left, 1) == 1)
        ticket_done(&b.ticket, 0);
}

static int by_value(const void *a, const void *c)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)c;
    return x < y ? -1 : x > y;
}

static void report(double seconds)
{
    size_t n = min_size(atomic_load(&b.sample_at), SAMPLES);
    qsort(b.sample, n, sizeof *b.sample, by_value);
    printf("%s %s fibers=%zu: %.0f/s, failed %zu", b.type->type, b.operation, b.n,
           (double)atomic_load(&b.done) / seconds, atomic_load(&b.failed));
    if (n)
        printf(", p50 %.2f us, p99 %.2f us, max %.2f us", b.sample[n / 2] / 1e3,
               b.sample[n * 99 / 100] / 1e3, b.sample[n - 1] / 1e3);
    printf("\n");
}

static void *open_instance(const struct component_env *env, struct arena *a)
{
    struct error err = { 0 };
    void *self = mem_zalloc(b.type->size);
    INV(self);
    if (cfg_decode(b.type, env->metadata, a, self, NULL, NULL, &err) == 0 &&
        b.type->open(self, env, &err) == 0)
        return self;
    printf("%s\n", err.text);
    return NULL;
}

static void run(void *arg)
{
    struct error err = { 0 };
    struct arena a;
    uint64_t seconds = *(uint64_t *)arg;
    void *sub = NULL;
    const struct pubsub_ops *ops = CONTAINER_OF(b.type, const struct pubsub_ops, t);
    struct component_env env = {
        .name = "bench", .app_id = "bench", .namespace_ = "", .metadata = { b.field, b.n_fields }
    };
    arena_init(&a, MIB(1));
    bool cross = strcmp(b.operation, "cross") == 0;
    b.self = open_instance(&env, &a);
    b.publisher = cross ? open_instance(&env, &a) : b.self;
    if (!b.self || !b.publisher)
        return;
    struct pubsub_subscription s = { .topic = S("orders"), .handle = on_message };
    if (cross || strcmp(b.operation, "relay") == 0)
        INV(ops->subscribe(b.self, &s, &sub, &err) == 0);
    if (strcmp(b.operation, "read") == 0)
        fill_all();
    ticket_init(&b.ticket);
    atomic_store(&b.left, b.n);
    uint64_t start = clock_now_ns();
    b.stop_at = start + SEC(seconds);
    for (size_t i = 0; i < b.n; i++)
        INV(worker_spawn(worker_at(i % workers_count()), "bench", strand, (void *)(uintptr_t)i) ==
            0);
    (void)!ticket_wait(&b.ticket);
    double took = (double)(clock_now_ns() - start) / 1e9;
    if (sub)
        ops->unsubscribe(b.self, sub);
    report(took);
    if (cross) {
        b.type->close(b.publisher);
        mem_free(b.publisher);
    }
    b.type->close(b.self);
    mem_free(b.self);
    arena_done(&a);
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    uint64_t n = 0, seconds = 0;
    if (argc < 5 || !str_to_u64(str_c(argv[3]), &n) || !str_to_u64(str_c(argv[4]), &seconds)) {
        printf("usage: engine_bench TYPE save|read|publish|relay|cross FIBERS SECONDS "
               "[field=value]...\n");
        return 2;
    }
    b.type = registry_find(str_c(argv[1]), S(""));
    b.operation = argv[2];
    b.n = n;
    b.sample = mem_zalloc(SAMPLES * sizeof *b.sample);
    for (int i = 5; i < argc && b.n_fields < COUNT(b.field); i++) {
        struct kv *kv = &b.field[b.n_fields++];
        (void)str_cut(str_c(argv[i]), '=', &kv->key, &kv->value);
    }
    log_setup(&(struct log_config){ .level = LOG_WARN, .fd = 2 });
    memset(b.value, 'x', VALUE);
    INV(b.type && b.sample && workers_start(2, 2000, &err) == 0);
    INV(worker_run(worker_at(0), "bench", run, &seconds) == 0);
    size_t left = workers_stop(SEC(5));
    mem_free(b.sample);
    return left != 0;
}
