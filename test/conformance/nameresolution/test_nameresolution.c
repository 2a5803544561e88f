/* What every name resolver of the registry must do. An engine whose network is missing on this
 * machine says "skipped" and why. */
#include "fixture.h"

#include "base/id.h"
#include "test/conformance/server.h"

struct island { /* sidecars that should find each other */
    struct arena arena;
    const char *config[8]; /* metadata of every member */
    struct server server;
};

/* What an engine can be asked for. */
enum {
    REGISTERS = 1, /* members come and go; else they are those of the fixed world below */
    LISTS = 2,     /* gives all instances of an app; else it makes one address of the name */
    PLACES = 4,    /* says where an instance is */
};

struct engine {
    const char *type;
    unsigned can;
    /* false: it can't work on this machine; said why on stderr. */
    CO bool (*prepare)(struct island *i);
};

CO static bool prepare_sqlite(struct island *i)
{
    char name[32];
    snprintf(name, sizeof name, "hosts-%016llx.db", (unsigned long long)id_random());
    i->config[0] = "connectionString";
    i->config[1] = fixture_file(&i->arena, name, NULL);
    return true;
}

static const struct component_env plain_env = {
    .app_id = "probe",
    .host_address = "127.0.0.1",
    .internal_port = 1,
};

/* A group of its own for each test, so that tests don't hear each other. */
CO static bool prepare_mdns(struct island *i)
{
    uint64_t r = id_random();
    i->config[0] = "group";
    i->config[1] = arena_printf(&i->arena, "239.255.%u.%u", (unsigned)(r >> 8 & 0xff),
                                (unsigned)(r & 0x7f) + 1)
                       .p;
    i->config[2] = "port";
    i->config[3] = arena_printf(&i->arena, "%u", 20000 + (unsigned)(r >> 16) % 20000).p;
    struct fixture f;
    int result = fixture_open(&f, "nameresolution.mdns", i->config, &plain_env);
    if (result == -UNAVAILABLE)
        fprintf(stderr, "SKIPPED: multicast does not work on this machine: %s\n", f.err.text);
    else
        CHECK_OK(result, "%s", f.err.text);
    fixture_close(&f);
    return result == 0;
}

/* What the tests below make by joining, for engines that others have to tell: the same is in
 * player.py. */
static const char world[] =
    "{\"alpha\":[\"127.0.0.1:50001\"],\"beta\":[\"127.0.0.2:50002\"],\"many\":["
    "\"127.0.0.1:50001\",\"127.0.0.1:50002\",{\"address\":\"127.0.0.1:50003\"}],"
    "\"six\":[\"[fd00::1:2]:50001\"],\"near\":[\"127.0.0.1:50001\"],"
    "\"peer\":[\"127.0.0.1:50002\"],"
    "\"placed\":[{\"address\":\"127.0.0.1:50001\",\"zone\":\"a\",\"region\":\"eu\"}]}";

CO static bool prepare_static(struct island *i)
{
    i->config[0] = "apps";
    i->config[1] = world;
    return true;
}

CO static bool prepare_nameformat(struct island *i)
{
    i->config[0] = "format";
    i->config[1] = "{appid}.test:50001";
    return true;
}

static str start_player(struct island *i, const char *what)
{
    str command = arena_printf(&i->arena,
                               "python3 %s/test/conformance/nameresolution/player.py %s "
                               "{port}",
                               getenv("PROA_SOURCE"), what);
    const char *log = fixture_file(&i->arena, "server.log", "");
    char dir[64];
    snprintf(dir, sizeof dir, "%.*s", (int)(strlen(log) - strlen("/server.log")), log);
    REQUIRE(server_start(&i->server, command.p, dir));
    return arena_printf(&i->arena, "127.0.0.1:%u", i->server.port);
}

CO static bool prepare_dns(struct island *i)
{
    i->config[0] = "server";
    i->config[1] = start_player(i, "dns").p;
    i->config[2] = "name";
    i->config[3] = "_proa.{appid}.test";
    return true;
}

CO static bool prepare_consul(struct island *i)
{
    i->config[0] = "client";
    i->config[1] = arena_printf(&i->arena, "{\"address\":\"%s\"}", start_player(i, "consul").p).p;
    i->config[2] = "selfRegister";
    i->config[3] = "true";
    return true;
}

