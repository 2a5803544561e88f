#include "pem.h"

#include "base/mem.h"
#include "loop/worker.h"

#include <errno.h>
#include <stdio.h>

enum { PEM_MAX = 1 << 20 };

struct job {
    const char *path;
    char *p;
    size_t n;
    int error; /* errno */
};

static void read_on_pool(void *arg)
{
    struct job *j = arg;
    FILE *f = fopen(j->path, "re");
    if (f)
        j->n = fread(j->p, 1, PEM_MAX + 1, f);
    if (!f || ferror(f))
        j->error = errno;
    if (f)
        (void)fclose(f);
}

CO int binding_pem(struct arena *a, const char *name, const char *value, str *ret,
                   struct error *err)
{
    if (!*value || strstr(value, "-----BEGIN")) {
        *ret = str_c(value);
        return 0;
    }
    struct job j = { .path = value, .p = mem_alloc(PEM_MAX + 1) };
    int r = 0;
    if (!j.p || blocking(read_on_pool, &j) < 0)
        r = fail(err, EXHAUSTED, NULL, "no memory for %s", name);
    else if (j.error)
        r = fail(err, INVALID, NULL, "%s: neither PEM nor a file: %s: %s", name, value,
                 strerror(j.error));
    else if (j.n > PEM_MAX)
        r = fail(err, INVALID, NULL, "%s: %s is larger than 1 MiB", name, value);
    if (r == 0) {
        *ret = arena_dup(a, str_of(j.p, j.n));
        r = ret->p ? 0 : fail(err, EXHAUSTED, NULL, "no memory for %s", name);
    }
    mem_free(j.p);
    return r;
}
