/* run_log.h — what the processes print: one stream of prefixed lines for eyes, files for later.
 * Owner:  the run.   Thread: its worker; the terminal is written on the pool, so that a terminal
 * that stands still (Ctrl-S, a full pipe) stops nobody but the printers.
 * Limits: LOG_LINE_MAX bytes of a line (longer ones are cut into several), LOG_PENDING_MAX bytes
 * that wait for the terminal (then printers wait), LOG_FILE_MAX bytes of a file, which then becomes
 * <file>.1.   Failure: a terminal that is gone is written to no more; the run goes on. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "fiber/sync.h"

#include <stdio.h>

enum {
    LOG_LINE_MAX = 8 << 10,
    LOG_PENDING_MAX = 2 << 20,
    LOG_FILE_MAX = 64 << 20,
    LOG_CHUNK = 4 << 10,
};

/* ---- cutting bytes into lines: pure ---- */

struct log_lines {
    char part[LOG_LINE_MAX]; /* the beginning of a line whose end hasn't come */
    size_t n;
};
/* Calls emit for each whole line, without its end ("\n" or "\r\n"). */
void log_lines_feed(struct log_lines *l, str chunk, void (*emit)(void *arg, str line), void *arg);
void log_lines_end(struct log_lines *l, void (*emit)(void *arg, str line), void *arg);

/* ---- the terminal ---- */

struct log_screen {
    int fd;
    bool terminal, colour, ending;
    _Atomic bool dead; /* set on the pool */
    size_t label_width;
    struct buf pending, writing;
    char status[256]; /* a last line that stays last; "" = none; on a terminal only */
    bool status_drawn, status_changed;
    struct waitq room, work;
    struct fiber *fiber;
    struct wait_group done;
    _Atomic bool give_up;
};

/* Starts the fiber that writes. -EXHAUSTED. */
CO int log_screen_open(struct log_screen *s, int fd, size_t label_width, struct error *err) WUR;
/* Writes what is left, for at most one second. */
CO void log_screen_close(struct log_screen *s);
CO int log_screen_wait_room(struct log_screen *s) WUR;
/* label_colour: 0 … 11, or -1 for the run itself; mark: between label and bar, "◆" or " ". */
void log_screen_line(struct log_screen *s, const char *label, int label_colour, const char *mark,
                     str line);
void log_screen_status(struct log_screen *s, const char *text);

/* ---- one process ---- */

struct log_file {
    int fd; /* -1: none */
    uint64_t size;
    const char *path;
};
int log_file_open(struct log_file *f, const char *path, struct error *err) WUR;
void log_file_write(struct log_file *f, str data);
void log_file_close(struct log_file *f);

/* Whether a sidecar's line (logrus text or JSON) tells of trouble: warning and worse. */
bool log_is_trouble(str line);
