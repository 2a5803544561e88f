#include "cli/run_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

void guard_tell(int fd, pid_t pid)
{
    int32_t message = (int32_t)pid; /* below PIPE_BUF: writers don't mix */
    while (write(fd, &message, sizeof(message)) < 0 && errno == EINTR)
        ;
}

static void note(int32_t *group, size_t *n, int32_t message)
{
    size_t i = 0;
    int32_t pid = message < 0 ? -message : message;
    while (i < *n && group[i] != pid)
        i++;
    if (message < 0 && i < *n)
        group[i] = group[--*n];
    else if (message > 0 && i == *n && *n < GROUPS_MAX)
        group[(*n)++] = pid;
}

/* Until the last writer is gone: the run has ended, in one way or another. */
static _Noreturn void watch(int fd)
{
    static int32_t group[GROUPS_MAX];
    size_t n = 0;
    int32_t message;
    for (;;) {
        ssize_t got = read(fd, &message, sizeof(message));
        if (got < 0 && errno == EINTR)
            continue;
        if (got != (ssize_t)sizeof(message))
            break;
        note(group, &n, message);
    }
    for (size_t i = 0; i < n; i++)
        (void)kill(-group[i], SIGKILL);
    _exit(0);
}

/* Own group and no terminal, so that Ctrl-C doesn't end it; no inherited files, so that nobody
 * waits for the end of a pipe that it holds. */
static _Noreturn void become_guard(int fd)
{
    (void)setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            (void)signal(sig, SIG_IGN);
    int max = (int)sysconf(_SC_OPEN_MAX);
    for (int i = 0; i < (max > 0 && max < 4096 ? max : 4096); i++)
        if (i != fd)
            (void)close(i);
    watch(fd);
}

int guard_start(struct guard *g, struct error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return fail(err, UNAVAILABLE, NULL, "no pipe to be had: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become_guard(fds[0]);
    close(fds[0]);
    if (pid < 0) {
        close(fds[1]);
        return fail(err, UNAVAILABLE, NULL, "can't start a process: %s", strerror(errno));
    }
    *g = (struct guard){ fds[1], pid };
    return 0;
}

void guard_close(struct guard *g)
{
    close(g->fd);
    while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
