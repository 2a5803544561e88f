/* The conformance suite of configuration stores. The values come from outside: operator.h. */
#include "test/conformance/configuration/operator.h"

#include "base/mem.h"
#include "component/configuration.h"
#include "fiber/fiber.h"

#include <pthread.h>
#include <stdio.h>

enum { HEARD_MAX = 256 };

static const struct configuration_ops *ops_of(const struct suite *s)
{
    return CONTAINER_OF(s->type, struct configuration_ops, t);
}

/* ---- reading ---- */

static size_t get(struct suite *s, const str *keys, size_t n, struct configuration_item **ret)
{
    struct error err = { 0 };
    size_t got = 0;
    *ret = NULL;
    int r = ops_of(s)->get(s->self, keys, n, (struct kvs){ 0 }, &s->a, ret, &got, &err);
    if (!CHECK(r == 0))
        printf("    get: %s\n", err.text);
    return r == 0 ? got : 0;
}

static const struct configuration_item *find(const struct configuration_item *v, size_t n,
                                             const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].key, str_c(key)))
            return &v[i];
    return NULL;
}

static void keys_that_are_not_there_are_left_out(struct suite *s)
{
    struct configuration_item *v;
    str keys[] = { S("a"), S("nobody"), S("b") };
    CHECK(get(s, keys, 3, &v) == 0);
    operator_set(s, "a", "1");
    operator_set(s, "b", "zwei \xc3\xa4 'x'");
    CHECK(get(s, keys, 3, &v) == 2);
    const struct configuration_item *a = find(v, 2, "a"), *b = find(v, 2, "b");
    CHECK(a && str_eq(a->value, S("1")));
    CHECK(b && str_eq(b->value, S("zwei \xc3\xa4 'x'")));
}

static void without_keys_everything_is_there(struct suite *s)
{
    struct configuration_item *v;
    CHECK(get(s, NULL, 0, &v) == 0);
    char key[16];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        operator_set(s, key, key);
    }
    CHECK(get(s, NULL, 0, &v) == 100);
    const struct configuration_item *last = find(v, 100, "key-99");
    CHECK(last && str_eq(last->value, S("key-99")));
}

static void values_are_there_after_a_restart(struct suite *s)
{
    struct configuration_item *v;
    operator_set(s, "a", "1");
    if (!suite_reopen(s))
        return;
    CHECK(get(s, NULL, 0, &v) == 1);
}

/* ---- subscriptions ---- */

struct heard {
    struct suite *s;
    pthread_mutex_t lock;
    struct kv item[HEARD_MAX]; /* value .p NULL: deleted */
    size_t n, inside, calls;
    bool overlapped;
    uint64_t linger_ns; /* each call takes so long */
    struct arena a;
    const char *key, *value; /* what says() waits for */
};

static int hear(void *arg, const struct configuration_item *items, size_t n, struct error *err)
{
    struct heard *h = arg;
    pthread_mutex_lock(&h->lock);
    h->overlapped |= h->inside++ > 0;
    pthread_mutex_unlock(&h->lock);
    if (h->linger_ns)
        (void)!fiber_sleep(h->linger_ns);
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < n && h->n < HEARD_MAX; i++)
        h->item[h->n++] =
            (struct kv){ arena_dup(&h->a, items[i].key),
                         items[i].value.p ? arena_dup(&h->a, items[i].value) : (str){ 0 } };
    h->inside--;
    h->calls++;
    pthread_mutex_unlock(&h->lock);
    return 0;
}

static bool says(void *arg)
{
    struct heard *h = arg;
    bool found = false;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n; i++)
        found |= str_eq(h->item[i].key, str_c(h->key)) &&
                 (h->value ? h->item[i].value.p && str_eq(h->item[i].value, str_c(h->value))
                           : !h->item[i].value.p);
    pthread_mutex_unlock(&h->lock);
    return found;
}

/* value NULL: that it was deleted. */
static bool hears(struct heard *h, const char *key, const char *value)
{
    h->key = key;
    h->value = value;
    return suite_wait(says, h, SEC(5));
}

static void *watch(struct suite *s, struct heard *h, const str *keys, size_t n)
{
    struct error err = { 0 };
    void *sub = NULL;
    h->s = s;
    pthread_mutex_init(&h->lock, NULL);
    arena_init(&h->a, MIB(1));
    struct configuration_subscription c = { .keys = keys, .n_keys = n, .handle = hear, .arg = h };
    if (!CHECK(ops_of(s)->subscribe(s->self, &c, &sub, &err) == 0))
        printf("    subscribe: %s\n", err.text);
    return sub;
}

static void unwatch(struct heard *h, void *sub)
{
    struct suite *s = h->s;
    if (sub)
        ops_of(s)->unsubscribe(s->self, sub);
    CHECK(!h->overlapped);
    arena_done(&h->a);
    pthread_mutex_destroy(&h->lock);
}

