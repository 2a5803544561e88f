/* What every binding of the registry must do, and bindings.cron. bindings.http: test_http.c,
 * bindings.localstorage: test_localstorage.c. */
#include "fixture.h"

static const struct engine {
    const char *type;
    const char *config[4]; /* {dir}: a folder of this process */
    bool input;
} engines[] = {
    { "bindings.cron", { "schedule", "@every 1s" }, true },
    { "bindings.http", { "url", "http://127.0.0.1:1/" }, false },
    { "bindings.localstorage", { "rootPath", "{dir}" }, false },
};

static const struct binding_ops *ops(const struct fixture *f)
{
    return CONTAINER_OF(f->type, struct binding_ops, t);
}

CO static int open_engine(const struct engine *e, struct fixture *f)
{
    struct arena a;
    arena_init(&a, KIB(64));
    const char *config[4];
    for (size_t i = 0; i < COUNT(config); i++)
        config[i] = e->config[i] && strcmp(e->config[i], "{dir}") == 0
                        ? fixture_file(&a, "files", NULL)
                        : e->config[i];
    int r = fixture_open(f, e->type, config, NULL);
    arena_done(&a);
    return r;
}

TEST(every_engine_is_in_this_suite)
{
    const char *types[COUNT(engines) + 1] = { NULL };
    for (size_t i = 0; i < COUNT(engines); i++)
        types[i] = engines[i].type;
    fixture_check_rows("bindings", types);
}

TEST_LOOP(operations_are_either_listed_or_not_there)
{
    EACH (engines, e) {
        struct fixture f;
        CHECK_OK(open_engine(e, &f), "%s", f.err.text);
        const struct binding_ops *o = ops(&f);
        CHECK_EQ(o->operations != NULL, o->invoke != NULL, "%s", e->type);
        CHECK_EQ(o->start != NULL, o->stop != NULL, "%s", e->type);
        CHECK_EQ(o->start != NULL, e->input, "%s", e->type);
        CHECK(o->start || o->invoke, "%s is good for nothing", e->type);
        if (o->invoke) {
            struct arena a;
            struct error err = { 0 };
            struct binding_result ret = { 0 };
            arena_init(&a, KIB(64));
            int r =
                o->invoke(f.self, S("no such operation"), S(""), (struct kvs){ 0 }, &a, &ret, &err);
            CHECK(r < 0 && strstr(err.text, "no such operation"), "%s: %s", e->type, err.text);
            arena_done(&a);
        }
        fixture_close(&f);
    }
}

TEST_LOOP(open_and_close_leave_nothing)
{
    EACH (engines, e) {
        for (size_t i = 0; i < 3; i++) {
            struct fixture f;
            CHECK_OK(open_engine(e, &f), "%s", f.err.text);
            fixture_close(&f);
        }
        struct fixture f; /* what is required must be given */
        CHECK_EQ(fixture_open(&f, e->type, NULL, NULL), -INVALID, "%s", e->type);
        CHECK(strstr(f.err.text, e->config[0]), "%s: %s", e->type, f.err.text);
        fixture_close(&f);
    }
}

/* ---- cron ---- */

struct events {
    size_t begun, ended;
    uint64_t takes_ns;
    int gives;
    uint64_t first_ns, last_ns;
    bool well_formed;
};

/* "2026-01-02 03:04:05.000000006 +0000 UTC" */
static bool is_go_time(str s)
{
    static const char form[] = "dddd-dd-dd dd:dd:dd.ddddddddd +0000 UTC";
    if (s.n != sizeof form - 1)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (form[i] == 'd' ? s.p[i] < '0' || s.p[i] > '9' : s.p[i] != form[i])
            return false;
    return true;
}

CO static int on_event(void *arg, const struct binding_event *e, struct error *err)
{
    struct events *ev = arg;
    ev->last_ns = clock_now_ns();
    if (ev->begun++ == 0)
        ev->first_ns = ev->last_ns;
    ev->well_formed = e->data.n == 0 && e->metadata.n == 2 &&
                      str_eq(kvs_get(e->metadata, S("timeZone")), S("Local")) &&
                      is_go_time(kvs_get(e->metadata, S("readTimeUTC")));
    if (ev->takes_ns)
        CHECK_OK(fiber_sleep(ev->takes_ns));
    ev->ended++;
    return ev->gives ? fail(err, (enum code) - ev->gives, NULL, "no") : 0;
}

