#include "components/pubsub/sqlite/schema.h"

enum { LAYOUT = 1 };

/* As text, for the statements; queue_migrate() checks that they are the numbers of schema.h. */
#define PARKED "1152921504606846976"
#define DEAD "1152921504606846977"

static const char tables[] =
    "CREATE TABLE pubsub_topic ("
    "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next INTEGER NOT NULL);"
    "CREATE TABLE pubsub_group ("
    "id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL, "
    "cursor INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, "
    "UNIQUE (topic, name));"
    "CREATE TABLE pubsub_message ("
    "id INTEGER PRIMARY KEY, at INTEGER NOT NULL, due INTEGER, expires INTEGER, part TEXT, "
    "type TEXT NOT NULL, meta TEXT NOT NULL, body BLOB NOT NULL);"
    "CREATE INDEX pubsub_message_expires ON pubsub_message (expires) WHERE expires IS NOT NULL;"
    "CREATE TABLE pubsub_delivery ("
    "grp INTEGER NOT NULL, id INTEGER NOT NULL, due INTEGER NOT NULL, tries INTEGER NOT NULL, "
    "token INTEGER NOT NULL, part TEXT, cause TEXT, PRIMARY KEY (grp, id)) WITHOUT ROWID;"
    "CREATE INDEX pubsub_delivery_due ON pubsub_delivery (grp, due, id);"
    "CREATE INDEX pubsub_delivery_part ON pubsub_delivery (grp, part, id) WHERE part IS NOT NULL;"
    "CREATE TABLE pubsub_dedup ("
    "topic INTEGER NOT NULL, mid TEXT NOT NULL, until INTEGER NOT NULL, "
    "PRIMARY KEY (topic, mid)) WITHOUT ROWID;"
    "CREATE INDEX pubsub_dedup_until ON pubsub_dedup (until);"
    "CREATE TABLE pubsub_meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO pubsub_meta (key, value) VALUES ('layout', 1), ('clock', 0);";

