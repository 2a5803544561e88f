#include "block/subscribe.h"
#include "fixture.h"

static size_t discover(struct fixture *f, struct subscriptions *l)
{
    struct error err = { 0 };
    CHECK_OK(subscriptions_discover(&f->b, l, &err), "%s", err.text);
    return l->n;
}

TEST_CO(any_answer_of_the_app_is_survived)
{
    static const struct {
        const char *name, *body;
        int status;
        size_t want;
    } row[] = {
        { "one", "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\"}]", 200, 1 },
        { "names in any case", "[{\"pubsubName\":\"p\",\"TOPIC\":\"t\",\"Route\":\"/r\"}]", 200,
          1 },
        { "none", "[]", 200, 0 },
        { "null", "null", 200, 0 },
        { "not found", "x", 404, 0 },
        { "error", "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\"}]", 500, 0 },
        { "an object", "{}", 200, 0 },
        { "empty", "", 200, 0 },
        { "cut", "[{\"pubsubname\":\"p\"", 200, 0 },
        { "no objects", "[1,null,\"x\",[],{}]", 200, 0 },
        { "no route", "[{\"pubsubname\":\"p\",\"topic\":\"t\"}]", 200, 0 },
        { "numbers", "[{\"pubsubname\":1,\"topic\":\"t\",\"route\":\"/r\"}]", 200, 0 },
        { "route is an object", "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":{}}]", 200, 0 },
        { "routes is a number",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"routes\":3,\"route\":\"/r\"}]", 200, 1 },
        { "rules is a number",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"routes\":{\"rules\":3,\"default\":\"/d\"}}]",
          200, 1 },
        { "rule is a number", "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"routes\":{\"rules\":[3]}}]",
          200, 1 },
        { "bad CEL",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"routes\":{\"rules\":[{\"match\":\"((\","
          "\"path\":"
          "\"/x\"}]}},{\"pubsubname\":\"p\",\"topic\":\"u\",\"route\":\"/r\"}]",
          200, 1 },
        { "metadata is an array",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\",\"metadata\":[1]}]", 200, 0 },
        { "metadata is a number",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\",\"metadata\":7}]", 200, 1 },
        { "bulk is odd",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/"
          "r\",\"bulkSubscribe\":{\"enabled\":1,"
          "\"maxMessagesCount\":\"x\",\"maxAwaitDurationMs\":-5}}]",
          200, 1 },
        { "twice",
          "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/a\"},"
          "{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/b\"}]",
          200, 1 },
    };
    EACH (row, r) {
        struct fixture f;
        struct subscriptions l;
        fixture_open(&f, NULL);
        fixture_add(&f, "pubsub", "p", NULL);
        f.status = r->status;
        f.body = r->body;
        CHECK_EQ(discover(&f, &l), r->want, "%s", r->name);
        CHECK_STR(f.seen_target, "/dapr/subscribe");
        CHECK_STR(http_headers_get(&f.seen, S("dapr-app-id")), "me");
        subscriptions_done(&l);
        fixture_close(&f);
    }
}

TEST_CO(the_app_is_asked_only_where_it_makes_sense)
{
    struct fixture f;
    struct subscriptions l;
    fixture_open(&f, NULL);
    f.body = "[]";
    CHECK_EQ(discover(&f, &l), 0);
    CHECK_EQ(f.app_calls, 0, "no pubsub: surprise 37");
    subscriptions_done(&l);
    fixture_add(&f, "pubsub", "p", NULL);
    f.b.ask_app = false;
    CHECK_EQ(discover(&f, &l), 0);
    CHECK_EQ(f.app_calls, 0, "--disable-init-endpoints");
    subscriptions_done(&l);
    fixture_close(&f);
}

static const char DECLARED[] =
    "apiVersion: dapr.io/v2alpha1\nkind: Subscription\nmetadata: {name: a}\nspec:\n"
    "  pubsubname: p\n  topic: t\n  routes: {default: /declared}\n---\n"
    "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: b}\nspec:\n"
    "  pubsubname: p\n  topic: t\n  route: /second\n---\n"
    "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: c}\nscopes: [you]\nspec:\n"
    "  pubsubname: p\n  topic: u\n  route: /notmine\n";

TEST_CO(programmatic_beats_declared_and_the_first_declared_beats_the_next)
{
    struct fixture f;
    struct subscriptions l;
    fixture_open(&f, DECLARED);
    fixture_add(&f, "pubsub", "p", NULL);
    f.status = 404;
    CHECK_EQ(discover(&f, &l), 1, "another app's scope doesn't count");
    CHECK_STR(l.v[0]->rules[0].path, "/declared");
    subscriptions_done(&l);
    f.status = 200;
    f.body =
        "[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\",\"routes\":{\"default\":\"/d\","
        "\"rules\":[{\"match\":\"event.a == 1\",\"path\":\"/m\"}]},\"deadLetterTopic\":\"dlq\"}]";
    CHECK_EQ(discover(&f, &l), 1);
    CHECK_EQ(l.v[0]->type, PROGRAMMATIC);
    CHECK_EQ(l.v[0]->n_rules, 2);
    CHECK_STR(l.v[0]->rules[1].path, "/d", "routes.default beats route");
    CHECK_STR(l.v[0]->dead_letter, "dlq");
    subscriptions_done(&l);
    fixture_close(&f);
}

