#include "cli/run_log.h"
#include "cli/console.h"

#include "base/error.h"
#include "loop/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WRITE_PIECE = 4096, POLL_MS = 200 };

/* ---- lines ---- */

static str without_cr(str line)
{
    return line.n && line.p[line.n - 1] == '\r' ? str_take(line, line.n - 1) : line;
}

static void keep(struct log_lines *l, str piece, void (*emit)(void *arg, str line), void *arg)
{
    while (piece.n) {
        size_t n = min_size(piece.n, LOG_LINE_MAX - l->n);
        memcpy(l->part + l->n, piece.p, n);
        l->n += n;
        piece = str_skip(piece, n);
        if (l->n == LOG_LINE_MAX) {
            emit(arg, str_of(l->part, l->n));
            l->n = 0;
        }
    }
}

void log_lines_feed(struct log_lines *l, str chunk, void (*emit)(void *arg, str line), void *arg)
{
    str line;
    while (chunk.n) {
        ptrdiff_t end = str_find_c(chunk, '\n');
        if (end < 0) {
            keep(l, chunk, emit, arg);
            return;
        }
        line = str_take(chunk, (size_t)end);
        chunk = str_skip(chunk, (size_t)end + 1);
        if (!l->n && line.n <= LOG_LINE_MAX) {
            emit(arg, without_cr(line)); /* whole in this chunk: no copy */
            continue;
        }
        keep(l, line, emit, arg);
        if (l->n)
            emit(arg, without_cr(str_of(l->part, l->n)));
        l->n = 0;
    }
}

void log_lines_end(struct log_lines *l, void (*emit)(void *arg, str line), void *arg)
{
    if (l->n)
        emit(arg, without_cr(str_of(l->part, l->n)));
    l->n = 0;
}

bool log_is_trouble(str line)
{
    static const str sign[] = {
        { "level=warn", 10 },      { "level=error", 11 },
        { "level=fatal", 11 },     { "\"level\":\"warn", 13 },
        { "\"level\":\"err", 12 }, { "\"level\":\"fatal", 14 },
        { "panic:", 6 },
    };
    for (size_t i = 0; i < COUNT(sign); i++)
        if (str_contains(line, sign[i]))
            return true;
    return false;
}

/* ---- the terminal ---- */

/* Twelve that can be told apart on dark and on light. */
static const unsigned char palette[] = { 39, 208, 71, 170, 37, 178, 99, 203, 30, 135, 107, 166 };

static const char erase_line[] = "\r\033[K";

void log_screen_line(struct log_screen *s, const char *label, int label_colour, const char *mark,
                     str line)
{
    struct buf *b = &s->pending;
    if (s->dead)
        return;
    int width = (int)s->label_width;
    if (!s->colour)
        buf_printf(b, "%-*s%s | ", width, label, mark);
    else if (label_colour < 0)
        buf_printf(b, "\033[1m%-*s%s\033[0m \033[2m|\033[0m ", width, label, mark);
    else
        buf_printf(b, "\033[38;5;%um%-*s%s |\033[0m ",
                   palette[(size_t)label_colour % COUNT(palette)], width, label, mark);
    while (line.n) { /* escape sequences only go where we use them ourselves */
        ptrdiff_t esc = s->colour ? -1 : str_find(line, S("\033["));
        if (esc < 0) {
            buf_put(b, line);
            break;
        }
        buf_put(b, str_take(line, (size_t)esc));
        line = str_skip(line, (size_t)esc + 2);
        while (line.n && (line.p[0] < '@' || line.p[0] > '~'))
            line = str_skip(line, 1);
        line = str_skip(line, 1);
    }
    buf_put(b, s->colour ? S("\033[0m\n") : S("\n"));
    (void)waitq_wake_one(&s->work, 0);
}

