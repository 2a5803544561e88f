/* The conformance suite of lock stores. Promises: @durable the lock outlives its instance, @shared
 * instances on the same data exclude each other. */
#include "test/conformance/suite.h"

#include "component/lock.h"
#include "fiber/fiber.h"

#include <stdatomic.h>
#include <stdio.h>

enum { RIVALS = 64 };

static const struct lock_ops *ops_of(const struct suite *s)
{
    return CONTAINER_OF(s->type, struct lock_ops, t);
}

/* 1 = taken, 0 = held by somebody, negative = failed. */
static int take(struct suite *s, void *self, const char *resource, const char *owner,
                int64_t seconds)
{
    struct error err = { 0 };
    bool locked = true;
    int r = ops_of(s)->try_lock(self, str_c(resource), str_c(owner), seconds, &locked, &err);
    if (r < 0)
        printf("    try_lock: %s\n", err.text);
    return r < 0 ? r : locked;
}

static int give(struct suite *s, void *self, const char *resource, const char *owner)
{
    struct error err = { 0 };
    enum unlock_status status = UNLOCK_INTERNAL_ERROR;
    int r = ops_of(s)->unlock(self, str_c(resource), str_c(owner), &status, &err);
    if (r < 0)
        printf("    unlock: %s\n", err.text);
    return r < 0 ? r : (int)status;
}

static void a_lock_is_held_once(struct suite *s)
{
    CHECK(take(s, s->self, "lock||app||r", "me", 60) == 1);
    CHECK(take(s, s->self, "lock||app||r", "you", 60) == 0);
    CHECK(take(s, s->self, "lock||app||r", "me", 60) == 0); /* not even by its owner */
    CHECK(take(s, s->self, "lock||app||other", "you", 60) == 1);
}

static void unlock_says_whose_it_is(struct suite *s)
{
    CHECK(give(s, s->self, "r", "me") == UNLOCK_DOES_NOT_EXIST);
    CHECK(take(s, s->self, "r", "me", 60) == 1);
    CHECK(give(s, s->self, "r", "you") == UNLOCK_BELONGS_TO_OTHERS);
    CHECK(take(s, s->self, "r", "you", 60) == 0); /* that changed nothing */
    CHECK(give(s, s->self, "r", "me") == UNLOCK_SUCCESS);
    CHECK(give(s, s->self, "r", "me") == UNLOCK_DOES_NOT_EXIST);
    CHECK(take(s, s->self, "r", "you", 60) == 1);
}

struct waiting {
    struct suite *s;
    const char *owner;
};

static bool can_take(void *arg)
{
    struct waiting *w = arg;
    return take(w->s, w->s->self, "r", w->owner, 60) == 1;
}

static void a_lock_ends_by_itself(struct suite *s)
{
    struct waiting you = { s, "you" };
    CHECK(take(s, s->self, "r", "me", 1) == 1);
    CHECK(take(s, s->self, "r", "you", 60) == 0);
    CHECK(suite_wait(can_take, &you, SEC(5)));
    /* who held it before can't give away what isn't theirs any more */
    CHECK(give(s, s->self, "r", "me") == UNLOCK_BELONGS_TO_OTHERS);
    CHECK(give(s, s->self, "r", "you") == UNLOCK_SUCCESS);
}

static bool is_gone(void *arg)
{
    struct suite *s = arg;
    return give(s, s->self, "r", "you") == UNLOCK_DOES_NOT_EXIST;
}

static void what_has_ended_is_not_there(struct suite *s)
{
    CHECK(take(s, s->self, "r", "me", 1) == 1);
    CHECK(suite_wait(is_gone, s, SEC(5)));
    CHECK(give(s, s->self, "r", "me") == UNLOCK_DOES_NOT_EXIST);
}

static void names_are_bytes(struct suite *s)
{
    static const char *const name[] = { "a", "A", "a ", "\xc3\xa4", "a'b", "a\"b", "%s", "*" };
    for (size_t i = 0; i < COUNT(name); i++)
        CHECK(take(s, s->self, name[i], name[i], 60) == 1);
    for (size_t i = 0; i < COUNT(name); i++) {
        CHECK(give(s, s->self, name[i], "nobody") == UNLOCK_BELONGS_TO_OTHERS);
        CHECK(give(s, s->self, name[i], name[i]) == UNLOCK_SUCCESS);
    }
}

static void the_longest_expiry_is_taken(struct suite *s)
{
    CHECK(take(s, s->self, "r", "me", INT32_MAX) == 1);
    CHECK(take(s, s->self, "r", "you", 1) == 0);
    CHECK(give(s, s->self, "r", "me") == UNLOCK_SUCCESS);
}

struct rivals {
    struct suite *s;
    void *self[2];
    atomic_uint won, failed;
};

static void compete(void *arg, size_t i)
{
    struct rivals *r = arg;
    char owner[32];
    snprintf(owner, sizeof owner, "owner-%zu", i);
    int got = take(r->s, r->self[i % 2], "r", owner, 60);
    atomic_fetch_add(got < 0 ? &r->failed : &r->won, got != 0);
}

static void compete_over(struct suite *s, void *other)
{
    struct rivals r = { .s = s, .self = { s->self, other } };
    CHECK(suite_parallel(RIVALS, compete, &r));
    CHECK(r.won == 1);
    CHECK(r.failed == 0);
}

static void of_many_at_once_one_wins(struct suite *s)
{
    compete_over(s, s->self);
}

static void processes_exclude_each_other(struct suite *s)
{
    void *other = suite_open_other(s);
    if (!other)
        return;
    compete_over(s, other);
    CHECK(take(s, s->self, "mine", "me", 60) == 1);
    CHECK(take(s, other, "mine", "you", 60) == 0);
    CHECK(give(s, other, "mine", "you") == UNLOCK_BELONGS_TO_OTHERS);
    CHECK(give(s, other, "mine", "me") == UNLOCK_SUCCESS); /* the owner's name counts, not where */
    CHECK(take(s, other, "mine", "you", 60) == 1);
    suite_close_other(s, other);
}

static void a_lock_outlives_its_instance(struct suite *s)
{
    CHECK(take(s, s->self, "r", "me", 60) == 1);
    if (!suite_reopen(s))
        return;
    CHECK(take(s, s->self, "r", "you", 60) == 0);
    CHECK(give(s, s->self, "r", "me") == UNLOCK_SUCCESS);
}

int main(int argc, char **argv)
{
    static const struct suite_case cases[] = {
        { "a_lock_is_held_once", 0, NULL, a_lock_is_held_once },
        { "unlock_says_whose_it_is", 0, NULL, unlock_says_whose_it_is },
        { "a_lock_ends_by_itself", 0, NULL, a_lock_ends_by_itself },
        { "what_has_ended_is_not_there", 0, NULL, what_has_ended_is_not_there },
        { "names_are_bytes", 0, NULL, names_are_bytes },
        { "the_longest_expiry_is_taken", 0, NULL, the_longest_expiry_is_taken },
        { "of_many_at_once_one_wins", 0, NULL, of_many_at_once_one_wins },
        { "processes_exclude_each_other", 0, "shared", processes_exclude_each_other },
        { "a_lock_outlives_its_instance", 0, "durable", a_lock_outlives_its_instance },
    };
    return suite_main(argc, argv, "lock", cases, COUNT(cases));
}
