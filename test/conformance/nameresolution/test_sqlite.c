/* nameresolution.sqlite: the table that daprd shares, and what happens when the file is busy. */
#include "fixture.h"

#include "components/nameresolution/sqlite/process.h"
#include "fiber/sync.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

/* Another process's view of the file. */
static sqlite3 *open_file(const char *path)
{
    sqlite3 *db = NULL;
    REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

static void exec(sqlite3 *db, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *sql = sqlite3_vmprintf(fmt, args);
    va_end(args);
    char *text = NULL;
    CHECK_EQ(sqlite3_exec(db, sql, NULL, NULL, &text), SQLITE_OK, "%s: %s", sql, text ? text : "");
    sqlite3_free(text);
    sqlite3_free(sql);
}

/* First column of the first row, "(none)" without one. */
static const char *query(sqlite3 *db, const char *sql, char ret[128])
{
    sqlite3_stmt *stmt = NULL;
    REQUIRE(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s: %s", sql,
            sqlite3_errmsg(db));
    const char *text = "(none)";
    if (sqlite3_step(stmt) == SQLITE_ROW)
        text = (const char *)sqlite3_column_text(stmt, 0);
    snprintf(ret, 128, "%s", text ? text : "(null)");
    sqlite3_finalize(stmt);
    return ret;
}

struct bench {
    struct arena arena;
    const char *path;
    sqlite3 *db;
    struct fixture f;
};

static const struct component_env env = {
    .app_id = "alpha",
    .namespace_ = "prod",
    .host_address = "10.0.0.1",
    .internal_port = 50001,
};

CO static void bench_open(struct bench *b, const char *name, const char *update)
{
    arena_init(&b->arena, KIB(64));
    b->path = fixture_file(&b->arena, name, NULL);
    const char *md[] = { "url", b->path, "timeout", "200ms", "updateInterval", update, NULL };
    CHECK_OK(fixture_join(&b->f, "nameresolution.sqlite", md, &env), "%s", b->f.err.text);
    b->db = open_file(b->path);
}

CO static void bench_close(struct bench *b)
{
    sqlite3_close(b->db);
    fixture_close(&b->f);
    arena_done(&b->arena);
}

CO static size_t find(struct bench *b, const char *app, struct registration *v, size_t max)
{
    struct error err = { 0 };
    size_t n = 0;
    const struct resolver_ops *ops = CONTAINER_OF(b->f.type, struct resolver_ops, t);
    CHECK_OK(ops->resolve(b->f.self, str_c(app), S("prod"), &b->arena, v, max, &n, &err), "%s",
             err.text);
    return n;
}

/* Polls until the query gives want; at most twenty seconds. */
CO static void await_row(struct bench *b, const char *sql, const char *want)
{
    char got[128];
    uint64_t end = clock_now_ns() + SEC(20);
    while (strcmp(query(b->db, sql, got), want) != 0 && clock_now_ns() < end)
        CHECK_OK(fiber_sleep(MS(20)));
    CHECK_TEXT(got, want, "%s", sql);
}

static int count_rows(sqlite3 *db)
{
    char got[128];
    return (int)strtol(query(db, "SELECT count(*) FROM hosts", got), NULL, 10);
}

TEST_LOOP(row_is_there_as_the_contract_has_it)
{
    struct bench b;
    char got[128];
    bench_open(&b, "layout.db", "5s");
    CHECK_TEXT(query(b.db, "SELECT group_concat(name) FROM pragma_table_info('hosts')", got),
               "registration_id,address,app_id,namespace,last_update");
    CHECK_TEXT(query(b.db, "SELECT value FROM metadata WHERE key = 'nr-migrations'", got), "1");
    CHECK_TEXT(
        query(b.db, "SELECT address || ' ' || app_id || ' [' || namespace || ']' FROM hosts", got),
        "10.0.0.1:50001 alpha []");
    CHECK_TEXT(query(b.db, "SELECT length(registration_id) FROM hosts", got), "36");
    CHECK_TEXT(query(b.db, "SELECT abs(unixepoch() - last_update) < 3 FROM hosts", got), "1");
    CHECK_TEXT(query(b.db, "SELECT typeof(last_update) FROM hosts", got), "integer");
    CHECK_TEXT(query(b.db, "PRAGMA journal_mode", got), "wal");
    sqlite3 *db = b.db;
    fixture_close(&b.f);
    CHECK_EQ(count_rows(db), 0, "close takes the row back");
    sqlite3_close(db);
    arena_done(&b.arena);
}

/* A row as daprd writes it, and one that it has stopped renewing. */
TEST_LOOP(rows_of_others_are_found_while_they_are_young)
{
    struct bench b;
    struct registration v[8];
    bench_open(&b, "others.db", "5s");
    exec(b.db, "INSERT INTO hosts VALUES ('r1', '10.0.0.2:1', 'beta', '', unixepoch()),"
               "('r2', '10.0.0.3:1', 'beta', '', unixepoch()),"
               "('r3', '10.0.0.4:1', 'beta', '', unixepoch() - 7),"
               "('r4', '10.0.0.5:1', 'late', '', unixepoch() - 7),"
               "('r5', '10.0.0.6:1', 'dead', '', unixepoch() - 16),"
               "('r6', '10.0.0.7:1', 'ancient', '', 0)");
    CHECK_EQ(find(&b, "beta", v, 8), 2, "only the two that are alive");
    CHECK(v[0].address.p[7] != v[1].address.p[7], "two different ones");
    CHECK_EQ(find(&b, "late", v, 8), 1, "late, but the only one");
    CHECK_EQ(find(&b, "dead", v, 8), 0);
    CHECK_EQ(find(&b, "ancient", v, 8), 0);
    CHECK_EQ(find(&b, "BETA", v, 8), 0, "letter case counts");
    CHECK_EQ(find(&b, "beta' OR '1'='1", v, 8), 0);
    bench_close(&b);
}

/* Ours says which process wrote a row: of one that has ended nobody waits for the row to age. */
TEST_LOOP(row_of_a_dead_process_is_no_address)
{
    struct bench b;
    struct registration v[8];
    char self[PROCESS_NAME_MAX], other[PROCESS_NAME_MAX];
    process_name_self(self);
    REQUIRE(self[0], "/proc is needed");
    pid_t child = fork();
    if (child == 0)
        pause();
    str boot, space, rest = str_c(self);
    (void)str_cut(rest, '/', &boot, &rest);
    (void)str_cut(rest, '/', &space, &rest);
    snprintf(other, sizeof other, STR_FMT "/" STR_FMT "/%ld/0", STR_ARG(boot), STR_ARG(space),
             (long)child);
    CHECK(!process_gone(self, str_c(self)));
    CHECK(process_gone(self, str_c(other)), "it lives, but began at another time");
    CHECK(!process_gone("", str_c(other)), "who has no name himself knows nothing");
    CHECK(!process_gone(self, S("another-boot/pid:[1]/1/1")));
    CHECK(!process_gone(self, S("nonsense")));

    bench_open(&b, "dead.db", "5s");
    exec(b.db, "INSERT INTO hosts VALUES ('r1', '10.0.0.2:1', 'beta', '', unixepoch()),"
               "('r2', '10.0.0.3:1', 'beta', '', unixepoch()), ('r3', '10.0.0.4:1', 'beta', '', "
               "unixepoch())");
    exec(b.db,
         "INSERT INTO hosts_proa VALUES ('r1', 'a', 'eu', %Q, 0), ('r2', 'b', 'eu', %Q, 0),"
         "('r3', '', '', 'another-boot/pid:[1]/1/1', 0)",
         other, self);
    CHECK_EQ(find(&b, "beta", v, 8), 2, "r1 is gone");
    for (size_t i = 0; i < 2; i++) {
        bool second = str_eq(v[i].address, S("10.0.0.3:1"));
        CHECK_STR(v[i].zone, second ? "b" : "");
        CHECK_STR(v[i].region, second ? "eu" : "");
    }
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK(process_gone(self, str_c(other)));
    bench_close(&b);
}

TEST_LOOP(row_that_was_left_is_not_written_anew)
{
    struct bench b;
    char got[128];
    bench_open(&b, "left.db", "2s");
    const struct resolver_ops *ops = CONTAINER_OF(b.f.type, struct resolver_ops, t);
    CHECK_TEXT(query(b.db, "SELECT count(*) FROM hosts_proa", got), "1");
    ops->leave(b.f.self);
    CHECK_EQ(count_rows(b.db), 0);
    CHECK_TEXT(query(b.db, "SELECT count(*) FROM hosts_proa", got), "0");
    CHECK_OK(fiber_sleep(SEC(3))); /* renewals would be due every 900 ms */
    CHECK_EQ(count_rows(b.db), 0);
    bench_close(&b);
}

TEST_LOOP(order_is_random)
{
    struct bench b;
    struct registration v[2];
    bool first[2] = { false };
    bench_open(&b, "random.db", "60s");
    exec(b.db, "INSERT INTO hosts VALUES ('r1', '10.0.0.2:1', 'beta', '', unixepoch()),"
               "('r2', '10.0.0.3:1', 'beta', '', unixepoch())");
    for (size_t i = 0; i < 200 && !(first[0] && first[1]); i++) {
        CHECK_EQ(find(&b, "beta", v, 1), 1);
        first[v[0].address.p[7] - '2'] = true;
    }
    CHECK(first[0] && first[1], "one of them never came first");
    bench_close(&b);
}

TEST_LOOP(row_is_renewed_in_time)
{
    struct bench b;
    bench_open(&b, "renew.db", "2s");
    exec(b.db, "UPDATE hosts SET last_update = 5");
    await_row(&b, "SELECT last_update > 5 FROM hosts", "1");
    bench_close(&b);
}

/* daprd's own clean-up deletes rows that are alive. */
TEST_LOOP(row_that_was_deleted_comes_back)
{
    struct bench b;
    bench_open(&b, "deleted.db", "2s");
    exec(b.db, "DELETE FROM hosts");
    await_row(&b, "SELECT app_id FROM hosts", "alpha");
    bench_close(&b);
}

TEST_LOOP(row_of_a_dead_process_at_our_address_is_taken_over)
{
    struct bench b;
    char got[128];
    bench_open(&b, "takeover.db", "5s");
    fixture_close(&b.f);
    exec(b.db, "INSERT INTO hosts VALUES ('r1', '10.0.0.1:50001', 'old', '', unixepoch())");
    const char *md[] = { "connectionString", b.path, NULL };
    CHECK_OK(fixture_join(&b.f, "nameresolution.sqlite", md, &env), "%s", b.f.err.text);
    CHECK_TEXT(query(b.db, "SELECT group_concat(app_id) FROM hosts", got), "alpha");
    bench_close(&b);
}

TEST_LOOP(locked_file_stops_no_look_up_and_renewal_catches_up)
{
    struct bench b;
    struct registration v[4];
    char got[128];
    bench_open(&b, "locked.db", "2s");
    exec(b.db, "UPDATE hosts SET last_update = unixepoch() - 1");
    exec(b.db, "BEGIN EXCLUSIVE");
    uint64_t end = clock_now_ns() + MS(1500); /* longer than a renewal waits for the lock */
    while (clock_now_ns() < end) {
        CHECK_EQ(find(&b, "alpha", v, 4), 1);
        CHECK_OK(fiber_sleep(MS(50)));
    }
    exec(b.db, "UPDATE hosts SET last_update = 5");
    exec(b.db, "COMMIT");
    await_row(&b, "SELECT unixepoch() - last_update < 2 FROM hosts", "1");
    CHECK_TEXT(query(b.db, "SELECT count(*) FROM hosts", got), "1");
    bench_close(&b);
}

TEST_LOOP(old_rows_are_deleted)
{
    struct bench b;
    bench_open(&b, "clean.db", "2s");
    exec(b.db, "INSERT INTO hosts VALUES ('r1', '10.0.0.2:1', 'beta', '', unixepoch() - 7300),"
               "('r2', '10.0.0.3:1', 'beta', '', unixepoch() - 30)");
    await_row(&b, "SELECT group_concat(registration_id) FROM hosts WHERE app_id = 'beta'", "r2");
    bench_close(&b);
}

struct starter {
    const char *const *md;
    struct component_env env;
    struct fixture f;
    int result;
    struct wait_group *group;
};

CO static void start_one(void *arg)
{
    struct starter *s = arg;
    s->result = fixture_join(&s->f, "nameresolution.sqlite", s->md, &s->env);
    wait_group_done(s->group);
}

CO static void stop_one(void *arg)
{
    struct starter *s = arg;
    fixture_close(&s->f);
    wait_group_done(s->group);
}

CO static void on_all(struct starter *s, size_t n, fiber_fn *fn)
{
    for (size_t i = 0; i < n; i++) {
        wait_group_add(s->group);
        REQUIRE(fiber_spawn("starter", fn, &s[i]) != NULL);
    }
    CHECK_OK(wait_group_wait(s->group));
}

TEST_LOOP(many_sidecars_may_start_at_once)
{
    enum { N = 24 };
    struct starter *s = mem_zalloc(N * sizeof *s);
    struct wait_group group;
    struct arena a;
    arena_init(&a, KIB(64));
    wait_group_init(&group);
    const char *md[] = { "url", fixture_file(&a, "crowd.db", NULL), NULL };
    for (size_t i = 0; i < N; i++) {
        s[i] = (struct starter){ .md = md, .env = env, .group = &group };
        s[i].env.internal_port = (uint16_t)(60000 + i);
    }
    on_all(s, N, start_one);
    for (size_t i = 0; i < N; i++)
        CHECK_OK(s[i].result, "%s", s[i].f.err.text);
    sqlite3 *db = open_file(md[1]);
    CHECK_EQ(count_rows(db), N);
    on_all(s, N, stop_one);
    CHECK_EQ(count_rows(db), 0);
    sqlite3_close(db);
    arena_done(&a);
    mem_free(s);
}

TEST_LOOP(in_memory_database_knows_itself)
{
    const char *md[] = { "url", ":memory:", NULL };
    struct bench b;
    struct registration v[2];
    arena_init(&b.arena, KIB(64));
    CHECK_OK(fixture_join(&b.f, "nameresolution.sqlite", md, &env), "%s", b.f.err.text);
    CHECK_EQ(find(&b, "alpha", v, 2), 1);
    fixture_close(&b.f);
    arena_done(&b.arena);
}

TEST_LOOP(bad_configuration_is_refused)
{
    static const struct {
        const char *name, *key, *value, *says;
    } row[] = {
        { "no file", "x", "", "connectionString" },
        { "folder is missing", "url", "/nowhere/at/all/x.db", "/nowhere/at/all/x.db" },
        { "table name", "tableName", "a; DROP TABLE x", "'a; DROP TABLE x'" },
        { "metadata table name", "metadataTableName", "1a", "'1a'" },
        { "fraction", "updateInterval", "2500ms", "fractions" },
        { "too short", "updateInterval", "1s", "1s greater than timeout" },
        { "no duration", "updateInterval", "soon", "updateInterval" },
        { "clean-up", "cleanupInterval", "-5s", "cleanupInterval" },
        { "timeout", "timeout", "0s", "timeout" },
    };
    struct arena a;
    arena_init(&a, KIB(64));
    const char *path = fixture_file(&a, "bad.db", NULL);
    EACH (row, r) {
        bool own_url = r == &row[0] || strcmp(r->key, "url") == 0;
        const char *md[] = { r->key, r->value, own_url ? NULL : "url", path, NULL };
        struct fixture f;
        int got = fixture_open(&f, "nameresolution.sqlite", md, &env);
        CHECK(got < 0, "%s", r->name);
        CHECK(strstr(f.err.text, r->says), "%s: %s", r->name, f.err.text);
        fixture_close(&f);
    }
    arena_done(&a);
}

TEST_LOOP(file_that_is_no_database_is_refused)
{
    struct arena a;
    arena_init(&a, KIB(64));
    const char *md[] = { "url",
                         fixture_file(&a, "text.db",
                                      "this is not a database, it is a text that is long enough to "
                                      "be looked at as a header of one hundred bytes ..."),
                         NULL };
    struct fixture f;
    CHECK(fixture_open(&f, "nameresolution.sqlite", md, &env) < 0);
    CHECK(strstr(f.err.text, "text.db"), "%s", f.err.text);
    fixture_close(&f);
    arena_done(&a);
}
