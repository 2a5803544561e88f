/* ETags, first write, deletion, time to live, transactions. */
#include "test/conformance/state/cases.h"

#include "base/clock.h"

static int put_etag(struct suite *s, const char *key, const char *json, str etag)
{
    struct error err = { 0 };
    struct state_write w = { .key = str_c(key), .value = str_c(json), .etag = etag, .json = true };
    return state_write(s, w, &err);
}

static int put_first(struct suite *s, const char *key, const char *json)
{
    struct error err = { 0 };
    struct state_write w = {
        .key = str_c(key), .value = str_c(json), .json = true, .concurrency = FIRST_WRITE
    };
    return state_write(s, w, &err);
}

static int put_ttl(struct suite *s, const char *key, const char *json, const char *ttl)
{
    struct error err = { 0 };
    struct state_write w = { .key = str_c(key),
                             .value = str_c(json),
                             .json = true,
                             .metadata = state_meta(s, "ttlInSeconds", ttl) };
    return state_write(s, w, &err);
}

static int drop(struct suite *s, const char *key, str etag)
{
    struct error err = { 0 };
    struct state_write w = { .key = str_c(key), .etag = etag, .remove = true };
    return state_write(s, w, &err);
}

static const str NO_ETAG = { 0 };

/* ---- plain ---- */

static void last_write_overwrites(struct suite *s)
{
    CHECK(state_put(s, "k", "1") == 0);
    CHECK(state_put(s, "k", "2") == 0);
    CHECK(state_holds(s, "k", "2"));
}

static void delete_removes_and_may_be_repeated(struct suite *s)
{
    CHECK(state_put(s, "k", "1") == 0);
    CHECK(drop(s, "k", NO_ETAG) == 0);
    CHECK(state_holds(s, "k", NULL));
    CHECK(drop(s, "k", NO_ETAG) == 0);
}

static void empty_key_is_refused(struct suite *s)
{
    CHECK(state_put(s, "", "1") == -INVALID);
    CHECK(drop(s, "", NO_ETAG) == -INVALID);
}

/* ---- ETags ---- */

static void every_save_changes_the_etag(struct suite *s)
{
    CHECK(state_put(s, "k", "1") == 0);
    str first = state_etag(s, "k");
    CHECK(state_put(s, "k", "1") == 0);
    CHECK(first.n && !str_eq(first, state_etag(s, "k")));
}

static void save_with_current_etag_succeeds_once(struct suite *s)
{
    CHECK(state_put(s, "k", "1") == 0);
    str etag = state_etag(s, "k");
    CHECK(put_etag(s, "k", "2", etag) == 0);
    CHECK(put_etag(s, "k", "3", etag) == -ABORTED);
    CHECK(state_holds(s, "k", "2"));
}

static void stale_etag_conflicts_and_says_so(struct suite *s)
{
    struct error err = { 0 };
    CHECK(state_put(s, "k", "1") == 0);
    str stale = state_etag(s, "k");
    CHECK(state_put(s, "k", "2") == 0);
    struct state_write w = { .key = S("k"), .value = S("3"), .etag = stale, .json = true };
    CHECK(state_write(s, w, &err) == -ABORTED);
    CHECK(err.code == ABORTED && str_contains(str_c(err.text), S("etag")));
    CHECK(state_holds(s, "k", "2"));
}

static void save_with_etag_of_missing_key_conflicts(struct suite *s)
{
    CHECK(state_put(s, "other", "1") == 0);
    CHECK(put_etag(s, "k", "1", state_etag(s, "other")) == -ABORTED);
    CHECK(state_holds(s, "k", NULL));
}

static void delete_with_stale_etag_conflicts(struct suite *s)
{
    CHECK(state_put(s, "k", "1") == 0);
    str stale = state_etag(s, "k");
    CHECK(state_put(s, "k", "2") == 0);
    CHECK(drop(s, "k", stale) == -ABORTED);
    CHECK(state_holds(s, "k", "2"));
    CHECK(drop(s, "k", state_etag(s, "k")) == 0);
    CHECK(state_holds(s, "k", NULL));
}

