/* kill9 — what was acknowledged survives kill -9 at any instant.
 *
 * Each round: a process with 8 writers saves to state.sqlite and publishes to pubsub.sqlite, and
 * tells each acknowledged operation through a pipe; it is killed at a random moment. Then two
 * consumers compete for the messages; one is killed in the middle. In the end every acknowledged
 * save must be there with its value, every acknowledged message must have been delivered, and the
 * consumers' effects, guarded by a first write in one transaction, must be there exactly once.
 *
 *   kill9                  rounds by CHAOS_ROUNDS (8), seed by CHAOS_SEED (random, printed)
 *   kill9 write|consume …  the processes of a round */
#include "test/chaos/kill9.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

extern char **environ;

enum { ROUNDS = 8, IDS_MAX = 1 << 20 };
#define DELIVERY_LIMIT SEC(30)

struct child {
    pid_t pid;
    int fd; /* its lines; -1 = ended */
    char line[8192];
    size_t n;
};

struct round {
    char dir[64];
    struct map saved, published, delivered; /* ids */
    size_t missing;                         /* published, not delivered yet */
};

/* ---- a generator with a seed, so that a round can be tried again ---- */

static uint64_t rng;

static uint64_t next_random(void)
{
    rng += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = rng;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t between(uint64_t low, uint64_t high)
{
    return low + next_random() % (high - low);
}

/* ---- processes ---- */

static bool start(struct child *c, const char *role, const char *dir)
{
    int fd[2];
    posix_spawn_file_actions_t actions;
    char *argv[] = { "kill9", (char *)role, (char *)dir, NULL };
    *c = (struct child){ .fd = -1 };
    if (pipe2(fd, O_CLOEXEC) < 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], KILL9_FD);
    int e = posix_spawn(&c->pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    (void)close(fd[1]);
    if (e) {
        (void)close(fd[0]);
        printf("no process: %s\n", strerror(e));
        return false;
    }
    c->fd = fd[0];
    return true;
}

static void end(struct child *c, int signal)
{
    int status;
    if (c->pid > 0) {
        (void)kill(c->pid, signal);
        (void)waitpid(c->pid, &status, 0);
    }
    c->pid = 0;
}

static void note_line(struct round *r, str line)
{
    str id = str_skip(line, 2);
    struct map *m = line.p[0] == 'S' ? &r->saved : line.p[0] == 'P' ? &r->published : &r->delivered;
    void *old = NULL;
    INV(line.n > 2 && map_put(m, id, r, &old) == 0);
    if (line.p[0] == 'P')
        r->missing += !old && !map_has(&r->delivered, id);
    if (line.p[0] == 'D')
        r->missing -= !old && map_has(&r->published, id);
}

/* Takes in what is there. Returns false at the end. */
static bool take_lines(struct round *r, struct child *c)
{
    ssize_t n = read(c->fd, c->line + c->n, sizeof c->line - c->n);
    if (n <= 0) {
        (void)close(c->fd);
        c->fd = -1;
        return false;
    }
    c->n += (size_t)n;
    str rest = str_of(c->line, c->n), line;
    while (str_find_c(rest, '\n') >= 0) {
        (void)str_cut(rest, '\n', &line, &rest);
        note_line(r, line);
    }
    memmove(c->line, rest.p, rest.n);
    c->n = rest.n;
    return true;
}

/* Reads from the children until the time is over or stop() says so. */
static void listen_to(struct round *r, struct child **c, size_t n, uint64_t until,
                      bool (*stop)(struct round *r))
{
    uint64_t now;
    while ((now = clock_now_ns()) < until && !(stop && stop(r))) {
        struct pollfd fd[2];
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            fd[i] = (struct pollfd){ c[i]->fd, POLLIN, 0 };
            any |= c[i]->fd >= 0;
        }
        if (!any)
            return;
        (void)poll(fd, n, (int)min_u64((until - now) / MS(1) + 1, 50));
        for (size_t i = 0; i < n; i++)
            if (c[i]->fd >= 0 && fd[i].revents)
                (void)take_lines(r, c[i]);
    }
}

static bool some_published(struct round *r)
{
    return map_count(&r->published) > 0;
}

static bool all_delivered(struct round *r)
{
    return r->missing == 0;
}

static bool half_delivered(struct round *r)
{
    return r->missing * 2 <= map_count(&r->published);
}

/* ---- looking at the result, with SQLite alone ---- */

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int64(s, 0);
    else
        printf("  %s: %s\n", sql, sqlite3_errmsg(db));
    (void)sqlite3_finalize(s);
    return n;
}

static bool has_value(sqlite3 *db, const char *sql, str key, const char *want)
{
    sqlite3_stmt *s = NULL;
    bool ok = false;
    INV(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK);
    (void)sqlite3_bind_text(s, 1, key.p, (int)key.n, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW)
        ok = !want || strcmp((const char *)sqlite3_column_text(s, 0), want) == 0;
    (void)sqlite3_finalize(s);
    return ok;
}

static unsigned check_saves(struct round *r, sqlite3 *db)
{
    struct map_entry *e;
    unsigned lost = 0;
    for (size_t at = 0; (e = map_next(&r->saved, &at));) {
        char want[KILL9_VALUE];
        kill9_value(e->key, want);
        if (!has_value(db, "SELECT value FROM state WHERE key = ?1", e->key, want)) {
            printf("  LOST: acknowledged save %.*s\n", (int)e->key.n, e->key.p);
            lost++;
        }
    }
    return lost;
}

