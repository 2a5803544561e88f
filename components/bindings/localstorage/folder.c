#include "folder.h"

#include "base/id.h"
#include "format/uri.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int no_memory(struct error *err)
{
    return fail(err, EXHAUSTED, NULL, "the files don't fit into the request's memory");
}

static int disk_says(str name, struct error *err)
{
    if (errno == ENOENT)
        return fail(err, NOT_FOUND, NULL, "file not found: " STR_FMT, STR_ARG(name));
    if (errno == ELOOP)
        return fail(err, INVALID, NULL, STR_FMT ": symbolic links aren't followed", STR_ARG(name));
    return fail(
        err, errno == EISDIR || errno == ENOTDIR || errno == ENAMETOOLONG ? INVALID : UNAVAILABLE,
        NULL, STR_FMT ": %m", STR_ARG(name));
}

/* ---- names ---- */

int folder_clean(str name, struct arena *a, str *ret, struct error *err)
{
    str part[] = { S("/"), name }, path = arena_join(a, part, COUNT(part));
    if (!path.p || uri_clean(a, path, &path) < 0)
        return no_memory(err);
    if (str_find_c(path, 0) >= 0)
        return fail(err, INVALID, NULL, "a file's name has a NUL in it");
    *ret = str_skip(path, 1);
    return 0;
}

/* What stands before the last slash, and behind it. */
static void split(str name, str *ret_folder, const char **ret_last, struct arena *a)
{
    size_t at = name.n;
    while (at && name.p[at - 1] != '/')
        at--;
    *ret_folder = str_take(name, at ? at - 1 : 0);
    *ret_last = arena_cstr(a, str_skip(name, at));
}

/* ---- folders ---- */

static int step(int at, const char *segment, bool make)
{
    if (make && mkdirat(at, segment, 0777) < 0 && errno != EEXIST)
        return -1;
    return openat(at, segment, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Segment by segment, so that no link on the way is followed. */
static int enter(int root, str folder, bool make, struct arena *a, int *ret_fd, struct error *err)
{
    str rest = folder, segment;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), depth = 0;
    while (fd >= 0 && rest.n) {
        (void)str_cut(rest, '/', &segment, &rest);
        const char *z = depth++ < FOLDER_DEPTH_MAX ? arena_cstr(a, segment) : NULL;
        int next = z ? step(fd, z, make) : -1;
        int why = z ? errno : ENAMETOOLONG;
        (void)close(fd);
        errno = why;
        fd = next;
    }
    if (fd < 0)
        return disk_says(folder, err);
    *ret_fd = fd;
    return 0;
}

static bool is_below(str path, str folder)
{
    return str_starts(path, folder) && (path.n == folder.n || path.p[folder.n] == '/');
}

/* Where the system keeps its own things: the contract's list. */
static bool is_forbidden(str path)
{
    static const str no[] = { S("/proc"), S("/sys"), S("/boot"), S("/var/run/secrets"),
                              S("/run/secrets") };
    for (size_t i = 0; i < COUNT(no); i++)
        if (is_below(path, no[i]))
            return true;
    return false;
}

static int make_path(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        int r = mkdir(path, 0777);
        *p = '/';
        if (r < 0 && errno != EEXIST)
            return -1;
    }
    return mkdir(path, 0777) < 0 && errno != EEXIST ? -1 : 0;
}

int folder_open(const char *path, struct arena *a, str *ret, int *ret_fd, struct error *err)
{
    if (!*path)
        return fail(err, INVALID, NULL, "rootPath is empty: name a folder");
    char *copy = arena_cstr(a, str_c(path)), *real = arena_alloc(a, PATH_MAX);
    if (!copy || !real)
        return no_memory(err);
    if (is_forbidden(str_c(path)) || make_path(copy) < 0 || !realpath(path, real))
        return is_forbidden(str_c(path))
                   ? fail(err, INVALID, NULL, "rootPath %s belongs to the system: take another",
                          path)
                   : fail(err, UNAVAILABLE, NULL, "rootPath %s could not be made: %m", path);
    if (is_forbidden(str_c(real)))
        return fail(err, INVALID, NULL, "rootPath %s belongs to the system: take another", path);
    int fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, INVALID, NULL, "rootPath %s can't be used as a folder: %m", path);
    *ret = str_c(real);
    *ret_fd = fd;
    return 0;
}

/* ---- one file ---- */

static int write_all(int fd, str data)
{
    while (data.n) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno != EINTR)
            return -1;
        data = str_skip(data, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd);
}

static int replace(int folder, const char *last, str data)
{
    char temporary[UUID_LEN + 8] = ".proa-";
    id_uuid4(temporary + 6);
    temporary[6 + UUID_LEN] = 0;
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    int r = write_all(fd, data), why = errno;
    if (close(fd) < 0 && r == 0) {
        r = -1;
        why = errno;
    }
    if (r == 0 && (r = renameat(folder, temporary, folder, last)) < 0)
        why = errno;
    if (r < 0)
        (void)unlinkat(folder, temporary, 0);
    else if ((r = fsync(folder)) < 0) /* the name, too, outlives a crash */
        why = errno;
    errno = why;
    return r;
}

