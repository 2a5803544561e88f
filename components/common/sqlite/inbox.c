#include "components/common/sqlite/inbox.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

int inbox_init(struct inbox *box, struct error *err)
{
    *box = (struct inbox){ .pipe = { -1, -1 }, .watch = -1 };
    box->last = &box->first;
    pthread_mutex_init(&box->lock, NULL);
    if (pipe2(box->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        inbox_done(box);
        return fail(err, EXHAUSTED, NULL, "no pipe for the writer's thread: raise ulimit -n");
    }
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void inbox_done(struct inbox *box)
{
    close_fd(&box->pipe[0]);
    close_fd(&box->pipe[1]);
    close_fd(&box->watch);
    pthread_mutex_destroy(&box->lock);
}

void inbox_watch(struct inbox *box, const char *file)
{
#ifdef __linux__
    close_fd(&box->watch);
    box->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (box->watch >= 0 && inotify_add_watch(box->watch, file, IN_MODIFY) < 0)
        close_fd(&box->watch);
#else
    (void)box;
    (void)file;
#endif
}

static void drain(int fd)
{
    char buf[4096] __attribute__((aligned(8)));
    while (fd >= 0 && read(fd, buf, sizeof buf) > 0)
        ;
}

static void ring(struct inbox *box)
{
    ssize_t n = write(box->pipe[1], "", 1);
    (void)n; /* a full pipe wakes as well */
}

int inbox_put(struct inbox *box, struct sqlite_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&box->lock);
    int r = box->closed ? -UNAVAILABLE : box->n >= INBOX_MAX ? -EXHAUSTED : 0;
    if (r == 0) {
        *box->last = job;
        box->last = &job->next;
        box->n++;
    }
    bool wake = r == 0 && box->asleep;
    box->asleep &= !wake;
    pthread_mutex_unlock(&box->lock);
    if (wake)
        ring(box);
    return r;
}

void inbox_close(struct inbox *box)
{
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    pthread_mutex_unlock(&box->lock);
    ring(box);
}

/* Rounded up where only poll(2) is to be had. */
static int poll_ns(struct pollfd *fd, nfds_t n, uint64_t ns)
{
#ifdef __linux__
    struct timespec t = { (time_t)(ns / SEC(1)), (long)(ns % SEC(1)) };
    return ppoll(fd, n, &t, NULL);
#else
    return poll(fd, n, (int)min_u64((ns + MS(1) - 1) / MS(1), 3600 * 1000));
#endif
}

enum inbox_wake inbox_wait(struct inbox *box, uint64_t timeout_ns)
{
    pthread_mutex_lock(&box->lock);
    bool jobs = box->first, closed = box->closed;
    box->asleep = !jobs && !closed;
    pthread_mutex_unlock(&box->lock);
    if (jobs)
        return INBOX_JOBS;
    if (closed)
        return INBOX_CLOSED;

    struct pollfd fd[2] = { { box->pipe[0], POLLIN, 0 }, { box->watch, POLLIN, 0 } };
    int n = poll_ns(fd, 2, timeout_ns);
    bool touched = n > 0 && fd[1].revents;
    drain(box->pipe[0]);
    if (touched)
        drain(box->watch);
    pthread_mutex_lock(&box->lock);
    box->asleep = false;
    jobs = box->first;
    pthread_mutex_unlock(&box->lock);
    if (touched)
        return INBOX_TOUCHED;
    return jobs ? INBOX_JOBS : INBOX_TIME;
}

struct sqlite_job *inbox_take(struct inbox *box, size_t max)
{
    pthread_mutex_lock(&box->lock);
    struct sqlite_job *first = box->first, **end = &box->first;
    for (; *end && max > 0; max--) {
        end = &(*end)->next;
        box->n--;
    }
    box->first = *end;
    if (!box->first)
        box->last = &box->first;
    *end = NULL;
    pthread_mutex_unlock(&box->lock);
    return first;
}
