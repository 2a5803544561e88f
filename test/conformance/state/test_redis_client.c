/* The client of Redis against a server: sharing, order, limits, scripts, configuration. */
#include "components/common/redis/redis.h"
#include "test/conformance/server.h"
#include "test/testing.h"

#include "base/hash.h"
#include "fiber/sync.h"

#include <signal.h>

static const char COMMAND[] =
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --save '' --appendonly no";

struct fixture {
    struct server server;
    char host[32];
    struct redis_config config;
    struct redis *r;
    struct arena a;
};

static bool set_up(struct fixture *f)
{
    char dir[] = "/tmp/proa.XXXXXX";
    *f = (struct fixture){ 0 };
    if (!server_installed(COMMAND)) {
        printf("    skipped: redis-server isn't installed\n");
        return false;
    }
    REQUIRE(mkdtemp(dir) && server_start(&f->server, COMMAND, dir));
    snprintf(f->host, sizeof f->host, "127.0.0.1:%u", f->server.port);
    arena_init(&f->a, MIB(64));
    f->config = (struct redis_config){ .hosts = f->host,
                                       .username = "",
                                       .password = "",
                                       .type = "node",
                                       .client_cert = "",
                                       .client_key = "",
                                       .sentinel_master = "",
                                       .sentinel_username = "",
                                       .sentinel_password = "",
                                       .max_retries = 3,
                                       .retry_min = (int64_t)MS(8),
                                       .retry_max = (int64_t)MS(512) };
    return true;
}

static void open_up(struct fixture *f)
{
    struct error err = { 0 };
    REQUIRE(redis_open(&f->config, &f->r, &err) == 0, "%s", err.text);
}

static void tear_down(struct fixture *f)
{
    redis_close(f->r);
    arena_done(&f->a);
    server_stop(&f->server);
    server_remove_dir(f->server.dir);
}

static int ask(struct fixture *f, const str *arg, size_t n, unsigned flags, struct redis_reply *ret,
               struct error *err)
{
    struct redis_command c = { arg, n, { 0 } };
    return redis_do(f->r, &c, flags, &f->a, ret, err);
}

#define ASK(f, ret, err, ...)                                                                      \
    ask((f), (const str[]){ __VA_ARGS__ }, COUNT(((const str[]){ __VA_ARGS__ })), 0, (ret), (err))

static int64_t clients(struct fixture *f)
{
    struct redis_reply reply;
    struct error err = { 0 };
    int64_t n = 0;
    REQUIRE(ASK(f, &reply, &err, S("CLIENT"), S("LIST")) == 0, "%s", err.text);
    for (size_t i = 0; i < reply.text.n; i++)
        n += reply.text.p[i] == '\n';
    return n;
}

/* ---- sharing ---- */

struct caller {
    struct fixture *f;
    struct wait_group *group;
    int number, code;
    uint64_t deadline_ns; /* 0: none */
    bool right;
};

/* Each asks for a text of its own: an answer that went astray would be another's. */
static void echo_own(void *arg)
{
    struct caller *c = arg;
    struct arena a;
    struct redis_reply reply = { 0 };
    struct error err = { 0 };
    arena_init(&a, KIB(64));
    str text = arena_printf(&a, "caller %d", c->number);
    str word[] = { S("ECHO"), text };
    struct redis_command command = { word, 2, { 0 } };
    DEADLINE(c->deadline_ns ? c->deadline_ns : SEC(20));
    c->code = redis_do(c->f->r, &command, 0, &a, &reply, &err);
    c->right = c->code == 0 && str_eq(reply.text, text);
    arena_done(&a);
    wait_group_done(c->group);
}

static void call_all(struct fixture *f, struct caller *c, size_t n, uint64_t (*deadline)(size_t i))
{
    struct wait_group group;
    wait_group_init(&group);
    for (size_t i = 0; i < n; i++) {
        c[i] = (struct caller){ .f = f, .group = &group, .number = (int)i };
        c[i].deadline_ns = deadline ? deadline(i) : 0;
        wait_group_add(&group);
        REQUIRE(fiber_spawn("caller", echo_own, &c[i]));
    }
    CHECK_OK(wait_group_wait(&group));
}

TEST_LOOP(callers_of_a_worker_share_one_connection)
{
    static struct caller c[300];
    struct fixture f;
    if (!set_up(&f))
        return;
    open_up(&f);
    call_all(&f, c, COUNT(c), NULL);
    EACH (c, at)
        CHECK(at->right, "caller %d: %d", at->number, at->code);
    CHECK_EQ(clients(&f), 1);
    tear_down(&f);
}

static uint64_t every_other_is_impatient(size_t i)
{
    return i % 2 ? MS(30) : 0;
}

/* The server sleeps while all have asked: half of them leave, the other half get their own answers.
 */