CO static void cron_open_started(struct fixture *f, struct events *ev)
{
    static const char *const md[] = { "schedule", "@every 1s", "direction", "input", NULL };
    struct error err = { 0 };
    CHECK_OK(fixture_open(f, "bindings.cron", md, NULL), "%s", f->err.text);
    CHECK_OK(ops(f)->start(f->self, on_event, ev, &err), "%s", err.text);
}

CO static void await_begun(const struct events *ev, size_t n)
{
    uint64_t end = clock_now_ns() + SEC(20);
    while (ev->begun < n && clock_now_ns() < end)
        CHECK_OK(fiber_sleep(MS(5)));
    CHECK(ev->begun >= n, "%zu of %zu events", ev->begun, n);
}

TEST_LOOP(cron_fires_each_second_whatever_the_handler_says)
{
    struct fixture f;
    struct events ev = { .gives = -UNKNOWN };
    cron_open_started(&f, &ev);
    await_begun(&ev, 3);
    CHECK(ev.well_formed, "data is empty, metadata are timeZone and readTimeUTC");
    uint64_t took = ev.last_ns - ev.first_ns;
    CHECK(took > MS(1500) && took < SEC(10), "two seconds took %llu ms",
          (unsigned long long)(took / MS(1)));
    ops(&f)->stop(f.self);
    size_t before = ev.begun;
    CHECK_OK(fiber_sleep(MS(1300)));
    CHECK_EQ(ev.begun, before, "none after stop");
    fixture_close(&f);
}

TEST_LOOP(cron_stop_waits_for_handlers_in_flight)
{
    struct fixture f;
    struct events ev = { .takes_ns = MS(2500) };
    cron_open_started(&f, &ev);
    await_begun(&ev, 2); /* the second begins although the first isn't done */
    CHECK_EQ(ev.ended, 0);
    ops(&f)->stop(f.self);
    CHECK_EQ(ev.ended, ev.begun, "all are done when stop returns");
    CHECK_OK(ops(&f)->start(f.self, on_event, &ev, &f.err), "it may start again");
    fixture_close(&f); /* close stops, too */
    CHECK_EQ(ev.ended, ev.begun);
}

struct far_stop {
    struct fixture *f;
    struct ticket done;
};

CO static void stop_far(void *arg)
{
    struct far_stop *s = arg;
    CHECK_EQ(worker_index(worker_self()), 1);
    ops(s->f)->stop(s->f->self);
    ticket_done(&s->done, 0);
}

TEST_LOOP(cron_may_be_stopped_from_another_worker)
{
    struct fixture f;
    struct events ev = { .takes_ns = MS(200) };
    cron_open_started(&f, &ev);
    await_begun(&ev, 1);
    struct far_stop s = { .f = &f };
    ticket_init(&s.done);
    REQUIRE(worker_spawn(worker_at(1), "far", stop_far, &s) == 0);
    CHECK_OK(ticket_wait(&s.done));
    CHECK_EQ(ev.ended, ev.begun);
    fixture_close(&f);
}

TEST_LOOP(cron_that_was_never_started_closes)
{
    struct fixture f;
    const char *md[] = { "schedule", "0 0 1 1 *", NULL };
    CHECK_OK(fixture_open(&f, "bindings.cron", md, NULL), "%s", f.err.text);
    ops(&f)->stop(f.self);
    fixture_close(&f);
}

TEST_LOOP(bad_schedule_is_refused)
{
    static const char *const bad[] = { "* * *", "99 * * * *", "@every", "@every soon", "@never" };
    EACH (bad, text) {
        struct fixture f;
        const char *md[] = { "schedule", *text, NULL };
        CHECK_EQ(fixture_open(&f, "bindings.cron", md, NULL), -INVALID, "%s", *text);
        CHECK(f.err.text[0], "%s", *text);
        fixture_close(&f);
    }
}
