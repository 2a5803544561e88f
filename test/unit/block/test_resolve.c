#include "block/resolve.h"
#include "fixture.h"

static void add_app(struct fake *r, const char *id, const char *addresses)
{
    r->item[r->n++] = (struct kv){ str_c(id), str_c(addresses) };
}

struct box {
    struct fixture f;
    struct fake *r;
    struct resolve_cache *c;
};

static void box_open(struct box *b)
{
    fixture_open(&b->f, NULL);
    b->r = fixture_add(&b->f, "resolver", "nr", NULL);
    b->c = resolve_cache_new();
    REQUIRE(b->c);
}

static void box_close(struct box *b)
{
    resolve_cache_free(b->c);
    fixture_close(&b->f);
}

static int find(struct box *b, const char *id, const char *space, struct peer *ret)
{
    struct error err = { 0 };
    int r = resolve(b->c, &b->f.b, str_c(id), str_c(space), ret, &err);
    CHECK_EQ(err.code, -r);
    return r;
}

TEST_LOOP(answers_are_kept_and_taken_in_turn)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1 2.2.2.2:2 3.3.3.3:3");
    char first[64] = "";
    unsigned seen = 0;
    for (int i = 0; i < 6; i++) {
        CHECK_OK(find(&b, "a", "default", &p));
        seen |= 1u << (p.address[0] - '0');
        if (i == 0)
            snprintf(first, sizeof first, "%s", p.address);
        if (i == 3)
            CHECK_TEXT(p.address, first, "round robin");
    }
    CHECK_EQ(seen, 14);
    CHECK_EQ(b.r->calls, 1);
    box_close(&b);
}

TEST_LOOP(an_app_that_nobody_knows_is_asked_for_a_few_times)
{
    struct box b;
    struct peer p;
    box_open(&b);
    CHECK_EQ(find(&b, "nobody", "default", &p), -UNAVAILABLE);
    CHECK_EQ(b.r->calls, 5);
    box_close(&b);
}

TEST_LOOP(namespaces_are_apart)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a.one", "1.1.1.1:1");
    add_app(b.r, "a.two", "2.2.2.2:2");
    CHECK_OK(find(&b, "a", "one", &p));
    CHECK_TEXT(p.address, "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "two", &p));
    CHECK_TEXT(p.address, "2.2.2.2:2");
    box_close(&b);
}

TEST_LOOP(what_failed_comes_last_and_is_asked_for_again)
{
    struct box b;
    struct peer p, bad;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1 2.2.2.2:2");
    CHECK_OK(find(&b, "a", "default", &bad));
    resolve_failed(b.c, S("a"), S("default"), &bad, true);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(find(&b, "a", "default", &p));
        CHECK(!str_eq(str_c(p.address), str_c(bad.address)), "try %d", i);
    }
    CHECK_EQ(b.r->calls, 2, "asked again once, not for every call");
    box_close(&b);
}

TEST_LOOP(a_single_address_is_tried_even_after_it_failed)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "default", &p));
    resolve_failed(b.c, S("a"), S("default"), &p, true);
    CHECK_OK(find(&b, "a", "default", &p));
    CHECK_TEXT(p.address, "1.1.1.1:1");
    box_close(&b);
}

TEST_LOOP(what_was_learnt_is_remembered_until_it_fails)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "default", &p));
    CHECK(!p.direct);
    p.direct = true;
    resolve_learn(b.c, S("a"), S("default"), &p);
    CHECK_OK(find(&b, "a", "default", &p));
    CHECK(p.direct);
    resolve_failed(b.c, S("a"), S("default"), &p, true);
    CHECK_OK(find(&b, "a", "default", &p));
    CHECK(!p.direct, "whoever takes the address next may be another program");
    box_close(&b);
}

TEST_LOOP(a_resolver_that_fails_leaves_the_old_answer)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a", "1.1.1.1:1");
    CHECK_OK(find(&b, "a", "default", &p));
    resolve_failed(b.c, S("a"), S("default"), &p, true);
    b.r->failures = 9;
    b.r->code = UNAVAILABLE;
    b.r->text = "no answer";
    CHECK_OK(find(&b, "a", "default", &p));
    struct error err = { 0 };
    CHECK_EQ(resolve(b.c, &b.f.b, S("new"), S("default"), &p, &err), -UNAVAILABLE);
    CHECK_TEXT(err.text, "no answer");
    box_close(&b);
}

TEST_LOOP(without_a_resolver_the_error_says_so)
{
    struct box b;
    struct peer p;
    struct error err = { 0 };
    fixture_open(&b.f, NULL);
    b.c = resolve_cache_new();
    CHECK_EQ(resolve(b.c, &b.f.b, S("a"), S("default"), &p, &err), -UNAVAILABLE);
    CHECK(str_contains(str_c(err.text), S("no name resolution is running")), "%s", err.text);
    box_close(&b);
}

TEST_LOOP(an_address_that_is_none_is_passed_over)
{
    struct box b;
    struct peer p;
    box_open(&b);
    add_app(b.r, "a",
            "an-address-that-is-far-longer-than-any-ip-and-port-could-ever-be-in-this-world:1 "
            "1.1.1.1:1");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(find(&b, "a", "default", &p));
        CHECK_TEXT(p.address, "1.1.1.1:1");
    }
    box_close(&b);
}

TEST_LOOP(more_ids_than_there_is_room_for_are_no_failure)
{
    struct box b;
    struct peer p;
    box_open(&b);
    char id[32];
    for (int i = 0; i < RESOLVE_IDS + 50; i++) {
        snprintf(id, sizeof id, "app%d", i);
        b.r->n = 0;
        add_app(b.r, id, "1.1.1.1:1");
        CHECK_OK(find(&b, id, "default", &p), "%s", id);
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
        struct peer p;
        struct error err = { 0 };
        struct resolve_cache *c = resolve_cache_new();
        int r = c ? resolve(c, &b.f.b, S("a"), S("default"), &p, &err) : -EXHAUSTED;
        CHECK(r == 0 || test_alloc_failed(n), "allocation %zu", n);
        CHECK(r == 0 || !c || err.code, "allocation %zu", n);
        resolve_cache_free(c);
    }
    box_close(&b);
}
