#include "block/call/resolve.h"
#include "fixture.h"

static void add_app(struct fake *r, const char *id, const char *addresses)
{
    r->item[r->n++] = (struct kv){ str_c(id), str_c(addresses) };
}

struct box {
    struct fixture f;
    struct fake *r;
    struct instances table;
    struct resolve_cache *c;
};

static void box_open(struct box *b)
{
    fixture_open(&b->f, NULL);
    b->r = fixture_add(&b->f, "resolver", "nr", NULL);
    CHECK_OK(instances_init(&b->table));
    b->c = resolve_cache_new(&b->table);
    REQUIRE(b->c);
}

static void box_close(struct box *b)
{
    resolve_cache_free(b->c);
    instances_done(&b->table);
    fixture_close(&b->f);
}

static int find(struct box *b, const char *id, const char *space, const struct fleet **ret)
{
    struct error err = { 0 };
    int r = resolve(b->c, &b->f.b, str_c(id), str_c(space), ret, &err);
    CHECK_EQ(err.code, -r);
    return r;
}

TEST_LOOP(answers_are_kept_for_a_while)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1 2.2.2.2:2 3.3.3.3:3");
    for (int i = 0; i < 6; i++) {
        CHECK_OK(find(&b, "a", "default", &f));
        CHECK_EQ(f->n, 3);
        CHECK_TEXT(f->peer[2]->address, "3.3.3.3:3");
    }
    CHECK_EQ(b.r->calls, 1);
    box_close(&b);
}

TEST_LOOP(an_app_that_nobody_knows_is_asked_for_a_few_times)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    CHECK_EQ(find(&b, "nobody", "default", &f), -UNAVAILABLE);
    CHECK_EQ(b.r->calls, 5);
    box_close(&b);
}

TEST_LOOP(namespaces_are_apart)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a.one", "1.1.1.1:1");
    add_app(b.r, "a.two", "2.2.2.2:2");
    CHECK_OK(find(&b, "a", "one", &f));
    CHECK_TEXT(f->peer[0]->address, "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "two", &f));
    CHECK_TEXT(f->peer[0]->address, "2.2.2.2:2");
    box_close(&b);
}

TEST_LOOP(a_dead_address_is_asked_for_again_once)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1 2.2.2.2:2");
    CHECK_OK(find(&b, "a", "default", &f));
    resolve_again(b.c, S("a"), S("default"));
    for (int i = 0; i < 4; i++)
        CHECK_OK(find(&b, "a", "default", &f));
    CHECK_EQ(b.r->calls, 2, "not for every call");
    box_close(&b);
}

TEST_LOOP(what_is_known_of_an_instance_outlives_the_answer)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1 2.2.2.2:2");
    CHECK_OK(find(&b, "a", "default", &f));
    struct peer *one = f->peer[0];
    atomic_store(&one->direct, true);
    resolve_again(b.c, S("a"), S("default"));
    CHECK_OK(find(&b, "a", "default", &f));
    CHECK(f->peer[0] == one && atomic_load(&f->peer[0]->direct));
    b.r->n = 0;
    add_app(b.r, "a", "2.2.2.2:2");
    resolve_again(b.c, S("a"), S("default"));
    CHECK_OK(find(&b, "a", "default", &f));
    CHECK_EQ(f->n, 1);
    CHECK_TEXT(f->peer[0]->address, "2.2.2.2:2");
    box_close(&b);
}

TEST_LOOP(a_resolver_that_fails_leaves_the_old_answer)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "default", &f));
    resolve_again(b.c, S("a"), S("default"));
    b.r->failures = 9;
    b.r->code = UNAVAILABLE;
    b.r->text = "no answer";
    CHECK_OK(find(&b, "a", "default", &f));
    struct error err = { 0 };
    CHECK_EQ(resolve(b.c, &b.f.b, S("new"), S("default"), &f, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "no answer");
    box_close(&b);
}

TEST_LOOP(without_a_resolver_the_error_says_so)
{
    struct box b;
    const struct fleet *f;
    struct error err = { 0 };
    fixture_open(&b.f, NULL);
    CHECK_OK(instances_init(&b.table));
    b.c = resolve_cache_new(&b.table);
    CHECK_EQ(resolve(b.c, &b.f.b, S("a"), S("default"), &f, &err), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), S("no name resolution is running")), "%s", err.text);
    box_close(&b);
}

TEST_LOOP(an_address_that_is_none_is_passed_over)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    add_app(b.r, "a",
            "an-address-that-is-far-longer-than-any-ip-and-port-could-ever-be-in-this-world:1 "
            "1.1.1.1:1");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(find(&b, "a", "default", &f));
        CHECK_TEXT(f->peer[0]->address, "1.1.1.1:1");
    }
    box_close(&b);
}

TEST_LOOP(more_ids_than_there_is_room_for_are_no_failure)
{
    struct box b;
    const struct fleet *f;
    box_open(&b);
    char id[32];
    for (int i = 0; i < RESOLVE_IDS + 50; i++) {
        snprintf(id, sizeof id, "app%d", i);
        b.r->n = 0;
        add_app(b.r, id, "1.1.1.1:1");
        CHECK_OK(find(&b, id, "default", &f), "%s", id);
    }
    box_close(&b);
}

TEST_LOOP(without_memory_resolving_fails_and_nothing_leaks)
{
    struct box b;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1");
    FAIL_EACH_ALLOC(n)
    {
        const struct fleet *f;
        struct error err = { 0 };
        struct instances t;
        CHECK_OK(instances_init(&t));
        struct resolve_cache *c = resolve_cache_new(&t);
        int r = c ? resolve(c, &b.f.b, S("a"), S("default"), &f, &err) : -EXHAUSTED;
        CHECK(r == 0 || test_alloc_failed(n), "allocation %zu", n);
        CHECK(r == 0 || !c || err.code, "allocation %zu", n);
        resolve_cache_free(c);
        instances_done(&t);
    }
    box_close(&b);
}
