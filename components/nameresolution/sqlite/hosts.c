#include "hosts.h"

#include "base/clock.h"
#include "components/common/sqlite/create.h"

#include <stdio.h>

enum { SQL_MAX = 512, OPEN_TIMEOUT_MS = 10000, LATE_FACTOR = 3 };

/* The key under which the contract keeps the level of this schema. */
#define LEVEL_KEY "nr-migrations"

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_ns() / SEC(1));
}

static pthread_mutex_t *lock(struct hosts_conn *c)
{
    pthread_mutex_lock(&c->lock);
    return &c->lock;
}

static void unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

static int sql_fail(struct hosts_conn *c, const char *doing, struct error *err)
{
    int code = sqlite3_errcode(c->db) & 0xff;
    enum code as = code == SQLITE_BUSY || code == SQLITE_LOCKED ? UNAVAILABLE
                   : code == SQLITE_NOMEM                       ? EXHAUSTED
                   : code == SQLITE_READONLY || code == SQLITE_PERM || code == SQLITE_AUTH
                       ? DENIED
                       : INTERNAL;
    return fail(err, as, NULL, "%s: %s", doing, sqlite3_errmsg(c->db));
}

static void finalize(sqlite3_stmt **stmt)
{
    sqlite3_finalize(*stmt);
}

/* fmt has a table's name, which table_name_ok() has seen, as %s, or as %1$s when more than once. */
static int prepare(struct hosts_conn *c, const char *fmt, const char *table, sqlite3_stmt **ret)
{
    char sql[SQL_MAX];
    int n = snprintf(sql, sizeof sql, fmt, table);
    INV(n > 0 && n < (int)sizeof sql);
    return sqlite3_prepare_v2(c->db, sql, n, ret, NULL);
}

static int run(struct hosts_conn *c, const char *sql, const char *doing, struct error *err)
{
    if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(c, doing, err);
    return 0;
}

/* ---- schema ---- */

static int create_hosts(struct hosts *h, struct error *err)
{
    const char *t = h->config.table;
    char sql[SQL_MAX * 2];
    int n = snprintf(sql, sizeof sql,
                     "CREATE TABLE %s (registration_id TEXT NOT NULL PRIMARY KEY,"
                     " address TEXT NOT NULL, app_id TEXT NOT NULL, namespace TEXT NOT NULL,"
                     " last_update INTEGER NOT NULL);"
                     "CREATE UNIQUE INDEX %s_address_idx ON %s (address);"
                     "CREATE INDEX %s_last_update_idx ON %s (last_update);",
                     t, t, t, t, t);
    INV(n > 0 && n < (int)sizeof sql);
    return run(&h->writer, sql, "create the hosts table", err);
}

/* No level of its own: rows live for minutes, and a table with other columns gets another name. */
static int create_ours(struct hosts *h, struct error *err)
{
    char sql[SQL_MAX];
    int n =
        snprintf(sql, sizeof sql,
                 "CREATE TABLE IF NOT EXISTS %s_proa (registration_id TEXT NOT NULL PRIMARY KEY,"
                 " zone TEXT NOT NULL, region TEXT NOT NULL, process TEXT NOT NULL,"
                 " updated INTEGER NOT NULL)",
                 h->config.table);
    INV(n > 0 && n < (int)sizeof sql);
    return run(&h->writer, sql, "create the table of zones", err);
}

static int read_level(struct hosts *h, int64_t *ret, struct error *err)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    struct hosts_conn *c = &h->writer;
    if (prepare(c, "SELECT value FROM %s WHERE key = '" LEVEL_KEY "'", h->config.metadata_table,
                &stmt))
        return sql_fail(c, "read the schema level", err);
    int r = sqlite3_step(stmt);
    if (r == SQLITE_DONE) {
        *ret = 0;
        return 0;
    }
    if (r != SQLITE_ROW)
        return sql_fail(c, "read the schema level", err);
    str text = str_c((const char *)sqlite3_column_text(stmt, 0));
    if (!str_to_i64(text, ret) || *ret < 0)
        return fail(err, INTERNAL, NULL, "the schema level '" STR_FMT "' in table %s is no number",
                    STR_ARG(text), h->config.metadata_table);
    return 0;
}

static int migrate(struct hosts *h, struct error *err)
{
    struct hosts_conn *c = &h->writer;
    char sql[SQL_MAX];
    snprintf(sql, sizeof sql,
             "CREATE TABLE IF NOT EXISTS %s (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
             h->config.metadata_table);
    int64_t level = 0;
    int r = run(c, sql, "create the metadata table", err);
    if (!r)
        r = create_ours(h, err);
    if (!r)
        r = read_level(h, &level, err);
    if (r || level > 0)
        return r;
    r = create_hosts(h, err);
    if (r)
        return r;
    snprintf(sql, sizeof sql, "REPLACE INTO %s (key, value) VALUES ('" LEVEL_KEY "', '1')",
             h->config.metadata_table);
    return run(c, sql, "write the schema level", err);
}