TEST_LOOP(callers_that_left_early_do_not_disturb_the_others)
{
    static struct caller c[200];
    struct fixture f;
    if (!set_up(&f))
        return;
    open_up(&f);
    for (int round = 0; round < 3; round++) {
        REQUIRE(kill(f.server.pid, SIGSTOP) == 0);
        struct wait_group group;
        wait_group_init(&group);
        for (size_t i = 0; i < COUNT(c); i++) {
            c[i] = (struct caller){ .f = &f,
                                    .group = &group,
                                    .number = (int)i,
                                    .deadline_ns = every_other_is_impatient(i) };
            wait_group_add(&group);
            REQUIRE(fiber_spawn("caller", echo_own, &c[i]));
        }
        CHECK_OK(fiber_sleep(MS(150)));
        REQUIRE(kill(f.server.pid, SIGCONT) == 0);
        CHECK_OK(wait_group_wait(&group));
        EACH (c, at)
            CHECK(at->deadline_ns ? at->code == -TIMEOUT : at->right, "caller %d: %d", at->number,
                  at->code);
    }
    CHECK_EQ(clients(&f), 1);
    tear_down(&f);
}

TEST_LOOP(silent_server_is_given_up_after_the_read_timeout)
{
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    f.config.read_timeout = (int64_t)MS(100);
    f.config.dial_timeout = (int64_t)MS(100);
    open_up(&f);
    REQUIRE(kill(f.server.pid, SIGSTOP) == 0);
    uint64_t start = clock_now_ns();
    CHECK_EQ(ASK(&f, &reply, &err, S("PING")), -TIMEOUT);
    CHECK(clock_now_ns() - start < SEC(2) && err.text[0]);
    err = (struct error){ 0 };
    CHECK_EQ(ASK(&f, &reply, &err, S("PING")), -TIMEOUT); /* dialling, now */
    CHECK(str_contains(str_c(err.text), str_c(f.host)), "%s", err.text);
    REQUIRE(kill(f.server.pid, SIGCONT) == 0);
    CHECK_OK(ASK(&f, &reply, &err, S("PING")));
    tear_down(&f);
}

TEST_LOOP(server_that_was_restarted_is_used_again)
{
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    open_up(&f);
    server_stop(&f.server);
    CHECK_EQ(ASK(&f, &reply, &err, S("PING")), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), str_c(f.host)), "%s", err.text);
    REQUIRE(server_restart(&f.server));
    err = (struct error){ 0 };
    CHECK_OK(ASK(&f, &reply, &err, S("PING")), "%s", err.text);
    tear_down(&f);
}

/* ---- pipelines, large values ---- */

TEST_LOOP(pipeline_answers_each_command_in_its_place)
{
    enum { N = 5000 };
    struct fixture f;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    open_up(&f);
    struct redis_command *c = arena_alloc(&f.a, N * sizeof *c);
    struct redis_reply *reply = arena_alloc(&f.a, N * sizeof *reply);
    REQUIRE(c && reply);
    for (size_t i = 0; i < N; i++) {
        str *arg = arena_alloc(&f.a, 2 * sizeof *arg);
        arg[0] = i % 100 == 7 ? S("NOSUCH") : S("ECHO");
        arg[1] = arena_printf(&f.a, "%zu", i);
        c[i] = (struct redis_command){ arg, 2, { 0 } };
    }
    CHECK_OK(redis_pipeline(f.r, c, N, 0, &f.a, reply, &err), "%s", err.text);
    for (size_t i = 0; i < N; i++)
        CHECK(i % 100 == 7 ? redis_error_is(&reply[i], "ERR") : str_eq(reply[i].text, c[i].arg[1]),
              "command %zu", i);
    tear_down(&f);
}

TEST_LOOP(large_values_pass_in_both_directions)
{
    enum { SIZE = 9 << 20 };
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    open_up(&f);
    char *bytes = arena_alloc(&f.a, SIZE);
    REQUIRE(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 7 + i / 1000);
    CHECK_OK(ASK(&f, &reply, &err, S("SET"), S("big"), str_of(bytes, SIZE)), "%s", err.text);
    CHECK_OK(ASK(&f, &reply, &err, S("GET"), S("big")), "%s", err.text);
    CHECK(str_eq(reply.text, str_of(bytes, SIZE)));
    struct arena small;
    arena_init(&small, KIB(64));
    str get[] = { S("GET"), S("big") };
    struct redis_command c = { get, 2, { 0 } };
    CHECK_EQ(redis_do(f.r, &c, 0, &small, &reply, &err), -EXHAUSTED);
    arena_done(&small);
    err = (struct error){ 0 };
    CHECK_OK(ASK(&f, &reply, &err, S("ECHO"), S("still in step")));
    CHECK_STR(reply.text, "still in step");
    CHECK_EQ(clients(&f), 1);
    tear_down(&f);
}

