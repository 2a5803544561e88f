#include "cli/run_dir.h"
#include "cli/run_files.h"

#include "base/id.h"
#include "format/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTROL_MAX = 4096, ID_BYTES = 4, NEST_MAX = 4 };

/* Ours alone: a directory in /tmp may have been put there by somebody else. */
static int own_dir(const char *path, struct error *err)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fail(err, UNAVAILABLE, NULL, "can't make the directory %s: %s", path,
                    strerror(errno));
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != getuid() ||
        (st.st_mode & 077))
        return fail(err, DENIED, NULL,
                    "%s must be a directory of yours with mode 0700: remove it, or set "
                    "XDG_RUNTIME_DIR",
                    path);
    return 0;
}

static const char *base_dir(struct arena *a)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0] == '/' && access(runtime, W_OK | X_OK) == 0)
        return arena_printf(a, "%s/proa", runtime).p;
    return arena_printf(a, "/tmp/proa-%u", (unsigned)getuid()).p;
}

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* At most NEST_MAX levels; symbolic links are removed, never followed. */
static void remove_tree(const char *path, int depth)
{
    AUTO(close_dir) DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        char child[PATH_MAX];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int n = snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        if (n < 0 || (size_t)n >= sizeof(child) || lstat(child, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < NEST_MAX)
            remove_tree(child, depth + 1);
        else
            (void)unlink(child);
    }
    (void)rmdir(path);
}

/* The lock file, locked; -1 when somebody else has it, that is, when that run lives. */
static int take_lock(const char *dir, bool create)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool is_alive(const char *dir)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool taken = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return taken;
}

static void remove_dead(const char *base)
{
    AUTO(close_dir) DIR *d = opendir(base);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
        if (!str_starts(str_c(e->d_name), S("run-")) || n < 0 || (size_t)n >= sizeof(path))
            continue;
        int lock = take_lock(path, false);
        if (lock < 0)
            continue; /* it lives, or is about to: the lock comes first there */
        remove_tree(path, 0);
        close(lock);
    }
}

static int write_names_config(struct arena *a, struct run_dir *d, struct error *err)
{
    str path = arena_printf(a, "%s/names.yaml", d->path);
    str text = arena_printf(a,
                            "apiVersion: dapr.io/v1alpha1\n"
                            "kind: Configuration\n"
                            "metadata:\n"
                            "  name: proa-run\n"
                            "spec:\n"
                            "  nameResolution:\n"
                            "    component: sqlite\n"
                            "    version: v1\n"
                            "    configuration:\n"
                            "      connectionString: \"%s/names.db\"\n"
                            "      updateInterval: 2s\n", /* no daprd shares this file */
                            d->path);
    if (!path.p || !text.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    d->names_config = path.p;
    return files_write(path.p, text, 0600, err);
}

int run_dir_make(struct arena *a, struct run_dir *ret, struct error *err)
{
    const char *base = base_dir(a);
    unsigned char id[ID_BYTES];
    char hex[2 * ID_BYTES];
    id_secure_bytes(id, sizeof(id));
    id_hex(id, sizeof(id), hex);
    *ret = (struct run_dir){ .lock = -1 };
    if (base)
        ret->path = arena_printf(a, "%s/run-%.*s", base, (int)sizeof(hex), hex).p;
    if (!ret->path)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int r = own_dir(base, err);
    if (r)
        return r;
    remove_dead(base);
    r = own_dir(ret->path, err);
    if (r)
        return r;
    ret->lock = take_lock(ret->path, true);
    if (ret->lock < 0)
        return fail(err, UNAVAILABLE, NULL, "can't lock %s: %s", ret->path, strerror(errno));
    return write_names_config(a, ret, err);
}

void run_dir_remove(struct run_dir *d)
{
    if (d->lock < 0)
        return;
    remove_tree(d->path, 0);
    close(d->lock);
    d->lock = -1;
}

int run_dir_write_control(const struct run_dir *d, const struct run_control *c, struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, CONTROL_MAX);
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_key(&w, S("pid"));
    json_w_i64(&w, c->pid);
    json_w_key(&w, S("port"));
    json_w_u64(&w, c->port);
    json_w_kv(&w, S("name"), c->name);
    json_w_kv(&w, S("token"), c->token);
    json_w_object_end(&w);
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/control.json", d->path);
    if (!buf_ok(&out))
        return fail(err, EXHAUSTED, NULL, "out of memory");
    return files_write(path, buf_str(&out), 0600, err);
}

static bool read_control(struct arena *a, const char *dir, struct run_control *ret)
{
    str path = arena_printf(a, "%s/control.json", dir), text;
    struct error ignored = { 0 };
    struct json v;
    uint64_t port;
    if (!path.p || files_read(a, path.p, CONTROL_MAX, &text, &ignored) != 0 ||
        json_parse(text, &v, NULL) != 0)
        return false;
    if (!json_i64(json_get(v, S("pid")), &ret->pid) || !json_u64(json_get(v, S("port")), &port) ||
        port > UINT16_MAX || json_string(a, json_get(v, S("name")), &ret->name) != 0 ||
        json_string(a, json_get(v, S("token")), &ret->token) != 0)
        return false;
    ret->port = (uint16_t)port;
    ret->dir = str_c(dir);
    return true;
}

int run_dir_list(struct arena *a, struct run_control *ret, size_t max, size_t *ret_n,
                 struct error *err)
{
    const char *base = base_dir(a);
    if (!base)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    AUTO(close_dir) DIR *d = opendir(base);
    const struct dirent *e;
    *ret_n = 0;
    while (d && *ret_n < max && (e = readdir(d))) {
        if (!str_starts(str_c(e->d_name), S("run-")))
            continue;
        const char *dir = arena_printf(a, "%s/%s", base, e->d_name).p;
        if (!dir)
            return fail(err, EXHAUSTED, NULL, "out of memory");
        if (is_alive(dir) && read_control(a, dir, &ret[*ret_n]))
            (*ret_n)++;
    }
    return 0;
}
