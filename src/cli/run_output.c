#include "cli/run_files.h"
#include "cli/run_private.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

/* "20260102030405", as Dapr names its log files. */
static void timestamp(char ret[RFC3339_MAX])
{
    char text[RFC3339_MAX];
    size_t n = 0;
    (void)clock_rfc3339(clock_wall_ns(), true, 0, text);
    for (const char *p = text; *p && n < 14; p++)
        if (*p >= '0' && *p <= '9')
            ret[n++] = *p;
    ret[n] = '\0';
}

static bool make_log_dir(const char *app_dir, char path[PATH_MAX])
{
    static const char *const level[] = { "/.dapr", "/.dapr/logs" };
    for (size_t i = 0; i < COUNT(level); i++) {
        int n = snprintf(path, PATH_MAX, "%s%s", app_dir, level[i]);
        if (n < 0 || n >= PATH_MAX || (mkdir(path, 0755) != 0 && errno != EEXIST))
            return false;
    }
    return true;
}

/* Without its file a process still has the screen. */
static void open_one(struct proc *p, const char *destination, const char *kind)
{
    struct member *m = p->member;
    char dir[PATH_MAX], time[RFC3339_MAX];
    struct error err = { 0 };
    p->to_screen = strcmp(destination, "file") != 0;
    if (strcmp(destination, "console") == 0 || !p->exec)
        return;
    timestamp(time);
    int n = -1;
    if (make_log_dir(m->plan->app->dir, dir))
        n = snprintf(p->path, sizeof(p->path), "%s/%s_%s_%s.log", dir, m->plan->label, kind, time);
    if (n < 0 || (size_t)n >= sizeof(p->path) || log_file_open(&p->file, p->path, &err) != 0) {
        p->to_screen = true;
        run_say(m->run, "warn", m->plan->app->id, "%s: no log file in %s/.dapr/logs: %s",
                m->plan->name, m->plan->app->dir, strerror(errno));
    }
}

void output_open(struct member *m)
{
    open_one(&m->sidecar, m->plan->app->sidecar_log, "daprd");
    open_one(&m->app, m->plan->app->app_log, "app");
}

void output_close(struct member *m)
{
    log_file_close(&m->sidecar.file);
    log_file_close(&m->app.file);
}