TEST_LOOP(script_is_sent_where_the_server_does_not_know_it)
{
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    struct redis_script script;
    str key = S("k"), arg = S("5");
    if (!set_up(&f))
        return;
    open_up(&f);
    redis_script_init(&script, S("return {KEYS[1], ARGV[1] + 1}"));
    struct redis_eval e = {
        .script = &script, .keys = &key, .n_keys = 1, .args = &arg, .n_args = 1
    };
    for (int i = 0; i < 3; i++) {
        CHECK_OK(redis_eval(f.r, &e, &f.a, &reply, &err), "%s", err.text);
        CHECK(reply.kind == REDIS_ARRAY && reply.n == 2 && reply.item[1].integer == 6);
        if (i == 1)
            CHECK_OK(ASK(&f, &reply, &err, S("SCRIPT"), S("FLUSH")));
    }
    e.replicas = 1; /* there is none: it is waited for, in vain, and on another connection */
    CHECK_OK(redis_eval(f.r, &e, &f.a, &reply, &err), "%s", err.text);
    CHECK_EQ(clients(&f), 2);
    tear_down(&f);
}

/* ---- limits ---- */

TEST_LOOP(full_pool_is_waited_for_and_then_reported)
{
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    f.config.pool_size = 1;
    f.config.pool_timeout = (int64_t)MS(50);
    open_up(&f);
    str block[] = { S("BLPOP"), S("nobody"), S("1") };
    struct redis_command c = { block, 3, { 0 } };
    DEADLINE(SEC(20));
    {
        DEADLINE(MS(20)); /* the connection stays blocked when its caller leaves */
        CHECK_EQ(redis_do(f.r, &c, REDIS_ALONE, &f.a, &reply, &err), -TIMEOUT);
    }
    err = (struct error){ 0 };
    CHECK_EQ(redis_do(f.r, &c, REDIS_ALONE, &f.a, &reply, &err), -EXHAUSTED);
    CHECK(str_contains(str_c(err.text), S("poolSize")), "%s", err.text);
    CHECK_OK(ASK(&f, &reply, &err, S("PING"))); /* the shared one doesn't care */
    tear_down(&f);
}

TEST_LOOP(unused_connection_is_closed_after_the_idle_timeout)
{
    struct fixture f;
    struct redis_reply reply;
    struct error err = { 0 };
    if (!set_up(&f))
        return;
    f.config.idle_timeout = (int64_t)MS(50);
    open_up(&f);
    struct redis *idle = f.r;
    f.config.idle_timeout = -1;
    open_up(&f);
    struct redis_conn *own = NULL;
    CHECK_OK(redis_conn_open(idle, (str){ 0 }, &own, &err));
    redis_conn_close(own);
    int64_t n = 2;
    for (uint64_t until = clock_now_ns() + SEC(10); n > 1 && clock_now_ns() < until;) {
        CHECK_OK(fiber_sleep(MS(10)));
        n = clients(&f);
    }
    CHECK_EQ(n, 1);
    struct redis *busy = f.r;
    f.r = idle;
    CHECK_OK(ASK(&f, &reply, &err, S("PING")));
    f.r = busy;
    redis_close(idle);
    tear_down(&f);
}

/* ---- configuration ---- */

TEST_LOOP(what_can_not_be_configured_is_a_clear_error)
{
    struct fixture f;
    if (!set_up(&f))
        return;
    struct redis_config good = f.config;
    struct {
        const char *says;
        struct redis_config c;
        int code;
    } row[12];
    for (size_t i = 0; i < COUNT(row); i++)
        row[i].c = good;
#define ROW(i, text, want, ...)                                                                    \
    row[i].says = text;                                                                            \
    row[i].code = want;                                                                            \
    row[i].c.__VA_ARGS__
    ROW(0, "useEntraID", -INVALID, entra_id = true);
    ROW(1, "useOIDC", -INVALID, oidc = true);
    ROW(2, "neither node nor cluster", -INVALID, type = "ring");
    ROW(3, "sentinelMasterName", -INVALID, failover = true);
    ROW(4, "names no host", -INVALID, hosts = " , ");
    ROW(5, "redisType cluster", -INVALID, hosts = "a:1,b:2");
    ROW(6, "redisDB", -INVALID, db = -1);
    ROW(7, "poolSize", -INVALID, pool_size = 1000000);
    ROW(8, "clientKey", -INVALID, client_cert = "x");
    ROW(9, "AUTH", -UNKNOWN, password = "secret");
    ROW(10, "DB index", -UNKNOWN, db = 99);
    ROW(11, "cluster", -UNAVAILABLE, type = "cluster");
    EACH (row, r) {
        struct redis *client = NULL;
        struct error err = { 0 };
        int code = redis_open(&r->c, &client, &err);
        CHECK(code < 0 && str_contains(str_c(err.text), str_c(r->says)), "%s: %d %s", r->says, code,
              err.text);
        redis_close(client);
    }
    tear_down(&f);
}

TEST_LOOP(slot_of_a_key_is_that_of_its_tag)
{
    CHECK_EQ(redis_slot(S("foo")), 12182);
    CHECK_EQ(redis_slot(S("app||{foo}bar")), 12182);
    CHECK_EQ(redis_slot(S("{}foo")), redis_slot(S("{}foo")));
    CHECK(redis_slot(S("{}foo")) != redis_slot(S("")));
    CHECK_EQ(redis_slot(S("{foo")), hash_crc16(S("{foo")) & 16383);
}