static int ensure_schema(struct hosts *h, struct error *err)
{
    int r = run(&h->writer, "BEGIN EXCLUSIVE", "lock the file", err);
    if (r)
        return r;
    r = migrate(h, err);
    if (!r)
        r = run(&h->writer, "COMMIT", "commit the schema", err);
    if (r)
        (void)sqlite3_exec(h->writer.db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* ---- connections ---- */

static bool in_memory(const char *url)
{
    return str_eq(str_c(url), S(":memory:")) || str_starts(str_c(url), S("file::memory:")) ||
           str_contains(str_c(url), S("mode=memory"));
}

static int connect_db(struct hosts_conn *c, const char *url, int timeout_ms, struct error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    pthread_mutex_init(&c->lock, NULL);
    if (sqlite3_open_v2(url, &c->db, flags, NULL) != SQLITE_OK) {
        if (c->db)
            return fail(err, UNAVAILABLE, NULL, "open %s: %s", url, sqlite3_errmsg(c->db));
        return fail(err, EXHAUSTED, NULL, "open %s: out of memory", url);
    }
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, timeout_ms);
    return 0;
}

static void pragma(struct hosts *h, const char *sql)
{
    (void)sqlite3_exec(h->writer.db, sql, NULL, NULL, NULL);
}

/* WAL lets everybody read while one writes. Losing the race for the switch is fine: then somebody
 * else makes it. The tables needn't be on disk at once: whoever finds none makes them. */
static void set_journal(struct hosts *h)
{
    if (!h->config.no_wal)
        pragma(h, "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL");
}

/* A commit lost in a power cut is renewed or outdated anyway: no fsync for each. */
static void set_sync(struct hosts *h)
{
    pragma(h, "PRAGMA synchronous = NORMAL");
}

static void disconnect_db(struct hosts_conn *c)
{
    if (!c->db)
        return;
    sqlite3_close(c->db);
    pthread_mutex_destroy(&c->lock);
    c->db = NULL;
}

/* ---- our row ---- */

static int write_ours(struct hosts *h, struct error *err)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    struct hosts_conn *c = &h->writer;
    if (prepare(c, "REPLACE INTO %s_proa VALUES (?1, ?2, ?3, ?4, ?5)", h->config.table, &stmt))
        return sql_fail(c, "register the zone", err);
    sqlite3_bind_text(stmt, 1, h->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, h->config.zone, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, h->config.region, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 4, h->process, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, now_s());
    return sqlite3_step(stmt) == SQLITE_DONE ? 0 : sql_fail(c, "register the zone", err);
}

/* Takes over whatever row has our address: its process is gone, since the port is ours. The zone
 * comes first, so that nobody reads the row without it. */
static int write_row(struct hosts *h, struct error *err)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    struct hosts_conn *c = &h->writer;
    int r = write_ours(h, err);
    if (r)
        return r;
    if (prepare(c,
                "REPLACE INTO %s (registration_id, address, app_id, namespace, last_update)"
                " VALUES (?1, ?2, ?3, '', ?4)",
                h->config.table, &stmt))
        return sql_fail(c, "register", err);
    sqlite3_bind_text(stmt, 1, h->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, h->config.address, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, h->config.app_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, now_s());
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return sql_fail(c, "register", err);
    return 0;
}

static int touch_row(struct hosts *h, bool *ret_found, struct error *err)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    struct hosts_conn *c = &h->writer;
    if (prepare(c, "UPDATE %s SET last_update = ?1 WHERE registration_id = ?2 AND address = ?3",
                h->config.table, &stmt))
        return sql_fail(c, "renew the registration", err);
    sqlite3_bind_int64(stmt, 1, now_s());
    sqlite3_bind_text(stmt, 2, h->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, h->config.address, -1, SQLITE_STATIC);
    if (sqlite3_step(stmt) != SQLITE_DONE)
        return sql_fail(c, "renew the registration", err);
    *ret_found = sqlite3_changes(c->db) > 0;
    return 0;
}

int hosts_renew(struct hosts *h, bool *ret_lost, struct error *err)
{
    AUTO(unlock) __attribute__((unused)) pthread_mutex_t *held = lock(&h->writer);
    bool found = !h->joined || h->left;
    int r = found ? 0 : touch_row(h, &found, err);
    if (!r && !found)
        r = write_row(h, err);
    if (!r)
        *ret_lost = !found;
    return r;
}

static int delete_before(struct hosts_conn *c, const char *fmt, const char *table, int64_t before_s,
                         struct error *err)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    if (prepare(c, fmt, table, &stmt))
        return sql_fail(c, "delete old rows", err);
    sqlite3_bind_int64(stmt, 1, before_s);
    return sqlite3_step(stmt) == SQLITE_DONE ? 0 : sql_fail(c, "delete old rows", err);
}

int hosts_clean(struct hosts *h, struct error *err)
{
    AUTO(unlock) __attribute__((unused)) pthread_mutex_t *held = lock(&h->writer);
    struct hosts_conn *c = &h->writer;
    const char *t = h->config.table;
    int64_t before_s = now_s() - h->config.keep_s;
    int r = delete_before(c, "DELETE FROM %s WHERE last_update < ?1", t, before_s, err);
    if (!r) /* ours of rows that somebody else has deleted, too */
        r = delete_before(c,
                          "DELETE FROM %1$s_proa WHERE updated < ?1 AND registration_id NOT IN"
                          " (SELECT registration_id FROM %1$s)",
                          t, before_s, err);
    return r;
}

