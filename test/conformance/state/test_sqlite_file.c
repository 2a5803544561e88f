/* state.sqlite's file: the contract's layout, rows of others, rows that make no sense, locks. */
#include "component/state.h"
#include "components/common/sqlite/create.h"
#include "components/common/sqlite/target.h"
#include "test/conformance/engine.h"
#include "test/testing.h"

#include <sqlite3.h>
#include <unistd.h>

static const struct state_ops *ops(const struct engine *e)
{
    return CONTAINER_OF(e->type, const struct state_ops, t);
}

static int put(struct engine *e, const char *key, const char *value, bool json, const char *ttl,
               struct error *err)
{
    struct kv kv = { S("ttlInSeconds"), str_c(ttl) };
    struct state_write w = {
        .key = str_c(key), .value = str_c(value), .json = json, .metadata = { &kv, ttl ? 1 : 0 }
    };
    return ops(e)->write(e->self, &w, err);
}

static int get(struct engine *e, const char *key, struct state_value *v, struct error *err)
{
    *v = (struct state_value){ 0 };
    return ops(e)->get(e->self, str_c(key), STRONG, (struct kvs){ 0 }, &e->a, v, err);
}

static int open_file(struct engine *e, const struct scratch *s, const char *more, struct error *err)
{
    char connection[120];
    snprintf(connection, sizeof connection, "connectionString=%s", s->file);
    const char *fields[] = { connection, more, NULL };
    return engine_open(e, "state.sqlite", fields, err);
}

TEST(connection_strings_name_what_the_contract_means)
{
    static const struct {
        const char *text, *path;
        bool memory, read_only, must_exist;
        size_t n_pragmas;
    } row[] = {
        { "data.db", "data.db", false, false, false, 0 },
        { " /var/lib/x.db ", "/var/lib/x.db", false, false, false, 0 },
        { "file:data.db?cache=shared&_txlock=immediate", "data.db", false, false, false, 0 },
        { "file:///a/b%20c.db?mode=ro", "/a/b c.db", false, true, false, 0 },
        { "file://localhost/a.db?mode=rw", "/a.db", false, false, true, 0 },
        { "a.db?immutable=1", "a.db", false, true, false, 0 },
        { ":memory:", "", true, false, false, 0 },
        { "file::memory:?cache=shared", "", true, false, false, 0 },
        { "x?mode=memory", "", true, false, false, 0 },
        { "x.db?_pragma=cache_size(-2000)&_pragma=temp_store%3Dmemory", "x.db", false, false, false,
          2 },
    };
    EACH (row, r) {
        struct arena a;
        struct sqlite_target t;
        struct error err = { 0 };
        arena_init(&a, MIB(1));
        CHECK_OK(sqlite_target_parse(str_c(r->text), &a, &t, &err), "%s: %s", r->text, err.text);
        CHECK_EQ(t.memory, r->memory, "%s", r->text);
        CHECK_EQ(t.read_only, r->read_only, "%s", r->text);
        CHECK_EQ(t.must_exist, r->must_exist, "%s", r->text);
        CHECK_EQ(t.n_pragmas, r->n_pragmas, "%s", r->text);
        if (!t.memory)
            CHECK_TEXT(t.path, r->path, "%s", r->text);
        arena_done(&a);
    }
}

TEST(bad_connection_strings_say_what_to_do)
{
    static const struct {
        const char *text, *says;
    } row[] = {
        { "", "missing connection string" },
        { "file:", "names no file" },
        { "?mode=ro", "names no file" },
        { "x.db?_pragma=busy_timeout(10)", "busyTimeout" },
        { "x.db?_pragma=journal_mode(DELETE)", "disableWAL" },
        { "x.db?_pragma=foreign_keys=1", "found forbidden option" },
        { "x.db?_pragma=cache_size(1);DROP TABLE state", "write it as name(value)" },
        { "x%00.db", "names no file" },
    };
    EACH (row, r) {
        struct arena a;
        struct sqlite_target t;
        struct error err = { 0 };
        arena_init(&a, MIB(1));
        CHECK_EQ(sqlite_target_parse(str_c(r->text), &a, &t, &err), -INVALID, "%s", r->text);
        CHECK(str_contains(str_c(err.text), str_c(r->says)), "%s: %s", r->text, err.text);
        arena_done(&a);
    }
}

