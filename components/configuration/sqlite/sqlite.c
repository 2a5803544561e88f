/* sqlite.c — configuration.sqlite: configuration in a SQLite file that an operator edits, with the
 * sqlite3 shell for example, while apps run.
 * Owner:  an instance owns its database and its subscriptions.
 * Thread: any worker; changes are noticed on the writer's thread and told in a fiber of the worker
 * that subscribed. Failure: as configuration.h. What changes twice before it is told is told once,
 * as it is then. */
#include "base/map.h"
#include "base/mem.h"
#include "components/common/sqlite/db.h"
#include "components/configuration/sqlite/table.h"

#include <pthread.h>

enum { WATCH_ARENA = 4 << 20, ROWS_ARENA = 256 << 20 };

struct store {
    const char *connection, *table;
    int64_t busy_ns, timeout_ns;
    struct arena arena;
    struct sqlite_db *db;
    pthread_mutex_t lock; /* of the list and of the flags in it */
    bool has_lock;
    struct list watches;
};

/* The writer's thread sets .again and starts the fiber that looks what is new; the fiber goes on
 * until .again stays away. So it never runs twice at once, and no change is missed. */
struct watch {
    struct list link;
    struct store *store;
    struct arena arena; /* of the keys */
    struct configuration_subscription sub;
    struct map seen; /* key → hash */
    struct worker *home;
    bool running, again, closed;
    struct ticket *waiter; /* of unsubscribe(), while the fiber runs */
};

/* ---- get ---- */

CO static int store_get(void *self, const str *keys, size_t n_keys, struct kvs metadata,
                        struct arena *a, struct configuration_item **ret, size_t *ret_n,
                        struct error *err)
{
    struct store *s = self;
    struct table_read t = { .keys = keys, .n_keys = n_keys, .a = a };
    (void)metadata;
    int r = sqlite_read(s->db, table_read, &t, err);
    if (r < 0)
        return r;
    *ret = t.items;
    *ret_n = t.n;
    return 0;
}

/* ---- what is new ---- */

struct news {
    struct configuration_item *v;
    size_t n;
};

static int compare(struct watch *w, const struct table_read *t, struct map *now, struct news *ret,
                   struct error *err)
{
    ret->n = 0;
    ret->v = arena_alloc(t->a, (t->n + map_count(&w->seen) + 1) * sizeof *ret->v);
    if (!ret->v)
        return fail(err, EXHAUSTED, NULL, "the configuration doesn't fit into memory");
    for (size_t i = 0; i < t->n; i++) {
        void *hash = (void *)(uintptr_t)table_hash(&t->items[i]);
        if (map_put(now, t->items[i].key, hash, NULL) < 0)
            return fail(err, EXHAUSTED, NULL, "the configuration doesn't fit into memory");
        if (map_get(&w->seen, t->items[i].key) != hash)
            ret->v[ret->n++] = t->items[i];
    }
    struct map_entry *e;
    for (size_t at = 0; (e = map_next(&w->seen, &at));)
        if (!map_has(now, e->key)) {
            str key = arena_dup(t->a, e->key);
            if (!key.p)
                return fail(err, EXHAUSTED, NULL, "the configuration doesn't fit into memory");
            ret->v[ret->n++] = (struct configuration_item){ .key = key };
        }
    return 0;
}

/* Reads, and remembers what was read. */
CO static int look(struct watch *w, struct arena *a, struct news *ret, struct error *err)
{
    struct table_read t = { .keys = w->sub.keys, .n_keys = w->sub.n_keys, .a = a };
    struct map now;
    int r = sqlite_read(w->store->db, table_read, &t, err);
    if (r < 0)
        return r;
    map_init(&now, TABLE_ROWS_MAX);
    r = compare(w, &t, &now, ret, err);
    if (r < 0) {
        map_done(&now);
        return r;
    }
    map_done(&w->seen);
    w->seen = now;
    return 0;
}