int folder_write(int root, str name, str data, struct arena *a, struct error *err)
{
    str folder;
    const char *last;
    int fd;
    split(name, &folder, &last, a);
    if (!last)
        return no_memory(err);
    if (!*last)
        return fail(err, INVALID, NULL, "fileName names no file");
    int r = enter(root, folder, true, a, &fd, err);
    if (r < 0)
        return r;
    r = replace(fd, last, data) < 0 ? disk_says(name, err) : 0;
    (void)close(fd);
    return r;
}

static int read_fd(int fd, str name, struct arena *a, str *ret, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return disk_says(name, err);
    if (!S_ISREG(st.st_mode))
        return fail(err, INVALID, NULL, STR_FMT " is no file", STR_ARG(name));
    size_t n = 0, size = (size_t)st.st_size;
    char *p = arena_alloc(a, size);
    if (!p)
        return no_memory(err);
    while (n < size) {
        ssize_t got = read(fd, p + n, size - n);
        if (got < 0 && errno != EINTR)
            return disk_says(name, err);
        if (got == 0)
            break; /* somebody has cut it meanwhile */
        n += got > 0 ? (size_t)got : 0;
    }
    *ret = str_of(p, n);
    return 0;
}

int folder_read(int root, str name, struct arena *a, str *ret, struct error *err)
{
    str folder;
    const char *last;
    int dir;
    split(name, &folder, &last, a);
    if (!last)
        return no_memory(err);
    int r = enter(root, folder, false, a, &dir, err);
    if (r < 0)
        return r;
    /* O_NONBLOCK: a FIFO would wait for its other end. */
    int fd = openat(dir, *last ? last : ".", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    r = fd < 0 ? disk_says(name, err) : read_fd(fd, name, a, ret, err);
    (void)close(dir);
    if (fd >= 0)
        (void)close(fd);
    return r;
}

int folder_remove(int root, str name, struct arena *a, struct error *err)
{
    str folder;
    const char *last;
    int dir;
    split(name, &folder, &last, a);
    if (!last)
        return no_memory(err);
    if (!*last)
        return fail(err, INVALID, NULL, "fileName names no file");
    int r = enter(root, folder, false, a, &dir, err);
    if (r < 0)
        return r;
    bool gone = unlinkat(dir, last, 0) == 0 ||
                ((errno == EISDIR || errno == EPERM) && unlinkat(dir, last, AT_REMOVEDIR) == 0);
    r = gone ? 0 : disk_says(name, err);
    (void)close(dir);
    return r;
}

/* ---- what is there ---- */

struct walk {
    void (*fn)(void *arg, str name);
    void *arg;
    struct arena *a;
    struct error *err;
    int depth;
};

struct names {
    str *v;
    size_t n, cap;
};

static int compare(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static int add(struct names *l, str name, struct arena *a)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        str *v = arena_alloc(a, cap * sizeof *v);
        if (!v)
            return -EXHAUSTED;
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n] = arena_dup(a, name);
    return l->v[l->n++].p ? 0 : -EXHAUSTED;
}

static bool is_dots(str name)
{
    return str_eq(name, S(".")) || str_eq(name, S(".."));
}

/* Names of the folder; fd is taken over. */
static int read_names(int fd, struct names *ret, struct walk *w)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return disk_says(S("the folder"), w->err);
    }
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        if (!is_dots(str_c(e->d_name)) && !str_starts(str_c(e->d_name), S(".proa-")))
            r = add(ret, str_c(e->d_name), w->a);
    (void)closedir(d);
    if (r < 0)
        return no_memory(w->err);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, compare);
    return 0;
}

static int walk(struct walk *w, int fd, str prefix);

static int visit(struct walk *w, int fd, str prefix, str name)
{
    str part[] = { prefix, S("/"), name };
    str path = prefix.n ? arena_join(w->a, part, COUNT(part)) : name;
    const char *z = arena_cstr(w->a, name);
    struct stat st;
    if (!path.p || !z)
        return no_memory(w->err);
    if (fstatat(fd, z, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : disk_says(path, w->err); /* just removed */
    if (!S_ISDIR(st.st_mode)) {
        w->fn(w->arg, path);
        return 0;
    }
    if (w->depth == FOLDER_DEPTH_MAX)
        return fail(w->err, INVALID, NULL, STR_FMT ": more than %d folders deep", STR_ARG(path),
                    FOLDER_DEPTH_MAX);
    int below = openat(fd, z, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        return errno == ENOENT ? 0 : disk_says(path, w->err);
    w->depth++;
    int r = walk(w, below, path);
    w->depth--;
    return r;
}

/* fd is taken over. */
static int walk(struct walk *w, int fd, str prefix)
{
    struct names names = { 0 };
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int r = copy < 0 ? disk_says(prefix, w->err) : read_names(copy, &names, w);
    for (size_t i = 0; r == 0 && i < names.n; i++)
        r = visit(w, fd, prefix, names.v[i]);
    (void)close(fd);
    return r;
}

int folder_list(int root, str name, void (*fn)(void *arg, str name), void *arg, struct arena *a,
                struct error *err)
{
    struct walk w = { fn, arg, a, err, 0 };
    int fd = -1, r = enter(root, name, false, a, &fd, err);
    return r < 0 ? r : walk(&w, fd, name);
}
