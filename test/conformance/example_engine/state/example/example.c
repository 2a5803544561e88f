/* example.c — state.example: one file per key in a folder; the engine that docs/engines.md builds.
 * Owner:  the instance; answers are copied into the caller's arena.
 * Thread: operations suspend the caller and run on the pool of blocking(), one at a time.
 * Failure: -ABORTED for a stale ETag; -UNAVAILABLE when the folder can't be read or written. */
#include "base/buf.h"
#include "base/hash.h"
#include "base/id.h"
#include "component/state.h"
#include "loop/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { ETAG_LEN = UUID_LEN, NAME_ROOM = 1024, FILE_MAX = 64 << 20 };

/* 1. What an instance is. It comes zeroed, with the fields of the rows below filled in. */
struct example {
    const char *folder;
    int64_t max_bytes;
    pthread_mutex_t lock; /* of the folder's files */
};

static const struct cfg_field example_fields[] = {
    { .name = "folder",
      .kind = CFG_STR,
      .off = offsetof(struct example, folder),
      .flags = CFG_REQUIRED,
      .doc = "where the files are; it must exist" },
    { .name = "maxValue",
      .kind = CFG_SIZE,
      .off = offsetof(struct example, max_bytes),
      .def = "16Mi",
      .doc = "largest value that is taken" },
};

/* 2. Its life. */
CO static int example_open(void *self, const struct component_env *env, struct error *err)
{
    struct example *e = self;
    pthread_mutex_init(&e->lock, NULL);
    if (e->max_bytes > FILE_MAX)
        return fail(err, INVALID, NULL, "maxValue is more than %d MiB: lower it", FILE_MAX >> 20);
    if (access(e->folder, R_OK | W_OK | X_OK) < 0)
        return fail(err, UNAVAILABLE, NULL, "folder %s: %m: make it, or name another", e->folder);
    return 0;
}

CO static void example_close(void *self)
{
    struct example *e = self;
    pthread_mutex_destroy(&e->lock);
}

/* 3. The work, on a thread of the pool, where blocking is fine. */
struct job {
    struct example *e;
    str key;
    const struct state_write *w; /* of a write */
    struct state_value *value;   /* of a get */
    struct arena *a;
    struct error *err;
    int result;
};

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Any bytes may be in a key: the file is named by its hash. */
static void path_of(const struct job *j, char ret[NAME_ROOM])
{
    uint8_t digest[32];
    char hex[64];
    hash_sha256(j->key, digest);
    id_hex(digest, sizeof digest, hex);
    snprintf(ret, NAME_ROOM, "%s/%.64s", j->e->folder, hex);
}

static int failed(const struct job *j, const char *what)
{
    return fail(j->err, UNAVAILABLE, NULL, "can't %s in folder %s: %m", what, j->e->folder);
}

/* The file's bytes, the ETag and then the value. *ret_found = whether there is a file. */
static int read_file(const struct job *j, struct buf *out, bool *ret_found)
{
    char path[NAME_ROOM];
    path_of(j, path);
    AUTO(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    *ret_found = fd >= 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : failed(j, "open a file");
    for (ssize_t n = 1; n > 0;) {
        char *room = buf_reserve(out, KIB(16));
        if (!room)
            return fail(j->err, EXHAUSTED, NULL, "no memory for the value of a key");
        n = read(fd, room, KIB(16));
        if (n < 0)
            return failed(j, "read a file");
        buf_commit(out, (size_t)n);
    }
    return 0;
}

static int get_locked(struct job *j)
{
    AUTO(buf_done) struct buf file;
    bool found;
    buf_init(&file, FILE_MAX + KIB(32));
    int r = read_file(j, &file, &found);
    if (r < 0 || !found)
        return r;
    str bytes = buf_str(&file);
    str etag = arena_dup(j->a, str_take(bytes, ETAG_LEN));
    str value = arena_dup(j->a, str_skip(bytes, ETAG_LEN));
    if (!etag.p || !value.p)
        return fail(j->err, EXHAUSTED, NULL, "no memory for the value of a key");
    *j->value = (struct state_value){ .found = true, .value = value, .etag = etag };
    return 0;
}

/* The rules of ETags: a write that names one must find it; a first write must find nothing. */
static int check_etag(const struct job *j)
{
    if (!j->w->etag.n && j->w->concurrency != FIRST_WRITE)
        return 0;
    AUTO(buf_done) struct buf file;
    bool found;
    buf_init(&file, FILE_MAX + KIB(32));
    int r = read_file(j, &file, &found);
    if (r < 0)
        return r;
    str now = found ? str_take(buf_str(&file), ETAG_LEN) : S("");
    if (str_eq(now, j->w->etag))
        return 0;
    return fail(j->err, ABORTED, NULL, "possible etag mismatch: the key has changed meanwhile");
}

/* Written beside and renamed, so that a reader, or a crash, sees the old value or the new one. */
static int replace_file(const struct job *j)
{
    char path[NAME_ROOM], fresh[NAME_ROOM], etag[ETAG_LEN];
    path_of(j, path);
    snprintf(fresh, sizeof fresh, "%s/new", j->e->folder);
    id_uuid4(etag);
    AUTO(closep) int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(j, "make a file");
    str value = j->w->value;
    if (write(fd, etag, ETAG_LEN) != ETAG_LEN || write(fd, value.p, value.n) != (ssize_t)value.n ||
        fdatasync(fd) < 0 || rename(fresh, path) < 0)
        return failed(j, "write a file");
    return 0;
}

static int write_locked(struct job *j)
{
    char path[NAME_ROOM];
    int r = check_etag(j);
    if (r < 0)
        return r;
    if (!j->w->remove)
        return replace_file(j);
    path_of(j, path);
    return unlink(path) < 0 && errno != ENOENT ? failed(j, "remove a file") : 0;
}

static void run_job(void *arg)
{
    struct job *j = arg;
    pthread_mutex_lock(&j->e->lock);
    j->result = j->w ? write_locked(j) : get_locked(j);
    pthread_mutex_unlock(&j->e->lock);
}

/* 4. The operations. */
CO static int example_get(void *self, str key, enum state_consistency c, struct kvs metadata,
                          struct arena *a, struct state_value *ret, struct error *err)
{
    struct job j = { .e = self, .key = key, .value = ret, .a = a, .err = err };
    *ret = (struct state_value){ 0 };
    if (blocking(run_job, &j) < 0)
        return fail(err, EXHAUSTED, NULL, "no thread is free to read a file: try again");
    return j.result;
}

CO static int example_write(void *self, const struct state_write *w, struct error *err)
{
    struct job j = { .e = self, .key = w->key, .w = w, .err = err };
    if (!w->key.n)
        return fail(err, INVALID, NULL, "the key is empty: give it a name");
    if (w->value.n > (size_t)j.e->max_bytes)
        return fail(err, INVALID, NULL, "the value is larger than maxValue, %lld bytes",
                    (long long)j.e->max_bytes);
    if (blocking(run_job, &j) < 0)
        return fail(err, EXHAUSTED, NULL, "no thread is free to write a file: try again");
    return j.result;
}

/* 5. The table. What is left out is 'not supported', and the block says so. */
extern const struct state_ops state_example;
const struct state_ops state_example = {
    .t = {
        .kind = "state",
        .type = "state.example",
        .version = "v1",
        .doc = "one file per key, for docs/engines.md",
        .features = STATE_ETAG,
        .size = sizeof(struct example),
        .fields = example_fields,
        .n_fields = COUNT(example_fields),
        .open = example_open,
        .close = example_close,
    },
    .get = example_get,
    .write = example_write,
};
