/* localstorage.c — crypto.dapr.localstorage: keys in the files of a folder, one key a file: JWK
 * (.json), PEM (.pem) or the key's bytes, as they are or in base64.
 * Owner:  nothing is held: a file is read for each operation, so that a new key counts at once.
 * Thread: operations run on the pool for blocking work.
 * Failure: -NOT_FOUND no such file; -INVALID a name that leaves the folder, a key or an input that
 * doesn't fit. Limits: KEY_FILE_MAX bytes a file. */
#include "base/mem.h"
#include "components/common/key/key.h"
#include "loop/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

struct folder {
    const char *path;
};

/* ---- reading a key ---- */

static enum key_format format_of(const char *path)
{
    str s = str_c(path);
    return str_ends(s, S(".json")) || str_ends(s, S(".JSON")) ? KEY_JWK
           : str_ends(s, S(".pem")) || str_ends(s, S(".PEM")) ? KEY_PEM
                                                              : KEY_ANY;
}

/* Reads at most max bytes; the file must not be a pipe that never ends. */
static int read_file(const char *path, char *to, size_t max, size_t *ret_n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
    size_t n = 0;
    while (r == 0 && n < max) {
        ssize_t got = read(fd, to + n, max - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            r = got < 0 ? -errno : 0;
            break;
        }
        n += (size_t)got;
    }
    (void)close(fd);
    *ret_n = n;
    return r;
}

static int load(const struct folder *f, str name, struct key *ret, struct error *err)
{
    char path[PATH_MAX], text[128];
    if (!name.n || str_contains(name, S("..")) || memchr(name.p, 0, name.n))
        return fail(err, INVALID, NULL, "invalid key name: it must be a file in the folder");
    if (snprintf(path, sizeof path, "%s/%.*s", f->path, (int)min_size(name.n, PATH_MAX), name.p) >=
        (int)sizeof path)
        return fail(err, INVALID, NULL, "invalid key name: it is too long");
    char *data = mem_alloc(KEY_FILE_MAX + 1);
    if (!data)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    size_t n = 0;
    int r = read_file(path, data, KEY_FILE_MAX + 1, &n);
    if (r < 0)
        r = fail(err, r == -ENOENT || r == -ENOTDIR ? NOT_FOUND : UNAVAILABLE, NULL,
                 "failed to load key '" STR_FMT "': %s", STR_ARG(str_take(name, 100)),
                 strerror_r(-r, text, sizeof text));
    else if (n > KEY_FILE_MAX)
        r = fail(err, INVALID, NULL, "the file of key '" STR_FMT "' is larger than %d KiB",
                 STR_ARG(str_take(name, 100)), KEY_FILE_MAX >> 10);
    else
        r = key_parse(str_of(data, n), format_of(path), ret, err);
    OPENSSL_cleanse(data, n);
    mem_free(data);
    return r;
}

/* ---- operations, on the pool ---- */

struct job {
    const struct folder *f;
    const struct crypto_input *in;
    enum key_op op;
    struct arena *a;
    struct crypto_output *out;
    bool *valid;
    enum crypto_key_format format; /* of the public key, when .text is there */
    str name, *text;
    struct error *err;
    int result;
};

static int apply(struct job *j, const struct key *k)
{
    if (j->text)
        return j->format == CRYPTO_KEY_JSON ? key_public_jwk(k, j->a, j->text, j->err)
                                            : key_public_pem(k, j->a, j->text, j->err);
    int r = key_allows(k, j->op, j->in->algorithm, j->err);
    if (r < 0)
        return r;
    switch (j->op) {
    case KEY_ENCRYPT:
    case KEY_WRAP:
        return key_encrypt(k, j->in, j->a, j->out, j->err);
    case KEY_DECRYPT:
    case KEY_UNWRAP:
        return key_decrypt(k, j->in, j->a, j->out, j->err);
    case KEY_SIGN:
        return key_sign(k, j->in, j->a, j->out, j->err);
    default:
        return key_verify(k, j->in, j->valid, j->err);
    }
}

