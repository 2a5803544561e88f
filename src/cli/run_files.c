#include "cli/run_files.h"

#include "format/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

const char *files_resolve(struct arena *a, const char *base, const char *path, const char *home)
{
    char cwd[PATH_MAX];
    str full;
    if (path[0] == '~' && (path[1] == '/' || !path[1]) && home)
        full = arena_printf(a, "%s%s", home, path + 1);
    else if (path[0] == '/')
        full = arena_dup(a, str_c(path));
    else if (base && base[0] == '/')
        full = arena_printf(a, "%s/%s", base, path);
    else if (getcwd(cwd, sizeof(cwd)))
        full = arena_printf(a, "%s/%s/%s", cwd, base ? base : ".", path);
    else
        return NULL;
    str clean;
    if (!full.p || uri_clean(a, full, &clean))
        return NULL;
    return arena_cstr(a, clean);
}

const char *files_dir_of(struct arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return files_resolve(a, NULL, ".", NULL);
    const char *dir = slash == path ? "/" : arena_cstr(a, str_of(path, (size_t)(slash - path)));
    return dir ? files_resolve(a, NULL, dir, NULL) : NULL;
}

bool files_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int not_readable(const char *path, struct error *err)
{
    int cause = errno;
    return fail(err, cause == ENOENT ? NOT_FOUND : DENIED, NULL, "can't read %s: %s", path,
                strerror(cause));
}

int files_read(struct arena *a, const char *path, size_t max, str *ret, struct error *err)
{
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return not_readable(path, err);
    if (!S_ISREG(st.st_mode))
        return fail(err, INVALID, NULL, "%s is not a file", path);
    if ((uint64_t)st.st_size > max)
        return fail(err, EXHAUSTED, NULL, "%s is larger than %zu bytes", path, max);
    char *p = arena_alloc(a, (size_t)st.st_size + 1);
    if (!p)
        return fail(err, EXHAUSTED, NULL, "out of memory for %s", path);
    size_t n = 0;
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return not_readable(path, err);
        if (got == 0)
            break; /* it shrank meanwhile */
        n += (size_t)got;
    }
    p[n] = '\0';
    *ret = str_of(p, n);
    return 0;
}

static int write_all(int fd, str data)
{
    while (data.n) {
        ssize_t n = write(fd, data.p, data.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -UNAVAILABLE;
        data = str_skip(data, (size_t)n);
    }
    return 0;
}

int files_write(const char *path, str data, unsigned mode, struct error *err)
{
    char temp[PATH_MAX];
    int len = snprintf(temp, sizeof(temp), "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof(temp))
        return fail(err, INVALID, NULL, "the path %s is too long", path);
    (void)unlink(temp);
    AUTO(close_fd) int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 || write_all(fd, data) != 0 || rename(temp, path) != 0) {
        int cause = errno;
        (void)unlink(temp);
        return fail(err, UNAVAILABLE, NULL, "can't write %s: %s", path, strerror(cause));
    }
    return 0;
}

const char *files_find_command(struct arena *a, const char *name, const char *search)
{
    if (strchr(name, '/'))
        return name;
    str rest = str_c(search ? search : "/usr/local/bin:/usr/bin:/bin"), dir;
    while (str_next(&rest, ':', &dir)) {
        str path = arena_printf(a, STR_FMT "/%s", STR_ARG(dir.n ? dir : S(".")), name);
        struct stat st;
        if (path.p && access(path.p, X_OK) == 0 && stat(path.p, &st) == 0 && S_ISREG(st.st_mode))
            return path.p;
    }
    return NULL;
}
