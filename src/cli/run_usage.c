#include "cli/run_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Counted from the field behind the command's name, which is the state, number 3 of proc(5). */
enum { FIELD_GROUP = 5 - 3, FIELD_UTIME = 14 - 3, FIELD_STIME = 15 - 3, FIELD_RSS = 24 - 3 };
enum { LINE_MAX_BYTES = 1024 };

bool usage_parse(str line, pid_t *ret_group, uint64_t *ret_ticks, uint64_t *ret_pages)
{
    size_t end = line.n;
    while (end && line.p[end - 1] != ')')
        end--;
    if (!end)
        return false;
    str rest = str_trim(str_skip(line, end)), word;
    uint64_t value[FIELD_RSS + 1] = { 0 };
    size_t i = 0;
    for (; i <= FIELD_RSS && str_next(&rest, ' ', &word); i++)
        (void)str_to_u64(word, &value[i]); /* some fields are letters or negative: not ours */
    if (i <= FIELD_RSS)
        return false;
    *ret_group = (pid_t)value[FIELD_GROUP];
    *ret_ticks = value[FIELD_UTIME] + value[FIELD_STIME];
    *ret_pages = value[FIELD_RSS];
    return true;
}

static bool read_stat(const char *proc, const char *pid, char *line, size_t size, size_t *ret_n)
{
    char path[300];
    int len = snprintf(path, sizeof(path), "%s/%s/stat", proc, pid);
    if (len < 0 || (size_t)len >= sizeof(path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, size);
    close(fd);
    *ret_n = n > 0 ? (size_t)n : 0;
    return n > 0;
}

void usage_look(const char *proc, struct usage *v, size_t n)
{
    uint64_t tick_ns = SEC(1) / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < n; i++)
        v[i] = (struct usage){ .group = v[i].group };
    DIR *d = opendir(proc);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        char line[LINE_MAX_BYTES];
        size_t len;
        pid_t group;
        uint64_t ticks, pages;
        if (e->d_name[0] < '0' || e->d_name[0] > '9' ||
            !read_stat(proc, e->d_name, line, sizeof(line), &len) ||
            !usage_parse(str_of(line, len), &group, &ticks, &pages))
            continue;
        for (size_t i = 0; i < n; i++) {
            if (v[i].group != group)
                continue;
            v[i].cpu_ns += ticks * tick_ns;
            v[i].rss_bytes += pages * page;
            v[i].n++;
        }
    }
    if (d)
        closedir(d);
}