static const struct engine engines[] = {
    { "nameresolution.sqlite", REGISTERS | LISTS | PLACES, prepare_sqlite },
    { "nameresolution.mdns", REGISTERS | LISTS | PLACES, prepare_mdns },
    { "nameresolution.consul", REGISTERS | LISTS | PLACES, prepare_consul },
    { "nameresolution.dns", LISTS, prepare_dns },
    { "nameresolution.static", LISTS | PLACES, prepare_static },
    { "nameresolution.nameformat", 0, prepare_nameformat },
};

#define EACH_THAT(can_, e)                                                                         \
    EACH (engines, e)                                                                              \
        if ((e->can & (can_)) == (can_))

static const struct resolver_ops *ops(const struct fixture *f)
{
    return CONTAINER_OF(f->type, struct resolver_ops, t);
}

static void island_done(struct island *i)
{
    server_stop(&i->server);
    arena_done(&i->arena);
}

CO static bool island_init(struct island *i, const struct engine *e)
{
    *i = (struct island){ 0 };
    arena_init(&i->arena, KIB(64));
    return e->prepare(i);
}

CO static void join_placed(struct island *i, const struct engine *e, struct fixture *f,
                           const char *app_id, const char *ip, uint16_t port, const char *zone,
                           const char *region)
{
    const struct component_env env = {
        .app_id = app_id,
        .namespace_ = "default",
        .host_address = ip,
        .zone = zone,
        .region = region,
        .internal_port = port,
    };
    CHECK_OK(fixture_join(f, e->type, i->config, &env), "%s: %s", e->type, f->err.text);
}

CO static void join(struct island *i, const struct engine *e, struct fixture *f, const char *app_id,
                    const char *ip, uint16_t port)
{
    join_placed(i, e, f, app_id, ip, port, "", "");
}

