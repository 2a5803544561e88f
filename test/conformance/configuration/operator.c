#include "test/conformance/configuration/operator.h"

#include "loop/worker.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sqlite3.h>

struct edit {
    struct suite *s;
    const char *key, *value;
    bool ok;
};

static str field(const struct suite *s, const char *name)
{
    return kvs_get(s->env.metadata, str_c(name));
}

/* What somebody at the sqlite3 shell would type; on a pool thread, since it may wait. */
static void edit_sqlite(void *arg)
{
    struct edit *e = arg;
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    char path[128], sql[200];
    str table = field(e->s, "tableName");
    snprintf(path, sizeof path, "%s/configuration.db", e->s->dir);
    snprintf(sql, sizeof sql,
             e->value ? "INSERT INTO %.*s (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE "
                        "SET value = ?2"
                      : "DELETE FROM %.*s WHERE key = ?1",
             table.n ? (int)table.n : 13, table.n ? table.p : "configuration");
    e->ok = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
            sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
            sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK &&
            sqlite3_bind_text(q, 1, e->key, -1, SQLITE_STATIC) == SQLITE_OK &&
            (!e->value || sqlite3_bind_text(q, 2, e->value, -1, SQLITE_STATIC) == SQLITE_OK) &&
            sqlite3_step(q) == SQLITE_DONE;
    if (!e->ok)
        printf("    editing: %s\n", db ? sqlite3_errmsg(db) : "no database");
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
}

/* What redis-cli would send. */
static void edit_redis(void *arg)
{
    struct edit *e = arg;
    char text[2048], answer[16] = "";
    str db = field(e->s, "redisDB");
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(e->s->server.port) };
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int n = snprintf(text, sizeof text, "*2\r\n$6\r\nSELECT\r\n$1\r\n%c\r\n", db.n ? db.p[0] : '0');
    if (e->value)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(e->key), e->key,
                      strlen(e->value), e->value);
    else
        n += snprintf(text + n, sizeof text - (size_t)n, "*2\r\n$3\r\nDEL\r\n$%zu\r\n%s\r\n",
                      strlen(e->key), e->key);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    e->ok =
        connect(fd, (struct sockaddr *)&in, sizeof in) == 0 && send(fd, text, (size_t)n, 0) == n;
    for (size_t got = 0, want = e->value ? 10 : 9;
         e->ok && got < want;) { /* "+OK" and "+OK" or ":1" */
        ssize_t r = recv(fd, answer + got, sizeof answer - got, 0);
        e->ok = r > 0 && answer[0] == '+' && (got + (size_t)r < 6 || answer[5] != '-');
        got += r > 0 ? (size_t)r : 0;
    }
    (void)close(fd);
}

CO void operator_set(struct suite *s, const char *key, const char *value)
{
    static const struct {
        const char *type;
        void (*edit)(void *edit);
    } row[] = {
        { "configuration.redis", edit_redis },
        { "configuration.sqlite", edit_sqlite },
    };
    struct edit e = { .s = s, .key = key, .value = value };
    for (size_t i = 0; i < COUNT(row); i++)
        if (strcmp(row[i].type, s->type->type) == 0)
            CHECK(blocking(row[i].edit, &e) == 0);
    CHECK(e.ok);
}
