#include "block/lock.h"
#include "fixture.h"

static struct error last;

static int take(struct fixture *f, const char *store, const char *resource, const char *owner,
                int64_t expiry_s)
{
    struct lock_request q = { str_c(store), str_c(resource), str_c(owner), expiry_s };
    bool locked = false;
    last = (struct error){ 0 };
    int r = block_lock_try(&f->b, &q, &f->arena, &locked, &last);
    return r < 0 ? r : locked;
}

static int give(struct fixture *f, const char *store, const char *resource, const char *owner)
{
    struct lock_request q = { .store = str_c(store), str_c(resource), str_c(owner) };
    enum unlock_status status = 77;
    last = (struct error){ 0 };
    int r = block_lock_unlock(&f->b, &q, &f->arena, &status, &last);
    if (r < 0)
        CHECK_EQ(status, 77, "set on success alone");
    return r < 0 ? r : (int)status;
}

TEST_CO(refusals_come_in_the_contracts_order_s18)
{
    static const struct {
        const char *name, *store, *resource, *owner;
        int64_t expiry;
        bool loaded;
        int want;
        const char *tag, *text;
    } row[] = {
        { "expiry first", "x", "", "", 0, false, -INVALID, "ERR_MALFORMED_REQUEST",
          "ExpiryInSeconds is not positive in lock store x" },
        { "negative", "l", "r", "o", -1, true, -INVALID, "ERR_MALFORMED_REQUEST",
          "ExpiryInSeconds is not positive in lock store l" },
        { "none loaded", "x", "", "", 1, false, -PRECONDITION, "ERR_LOCK_STORE_NOT_CONFIGURED",
          "lock store is not configured" },
        { "no resource", "x", "", "", 1, true, -INVALID, "ERR_MALFORMED_REQUEST",
          "ResourceId is empty in lock store x" },
        { "no owner", "x", "r", "", 1, true, -INVALID, "ERR_MALFORMED_REQUEST",
          "LockOwner is empty in lock store x" },
        { "no such store", "x", "r", "o", 1, true, -INVALID, "ERR_LOCK_STORE_NOT_FOUND",
          "lock store x not found" },
        { "illegal name", "l", "a||b", "o", 1, true, -INTERNAL, "ERR_TRY_LOCK",
          "failed to try acquiring lock: input key/keyPrefix 'a||b' can't contain '||'" },
    };
    EACH (row, r) {
        struct fixture f;
        fixture_open(&f, NULL);
        if (r->loaded)
            fixture_add(&f, "lock", "l", NULL);
        CHECK_EQ(take(&f, r->store, r->resource, r->owner, r->expiry), r->want, "%s", r->name);
        CHECK_TEXT(last.tag, r->tag, "%s", r->name);
        CHECK_TEXT(last.text, r->text, "%s", r->name);
        if (r->expiry > 0 && r->want != -INTERNAL) {
            CHECK_EQ(give(&f, r->store, r->resource, r->owner), r->want, "unlock: %s", r->name);
            CHECK_TEXT(last.text, r->text, "unlock: %s", r->name);
        }
        fixture_close(&f);
    }
}

TEST_CO(each_strategy_has_its_prefix)
{
    static const struct {
        const char *field, *want;
    } row[] = {
        { NULL, "lock||me||r" },
        { "keyPrefix=appid", "lock||me||r" },
        { "keyprefix=name", "lock||l||r" },
        { "keyPrefix=NONE", "lock||r" },
        { "keyPrefix=namespace", "lock||me||r" },
        { "keyPrefix=Team", "lock||team||r" },
    };
    EACH (row, r) {
        struct fixture f;
        fixture_open(&f, NULL);
        const char *fields[] = { r->field, NULL };
        struct fake *e = fixture_add(&f, "lock", "l", fields);
        CHECK_EQ(take(&f, "l", "r", "o", 10), 1);
        CHECK_STR(e->item[0].key, r->want);
        CHECK_EQ(give(&f, "l", "r", "o"), UNLOCK_SUCCESS);
        fixture_close(&f);
    }
}

TEST_CO(held_by_others_is_a_result)
{
    struct fixture f;
    fixture_open(&f, NULL);
    fixture_add(&f, "lock", "l", NULL);
    CHECK_EQ(take(&f, "l", "r", "a", 10), 1);
    CHECK_EQ(take(&f, "l", "r", "b", 10), 0);
    CHECK_EQ(give(&f, "l", "r", "b"), UNLOCK_BELONGS_TO_OTHERS);
    CHECK_EQ(give(&f, "l", "r", "a"), UNLOCK_SUCCESS);
    CHECK_EQ(give(&f, "l", "r", "a"), UNLOCK_DOES_NOT_EXIST);
    fixture_close(&f);
}

static const char RETRY[] =
    "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n"
    "  policies:\n    retries: {twice: {policy: constant, duration: 1ms, maxRetries: 2}}\n"
    "  targets:\n    components: {l: {outbound: {retry: twice}}}\n";

TEST_CO(failures_are_tried_again_by_the_policy)
{
    struct fixture f;
    fixture_open(&f, RETRY);
    struct fake *e = fixture_add(&f, "lock", "l", NULL);
    e->code = UNAVAILABLE;
    e->text = "away";
    e->failures = 2;
    CHECK_EQ(take(&f, "l", "r", "a", 10), 1);
    CHECK_EQ(e->calls, 3);
    e->failures = 3;
    CHECK_EQ(take(&f, "l", "q", "a", 10), -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_TRY_LOCK");
    CHECK_TEXT(last.text, "failed to try acquiring lock: away");
    e->failures = 3;
    CHECK_EQ(give(&f, "l", "q", "a"), -INTERNAL);
    CHECK_TEXT(last.tag, "ERR_UNLOCK");
    CHECK_TEXT(last.text, "failed to release lock: away");
    fixture_close(&f);
}