/* What stays grows old within one update interval. */
static void remove_from(struct hosts *h, const char *fmt)
{
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    if (prepare(&h->writer, fmt, h->config.table, &stmt))
        return;
    sqlite3_bind_text(stmt, 1, h->id, -1, SQLITE_STATIC);
    (void)sqlite3_step(stmt);
}

void hosts_leave(struct hosts *h)
{
    AUTO(unlock) __attribute__((unused)) pthread_mutex_t *held = lock(&h->writer);
    if (h->left)
        return;
    h->left = true;
    remove_from(h, "DELETE FROM %s WHERE registration_id = ?1");
    remove_from(h, "DELETE FROM %s_proa WHERE registration_id = ?1");
}

/* ---- life ---- */

int hosts_open(struct hosts *h, const struct hosts_config *config, struct error *err)
{
    h->config = *config;
    bool memory = in_memory(config->url);
    if (!config->no_wal && !memory && !str_starts(str_c(config->url), S("file:")))
        sqlite_create_wal(config->url);
    int r = connect_db(&h->writer, config->url, OPEN_TIMEOUT_MS, err);
    if (r)
        return r;
    set_journal(h);
    r = ensure_schema(h, err);
    if (r)
        return r;
    set_sync(h);
    h->read = memory ? &h->writer : &h->reader;
    if (!memory)
        r = connect_db(&h->reader, config->url, (int)config->timeout_ms, err);
    if (r)
        return r;
    id_uuid4(h->id);
    h->id[UUID_LEN] = 0;
    process_name_self(h->process);
    return 0;
}

int hosts_join(struct hosts *h, struct error *err)
{
    AUTO(unlock) __attribute__((unused)) pthread_mutex_t *held = lock(&h->writer);
    h->joined = true;
    int r = h->left ? 0 : write_row(h, err);
    sqlite3_busy_timeout(h->writer.db, (int)h->config.timeout_ms); /* renewals have a next time */
    return r;
}

void hosts_close(struct hosts *h)
{
    if (h->writer.db && h->id[0])
        hosts_leave(h);
    disconnect_db(&h->writer);
    disconnect_db(&h->reader);
    h->read = NULL;
}

/* ---- look-up ---- */

static str text_of(sqlite3_stmt *stmt, int column)
{
    const char *p = (const char *)sqlite3_column_text(stmt, column);
    return p ? str_of(p, (size_t)sqlite3_column_bytes(stmt, column)) : S("");
}

static bool take_row(sqlite3_stmt *stmt, struct arena *a, struct registration *ret)
{
    *ret = (struct registration){
        .address = arena_dup(a, text_of(stmt, 0)),
        .zone = arena_dup(a, text_of(stmt, 2)),
        .region = arena_dup(a, text_of(stmt, 3)),
    };
    return ret->address.p && ret->zone.p && ret->region.p;
}

static int collect(struct hosts *h, sqlite3_stmt *stmt, struct arena *a, struct registration *ret,
                   size_t max, size_t *ret_n, struct error *err)
{
    bool fresh = false;
    size_t n = 0;
    int r = SQLITE_DONE;
    while (n < max && (r = sqlite3_step(stmt)) == SQLITE_ROW) {
        bool alive = sqlite3_column_int(stmt, 1) != 0;
        if (fresh && !alive)
            break; /* the late ones count only without a living one */
        if (process_gone(h->process, text_of(stmt, 4)))
            continue;
        fresh = alive;
        if (!take_row(stmt, a, &ret[n]))
            return fail(err, EXHAUSTED, NULL, "the addresses do not fit into the request's memory");
        n++;
    }
    if (n < max && r != SQLITE_DONE && r != SQLITE_ROW)
        return sql_fail(h->read, "look up", err);
    *ret_n = n;
    return 0;
}

int hosts_find(struct hosts *h, str app_id, struct arena *a, struct registration *ret, size_t max,
               size_t *ret_n, struct error *err)
{
    AUTO(unlock) __attribute__((unused)) pthread_mutex_t *held = lock(h->read);
    AUTO(finalize) sqlite3_stmt *stmt = NULL;
    if (prepare(h->read,
                "SELECT address, ?1 - last_update < ?2 AS alive, zone, region, process"
                " FROM %1$s LEFT JOIN %1$s_proa USING (registration_id)"
                " WHERE app_id = ?3 AND last_update > ?1 - ?2 * ?4"
                " ORDER BY alive DESC, random()",
                h->config.table, &stmt))
        return sql_fail(h->read, "look up", err);
    sqlite3_bind_int64(stmt, 1, now_s());
    sqlite3_bind_int64(stmt, 2, h->config.update_s);
    sqlite3_bind_text(stmt, 3, app_id.p, (int)app_id.n, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, LATE_FACTOR);
    return collect(h, stmt, a, ret, max, ret_n, err);
}
