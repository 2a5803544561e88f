/* file.c — secretstores.local.file: secrets from one JSON file, read once when the store opens.
 * Owner:  the instance's arena holds all secrets; answers are copied into the caller's.
 * Thread: any; nothing changes after open.   Limits: FILE_MAX bytes, and those of flatten.h.
 * Failure: a file that can't be read or understood fails open; an unknown name is -NOT_FOUND. */
#include "base/buf.h"
#include "base/map.h"
#include "component/kinds.h"
#include "flatten.h"
#include "loop/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { FILE_MAX = 16 << 20, STORE_MAX = 64 << 20 };

struct local_file {
    const char *path, *separator;
    bool multi;
    struct arena arena;
    struct secret *secret;
    size_t n;
    struct map by_name; /* name -> struct secret */
};

struct load {
    struct local_file *s;
    struct error *err;
    int result;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* The whole file into out. */
static int read_file(const char *path, struct buf *out, struct error *err)
{
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, errno == ENOENT ? NOT_FOUND : DENIED, NULL, "open: %s", strerror(errno));
    for (;;) {
        char *p = buf_reserve(out, KIB(16));
        if (!p)
            return fail(err, EXHAUSTED, NULL, "larger than %d MiB", FILE_MAX >> 20);
        ssize_t n = read(fd, p, KIB(16));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, UNAVAILABLE, NULL, "read: %s", strerror(errno));
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}

/* Secrets aren't left lying about in freed memory. */
static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

static int load_now(struct local_file *s, struct error *err)
{
    AUTO(wipe) struct buf text;
    buf_init(&text, FILE_MAX + KIB(16));
    int r = read_file(s->path, &text, err);
    if (r)
        return r;
    struct flatten_options options = { str_c(s->separator), s->multi };
    r = local_file_flatten(buf_str(&text), &options, &s->arena, &s->secret, &s->n, err);
    if (r)
        return r;
    for (size_t i = 0; i < s->n; i++) {
        void *old = NULL;
        if (map_put(&s->by_name, s->secret[i].name, &s->secret[i], &old))
            return fail(err, EXHAUSTED, NULL, "more than %d secrets", FLATTEN_VALUES_MAX);
        if (old)
            return fail(err, INVALID, NULL, "the secret '" STR_FMT "' is there twice",
                        STR_ARG(s->secret[i].name));
    }
    return 0;
}

static void load_on_pool(void *arg)
{
    struct load *l = arg;
    l->result = load_now(l->s, l->err);
}

CO static int file_open(void *self, const struct component_env *env, struct error *err)
{
    struct local_file *s = self;
    struct error cause = { 0 };
    arena_init(&s->arena, STORE_MAX);
    map_init(&s->by_name, FLATTEN_VALUES_MAX);
    struct load l = { .s = s, .err = &cause };
    int r = blocking(load_on_pool, &l);
    if (!r)
        r = l.result;
    if (!r)
        return 0;
    return fail(err, (enum code) - r, NULL, "secretsFile %s: %s", s->path,
                cause.code ? cause.text : "out of memory");
}

static void file_close(void *self)
{
    struct local_file *s = self;
    map_done(&s->by_name);
    arena_done(&s->arena);
    s->n = 0;
}

static unsigned file_features(void *self)
{
    struct local_file *s = self;
    return s->multi ? SECRET_MULTIPLE : 0;
}

static int copy_values(struct kvs from, struct arena *a, struct kvs *ret)
{
    struct kv *v = arena_alloc(a, (from.n + 1) * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    for (size_t i = 0; i < from.n; i++) {
        v[i] = (struct kv){ arena_dup(a, from.v[i].key), arena_dup(a, from.v[i].value) };
        if (!v[i].key.p || !v[i].value.p)
            return -EXHAUSTED;
    }
    *ret = (struct kvs){ v, from.n };
    return 0;
}

static int file_get(void *self, str name, struct kvs metadata, struct arena *a, struct kvs *ret,
                    struct error *err)
{
    struct local_file *s = self;
    const struct secret *found = map_get(&s->by_name, name);
    if (!found)
        return fail(err, NOT_FOUND, NULL, "secret " STR_FMT " not found", STR_ARG(name));
    if (copy_values(found->values, a, ret))
        return fail(err, EXHAUSTED, NULL, "the secret does not fit into the request's memory");
    return 0;
}

static int file_bulk(void *self, struct kvs metadata, struct arena *a, struct secret **ret,
                     size_t *ret_n, struct error *err)
{
    struct local_file *s = self;
    struct secret *list = arena_alloc(a, (s->n + 1) * sizeof *list);
    if (!list)
        goto full;
    for (size_t i = 0; i < s->n; i++) {
        list[i].name = arena_dup(a, s->secret[i].name);
        if (!list[i].name.p || copy_values(s->secret[i].values, a, &list[i].values))
            goto full;
    }
    *ret = list;
    *ret_n = s->n;
    return 0;
full:
    return fail(err, EXHAUSTED, NULL, "the secrets do not fit into the request's memory");
}

static const struct cfg_field file_fields[] = {
    { .name = "secretsFile",
      .kind = CFG_STR,
      .off = offsetof(struct local_file, path),
      .flags = CFG_REQUIRED,
      .doc = "path of the JSON file" },
    { .name = "nestedSeparator",
      .kind = CFG_STR,
      .off = offsetof(struct local_file, separator),
      .def = ":",
      .doc = "between the levels of a nested name" },
    { .name = "multiValued",
      .kind = CFG_BOOL,
      .off = offsetof(struct local_file, multi),
      .def = "false",
      .doc = "each top-level object is one secret with many values" },
};

const struct secret_ops secretstores_local_file = {
    .t = {
        .kind = "secretstores",
        .type = "secretstores.local.file",
        .version = "v1",
        .doc = "secrets from one JSON file, for development and tests",
        .features_of = file_features,
        .size = sizeof(struct local_file),
        .fields = file_fields,
        .n_fields = COUNT(file_fields),
        .open = file_open,
        .close = file_close,
    },
    .get = file_get,
    .bulk = file_bulk,
};