/* The addresses of app as "a,b" in order of the text. */
CO static str resolve(struct fixture *f, struct arena *a, const char *app, size_t max)
{
    struct error err = { 0 };
    struct registration v[16];
    str parts[32];
    size_t n = 0;
    int r = ops(f)->resolve(f->self, str_c(app), S("default"), a, v, max, &n, &err);
    CHECK_OK(r, "%s: %s", f->type->type, err.text);
    CHECK(n <= max, "%zu of %zu", n, max);
    if (r || n == 0)
        return S("");
    for (size_t i = 1; i < n; i++) /* few: insertion sort */
        for (size_t k = i; k > 0 && str_cmp(v[k - 1].address, v[k].address) > 0; k--) {
            struct registration t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
    for (size_t i = 0; i < n; i++) {
        parts[2 * i] = v[i].address;
        parts[2 * i + 1] = S(",");
    }
    return arena_join(a, parts, 2 * n - 1);
}

/* Until app resolves to want, for at most twenty seconds: news travels by datagram. */
CO static void await(struct fixture *f, const char *app, const char *want)
{
    struct arena a;
    arena_init(&a, KIB(256));
    uint64_t end = clock_now_ns() + SEC(20);
    str got;
    do {
        arena_reset(&a);
        got = resolve(f, &a, app, 16);
        if (str_eq(got, str_c(want)))
            break;
    } while (clock_now_ns() < end && fiber_sleep(MS(10)) == 0);
    CHECK_STR(got, want, "%s: %s", f->type->type, app);
    arena_done(&a);
}

TEST(every_engine_is_in_this_suite)
{
    const char *types[COUNT(engines) + 1] = { NULL };
    for (size_t i = 0; i < COUNT(engines); i++)
        types[i] = engines[i].type;
    fixture_check_rows("nameresolution", types);
}

CO static void try_two_apps(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture a, b;
    if (!island_init(&i, e))
        return;
    join(&i, e, &a, "alpha", "127.0.0.1", 50001);
    join(&i, e, &b, "beta", "127.0.0.2", 50002);
    await(&a, "beta", "127.0.0.2:50002");
    await(&b, "alpha", "127.0.0.1:50001");
    await(&a, "alpha", "127.0.0.1:50001");
    fixture_close(&b);
    if (e->can & REGISTERS)
        await(&a, "beta", "");
    fixture_close(&a);
}

TEST_LOOP(two_apps_find_each_other_until_one_leaves)
{
    EACH_THAT(LISTS, e)
    try_two_apps(e);
}

CO static void try_replicas(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture f[3], other;
    if (!island_init(&i, e))
        return;
    for (size_t k = 0; k < COUNT(f); k++)
        join(&i, e, &f[k], "many", "127.0.0.1", (uint16_t)(50001 + k));
    join(&i, e, &other, "other", "127.0.0.1", 50100);
    await(&other, "many", "127.0.0.1:50001,127.0.0.1:50002,127.0.0.1:50003");
    struct arena a;
    arena_init(&a, KIB(64));
    str two = resolve(&other, &a, "many", 2);
    CHECK_EQ(two.n, 2 * strlen("127.0.0.1:50001") + 1, "%s: at most two", e->type);
    CHECK_STR(resolve(&other, &a, "many", 0), "", "%s", e->type);
    arena_done(&a);
    for (size_t k = 0; k < COUNT(f); k++)
        fixture_close(&f[k]);
    fixture_close(&other);
}

TEST_LOOP(all_replicas_are_given_up_to_max)
{
    EACH_THAT(LISTS, e)
    try_replicas(e);
}

CO static void try_v6(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture a, b;
    if (!island_init(&i, e))
        return;
    join(&i, e, &a, "six", "fd00::1:2", 50001);
    join(&i, e, &b, "four", "127.0.0.1", 50002);
    await(&b, "six", "[fd00::1:2]:50001");
    fixture_close(&a);
    fixture_close(&b);
}

TEST_LOOP(ipv6_address_comes_in_brackets)
{
    EACH_THAT(LISTS, e)
    try_v6(e);
}

CO static void try_unknown(const struct engine *e)
{
    static const char *const name[] = { "nobody", "a b", "\xff\x01", "dotted.name" };
    AUTO(island_done) struct island i;
    struct fixture f;
    if (!island_init(&i, e))
        return;
    join(&i, e, &f, "alone", "127.0.0.1", 50001);
    struct arena a;
    arena_init(&a, KIB(64));
    for (size_t k = 0; k < COUNT(name); k++)
        CHECK_STR(resolve(&f, &a, name[k], 16), "", "%s: %s", e->type, name[k]);
    /* What can be no app id may be refused, with a text, but gives no address. */
    char longname[400];
    memset(longname, 'x', sizeof longname);
    struct error err = { 0 };
    struct registration v[4];
    size_t n = 0;
    int r = ops(&f)->resolve(f.self, str_of(longname, sizeof longname), S(""), &a, v, 4, &n, &err);
    CHECK(r == -INVALID && n == 0 && err.text[0], "%s: %d", e->type, r);
    arena_done(&a);
    fixture_close(&f);
}

TEST_LOOP(unknown_app_has_no_address)
{
    EACH_THAT(LISTS, e)
    try_unknown(e);
}

/* The first registration of app, which is there. */
CO static struct registration first(struct fixture *f, struct arena *a, const char *app)
{
    struct registration v[4];
    struct error err = { 0 };
    size_t n = 0;
    CHECK_OK(ops(f)->resolve(f->self, str_c(app), S("default"), a, v, 4, &n, &err), "%s", err.text);
    REQUIRE(n == 1, "%s: %zu of %s", f->type->type, n, app);
    return v[0];
}

CO static void try_place(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture placed, other;
    struct arena a;
    if (!island_init(&i, e))
        return;
    join_placed(&i, e, &placed, "placed", "127.0.0.1", 50001, "a", "eu");
    join(&i, e, &other, "near", "127.0.0.1", 50001 + !!(e->can & REGISTERS));
    await(&other, "placed", "127.0.0.1:50001");
    arena_init(&a, KIB(256));
    struct registration r = first(&other, &a, "placed");
    CHECK_STR(r.zone, "a", "%s", e->type);
    CHECK_STR(r.region, "eu", "%s", e->type);
    r = first(&other, &a, "near");
    CHECK(r.zone.n == 0 && r.region.n == 0, "%s", e->type);
    arena_done(&a);
    fixture_close(&placed);
    fixture_close(&other);
}

TEST_LOOP(zone_comes_with_the_address)
{
    EACH_THAT(PLACES, e)
    try_place(e);
}

CO static void try_leave(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture a, b;
    if (!island_init(&i, e))
        return;
    join(&i, e, &a, "stays", "127.0.0.1", 50001);
    join(&i, e, &b, "leaves", "127.0.0.2", 50002);
    await(&a, "leaves", "127.0.0.2:50002");
    ops(&b)->leave(b.self);
    await(&a, "leaves", "");
    await(&b, "stays", "127.0.0.1:50001");
    fixture_close(&b);
    fixture_close(&a);
}

TEST_LOOP(who_leaves_is_not_found_but_still_finds)
{
    EACH_THAT(REGISTERS, e)
    try_leave(e);
}

CO static void try_join(const struct engine *e)
{
    static const struct component_env late = {
        .app_id = "late",
        .namespace_ = "default",
        .host_address = "127.0.0.2",
        .internal_port = 50002,
    };
    AUTO(island_done) struct island i;
    AUTO(arena_done) struct arena arena;
    struct fixture a, b;
    arena_init(&arena, KIB(64));
    if (!island_init(&i, e))
        return;
    join(&i, e, &a, "early", "127.0.0.1", 50001);
    CHECK_OK(fixture_open(&b, e->type, i.config, &late), "%s: %s", e->type, b.err.text);
    await(&b, "early", "127.0.0.1:50001");
    CHECK_STR(resolve(&a, &arena, "late", 16), "", "%s", e->type);
    CHECK_STR(resolve(&b, &arena, "late", 16), "", "%s: not even by itself", e->type);
    CHECK_OK(ops(&b)->join(b.self, &b.err), "%s: %s", e->type, b.err.text);
    await(&a, "late", "127.0.0.2:50002");
    fixture_close(&b);
    await(&a, "late", "");
    fixture_close(&a);
}

TEST_LOOP(who_has_not_joined_yet_finds_but_is_not_found)
{
    EACH_THAT(REGISTERS, e)
    try_join(e);
}

CO static void try_leave_first(const struct engine *e)
{
    AUTO(island_done) struct island i;
    AUTO(arena_done) struct arena arena;
    struct fixture f;
    arena_init(&arena, KIB(64));
    if (!island_init(&i, e))
        return;
    CHECK_OK(fixture_open(&f, e->type, i.config, &plain_env), "%s: %s", e->type, f.err.text);
    ops(&f)->leave(f.self);
    CHECK_OK(ops(&f)->join(f.self, &f.err), "%s: %s", e->type, f.err.text);
    CHECK_STR(resolve(&f, &arena, plain_env.app_id, 16), "", "%s", e->type);
    fixture_close(&f);
}

TEST_LOOP(join_after_leave_registers_nothing)
{
    EACH_THAT(REGISTERS, e)
    try_leave_first(e);
}

struct far {
    struct fixture *f;
    struct ticket done;
};

CO static void resolve_far(void *arg)
{
    struct far *far = arg;
    CHECK(worker_index(worker_self()) == 1);
    await(far->f, "near", "127.0.0.1:50001");
    await(far->f, "peer", "127.0.0.1:50002");
    ticket_done(&far->done, 0);
}

CO static void try_other_worker(const struct engine *e)
{
    AUTO(island_done) struct island i;
    struct fixture f, peer;
    if (!island_init(&i, e))
        return;
    join(&i, e, &f, "near", "127.0.0.1", 50001);
    join(&i, e, &peer, "peer", "127.0.0.1", 50002);
    struct far far = { .f = &f };
    ticket_init(&far.done);
    if (CHECK(worker_spawn(worker_at(1), "far", resolve_far, &far) == 0))
        CHECK_OK(ticket_wait(&far.done));
    fixture_close(&f);
    fixture_close(&peer);
}

TEST_LOOP(any_worker_may_resolve)
{
    EACH_THAT(LISTS, e)
    try_other_worker(e);
}

TEST_LOOP(incomplete_surroundings_are_refused)
{
    static const struct {
        const char *name;
        struct component_env env;
        const char *says;
    } row[] = {
        { "no app id", { .host_address = "127.0.0.1", .internal_port = 1 }, "app id" },
        { "empty app id",
          { .app_id = "", .host_address = "127.0.0.1", .internal_port = 1 },
          "app id" },
        { "no address", { .app_id = "a", .internal_port = 1 }, "address" },
        { "no port", { .app_id = "a", .host_address = "127.0.0.1" }, "port" },
    };
    EACH_THAT(REGISTERS, e)
    {
        AUTO(island_done) struct island i;
        if (!island_init(&i, e))
            continue;
        EACH (row, r) {
            struct fixture f;
            int result = fixture_open(&f, e->type, i.config, &r->env);
            CHECK_EQ(result, -INVALID, "%s: %s", e->type, r->name);
            CHECK(strstr(f.err.text, r->says), "%s: %s: %s", e->type, r->name, f.err.text);
            fixture_close(&f);
        }
    }
}