TEST_LOOP(layout_is_the_contracts)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    scratch_make(&s);
    REQUIRE(open_file(&e, &s, NULL, &err) == 0, "%s", err.text);
    CHECK_OK(put(&e, "app||json", "{\"a\":1}", true, NULL, &err));
    CHECK_OK(put(&e, "app||bytes", "abcd", false, "100", &err));
    engine_close(&e);
    CHECK_EQ(scratch_sql(&s, "SELECT group_concat(name) = 'key,value,is_binary,etag,"
                             "expiration_time,update_time' FROM pragma_table_info('state')"),
             1);
    CHECK_EQ(scratch_sql(&s, "SELECT group_concat(type) = 'TEXT,TEXT,BOOLEAN,TEXT,TIMESTAMP,"
                             "TIMESTAMP' FROM pragma_table_info('state')"),
             1);
    CHECK_EQ(scratch_sql(&s, "SELECT value = '1' FROM metadata WHERE key = 'migrations'"), 1);
    CHECK_EQ(scratch_sql(&s, "SELECT value = '{\"a\":1}' AND is_binary = 0 AND expiration_time IS "
                             "NULL AND length(etag) = 36 FROM state WHERE key = 'app||json'"),
             1);
    CHECK_EQ(scratch_sql(&s, "SELECT value = 'YWJjZA==' AND is_binary = 1 AND typeof(value) = "
                             "'text' FROM state WHERE key = 'app||bytes'"),
             1);
    CHECK_EQ(scratch_sql(&s, "SELECT unixepoch(expiration_time) - unixepoch(update_time) FROM "
                             "state WHERE key = 'app||bytes'"),
             100);
    scratch_remove(&s);
}

static const char others_file[] =
    "CREATE TABLE metadata (key text NOT NULL PRIMARY KEY, value text NOT NULL);"
    "CREATE TABLE state (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, is_binary BOOLEAN "
    "NOT NULL, etag TEXT NOT NULL, expiration_time TIMESTAMP DEFAULT NULL, update_time TIMESTAMP "
    "NOT NULL DEFAULT CURRENT_TIMESTAMP);"
    "INSERT INTO metadata VALUES ('migrations', '1');"
    "INSERT INTO state (key, value, is_binary, etag, expiration_time) VALUES "
    "('text', '\"v\"', 0, 'e1', NULL), ('bytes', 'AAEC', 1, 'e2', NULL), "
    "('late', '1', 0, 'e3', datetime('now', '+1000 seconds')), "
    "('over', '1', 0, 'e4', datetime('now', '-1 seconds')), "
    "('not base64', '****', 1, 'e5', NULL), ('odd time', '1', 0, 'e6', 'soon'), "
    "('number', 42, 'x', 7, NULL);";