/* A status that is wider than the terminal couldn't be erased again. */
static size_t screen_width(const struct log_screen *s)
{
    struct winsize size;
    return ioctl(s->fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void log_screen_status(struct log_screen *s, const char *text)
{
    char line[sizeof(s->status)];
    int width = (int)min_size(s->terminal ? screen_width(s) - 1 : 0, sizeof(line) - 1);
    snprintf(line, sizeof(line), "%.*s", width, text);
    if (strcmp(s->status, line) == 0)
        return;
    memcpy(s->status, line, sizeof(line));
    s->status_changed = true;
    (void)waitq_wake_one(&s->work, 0);
}

int log_screen_wait_room(struct log_screen *s)
{
    while (s->pending.len > LOG_PENDING_MAX / 2 && !s->dead) {
        int r = waitq_wait(&s->room);
        if (r < 0)
            return r;
    }
    return 0;
}

/* On the pool: pieces that a pipe takes without blocking once it says that it has room. */
static void write_batch(void *arg)
{
    struct log_screen *s = arg;
    str data = buf_str(&s->writing);
    while (data.n && !atomic_load(&s->give_up)) {
        struct pollfd p = { .fd = s->fd, .events = POLLOUT };
        if (poll(&p, 1, POLL_MS) <= 0)
            continue;
        ssize_t n = write(s->fd, data.p, min_size(data.n, WRITE_PIECE));
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            s->dead = true;
            return;
        }
        data = str_skip(data, n > 0 ? (size_t)n : 0);
    }
}

/* The waiting lines, and behind them the status line where it belongs: last. */
static void make_batch(struct log_screen *s)
{
    struct buf old = s->writing;
    buf_clear(&old);
    s->writing = s->pending;
    s->pending = old;
    if (!s->terminal)
        return;
    struct buf *b = &s->writing;
    if (s->status_drawn) { /* make room in front */
        buf_init(&old, 2 * LOG_PENDING_MAX);
        buf_put(&old, str_c(erase_line));
        buf_put(&old, buf_str(b));
        buf_done(b);
        *b = old;
    }
    buf_put(b, str_c(s->status));
    s->status_drawn = s->status[0];
    s->status_changed = false;
}

CO static void screen_fiber(void *arg)
{
    struct log_screen *s = arg;
    for (;;) {
        if (!s->pending.len && !s->status_changed) {
            if (s->ending || waitq_wait(&s->work) < 0)
                break;
            continue;
        }
        make_batch(s);
        if (blocking(write_batch, s) < 0)
            break;
        waitq_wake_all(&s->room, 0);
    }
    s->dead = true;
    waitq_wake_all(&s->room, 0);
    wait_group_done(&s->done);
}

int log_screen_open(struct log_screen *s, int fd, size_t label_width, struct error *err)
{
    *s = (struct log_screen){ .fd = fd,
                              .terminal = console_is_terminal(fd),
                              .colour = console_colour(fd),
                              .label_width = label_width };
    buf_init(&s->pending, LOG_PENDING_MAX);
    buf_init(&s->writing, LOG_PENDING_MAX);
    waitq_init(&s->room);
    waitq_init(&s->work);
    wait_group_init(&s->done);
    wait_group_add(&s->done);
    s->fiber = fiber_spawn("screen", screen_fiber, s);
    if (!s->fiber)
        return fail(err, EXHAUSTED, NULL, "no room for another fiber");
    return 0;
}

CO static bool ended_within(struct log_screen *s, uint64_t ns)
{
    DEADLINE(ns);
    return wait_group_wait(&s->done) == 0;
}

void log_screen_close(struct log_screen *s)
{
    log_screen_status(s, "");
    s->ending = true;
    (void)waitq_wake_one(&s->work, 0);
    if (!ended_within(s, SEC(1))) {
        atomic_store(&s->give_up, true); /* whoever reads us has stopped reading */
        SHIELD();
        (void)wait_group_wait(&s->done);
    }
    buf_done(&s->pending);
    buf_done(&s->writing);
}

/* ---- files ---- */

int log_file_open(struct log_file *f, const char *path, struct error *err)
{
    *f = (struct log_file){ .fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644),
                            .path = path };
    if (f->fd < 0)
        return fail(err, UNAVAILABLE, NULL, "can't write the log file %s: %s", path,
                    strerror(errno));
    return 0;
}

static void rotate(struct log_file *f)
{
    char old[PATH_MAX];
    snprintf(old, sizeof(old), "%s.1", f->path);
    (void)rename(f->path, old);
    struct error ignored = { 0 };
    log_file_close(f);
    (void)log_file_open(f, f->path, &ignored);
}

void log_file_write(struct log_file *f, str data)
{
    if (f->fd >= 0 && f->size + data.n > LOG_FILE_MAX)
        rotate(f);
    while (f->fd >= 0 && data.n) {
        ssize_t n = write(f->fd, data.p, data.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* disk full: the terminal still has it */
            log_file_close(f);
            return;
        }
        f->size += (uint64_t)n;
        data = str_skip(data, (size_t)n);
    }
}

void log_file_close(struct log_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}
