/* disk — a disk that is full, that fails, or that cuts a write short, by a VFS between SQLite and
 * the file system: callers get clear errors, nothing acknowledged is lost, and all goes on by
 * itself. */
#include "base/log.h"
#include "base/mem.h"
#include "component/pubsub.h"
#include "component/state.h"
#include "fiber/fiber.h"
#include "loop/worker.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

/* ---- the VFS: SQLite's own, with faults ---- */

enum fault { NONE, FULL, BAD_WRITE, SHORT_WRITE, BAD_SYNC };
static atomic_int fault;
static atomic_uint faults_seen;

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* lies behind */
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct file *)f)->real;
}

#define REAL(f) real_of(f)->pMethods

static int f_close(sqlite3_file *f)
{
    return REAL(f)->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return REAL(f)->xRead(real_of(f), p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    switch (atomic_load(&fault)) {
    case FULL:
        atomic_fetch_add(&faults_seen, 1);
        return SQLITE_FULL;
    case BAD_WRITE:
        atomic_fetch_add(&faults_seen, 1);
        return SQLITE_IOERR_WRITE;
    case SHORT_WRITE:
        atomic_fetch_add(&faults_seen, 1);
        (void)REAL(f)->xWrite(real_of(f), p, n / 2, at);
        return SQLITE_IOERR_WRITE;
    default:
        return REAL(f)->xWrite(real_of(f), p, n, at);
    }
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return REAL(f)->xTruncate(real_of(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    if (atomic_load(&fault) != BAD_SYNC)
        return REAL(f)->xSync(real_of(f), flags);
    atomic_fetch_add(&faults_seen, 1);
    return SQLITE_IOERR_FSYNC;
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->xFileSize(real_of(f), size);
}

static int f_lock(sqlite3_file *f, int lock)
{
    return REAL(f)->xLock(real_of(f), lock);
}

static int f_unlock(sqlite3_file *f, int lock)
{
    return REAL(f)->xUnlock(real_of(f), lock);
}

static int f_reserved(sqlite3_file *f, int *out)
{
    return REAL(f)->xCheckReservedLock(real_of(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return REAL(f)->xSectorSize(real_of(f));
}

static int f_device(sqlite3_file *f)
{
    return REAL(f)->xDeviceCharacteristics(real_of(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return REAL(f)->xShmMap(real_of(f), page, size, extend, p);
}

static int f_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return REAL(f)->xShmLock(real_of(f), at, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    REAL(f)->xShmBarrier(real_of(f));
}

static int f_shm_unmap(sqlite3_file *f, int del)
{
    return REAL(f)->xShmUnmap(real_of(f), del);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_reserved,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_device,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static int v_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    sqlite3_vfs *below = vfs->pAppData;
    struct file *file = (struct file *)f;
    file->real = (sqlite3_file *)(file + 1);
    int rc = below->xOpen(below, name, file->real, flags, out);
    file->base.pMethods = file->real->pMethods ? &methods : NULL;
    return rc;
}

static void install_vfs(void)
{
    static sqlite3_vfs vfs;
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);
    vfs = *below; /* its other functions work on names alone, or on what lies in it */
    vfs.zName = "faulty";
    vfs.pAppData = below;
    vfs.szOsFile += (int)sizeof(struct file);
    vfs.xOpen = v_open;
    INV(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}

/* ---- the engines ---- */

static unsigned failed;

static bool check(bool ok, const char *expr, int line)
{
    if (!ok) {
        printf("    disk.c:%d: %s does not hold\n", line, expr);
        failed++;
    }
    return ok;
}
#define CHECK(expr) check((expr), #expr, __LINE__)

struct instance {
    const struct component_type *type;
    struct component_env env;
    struct kv kv;
    struct arena a;
    void *self;
};

static bool open_instance(struct instance *i, const char *type, const char *dir)
{
    struct error err = { 0 };
    arena_init(&i->a, MIB(1));
    i->type = registry_find(str_c(type), S(""));
    i->kv = (struct kv){ S("connectionString"), arena_printf(&i->a, "%s/x.db", dir) };
    i->env = (struct component_env){ .name = "x", .app_id = "app", .metadata = { &i->kv, 1 } };
    i->self = mem_zalloc(i->type->size);
    INV(i->self && cfg_decode(i->type, i->env.metadata, &i->a, i->self, NULL, NULL, &err) == 0);
    int r = i->type->open(i->self, &i->env, &err);
    if (r < 0)
        printf("    %s: %s\n", type, err.text);
    return CHECK(r == 0);
}

static void close_instance(struct instance *i)
{
    i->type->close(i->self);
    mem_free(i->self);
    arena_done(&i->a);
}

static int save(struct instance *i, const char *key, const char *value, struct error *err)
{
    const struct state_ops *ops = CONTAINER_OF(i->type, const struct state_ops, t);
    struct state_write w = { .key = str_c(key), .value = str_c(value), .json = true };
    *err = (struct error){ 0 };
    return ops->write(i->self, &w, err);
}

static bool holds(struct instance *i, const char *key, const char *value)
{
    const struct state_ops *ops = CONTAINER_OF(i->type, const struct state_ops, t);
    struct state_value v = { 0 };
    struct error err = { 0 };
    if (ops->get(i->self, str_c(key), STRONG, (struct kvs){ 0 }, &i->a, &v, &err) < 0) {
        printf("    reading: %s\n", err.text);
        return false;
    }
    return value ? v.found && str_eq(v.value, str_c(value)) : !v.found;
}

static const struct {
    const char *name;
    enum fault fault;
    int code;
    const char *says;
} row[] = {
    { "the disk is full", FULL, -EXHAUSTED, "free some space" },
    { "writing fails", BAD_WRITE, -UNAVAILABLE, "disk I/O error" },
    { "a write is cut short", SHORT_WRITE, -UNAVAILABLE, "disk I/O error" },
    { "fsync fails", BAD_SYNC, -UNAVAILABLE, "disk I/O error" },
};

static void state_survives(size_t k, const char *dir)
{
    struct instance i;
    struct error err;
    unsigned before = atomic_load(&faults_seen);
    if (!open_instance(&i, "state.sqlite", dir))
        return;
    CHECK(save(&i, "a", "1", &err) == 0);
    CHECK(holds(&i, "a", "1"));
    atomic_store(&fault, row[k].fault);
    for (int n = 0; n < 5; n++) {
        CHECK(save(&i, "b", "2", &err) == row[k].code);
        CHECK(str_contains(str_c(err.text), str_c(row[k].says)));
    }
    CHECK(atomic_load(&faults_seen) > before);
    CHECK(holds(&i, "a", "1"));
    atomic_store(&fault, NONE);
    CHECK(save(&i, "c", "3", &err) == 0); /* without anyone's help */
    CHECK(holds(&i, "a", "1") && holds(&i, "c", "3"));
    close_instance(&i);
    if (!open_instance(&i, "state.sqlite", dir))
        return;
    CHECK(holds(&i, "a", "1") && holds(&i, "c", "3"));
    close_instance(&i);
}

static atomic_uint handled;

static int on_message(void *arg, const struct pubsub_message *m, struct error *err)
{
    (void)arg;
    (void)m;
    (void)err;
    atomic_fetch_add(&handled, 1);
    return 0;
}

static bool wait_handled(unsigned n)
{
    for (int i = 0; i < 5000 && atomic_load(&handled) < n; i++)
        if (fiber_sleep(MS(2)) < 0)
            return false;
    return atomic_load(&handled) >= n;
}

static int publish(struct instance *i, struct error *err)
{
    const struct pubsub_ops *ops = CONTAINER_OF(i->type, const struct pubsub_ops, t);
    struct pubsub_message m = { .topic = S("t"), .data = S("x") };
    *err = (struct error){ 0 };
    return ops->publish(i->self, &m, err);
}

static void queue_survives(size_t k, const char *dir)
{
    struct instance i;
    struct error err = { 0 };
    struct pubsub_subscription s = { .topic = S("t"), .handle = on_message };
    void *sub = NULL;
    if (!open_instance(&i, "pubsub.sqlite", dir))
        return;
    const struct pubsub_ops *ops = CONTAINER_OF(i.type, const struct pubsub_ops, t);
    atomic_store(&handled, 0);
    CHECK(ops->subscribe(i.self, &s, &sub, &err) == 0);
    CHECK(publish(&i, &err) == 0 && wait_handled(1));
    atomic_store(&fault, row[k].fault);
    for (int n = 0; n < 5; n++) {
        CHECK(publish(&i, &err) == row[k].code);
        CHECK(str_contains(str_c(err.text), str_c(row[k].says)));
    }
    atomic_store(&fault, NONE);
    for (int n = 0; n < 3; n++)
        CHECK(publish(&i, &err) == 0);
    CHECK(wait_handled(4));
    ops->unsubscribe(i.self, sub);
    close_instance(&i);
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(path);
}

static void run(void *arg)
{
    static const struct {
        const char *name;
        void (*run)(size_t k, const char *dir);
    } what[] = { { "state.sqlite", state_survives }, { "pubsub.sqlite", queue_survives } };
    (void)arg;
    for (size_t i = 0; i < COUNT(what); i++)
        for (size_t k = 0; k < COUNT(row); k++) {
            char dir[] = "/tmp/disk.XXXXXX";
            unsigned before = failed;
            INV(mkdtemp(dir));
            what[i].run(k, dir);
            atomic_store(&fault, NONE);
            printf("[%s] %s: %s\n", failed > before ? "  FAIL  " : "   ok   ", what[i].name,
                   row[k].name);
            remove_dir(dir);
        }
}

int main(void)
{
    struct error err = { 0 };
    log_setup(&(struct log_config){ .level = LOG_FATAL, .fd = 2 });
    install_vfs();
    INV(workers_start(2, 200, &err) == 0);
    INV(worker_run(worker_at(0), "disk", run, NULL) == 0);
    return workers_stop(SEC(5)) || failed;
}