const char *const queue_sql[QUEUE_N_SQL] = {
    [Q_CLOCK_GET] = "SELECT value FROM pubsub_meta WHERE key = 'clock'",
    [Q_CLOCK_SET] = "UPDATE pubsub_meta SET value = ?1 WHERE key = 'clock' AND value < ?1",

    /* ---- publishing ---- */
    [Q_TOPIC_FIND] = "SELECT id, EXISTS (SELECT 1 FROM pubsub_group g WHERE g.topic = t.id) "
                     "FROM pubsub_topic t WHERE name = ?1",
    [Q_TOPIC_MAKE] = "INSERT INTO pubsub_topic (name, next) VALUES (?1, 1) ON CONFLICT (name) "
                     "DO UPDATE SET next = next RETURNING id, next",
    [Q_TOPIC_NEXT] = "UPDATE pubsub_topic SET next = next + 1 WHERE id = ?1 RETURNING next - 1",
    /* No row changes when the id was seen within its window. */
    [Q_DEDUP] = "INSERT INTO pubsub_dedup (topic, mid, until) VALUES (?1, ?2, ?3) "
                "ON CONFLICT (topic, mid) DO UPDATE SET until = excluded.until WHERE until <= ?4",
    [Q_MESSAGE_PUT] = "INSERT INTO pubsub_message (id, at, due, expires, part, type, meta, body) "
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [Q_MESSAGE_GET] = "SELECT id, at, due, expires, part, type, meta, body FROM pubsub_message "
                      "WHERE id = ?1",
    [Q_MESSAGE_SCAN] = "SELECT id, at, due, expires, part, type, meta, body FROM pubsub_message "
                       "WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
    /* Once every group of its topic is past it. */
    [Q_MESSAGE_FORGET] =
        "DELETE FROM pubsub_message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM pubsub_group g "
        "WHERE g.topic = ?2 AND (g.cursor < ?1 OR EXISTS (SELECT 1 FROM pubsub_delivery d "
        "WHERE d.grp = g.id AND d.id = ?1)))",
    [Q_MESSAGE_COPY] = "INSERT INTO pubsub_message (id, at, due, expires, part, type, meta, body) "
                       "SELECT ?1, ?2, NULL, expires, part, type, CASE WHEN json_valid(meta) THEN "
                       "json_set(meta, '$.deadLetterCause', ?3) ELSE meta END, body "
                       "FROM pubsub_message WHERE id = ?4",

    /* ---- groups ---- */
    [Q_GROUP_MAKE] = "INSERT INTO pubsub_group (topic, name, cursor, created) "
                     "VALUES (?1, ?2, ?3, ?4) ON CONFLICT (topic, name) DO NOTHING",
    [Q_GROUP_FIND] = "SELECT id FROM pubsub_group WHERE topic = ?1 AND name = ?2",
    [Q_GROUP_CURSOR] = "SELECT cursor FROM pubsub_group WHERE id = ?1",
    [Q_GROUP_MOVE] = "UPDATE pubsub_group SET cursor = ?2 WHERE id = ?1",
    [Q_GROUP_DEAD] = "UPDATE pubsub_group SET dead = dead + 1 WHERE id = ?1",

    /* ---- deliveries ---- */
    [Q_DUE] = "SELECT id, tries, part FROM pubsub_delivery WHERE grp = ?1 AND due <= ?2 "
              "ORDER BY due, id LIMIT ?3",
    [Q_LEASE_NEW] = "INSERT INTO pubsub_delivery (grp, id, due, tries, token, part) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [Q_LEASE_AGAIN] = "UPDATE pubsub_delivery SET due = ?3, tries = tries + 1, token = ?4 "
                      "WHERE grp = ?1 AND id = ?2",
    [Q_LEASE_EXTEND] = "UPDATE pubsub_delivery SET due = ?4 WHERE grp = ?1 AND id = ?2 "
                       "AND token = ?3",
    [Q_ACK] = "DELETE FROM pubsub_delivery WHERE grp = ?1 AND id = ?2 AND token = ?3",
    [Q_NACK] = "UPDATE pubsub_delivery SET due = ?4, token = 0, tries = ?5 "
               "WHERE grp = ?1 AND id = ?2 AND token = ?3",
    [Q_DROP] = "DELETE FROM pubsub_delivery WHERE grp = ?1 AND id = ?2",
    [Q_BURY] = "UPDATE pubsub_delivery SET due = " DEAD ", token = 0, part = NULL, cause = ?3 "
               "WHERE grp = ?1 AND id = ?2",
    [Q_NEXT_DUE] =
        "SELECT due FROM pubsub_delivery WHERE grp = ?1 AND due < " PARKED " ORDER BY due LIMIT 1",
    [Q_KEY_BUSY] = "SELECT 1 FROM pubsub_delivery WHERE grp = ?1 AND part = ?2 LIMIT 1",
    [Q_KEY_NEXT] = "UPDATE pubsub_delivery SET due = ?3 WHERE grp = ?1 AND due = " PARKED
                   " AND id = (SELECT min(id) FROM pubsub_delivery WHERE grp = ?1 AND part = ?2)",
    [Q_PARKED_MANY] =
        "SELECT 1 FROM pubsub_delivery WHERE grp = ?1 AND due = " PARKED " LIMIT 1 OFFSET ?2",
    [Q_NEWS] = "SELECT EXISTS (SELECT 1 FROM pubsub_message m, pubsub_group g WHERE g.id = ?1 "
               "AND m.id > g.cursor AND m.id <= ?2)",

    /* ---- looking ---- */
    [Q_STATS] = "SELECT t.name, g.name, g.id, g.cursor, t.id, t.next, g.dead, "
                "(SELECT count(*) FROM pubsub_delivery d WHERE d.grp = g.id AND d.due < " DEAD ") "
                "FROM pubsub_group g JOIN pubsub_topic t ON t.id = g.topic ORDER BY 1, 2",
    [Q_OLDEST] = "SELECT min(at) FROM (SELECT at FROM (SELECT m.at FROM pubsub_delivery d "
                 "JOIN pubsub_message m ON m.id = d.id WHERE d.grp = ?1 AND d.due < " DEAD
                 " ORDER BY d.id LIMIT 1) UNION ALL SELECT at FROM (SELECT at FROM pubsub_message "
                 "WHERE id > ?2 AND id <= ?3 ORDER BY id LIMIT 1))",
    [Q_UNSEEN] = "SELECT count(*) FROM (SELECT 1 FROM pubsub_message WHERE id > ?1 AND id <= ?2 "
                 "LIMIT ?3)",
    [Q_DEAD_LIST] =
        "SELECT m.id, m.at, m.due, m.expires, m.part, m.type, m.meta, m.body, d.tries, d.cause "
        "FROM pubsub_topic t JOIN pubsub_group g ON g.topic = t.id "
        "JOIN pubsub_delivery d ON d.grp = g.id JOIN pubsub_message m ON m.id = d.id "
        "WHERE t.name = ?1 AND g.name = ?2 AND d.due = " DEAD " AND d.id > ?3 "
        "ORDER BY d.id LIMIT ?4",
    [Q_DEAD_REPLAY] =
        "UPDATE pubsub_delivery SET due = ?4, tries = 0, cause = NULL WHERE due = " DEAD
        " AND (?3 = 0 OR id = ?3) AND grp IN (SELECT g.id FROM pubsub_group g "
        "JOIN pubsub_topic t ON t.id = g.topic WHERE t.name = ?1 AND g.name = ?2)",

    /* ---- upkeep ---- */
    [Q_CLEAN_DEDUP] = "DELETE FROM pubsub_dedup WHERE (topic, mid) IN (SELECT topic, mid "
                      "FROM pubsub_dedup WHERE until <= ?1 LIMIT ?2)",
    [Q_CLEAN_EXPIRED] = "SELECT id FROM pubsub_message WHERE expires <= ?1 LIMIT ?2",
    [Q_CLEAN_DEAD] = "DELETE FROM pubsub_delivery WHERE id = ?1 AND due = " DEAD
                     " AND grp IN (SELECT id FROM pubsub_group WHERE topic = ?2)",
    [Q_CLEAN_OLD] =
        "DELETE FROM pubsub_message WHERE id IN (SELECT m.id FROM pubsub_topic t "
        "JOIN pubsub_message m ON m.id > (t.id << 40) "
        "AND m.id < ((t.id + 1) << 40) "
        "WHERE m.at <= ?1 AND NOT EXISTS (SELECT 1 FROM pubsub_group g WHERE g.topic = t.id AND "
        "(g.cursor < m.id OR EXISTS (SELECT 1 FROM pubsub_delivery d "
        "WHERE d.grp = g.id AND d.id = m.id))) LIMIT ?2)",
    [Q_CLEAN_MESSAGE] = "DELETE FROM pubsub_message WHERE id = ?1",
};