static void first_write_wins_without_etag(struct suite *s)
{
    CHECK(put_first(s, "k", "1") == 0);
    CHECK(put_first(s, "k", "2") == -ABORTED);
    CHECK(state_holds(s, "k", "1"));
    CHECK(drop(s, "k", NO_ETAG) == 0);
    CHECK(put_first(s, "k", "3") == 0);
}

struct counting {
    struct suite *s;
};

static void count_up(void *arg, size_t i)
{
    struct counting *t = arg;
    struct suite own = *t->s;
    (void)i;
    for (int done = 0; done < 5;) {
        struct state_value v;
        int64_t n = 0;
        arena_init(&own.a, MIB(1));
        bool ok = state_read(&own, S("n"), &v) == 0 && v.found && str_to_i64(v.value, &n);
        str next = arena_printf(&own.a, "%lld", (long long)n + 1);
        int r = ok ? put_etag(&own, "n", next.p, v.etag) : -INTERNAL;
        arena_done(&own.a);
        done += r == 0;
        if (!suite_check(t->s, r == 0 || r == -ABORTED, "count up", __FILE__, __LINE__))
            return;
    }
}

static void concurrent_counters_lose_nothing(struct suite *s)
{
    struct counting t = { s };
    CHECK(state_put(s, "n", "0") == 0);
    CHECK(suite_parallel(8, count_up, &t));
    CHECK(state_holds(s, "n", "40"));
}

/* ---- time to live ---- */

struct gone {
    struct suite *s;
    const char *key;
};

static bool is_gone(void *arg)
{
    struct gone *g = arg;
    return state_holds(g->s, g->key, NULL);
}

static void expired_keys_are_gone(struct suite *s)
{
    struct gone g = { s, "k" };
    struct state_value v;
    uint64_t now = clock_wall_ns();
    CHECK(put_ttl(s, "k", "1", "2") == 0);
    CHECK(state_read(s, S("k"), &v) == 0);
    CHECK(v.found && v.expire_ns > now && v.expire_ns <= now + SEC(4));
    str etag = v.etag;
    CHECK(suite_wait(is_gone, &g, SEC(5)));
    CHECK(clock_wall_ns() - now >= SEC(1));
    CHECK(put_etag(s, "k", "2", etag) == -ABORTED);
    CHECK(put_first(s, "k", "3") == 0);
    CHECK(state_holds(s, "k", "3"));
}

static void plain_save_ends_the_time_to_live(struct suite *s)
{
    struct state_value v;
    CHECK(put_ttl(s, "k", "1", "1000") == 0);
    CHECK(state_put(s, "k", "2") == 0);
    CHECK(state_read(s, S("k"), &v) == 0);
    CHECK(v.found && v.expire_ns == 0);
    CHECK(put_ttl(s, "k", "1", "1000") == 0);
    CHECK(put_ttl(s, "k", "3", "-1") == 0);
    CHECK(state_read(s, S("k"), &v) == 0);
    CHECK(v.found && v.expire_ns == 0);
}

static void bad_time_to_live_is_refused(struct suite *s)
{
    static const char *const bad[] = { "abc", "1.5", "-2", "99999999999999" };
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(put_ttl(s, "k", "1", bad[i]) == -INVALID);
    CHECK(state_holds(s, "k", NULL));
}

/* ---- transactions ---- */

static int transact(struct suite *s, const struct state_write *w, size_t n)
{
    struct error err = { 0 };
    return ops_of(s)->transact(s->self, w, n, (struct kvs){ 0 }, &err);
}

static struct state_write set(const char *key, const char *json)
{
    return (struct state_write){ .key = str_c(key), .value = str_c(json), .json = true };
}

static struct state_write del(const char *key)
{
    return (struct state_write){ .key = str_c(key), .remove = true };
}

static void transaction_applies_all(struct suite *s)
{
    CHECK(state_put(s, "b", "old") == 0);
    struct state_write w[] = { set("a", "1"), del("b"), set("c", "3"), del("nobody") };
    CHECK(transact(s, w, COUNT(w)) == 0);
    CHECK(state_holds(s, "a", "1"));
    CHECK(state_holds(s, "b", NULL));
    CHECK(state_holds(s, "c", "3"));
    CHECK(transact(s, w, 0) == 0);
}