static void run_job(void *arg)
{
    struct job *j = arg;
    struct key k;
    j->result = load(j->f, j->name, &k, j->err);
    if (j->result < 0)
        return;
    j->result = apply(j, &k);
    key_done(&k);
}

CO static int run(struct job *j)
{
    if (blocking(run_job, j) < 0)
        return fail(j->err, EXHAUSTED, NULL, "no thread is free for the operation: try again");
    return j->result;
}

CO static int operate(void *self, enum key_op op, const struct crypto_input *in, struct arena *a,
                      struct crypto_output *ret, struct error *err)
{
    return run(&(struct job){
        .f = self, .in = in, .op = op, .name = in->key, .a = a, .out = ret, .err = err });
}

CO static int folder_encrypt(void *self, const struct crypto_input *in, struct arena *a,
                             struct crypto_output *ret, struct error *err)
{
    return operate(self, KEY_ENCRYPT, in, a, ret, err);
}

CO static int folder_decrypt(void *self, const struct crypto_input *in, struct arena *a,
                             struct crypto_output *ret, struct error *err)
{
    return operate(self, KEY_DECRYPT, in, a, ret, err);
}

CO static int folder_wrap(void *self, const struct crypto_input *in, struct arena *a,
                          struct crypto_output *ret, struct error *err)
{
    return operate(self, KEY_WRAP, in, a, ret, err);
}

CO static int folder_unwrap(void *self, const struct crypto_input *in, struct arena *a,
                            struct crypto_output *ret, struct error *err)
{
    return operate(self, KEY_UNWRAP, in, a, ret, err);
}

CO static int folder_sign(void *self, const struct crypto_input *in, struct arena *a,
                          struct crypto_output *ret, struct error *err)
{
    return operate(self, KEY_SIGN, in, a, ret, err);
}

CO static int folder_verify(void *self, const struct crypto_input *in, bool *ret, struct error *err)
{
    return run(&(struct job){
        .f = self, .in = in, .op = KEY_VERIFY, .name = in->key, .valid = ret, .err = err });
}

CO static int folder_get_key(void *self, str key, enum crypto_key_format format, struct arena *a,
                             str *ret, struct error *err)
{
    return run(
        &(struct job){ .f = self, .name = key, .format = format, .a = a, .text = ret, .err = err });
}

/* ---- opening ---- */

CO static int folder_open(void *self, const struct component_env *env, struct error *err)
{
    struct folder *f = self;
    struct stat st;
    (void)env;
    if (!*f->path)
        return fail(err, INVALID, NULL, "metadata property 'path' is required");
    if (stat(f->path, &st) < 0)
        return fail(err, UNAVAILABLE, NULL, "path %s: %m: make the folder, or name another",
                    f->path);
    if (!S_ISDIR(st.st_mode))
        return fail(err, INVALID, NULL, "path %s is no folder", f->path);
    return 0;
}

CO static void folder_close(void *self)
{
    (void)self;
}

static const struct cfg_field fields[] = {
    { .name = "path",
      .kind = CFG_STR,
      .off = offsetof(struct folder, path),
      .doc = "the folder of the key files; it must exist" },
};

extern const struct crypto_ops crypto_localstorage;
const struct crypto_ops crypto_localstorage = {
    .t = {
        .kind = "crypto",
        .type = "crypto.dapr.localstorage",
        .version = "v1",
        .doc = "Keys in the files of a folder: JWK, PEM, or bytes (base64 or raw).",
        .size = sizeof(struct folder),
        .fields = fields,
        .n_fields = COUNT(fields),
        .open = folder_open,
        .close = folder_close,
    },
    .get_key = folder_get_key,
    .encrypt = folder_encrypt,
    .decrypt = folder_decrypt,
    .wrap_key = folder_wrap,
    .unwrap_key = folder_unwrap,
    .sign = folder_sign,
    .verify = folder_verify,
};
