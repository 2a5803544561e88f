#include "block/topics.h"
#include "test/testing.h"

static struct topics parse(struct arena *a, const char *publishing, const char *subscribing,
                           const char *allowed, const char *protected_)
{
    struct kv kv[] = { { S("publishingScopes"), str_c(publishing) },
                       { S("SUBSCRIPTIONSCOPES"), str_c(subscribing) },
                       { S("allowedTopics"), str_c(allowed) },
                       { S("protectedTopics"), str_c(protected_) } };
    struct topics t;
    memset(&t, 0xee, sizeof t);
    CHECK_OK(topics_parse((struct kvs){ kv, COUNT(kv) }, "me", "ns", true, a, &t));
    return t;
}

TEST(scopes_decide_who_may_publish)
{
    static const struct {
        const char *name, *scopes, *allowed, *protected_, *topic;
        bool want;
    } row[] = {
        { "nothing said", "", "", "", "t", true },
        { "listed", "me=a,t", "", "", "t", true },
        { "listed with spaces", " me = a , t ; you=x", "", "", "t", true },
        { "listed, another topic", "me=a", "", "", "t", false },
        { "listed with nothing", "me=", "", "", "t", false },
        { "listed without =", "me", "", "", "t", true },
        { "others are listed", "you=t", "", "", "t", true },
        { "protected", "", "", "t", "t", false },
        { "protected, but granted", "me=t", "", "t", "t", true },
        { "protected, others granted", "you=t", "", "a,t", "t", false },
        { "allowed", "", "a, t", "", "t", true },
        { "not allowed", "", "a", "", "t", false },
        { "granted but not allowed", "me=t", "a", "", "t", false },
        { "a longer name", "me=t", "", "", "tt", false },
        { "a part of a name", "me=tt", "", "", "t", false },
        { "only separators", ";;=;,", "", "", "t", true },
    };
    EACH (row, r) {
        struct arena a;
        arena_init(&a, MIB(1));
        struct topics t = parse(&a, r->scopes, "", r->allowed, r->protected_);
        CHECK_EQ(topics_may_publish(&t, str_c(r->topic)), r->want, "%s", r->name);
        t = parse(&a, "", r->scopes, r->allowed, r->protected_);
        CHECK_EQ(topics_may_subscribe(&t, str_c(r->topic)), r->want, "subscribe: %s", r->name);
        arena_done(&a);
    }
}

TEST(publishing_and_subscribing_scopes_are_apart)
{
    struct arena a;
    arena_init(&a, MIB(1));
    struct topics t = parse(&a, "me=p", "me=s", "", "");
    CHECK(topics_may_publish(&t, S("p")) && !topics_may_publish(&t, S("s")));
    CHECK(topics_may_subscribe(&t, S("s")) && !topics_may_subscribe(&t, S("p")));
    CHECK_STR(t.prefix, "ns");
    arena_done(&a);
}

TEST(without_memory_parsing_says_so)
{
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        arena_init(&a, MIB(1));
        struct kv kv[] = { { S("allowedTopics"), S("a,b,c") } };
        struct topics t;
        int r = topics_parse((struct kvs){ kv, 1 }, "me", "", false, &a, &t);
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0);
        arena_done(&a);
    }
}