static int layout_of(struct sqlite_conn *c, int64_t *ret, struct error *err)
{
    static const char exists[] =
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pubsub_meta'";
    static const char layout[] = "SELECT value FROM pubsub_meta WHERE key = 'layout'";
    const char *sql[] = { exists, layout };
    *ret = 0;
    for (size_t i = 0; i < COUNT(sql); i++) {
        sqlite3_stmt *q = NULL;
        int rc = sqlite3_prepare_v2(c->db, sql[i], -1, &q, NULL);
        if (rc != SQLITE_OK)
            return sqlite_fail(c, rc, "reading the version of the tables", err);
        int r = sqlite_step(c, q, "reading the version of the tables", err);
        bool row = r == SQLITE_ROW;
        if (row && i == 1)
            *ret = sqlite3_column_int64(q, 0);
        (void)sqlite3_finalize(q);
        if (!row)
            return r < 0 ? r : 0;
    }
    return 0;
}

int queue_migrate(void *arg, struct sqlite_conn *c, struct error *err)
{
    int64_t layout;
    (void)arg;
    _Static_assert(QUEUE_PARKED == 1152921504606846976, "PARKED is this number");
    _Static_assert(QUEUE_DEAD == 1152921504606846977, "DEAD is this number");
    _Static_assert(QUEUE_SEQ_BITS == 40, "Q_CLEAN_OLD says 40");
    int r = layout_of(c, &layout, err);
    if (r < 0 || layout == LAYOUT)
        return r;
    if (layout != 0)
        return fail(err, PRECONDITION, NULL,
                    "the queue's tables have layout %lld, this version knows %d: use the newer one",
                    (long long)layout, LAYOUT);
    return sqlite_exec(c, tables, "making the tables", err);
}
