#include "cli/run_process.h"
#include "cli/run_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct launch {
    const struct run_exec *exec;
    int guard, null, output, report;
    pid_t parent;
};

/* Between fork() and execve() only async-signal-safe calls: other threads may hold any lock. */
static _Noreturn void become(const struct launch *l)
{
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            (void)signal(sig, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);

    bool ok = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (getppid() != l->parent)
        _exit(1); /* it died before the line above */
    guard_tell(l->guard, getpid());
    ok = ok && dup2(l->null, STDIN_FILENO) >= 0 && dup2(l->output, STDOUT_FILENO) >= 0 &&
         dup2(l->output, STDERR_FILENO) >= 0 && chdir(l->exec->dir) == 0;
    if (ok)
        (void)execve(l->exec->path, l->exec->argv, l->exec->env);
    int cause = errno;
    (void)!write(l->report, &cause, sizeof(cause));
    _exit(127);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* The report pipe closes by itself when execve() works. */
static int await_exec(int report)
{
    int cause = 0;
    ssize_t n;
    do {
        n = read(report, &cause, sizeof(cause));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(cause) ? cause : 0;
}

int process_start(const struct run_exec *x, int guard_fd, pid_t *ret_pid, int *ret_output,
                  struct error *err)
{
    int out[2] = { -1, -1 }, report[2] = { -1, -1 };
    AUTO(close_fd) int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || pipe2(out, O_CLOEXEC) != 0)
        return fail(err, UNAVAILABLE, NULL, "no pipe to be had: %s", strerror(errno));
    AUTO(close_fd) int out_read = out[0];
    AUTO(close_fd) int out_write = out[1];
    if (pipe2(report, O_CLOEXEC) != 0)
        return fail(err, UNAVAILABLE, NULL, "no pipe to be had: %s", strerror(errno));
    AUTO(close_fd) int report_read = report[0];
    int report_write = report[1];

    const struct launch l = { x, guard_fd, null, out_write, report_write, getpid() };
    pid_t pid = fork();
    if (pid == 0)
        become(&l);
    int cause = errno;
    close(report_write);
    if (pid < 0)
        return fail(err, UNAVAILABLE, NULL, "can't start a process: %s", strerror(cause));
    cause = await_exec(report_read);
    if (cause) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        guard_tell(guard_fd, -pid);
        return fail(err, NOT_FOUND, NULL, "can't execute %s in %s: %s", x->path, x->dir,
                    strerror(cause));
    }
    (void)fcntl(out_read, F_SETFL, O_NONBLOCK);
    *ret_pid = pid;
    *ret_output = out_read;
    out_read = -1; /* handed over */
    return 0;
}

void process_ended(int wait_status, char ret[ENDED_MAX])
{
    if (WIFSIGNALED(wait_status))
        snprintf(ret, ENDED_MAX, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(ret, ENDED_MAX, "exited with code %d", WEXITSTATUS(wait_status));
}

int process_exit_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