static void transaction_with_stale_etag_leaves_no_trace(struct suite *s)
{
    CHECK(state_put(s, "a", "1") == 0);
    CHECK(state_put(s, "b", "2") == 0);
    str stale = state_etag(s, "b");
    CHECK(state_put(s, "b", "3") == 0);
    str etag = state_etag(s, "a");
    struct state_write w[] = { set("a", "9"), set("new", "9"), del("a"), set("b", "9") };
    w[3].etag = stale;
    CHECK(transact(s, w, COUNT(w)) == -ABORTED);
    CHECK(state_holds(s, "a", "1") && str_eq(state_etag(s, "a"), etag));
    CHECK(state_holds(s, "b", "3"));
    CHECK(state_holds(s, "new", NULL));
}

static void transaction_keeps_the_order_of_one_key(struct suite *s)
{
    struct state_write w[] = { set("a", "1"), set("a", "2"), del("b"), set("b", "1"), set("c", "1"),
                               del("c"),      set("d", "1"), del("d"), set("d", "2") };
    CHECK(state_put(s, "b", "0") == 0);
    CHECK(transact(s, w, COUNT(w)) == 0);
    CHECK(state_holds(s, "a", "2"));
    CHECK(state_holds(s, "b", "1"));
    CHECK(state_holds(s, "c", NULL));
    CHECK(state_holds(s, "d", "2"));
}

struct transfer {
    struct suite *s;
};

static void move_one(void *arg, size_t i)
{
    struct transfer *t = arg;
    struct suite own = *t->s;
    const char *from = i % 2 ? "x" : "y", *to = i % 2 ? "y" : "x";
    for (int done = 0; done < 3;) {
        struct state_value a, b;
        int64_t x = 0, y = 0;
        arena_init(&own.a, MIB(1));
        bool ok = state_read(&own, str_c(from), &a) == 0 && str_to_i64(a.value, &x) &&
                  state_read(&own, str_c(to), &b) == 0 && str_to_i64(b.value, &y);
        struct state_write w[2] = { set(from, ""), set(to, "") };
        w[0].value = arena_printf(&own.a, "%lld", (long long)x - 1);
        w[1].value = arena_printf(&own.a, "%lld", (long long)y + 1);
        w[0].etag = a.etag;
        w[1].etag = b.etag;
        int r = ok ? transact(&own, w, 2) : -INTERNAL;
        arena_done(&own.a);
        done += r == 0;
        if (!suite_check(t->s, r == 0 || r == -ABORTED, "transfer", __FILE__, __LINE__))
            return;
    }
}

static void concurrent_transfers_keep_the_sum(struct suite *s)
{
    struct transfer t = { s };
    CHECK(state_put(s, "x", "100") == 0);
    CHECK(state_put(s, "y", "100") == 0);
    CHECK(suite_parallel(8, move_one, &t));
    CHECK(state_holds(s, "x", "100"));
    CHECK(state_holds(s, "y", "100"));
}

#define CASE(needs, name)                                                                          \
    {                                                                                              \
#name, needs, NULL, name                                                                   \
    }
const struct suite_case state_write_cases[] = {
    CASE(0, last_write_overwrites),
    CASE(0, delete_removes_and_may_be_repeated),
    CASE(0, empty_key_is_refused),
    CASE(STATE_ETAG, every_save_changes_the_etag),
    CASE(STATE_ETAG, save_with_current_etag_succeeds_once),
    CASE(STATE_ETAG, stale_etag_conflicts_and_says_so),
    CASE(STATE_ETAG, save_with_etag_of_missing_key_conflicts),
    CASE(STATE_ETAG, delete_with_stale_etag_conflicts),
    CASE(STATE_ETAG, first_write_wins_without_etag),
    CASE(STATE_ETAG, concurrent_counters_lose_nothing),
    CASE(STATE_TTL | STATE_ETAG, expired_keys_are_gone),
    CASE(STATE_TTL, plain_save_ends_the_time_to_live),
    CASE(STATE_TTL, bad_time_to_live_is_refused),
    CASE(STATE_TXN, transaction_applies_all),
    CASE(STATE_TXN | STATE_ETAG, transaction_with_stale_etag_leaves_no_trace),
    CASE(STATE_TXN, transaction_keeps_the_order_of_one_key),
    CASE(STATE_TXN | STATE_ETAG, concurrent_transfers_keep_the_sum),
};
const size_t n_state_write_cases = COUNT(state_write_cases);