static void changes_are_told(struct suite *s)
{
    static struct heard h;
    h = (struct heard){ 0 };
    operator_set(s, "old", "1");
    void *sub = watch(s, &h, NULL, 0);
    CHECK(h.n == 0); /* what was there before is no change */
    operator_set(s, "new", "1");
    CHECK(hears(&h, "new", "1"));
    operator_set(s, "old", "2");
    CHECK(hears(&h, "old", "2"));
    operator_set(s, "old", NULL);
    CHECK(hears(&h, "old", NULL));
    operator_set(s, "old", "3");
    CHECK(hears(&h, "old", "3"));
    unwatch(&h, sub);
}

static void other_keys_are_not_told(struct suite *s)
{
    static struct heard h;
    h = (struct heard){ 0 };
    char name[] = "wanted";
    str keys[] = { S("also"), str_c(name) };
    void *sub = watch(s, &h, keys, 2);
    memset(name, 'x', sizeof name - 1); /* the engine has its own copy */
    operator_set(s, "unwanted", "1");
    operator_set(s, "wanted", "1");
    CHECK(hears(&h, "wanted", "1"));
    CHECK(h.n == 1);
    unwatch(&h, sub);
}

static void after_unsubscribing_nothing_is_told(struct suite *s)
{
    static struct heard gone, stays;
    gone = stays = (struct heard){ 0 };
    void *first = watch(s, &gone, NULL, 0), *second = watch(s, &stays, NULL, 0);
    operator_set(s, "a", "1");
    CHECK(hears(&gone, "a", "1"));
    CHECK(hears(&stays, "a", "1"));
    ops_of(s)->unsubscribe(s->self, first);
    size_t before = gone.n;
    operator_set(s, "a", "2");
    CHECK(hears(&stays, "a", "2"));
    CHECK(gone.n == before);
    unwatch(&gone, NULL);
    unwatch(&stays, second);
}

static bool is_inside(void *arg)
{
    struct heard *h = arg;
    pthread_mutex_lock(&h->lock);
    bool inside = h->inside > 0;
    pthread_mutex_unlock(&h->lock);
    return inside;
}

static void unsubscribing_waits_for_a_handler_in_flight(struct suite *s)
{
    static struct heard h;
    h = (struct heard){ .linger_ns = MS(100) };
    void *sub = watch(s, &h, NULL, 0);
    operator_set(s, "a", "1");
    CHECK(suite_wait(is_inside, &h, SEC(5)));
    ops_of(s)->unsubscribe(s->self, sub);
    CHECK(h.inside == 0 && h.n == 1);
    unwatch(&h, NULL);
}

/* However fast they come: the last one is told, and never two at a time. */
static void the_last_of_many_changes_is_told(struct suite *s)
{
    static struct heard h;
    h = (struct heard){ .linger_ns = MS(2) };
    char value[16] = "";
    void *sub = watch(s, &h, NULL, 0);
    for (int i = 0; i < 100; i++) {
        snprintf(value, sizeof value, "%d", i);
        operator_set(s, "a", value);
    }
    CHECK(hears(&h, "a", value));
    unwatch(&h, sub);
}

static void another_process_is_told_too(struct suite *s)
{
    static struct heard mine, theirs;
    mine = theirs = (struct heard){ 0 };
    void *self = s->self, *other = suite_open_other(s);
    if (!other)
        return;
    void *sub = watch(s, &mine, NULL, 0);
    s->self = other;
    void *sub2 = watch(s, &theirs, NULL, 0);
    operator_set(s, "a", "1");
    CHECK(hears(&mine, "a", "1"));
    CHECK(hears(&theirs, "a", "1"));
    unwatch(&theirs, sub2);
    s->self = self;
    suite_close_other(s, other);
    unwatch(&mine, sub);
}

int main(int argc, char **argv)
{
    static const struct suite_case cases[] = {
        { "keys_that_are_not_there_are_left_out", 0, NULL, keys_that_are_not_there_are_left_out },
        { "without_keys_everything_is_there", 0, NULL, without_keys_everything_is_there },
        { "values_are_there_after_a_restart", 0, "durable", values_are_there_after_a_restart },
        { "changes_are_told", 0, NULL, changes_are_told },
        { "other_keys_are_not_told", 0, NULL, other_keys_are_not_told },
        { "after_unsubscribing_nothing_is_told", 0, NULL, after_unsubscribing_nothing_is_told },
        { "unsubscribing_waits_for_a_handler_in_flight", 0, NULL,
          unsubscribing_waits_for_a_handler_in_flight },
        { "the_last_of_many_changes_is_told", 0, NULL, the_last_of_many_changes_is_told },
        { "another_process_is_told_too", 0, "shared", another_process_is_told_too },
    };
    return suite_main(argc, argv, "configuration", cases, COUNT(cases));
}
