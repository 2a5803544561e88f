/* Where the texts come from: folders and files. */
#include "component/resource_priv.h"

#include "base/mem.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        char *room = buf_reserve(out, KIB(16));
        if (!room)
            return EFBIG;
        ssize_t n = read(fd, room, KIB(16));
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return 0;
        if (n > 0)
            buf_commit(out, (size_t)n);
    }
}

/* 0 or an errno; EFBIG past the limit. */
static int read_file(const char *path, struct buf *out)
{
    AUTO(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    if (!S_ISREG(st.st_mode))
        return EINVAL;
    return read_all(fd, out);
}

enum { DESCRIPTION_MAX = 100 };

/* In Go's spelling: "no such file or directory". */
static const char *describe(int error, char ret[DESCRIPTION_MAX])
{
    const char *text = error == EFBIG    ? "it is larger than 4 MiB"
                       : error == EINVAL ? "it is no regular file"
                                         : strerrordesc_np(error);
    snprintf(ret, DESCRIPTION_MAX, "%s", text ? text : "unknown error");
    ret[0] = (char)tolower((unsigned char)ret[0]);
    return ret;
}

static const char *keep_path(struct loader *l, const char *path)
{
    const char *copy = arena_cstr(&l->r->arena, str_c(path));
    l->exhausted |= !copy;
    return copy;
}

static void load_file(struct loader *l, const char *path)
{
    char why[DESCRIPTION_MAX];
    AUTO(buf_done) struct buf text;
    buf_init(&text, RESOURCE_FILE_MAX + KIB(16));
    const char *file = keep_path(l, path);
    if (!file)
        return;
    int error = read_file(file, &text);
    if (error)
        diag_add(&l->r->diags, DIAG_ERROR, file, 0, 0, "can't be read: %s", describe(error, why));
    else
        load_resource_text(l, file, buf_str(&text));
}

static void load_config_file(struct loader *l, const char *path)
{
    char why[DESCRIPTION_MAX];
    AUTO(buf_done) struct buf text;
    buf_init(&text, RESOURCE_FILE_MAX + KIB(16));
    const char *file = keep_path(l, path);
    if (!file)
        return;
    int error = read_file(file, &text);
    if (error)
        loader_fatal(l, file, NULL, "error loading configuration: %s: %s", file,
                     describe(error, why));
    else
        load_config_text(l, file, buf_str(&text));
}

/* ---- folders ---- */

struct names {
    char **v;
    size_t n;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        mem_free(names->v[i]);
    mem_free(names->v);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names but "." and ".."; -EXHAUSTED past RESOURCE_FILES_MAX or out of memory. */
static int list_names(DIR *dir, struct names *ret)
{
    ret->v = mem_alloc(RESOURCE_FILES_MAX * sizeof *ret->v);
    if (!ret->v)
        return -EXHAUSTED;
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (ret->n == RESOURCE_FILES_MAX)
            return -EXHAUSTED;
        char *name = mem_dup(e->d_name, strlen(e->d_name));
        if (!name)
            return -EXHAUSTED;
        ret->v[ret->n++] = name;
    }
    qsort(ret->v, ret->n, sizeof *ret->v, by_bytes);
    return 0;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void load_entry(struct loader *l, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    bool slash = n && folder[n - 1] == '/';
    str path = arena_printf(&l->r->arena, "%s%s%s", folder, slash ? "" : "/", name);
    if (!path.p) {
        l->exhausted = true;
        return;
    }
    if (is_folder(path.p))
        return;
    if (str_ends(path, S(".yaml")) || str_ends(path, S(".yml")))
        load_file(l, path.p);
    else
        diag_add(&l->r->diags, DIAG_WARN, path.p, 0, 0,
                 "is not loaded: names of resource files end in .yaml or .yml");
}

static void load_folder(struct loader *l, const char *path)
{
    AUTO(names_done) struct names names = { 0 };
    char why[DESCRIPTION_MAX];
    DIR *dir = opendir(path);
    if (!dir) {
        loader_fatal(l, NULL, NULL, "open %s: %s", path, describe(errno, why));
        return;
    }
    if (list_names(dir, &names) < 0)
        loader_fatal(l, NULL, NULL, "%s: more than %d files, or out of memory", path,
                     RESOURCE_FILES_MAX);
    closedir(dir);
    for (size_t i = 0; i < names.n && !l->exhausted; i++)
        load_entry(l, path, names.v[i]);
}

static void load_path(struct loader *l, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        load_file(l, path);
    else
        load_folder(l, path);
}

int resources_load(const struct resource_options *opt, struct resources **ret, struct error *err)
{
    struct loader l;
    int r = loader_begin(&l, opt, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < opt->n_configs && !l.exhausted; i++)
        load_config_file(&l, opt->config[i]);
    finish_config(&l);
    for (size_t i = 0; i < opt->n_paths && !l.exhausted; i++)
        load_path(&l, opt->path[i]);
    return loader_end(&l, ret, err);
}
