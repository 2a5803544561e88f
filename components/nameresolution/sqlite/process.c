#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

enum { STAT_MAX = 1024, BOOT_MAX = 40, START_FIELD = 20 /* behind the name: state is field 1 */ };

static str read_small(const char *path, char *buf, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, max);
    if (fd >= 0)
        close(fd);
    return n < 0 ? S("") : str_trim(str_of(buf, (size_t)n));
}

/* What /proc/<pid>/stat says behind the program's name, which may contain anything. */
static str read_stat(long pid, char buf[STAT_MAX])
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    str text = read_small(path, buf, STAT_MAX);
    size_t at = text.n;
    while (at > 0 && text.p[at - 1] != ')')
        at--;
    return at ? str_trim(str_skip(text, at)) : S("");
}

static str field(str stat, int which)
{
    str item = S("");
    while (which-- > 0 && str_next(&stat, ' ', &item)) {}
    return item;
}

void process_name_self(char ret[PROCESS_NAME_MAX])
{
    char boot_buf[BOOT_MAX], stat_buf[STAT_MAX], space[64];
    str boot = read_small("/proc/sys/kernel/random/boot_id", boot_buf, sizeof boot_buf);
    str start = field(read_stat(getpid(), stat_buf), START_FIELD);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space);
    int len = snprintf(ret, PROCESS_NAME_MAX, STR_FMT "/" STR_FMT "/%ld/" STR_FMT, STR_ARG(boot),
                       (int)(n < 0 ? 0 : n), space, (long)getpid(), STR_ARG(start));
    if (!boot.n || n <= 0 || !start.n || len >= PROCESS_NAME_MAX)
        ret[0] = 0;
}

bool process_gone(const char *self, str name)
{
    str boot, space, rest, pid_text, start, own = str_c(self), own_boot, own_space;
    char buf[STAT_MAX];
    int64_t pid;
    if (!own.n || !str_cut(name, '/', &boot, &rest) || !str_cut(rest, '/', &space, &rest) ||
        !str_cut(rest, '/', &pid_text, &start) || !str_to_i64(pid_text, &pid) || pid <= 0)
        return false;
    (void)str_cut(own, '/', &own_boot, &own);
    (void)str_cut(own, '/', &own_space, &own);
    if (!str_eq(boot, own_boot) || !str_eq(space, own_space))
        return false;
    if (kill((pid_t)pid, 0) < 0)
        return errno == ESRCH;
    str stat = read_stat((long)pid, buf), state = field(stat, 1);
    /* A zombie, or somebody else who has got the number since. */
    return state.n && (state.p[0] == 'Z' || !str_eq(field(stat, START_FIELD), start));
}