TEST_CO(an_app_that_does_not_answer_keeps_what_is_declared)
{
    struct fixture f;
    struct subscriptions l;
    fixture_open(&f, DECLARED);
    fixture_add(&f, "pubsub", "p", NULL);
    f.handle = NULL;
    f.body = NULL;
    f.app->config.handle = NULL; /* port 0: nobody is there */
    f.b.app = NULL;
    CHECK_EQ(discover(&f, &l), 1);
    subscriptions_done(&l);
    f.b.app = f.app;
    fixture_close(&f);
}

CO static void silent(struct fixture *f, struct http_exchange *x)
{
    if (f->app_calls < (unsigned)f->status)
        http_reply_abort(x);
    else
        (void)http_reply(x, 200, NULL,
                         S("[{\"pubsubname\":\"p\",\"topic\":\"t\",\"route\":\"/r\"}]"));
}

/* DaprBuiltInInitializationRetries: three more times, and another number by a resource. */
TEST_CO(a_silent_app_is_asked_again)
{
    static const struct {
        const char *yaml;
        int answers; /* at this call */
        size_t want;
        unsigned calls;
    } row[] = {
        { NULL, 1, 1, 1 },
        { NULL, 4, 1, 4 },
        { NULL, 5, 0, 4 },
        { "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n"
          "  policies: {retries: {DaprBuiltInInitializationRetries: "
          "{policy: constant, duration: 1ms, maxRetries: 6}}}\n",
          7, 1, 7 },
    };
    EACH (row, r) {
        struct fixture f;
        struct subscriptions l;
        fixture_open(&f, r->yaml);
        fixture_add(&f, "pubsub", "p", NULL);
        f.handle = silent;
        f.status = r->answers;
        CHECK_EQ(discover(&f, &l), r->want, "%d", r->answers);
        CHECK_EQ(f.app_calls, r->calls, "%d", r->answers);
        subscriptions_done(&l);
        fixture_close(&f);
    }
}

static void three(struct fixture *f, struct subscriptions *l)
{
    fixture_open(f, NULL);
    static const char *const scope[] = { "subscriptionScopes=me=a", NULL };
    fixture_add(f, "pubsub", "p", scope);
    f->body = "[{\"pubsubname\":\"p\",\"topic\":\"a\",\"route\":\"/a\"},"
              "{\"pubsubname\":\"p\",\"topic\":\"b\",\"route\":\"/b\"},"
              "{\"pubsubname\":\"gone\",\"topic\":\"c\",\"route\":\"/c\"}]";
    CHECK_EQ(discover(f, l), 3);
}

TEST_CO(what_can_start_later_is_told_from_what_never_can)
{
    struct fixture f;
    struct subscriptions l;
    three(&f, &l);
    struct fake *p = fixture_instance(&f, "pubsub", "p")->self;
    p->code = UNAVAILABLE;
    p->failures = 2;
    p->text = "no broker yet";
    CHECK_EQ(subscriptions_start(&f.b, &l), 1, "a scope and a missing broker are for ever");
    CHECK_EQ(subscriptions_start(&f.b, &l), 1);
    CHECK_EQ(p->calls, 2);
    CHECK_EQ(subscriptions_start(&f.b, &l), 0);
    CHECK(p->subscribed);
    CHECK_STR(p->sub.topic, "a");
    CHECK_EQ(subscriptions_start(&f.b, &l), 0, "what runs is left alone");
    CHECK_EQ(p->calls, 3);
    subscriptions_stop(&l);
    CHECK(!p->subscribed);
    subscriptions_done(&l);
    fixture_close(&f);
}

TEST_CO(a_delivery_reaches_the_app_through_the_engine)
{
    struct fixture f;
    struct subscriptions l;
    three(&f, &l);
    struct fake *p = fixture_instance(&f, "pubsub", "p")->self;
    CHECK_EQ(subscriptions_start(&f.b, &l), 0);
    struct pubsub_message m = { .topic = S("a"), .data = S("{\"id\":\"1\"}") };
    struct error err = { 0 };
    f.body = "";
    CHECK_OK(p->sub.handle(p->sub.arg, &m, &err));
    CHECK_STR(f.seen_target, "/a");
    subscriptions_done(&l);
    fixture_close(&f);
}

TEST_CO(without_memory_discovery_leaves_out_or_fails)
{
    struct fixture f;
    fixture_open(&f, DECLARED);
    fixture_add(&f, "pubsub", "p", NULL);
    f.body = "[{\"pubsubname\":\"p\",\"topic\":\"x\",\"route\":\"/r\",\"metadata\":{\"a\":\"b\"}}]";
    struct subscriptions first;
    CHECK_EQ(discover(&f, &first), 2);
    subscriptions_done(&first);
    FAIL_EACH_ALLOC(n)
    {
        struct subscriptions l;
        struct error err = { 0 };
        int r = subscriptions_discover(&f.b, &l, &err);
        CHECK(r < 0 ? err.code != OK : l.n <= 2, "allocation %zu", n);
        subscriptions_done(&l);
    }
    fixture_close(&f);
}