static unsigned check_messages(struct round *r, sqlite3 *db)
{
    struct map_entry *e;
    unsigned lost = 0;
    for (size_t at = 0; (e = map_next(&r->published, &at));) {
        char seen[64];
        int n = snprintf(seen, sizeof seen, "seen-%.*s", (int)e->key.n, e->key.p);
        bool delivered = map_has(&r->delivered, e->key);
        bool effect =
            has_value(db, "SELECT value FROM state WHERE key = ?1", str_of(seen, (size_t)n), NULL);
        if (!delivered || !effect) {
            printf("  LOST: acknowledged message %.*s%s\n", (int)e->key.n, e->key.p,
                   delivered ? ": delivered, but without effect" : "");
            lost++;
        }
    }
    return lost;
}

static unsigned check_effects(sqlite3 *db)
{
    int64_t effects = number(db, "SELECT count(*) FROM state WHERE key LIKE 'effect-%'");
    int64_t distinct = number(db, "SELECT count(DISTINCT value) FROM state "
                                  "WHERE key LIKE 'effect-%'");
    int64_t seen = number(db, "SELECT count(*) FROM state WHERE key LIKE 'seen-%'");
    if (effects == distinct && effects == seen)
        return 0;
    printf("  effects %lld, of distinct messages %lld, seen %lld\n", (long long)effects,
           (long long)distinct, (long long)seen);
    return 1;
}

static unsigned check_file(struct round *r, const char *file,
                           unsigned (*check)(struct round *r, sqlite3 *db))
{
    char path[96];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/%s", r->dir, file);
    INV(sqlite3_open(path, &db) == SQLITE_OK);
    unsigned bad = check ? check(r, db) : 0;
    if (number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'")) {
        printf("  %s is damaged\n", file);
        bad++;
    }
    (void)sqlite3_close(db);
    return bad;
}

static unsigned check_state(struct round *r, sqlite3 *db)
{
    return check_saves(r, db) + check_messages(r, db) + check_effects(db);
}

/* ---- a round ---- */

static bool write_phase(struct round *r)
{
    struct child writer, *one[] = { &writer };
    if (!start(&writer, "write", r->dir))
        return false;
    listen_to(r, one, 1, clock_now_ns() + SEC(10), some_published);
    bool began = some_published(r);
    listen_to(r, one, 1, clock_now_ns() + between(0, MS(250)), NULL);
    end(&writer, SIGKILL);
    while (writer.fd >= 0 && take_lines(r, &writer)) /* what it told before it died */
        ;
    if (!began)
        printf("  the writer acknowledged nothing within 10 s\n");
    return began;
}

static bool consume_phase(struct round *r)
{
    struct child a, b, *both[] = { &a, &b };
    if (!start(&a, "consume", r->dir) || !start(&b, "consume", r->dir))
        return false;
    bool early = next_random() % 4 == 0; /* at times before it has done anything */
    if (early)
        listen_to(r, both, 2, clock_now_ns() + between(0, MS(60)), NULL);
    else
        listen_to(r, both, 2, clock_now_ns() + SEC(10), half_delivered);
    end(&a, SIGKILL);
    listen_to(r, both, 2, clock_now_ns() + DELIVERY_LIMIT, all_delivered);
    /* Whatever the dead one had leased is handled anew, and settled: then the queue is empty. */
    listen_to(r, both, 2, clock_now_ns() + MS(50), NULL);
    end(&b, SIGTERM);
    for (size_t i = 0; i < 2; i++)
        while (both[i]->fd >= 0 && take_lines(r, both[i]))
            ;
    return true;
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(path);
}

static unsigned run_round(unsigned i, uint64_t seed)
{
    struct round r = { 0 };
    const char *tmp = getenv("TMPDIR");
    rng = seed;
    snprintf(r.dir, sizeof r.dir, "%s/kill9.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    INV(mkdtemp(r.dir));
    map_init(&r.saved, IDS_MAX);
    map_init(&r.published, IDS_MAX);
    map_init(&r.delivered, IDS_MAX);
    uint64_t start_ns = clock_now_ns();
    unsigned bad = !write_phase(&r) || !consume_phase(&r);
    bad += check_file(&r, "state.db", check_state);
    bad += check_file(&r, "queue.db", NULL);
    printf("round %u seed %llu: %zu saves and %zu messages acknowledged, %zu delivered, %llu ms: "
           "%s\n",
           i, (unsigned long long)seed, map_count(&r.saved), map_count(&r.published),
           map_count(&r.delivered), (unsigned long long)((clock_now_ns() - start_ns) / MS(1)),
           bad ? "FAILED" : "ok");
    (void)fflush(stdout);
    map_done(&r.saved);
    map_done(&r.published);
    map_done(&r.delivered);
    if (!bad)
        remove_dir(r.dir);
    else
        printf("  kept: %s\n", r.dir);
    return bad;
}

static uint64_t from_env(const char *name, uint64_t none)
{
    uint64_t v;
    const char *text = getenv(name);
    return text && str_to_u64(str_c(text), &v) ? v : none;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        return kill9_write(argv[2]);
    if (argc == 3 && strcmp(argv[1], "consume") == 0)
        return kill9_consume(argv[2]);
    uint64_t rounds = from_env("CHAOS_ROUNDS", ROUNDS), seed = from_env("CHAOS_SEED", id_random());
    unsigned bad = 0;
    for (uint64_t i = 0; i < rounds; i++)
        bad += run_round((unsigned)i, seed + i) > 0;
    printf("%llu rounds, %u failed\n", (unsigned long long)rounds, bad);
    return bad != 0;
}