CO static int look_and_tell(struct watch *w)
{
    struct error err = { 0 };
    struct arena a;
    struct news news;
    arena_init(&a, ROWS_ARENA);
    int r = look(w, &a, &news, &err);
    if (r >= 0 && news.n) {
        struct error own = { 0 };
        (void)w->sub.handle(w->sub.arg, news.v, news.n, &own); /* told once, taken or not */
    }
    arena_done(&a);
    return r;
}

/* Whether to look once more; otherwise the fiber is over and w may be gone. */
static bool go_on(struct watch *w, int result)
{
    pthread_mutex_lock(&w->store->lock);
    bool more = w->again && !w->closed && result >= 0 && !fiber_cancelled();
    struct ticket *waiter = more ? NULL : w->waiter;
    w->again = result < 0; /* what couldn't be read is tried again by revive() */
    w->running = more;
    pthread_mutex_unlock(&w->store->lock);
    if (waiter)
        ticket_done(waiter, 0);
    return more;
}

static void watch_main(void *arg)
{
    struct watch *w = arg;
    while (go_on(w, look_and_tell(w)))
        ;
}

/* With the lock. */
static void start(struct watch *w)
{
    if (w->running || w->closed)
        return;
    w->running = worker_spawn(w->home, "configuration", watch_main, w) >= 0;
    w->again = !w->running;
}

/* On the writer's thread: another process has committed. */
static void changed(void *arg, struct sqlite_conn *c)
{
    struct store *s = arg;
    (void)c;
    pthread_mutex_lock(&s->lock);
    LIST_EACH (&s->watches, at) {
        struct watch *w = CONTAINER_OF(at, struct watch, link);
        w->again = true;
        start(w);
    }
    pthread_mutex_unlock(&s->lock);
}

/* On the writer's thread, now and then: what could not be read or started. */
static uint64_t revive(void *arg, struct sqlite_conn *c)
{
    struct store *s = arg;
    (void)c;
    pthread_mutex_lock(&s->lock);
    LIST_EACH (&s->watches, at) {
        struct watch *w = CONTAINER_OF(at, struct watch, link);
        if (w->again)
            start(w);
    }
    pthread_mutex_unlock(&s->lock);
    return SEC(1);
}

/* ---- subscriptions ---- */

static void watch_free(struct watch *w)
{
    map_done(&w->seen);
    arena_done(&w->arena);
    mem_free(w);
}

static int copy_keys(struct watch *w, const struct configuration_subscription *s, struct error *err)
{
    str *keys = arena_alloc(&w->arena, (s->n_keys + 1) * sizeof *keys);
    bool ok = keys;
    for (size_t i = 0; ok && i < s->n_keys; i++)
        ok = (keys[i] = arena_dup(&w->arena, s->keys[i])).p != NULL;
    w->sub = *s;
    w->sub.keys = keys;
    w->sub.metadata = (struct kvs){ 0 };
    return ok ? 0 : fail(err, EXHAUSTED, NULL, "the keys don't fit into memory");
}

static void enlist(struct store *s, struct watch *w)
{
    pthread_mutex_lock(&s->lock);
    w->running = true; /* until the first look: a change in between is only noted */
    list_append(&s->watches, &w->link);
    pthread_mutex_unlock(&s->lock);
}

CO static int first_look(struct watch *w, struct error *err)
{
    struct arena a;
    struct news news;
    arena_init(&a, ROWS_ARENA);
    int r = look(w, &a, &news, err);
    arena_done(&a);
    pthread_mutex_lock(&w->store->lock);
    w->running = false;
    if (r < 0)
        list_remove(&w->link);
    else if (w->again)
        start(w);
    pthread_mutex_unlock(&w->store->lock);
    return r;
}

CO static int store_subscribe(void *self, const struct configuration_subscription *sub,
                              void **ret_sub, struct error *err)
{
    struct store *s = self;
    struct watch *w = mem_zalloc(sizeof *w);
    if (!w)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    w->store = s;
    w->home = worker_self();
    arena_init(&w->arena, WATCH_ARENA);
    map_init(&w->seen, TABLE_ROWS_MAX);
    list_init(&w->link);
    int r = copy_keys(w, sub, err);
    if (r >= 0) {
        enlist(s, w);
        r = first_look(w, err);
    }
    if (r < 0) {
        watch_free(w);
        return r;
    }
    *ret_sub = w;
    return 0;
}