TEST_LOOP(rows_of_another_runtime_are_read)
{
    struct scratch s;
    struct engine e;
    struct state_value v;
    struct error err = { 0 };
    scratch_make(&s);
    (void)scratch_sql(&s, others_file);
    REQUIRE(open_file(&e, &s, NULL, &err) == 0, "%s", err.text);
    CHECK_OK(get(&e, "text", &v, &err));
    CHECK(v.found);
    CHECK_STR(v.value, "\"v\"");
    CHECK_STR(v.etag, "e1");
    CHECK_OK(get(&e, "bytes", &v, &err));
    CHECK(v.value.n == 3 && memcmp(v.value.p, "\0\1\2", 3) == 0);
    CHECK_OK(get(&e, "late", &v, &err));
    CHECK(v.found && v.expire_ns > clock_wall_ns() + SEC(900));
    CHECK_OK(get(&e, "over", &v, &err));
    CHECK(!v.found);
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(new_file_appears_whole_in_wal_mode_and_alone)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    scratch_make(&s);
    REQUIRE(open_file(&e, &s, NULL, &err) == 0, "%s", err.text);
    CHECK_EQ(scratch_sql(&s, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    engine_close(&e);
    CHECK_EQ(scratch_count(&s), 1, "no file but the database");
    scratch_remove(&s);

    scratch_make(&s);
    REQUIRE(open_file(&e, &s, "disableWAL=true", &err) == 0, "%s", err.text);
    CHECK_EQ(scratch_sql(&s, "SELECT journal_mode = 'delete' FROM pragma_journal_mode"), 1);
    engine_close(&e);
    scratch_remove(&s);
}

TEST(file_that_is_there_is_kept_when_another_makes_it)
{
    struct scratch s;
    scratch_make(&s);
    scratch_sql(&s, "CREATE TABLE t (n); INSERT INTO t VALUES (7); SELECT n FROM t");
    sqlite_create_wal(s.file);
    CHECK_EQ(scratch_sql(&s, "SELECT n FROM t"), 7);
    CHECK_EQ(scratch_count(&s), 1);
    (void)unlink(s.file);
    REQUIRE(symlink("nowhere/else.db", s.file) == 0); /* taken, though nothing is there */
    sqlite_create_wal(s.file);
    CHECK_EQ(scratch_count(&s), 1);
    scratch_remove(&s);
}

TEST_LOOP(damaged_rows_are_clear_errors)
{
    static const char *const key[] = { "not base64", "odd time" };
    struct scratch s;
    struct engine e;
    struct state_value v;
    struct error err = { 0 };
    scratch_make(&s);
    (void)scratch_sql(&s, others_file);
    REQUIRE(open_file(&e, &s, NULL, &err) == 0, "%s", err.text);
    for (size_t i = 0; i < COUNT(key); i++) {
        err = (struct error){ 0 };
        CHECK_EQ(get(&e, key[i], &v, &err), -DATA_LOSS);
        CHECK(str_contains(str_c(err.text), str_c(key[i])), "%s", err.text);
        CHECK_OK(put(&e, key[i], "1", true, NULL, &err));
        CHECK_OK(get(&e, key[i], &v, &err));
    }
    CHECK_OK(get(&e, "number", &v, &err));
    CHECK_STR(v.value, "42");
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(what_can_not_be_opened_is_a_clear_error)
{
    static const struct {
        const char *name, *field, *more;
        int code;
        const char *says;
    } row[] = {
        { "nothing", "connectionString=", NULL, -INVALID, "missing connection string" },
        { "no folder", "connectionString=/nowhere/x/y.db", NULL, -UNAVAILABLE, "folder" },
        { "table", "connectionString=:memory:", "tableName=a b", -INVALID, "tableName" },
        { "table", "connectionString=:memory:", "metadataTableName=x;y", -INVALID,
          "metadataTableName" },
        { "timeout", "connectionString=:memory:", "timeout=0", -INVALID, "timeout" },
        { "no database", "connectionString=/proc/self/exe?mode=ro", NULL, -DATA_LOSS, "restore" },
    };
    EACH (row, r) {
        struct engine e;
        struct error err = { 0 };
        const char *fields[] = { r->field, r->more, NULL };
        CHECK_EQ(engine_open(&e, "state.sqlite", fields, &err), r->code, "%s: %s", r->name,
                 err.text);
        CHECK(str_contains(str_c(err.text), str_c(r->says)), "%s: %s", r->name, err.text);
    }
}

TEST_LOOP(lock_of_another_process_is_waited_for_then_reported)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    struct state_value v;
    sqlite3 *other = NULL;
    scratch_make(&s);
    REQUIRE(open_file(&e, &s, "busyTimeout=150ms", &err) == 0, "%s", err.text);
    CHECK_OK(put(&e, "k", "1", true, NULL, &err));
    REQUIRE(sqlite3_open(s.file, &other) == SQLITE_OK);
    REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    uint64_t start = clock_now_ns();
    CHECK_EQ(put(&e, "k", "2", true, NULL, &err), -UNAVAILABLE);
    CHECK(clock_now_ns() - start >= MS(140) && clock_now_ns() - start < SEC(2));
    CHECK(str_contains(str_c(err.text), S("busyTimeout")), "%s", err.text);
    CHECK_OK(get(&e, "k", &v, &err)); /* readers don't care */
    CHECK_STR(v.value, "1");
    REQUIRE(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    err = (struct error){ 0 };
    CHECK_OK(put(&e, "k", "3", true, NULL, &err), "%s", err.text);
    (void)sqlite3_close(other);
    engine_close(&e);
    scratch_remove(&s);
}

TEST_LOOP(clean_up_removes_what_has_expired)
{
    struct scratch s;
    struct engine e;
    struct error err = { 0 };
    int64_t n = -1;
    scratch_make(&s);
    (void)scratch_sql(&s, others_file);
    REQUIRE(open_file(&e, &s, "cleanupInterval=1s", &err) == 0, "%s", err.text);
    CHECK_OK(put(&e, "short", "1", true, "1", &err));
    for (uint64_t until = clock_now_ns() + SEC(8); n != 0 && clock_now_ns() < until;) {
        n = scratch_sql(&s, "SELECT count(*) FROM state WHERE key IN ('short', 'over')");
        CHECK_OK(fiber_sleep(MS(50)));
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(scratch_sql(&s, "SELECT count(*) FROM state WHERE key = 'late'"), 1);
    engine_close(&e);
    scratch_remove(&s);
}
