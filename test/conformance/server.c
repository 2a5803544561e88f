#include "test/conformance/server.h"

#include "base/buf.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 64, TRIES = 5 };
#define START_MAX_NS SEC(20)

/* ---- texts ---- */

static str value_of(const struct server *s, str name, char *text, size_t max)
{
    if (str_eq(name, S("dir")))
        return str_c(s->dir);
    if (str_eq(name, S("port")))
        return str_of(text, (size_t)snprintf(text, max, "%u", s->port));
    if (str_eq(name, S("sock")))
        return str_of(text, (size_t)snprintf(text, max, "%s/sock", s->dir));
    return (str){ 0 };
}

bool server_fill(const struct server *s, str text, char *ret, size_t max)
{
    size_t n = 0;
    while (text.n) {
        char own[128];
        str rest = str_skip(text, 1), name = rest, piece = str_take(text, 1), value;
        ptrdiff_t end = text.p[0] == '{' ? str_find_c(rest, '}') : -1;
        size_t used = 1;
        if (end >= 0) {
            name = str_take(rest, (size_t)end);
            value = value_of(s, name, own, sizeof own);
            if (value.p) {
                piece = value;
                used = name.n + 2;
            }
        }
        if (n + piece.n >= max)
            return false;
        memcpy(ret + n, piece.p, piece.n);
        n += piece.n;
        text = str_skip(text, used);
    }
    ret[n] = 0;
    return true;
}

bool server_installed(const char *command)
{
    char path[512];
    str name, rest = str_c(command), dirs = str_c(getenv("PATH")), dir;
    (void)str_cut(rest, ' ', &name, &rest);
    while (str_next(&dirs, ':', &dir)) {
        (void)snprintf(path, sizeof path, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(name));
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

/* ---- reaching it ---- */

uint16_t server_free_port(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    socklen_t len = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&in, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&in, &len) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok ? ntohs(in.sin_port) : 0;
}

static bool accepts(const struct server *s)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(s->port) };
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool sock = strstr(s->command, "{sock}");
    (void)snprintf(un.sun_path, sizeof un.sun_path, "%s/sock", s->dir);
    int fd = socket(sock ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = sock ? connect(fd, (struct sockaddr *)&un, sizeof un)
                 : connect(fd, (struct sockaddr *)&in, sizeof in);
    if (fd >= 0)
        (void)close(fd);
    return r == 0;
}

static bool has_ended(struct server *s)
{
    if (waitpid(s->pid, NULL, WNOHANG) != s->pid)
        return false;
    s->pid = 0;
    return true;
}

static bool await(struct server *s)
{
    uint64_t until = clock_now_ns() + START_MAX_NS;
    while (!accepts(s)) {
        if (has_ended(s))
            return false;
        if (clock_now_ns() > until) {
            server_stop(s);
            return false;
        }
        (void)usleep(2000);
    }
    return !has_ended(s); /* not another one on the same port */
}

/* ---- starting and ending ---- */

static size_t split(char *text, char **arg)
{
    size_t n = 0;
    for (char *p = text; *p && n < ARGS_MAX - 1;) {
        while (*p == ' ')
            *p++ = 0;
        if (!*p)
            break;
        arg[n++] = p;
        while (*p && *p != ' ')
            p++;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(arg[i], "''") == 0)
            arg[i][0] = 0;
    arg[n] = NULL;
    return n;
}

static void become(const char *log, char **arg)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(fd, 1);
    (void)dup2(fd, 2);
    (void)execvp(arg[0], arg);
    _exit(127);
}

static bool launch(struct server *s)
{
    char text[2048], log[128], *arg[ARGS_MAX];
    if (!server_fill(s, str_c(s->command), text, sizeof text) || !split(text, arg))
        return false;
    (void)snprintf(log, sizeof log, "%s/server.log", s->dir);
    s->pid = fork();
    if (s->pid == 0)
        become(log, arg);
    return s->pid > 0;
}

bool server_start(struct server *s, const char *command, const char *dir)
{
    (void)snprintf(s->dir, sizeof s->dir, "%s", dir);
    (void)snprintf(s->command, sizeof s->command, "%s", command);
    for (int i = 0; i < TRIES; i++) {
        s->port = server_free_port(); /* somebody may take it before the server does */
        if (launch(s) && await(s))
            return true;
    }
    printf("    %s doesn't start: see %s/server.log\n", command, dir);
    return false;
}

bool server_restart(struct server *s)
{
    server_stop(s);
    return launch(s) && await(s);
}

void server_stop(struct server *s)
{
    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void server_remove_dir(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