CO static void store_unsubscribe(void *self, void *sub)
{
    struct store *s = self;
    struct watch *w = sub;
    struct ticket ticket;
    ticket_init(&ticket);
    pthread_mutex_lock(&s->lock);
    w->closed = true;
    list_remove(&w->link);
    bool wait = w->running;
    w->waiter = wait ? &ticket : NULL;
    pthread_mutex_unlock(&s->lock);
    if (wait)
        (void)ticket_wait(&ticket);
    watch_free(w);
}

/* ---- opening, closing ---- */

static int migrate(void *arg, struct sqlite_conn *c, struct error *err)
{
    struct store *s = arg;
    return table_make(c, s->table, &s->arena, err);
}

static int check_config(const struct store *s, struct error *err)
{
    if (!*s->connection)
        return fail(err, INVALID, NULL, "missing connection string");
    if (str_contains(str_c(s->connection), S(":memory:")) ||
        str_contains(str_c(s->connection), S("mode=memory")))
        return fail(err, INVALID, NULL,
                    "a database in memory can't be edited by anybody: name a file");
    if (!sqlite_is_identifier(s->table))
        return fail(err, INVALID, NULL, "invalid identifier: %s (tableName)", s->table);
    return 0;
}

CO static int store_open(void *self, const struct component_env *env, struct error *err)
{
    struct store *s = self;
    arena_init(&s->arena, KIB(64));
    list_init(&s->watches);
    pthread_mutex_init(&s->lock, NULL);
    s->has_lock = true;
    int r = check_config(s, err);
    if (r < 0)
        return r;
    const char **sql = arena_alloc(&s->arena, TABLE_SQL * sizeof *sql);
    if (!sql)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    r = table_sql(s->table, &s->arena, sql, err);
    if (r < 0)
        return r;
    struct sqlite_db_config config = {
        .connection = s->connection,
        .sql = sql,
        .n_sql = TABLE_SQL,
        .busy_ns = s->busy_ns > 0 ? (uint64_t)s->busy_ns : 0,
        .timeout_ns = (uint64_t)s->timeout_ns,
        .watch = true,
        .thread_name = "config.sqlite",
        .arg = s,
        .migrate = migrate,
        .upkeep = revive,
        .changed = changed,
    };
    return sqlite_db_open(&config, &s->db, err);
}

CO static void store_close(void *self)
{
    struct store *s = self;
    sqlite_db_close(TAKE(s->db));
    if (s->has_lock)
        pthread_mutex_destroy(&s->lock);
    arena_done(&s->arena);
}

static const struct cfg_field fields[] = {
    { .name = "connectionString",
      .alias = "url",
      .kind = CFG_STR,
      .off = offsetof(struct store, connection),
      .doc = "path of the file, or file:path?options" },
    { .name = "tableName",
      .alias = "table",
      .kind = CFG_STR,
      .off = offsetof(struct store, table),
      .def = "configuration",
      .doc = "table of the keys; made when it isn't there" },
    { .name = "timeout",
      .kind = CFG_DURATION,
      .flags = CFG_SECONDS,
      .off = offsetof(struct store, timeout_ns),
      .def = "20s",
      .doc = "a request that waited longer is refused" },
    { .name = "busyTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct store, busy_ns),
      .def = "2s",
      .doc = "how long to wait while another process has the file alone" },
};

extern const struct configuration_ops configuration_sqlite;
const struct configuration_ops configuration_sqlite = {
    .t = {
        .kind = "configuration",
        .type = "configuration.sqlite",
        .version = "v1",
        .doc = "Configuration in a SQLite file: key, value, version, metadata. Changes by other "
               "processes, the sqlite3 shell among them, are noticed at once.",
        .size = sizeof(struct store),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = store_open,
        .close = store_close,
    },
    .get = store_get,
    .subscribe = store_subscribe,
    .unsubscribe = store_unsubscribe,
};
