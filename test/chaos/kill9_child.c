#include "test/chaos/kill9.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "component/pubsub.h"
#include "component/state.h"
#include "loop/worker.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { WRITERS = 8 };

static struct {
    const struct state_ops *state;
    const struct pubsub_ops *queue;
    void *store, *broker;
    struct arena a;
    struct kv store_kv, broker_kv[4];
    struct component_env store_env, broker_env;
    atomic_size_t effects;
} p;

void kill9_value(str id, char ret[KILL9_VALUE])
{
    size_t n = (size_t)snprintf(ret, KILL9_VALUE, "\"%.*s ", (int)id.n, id.p);
    while (n < KILL9_VALUE - 2)
        ret[n++] = 'v';
    ret[n - 1] = '"';
    ret[n] = 0;
}

static void tell(char what, str id)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%c %.*s\n", what, (int)id.n, id.p);
    if (write(KILL9_FD, line, (size_t)n) != n) /* at most PIPE_BUF: whole or not at all */
        _exit(2);
}

static void *open_one(const struct component_type *t, struct component_env *env)
{
    struct error err = { 0 };
    void *self = mem_zalloc(t->size);
    INV(self);
    if (cfg_decode(t, env->metadata, &p.a, self, NULL, NULL, &err) < 0 ||
        t->open(self, env, &err) < 0) {
        printf("  %s: %s\n", t->type, err.text);
        _exit(1);
    }
    return self;
}

static void open_both(const char *dir)
{
    arena_init(&p.a, MIB(1));
    p.state = CONTAINER_OF(registry_find(S("state.sqlite"), S("")), const struct state_ops, t);
    p.queue = CONTAINER_OF(registry_find(S("pubsub.sqlite"), S("")), const struct pubsub_ops, t);
    p.store_kv = (struct kv){ S("connectionString"), arena_printf(&p.a, "%s/state.db", dir) };
    p.broker_kv[0] = (struct kv){ S("connectionString"), arena_printf(&p.a, "%s/queue.db", dir) };
    p.broker_kv[1] = (struct kv){ S("visibilityTimeout"), S("500ms") };
    p.broker_kv[2] = (struct kv){ S("backoffMin"), S("10ms") };
    p.broker_kv[3] = (struct kv){ S("maxRetries"), S("-1") };
    p.store_env =
        (struct component_env){ .name = "state", .app_id = "app", .metadata = { &p.store_kv, 1 } };
    p.broker_env = (struct component_env){ .name = "queue",
                                           .app_id = "app",
                                           .metadata = { p.broker_kv, COUNT(p.broker_kv) } };
    p.store = open_one(&p.state->t, &p.store_env);
    p.broker = open_one(&p.queue->t, &p.broker_env);
}

/* ---- the writer ---- */

static void writer(void *arg)
{
    size_t me = (size_t)(uintptr_t)arg;
    char text[32], value[KILL9_VALUE];
    for (unsigned i = 0;; i++) {
        struct error err = { 0 };
        str id = str_of(text, (size_t)snprintf(text, sizeof text, "%zu-%u", me, i));
        kill9_value(id, value);
        struct state_write w = { .key = id, .value = str_c(value), .json = true };
        if (p.state->write(p.store, &w, &err) == 0)
            tell('S', id);
        struct pubsub_message m = { .topic = S("orders"), .data = id };
        if (p.queue->publish(p.broker, &m, &err) == 0)
            tell('P', id);
        if (err.code)
            printf("  writer: %s\n", err.text);
    }
}

static int no_message(void *arg, const struct pubsub_message *m, struct error *err)
{
    (void)arg;
    (void)m;
    return fail(err, CANCELLED, NULL, "not for the writer");
}

/* A group sees what is published after it was made: so it is made first. */
static void begin_writing(void *arg)
{
    struct error err = { 0 };
    struct pubsub_subscription s = { .topic = S("orders"), .handle = no_message };
    void *sub;
    open_both(arg);
    INV(p.queue->subscribe(p.broker, &s, &sub, &err) == 0);
    p.queue->unsubscribe(p.broker, sub);
    for (size_t i = 0; i < WRITERS; i++)
        INV(worker_spawn(worker_at(i % workers_count()), "writer", writer, (void *)(uintptr_t)i) ==
            0);
}

/* ---- the consumer ---- */

/* Both keys or none: "seen" can be written only once, so each message has one effect at most. */
static int consume(void *arg, const struct pubsub_message *m, struct error *err)
{
    char seen[64], effect[64], value[64];
    (void)arg;
    int n = snprintf(seen, sizeof seen, "seen-%.*s", (int)m->data.n, m->data.p);
    int k = snprintf(effect, sizeof effect, "effect-%d-%zu", (int)getpid(),
                     atomic_fetch_add(&p.effects, 1));
    int v = snprintf(value, sizeof value, "\"%.*s\"", (int)m->data.n, m->data.p);
    struct state_write w[2] = {
        { .key = str_of(seen, (size_t)n),
          .value = S("1"),
          .json = true,
          .concurrency = FIRST_WRITE },
        { .key = str_of(effect, (size_t)k), .value = str_of(value, (size_t)v), .json = true },
    };
    int r = p.state->transact(p.store, w, 2, (struct kvs){ 0 }, err);
    if (r < 0 && r != -ABORTED) /* stale: somebody did it before */
        return r;
    tell('D', m->data);
    return 0;
}

static void begin_consuming(void *arg)
{
    struct error err = { 0 };
    struct pubsub_subscription s = { .topic = S("orders"), .handle = consume };
    void *sub;
    open_both(arg);
    if (p.queue->subscribe(p.broker, &s, &sub, &err) < 0) {
        printf("  subscribing: %s\n", err.text);
        _exit(1);
    }
}

/* ---- both ---- */

static int live(fiber_fn *begin, const char *dir)
{
    struct error err = { 0 };
    log_setup(&(struct log_config){ .level = LOG_WARN, .fd = 1 });
    (void)signal(SIGPIPE, SIG_IGN);
    if (workers_start(2, 1000, &err) < 0 ||
        worker_run(worker_at(0), "begin", begin, (void *)(uintptr_t)dir) < 0)
        return 1;
    for (;;)
        (void)pause(); /* until it's killed */
}

int kill9_write(const char *dir)
{
    return live(begin_writing, dir);
}

int kill9_consume(const char *dir)
{
    return live(begin_consuming, dir);
}
