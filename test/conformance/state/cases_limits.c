/* Size, load, and memory that runs out. */
#include "test/conformance/state/cases.h"

#include "base/mem.h"

static void value_of_a_megabyte_is_kept(struct suite *s)
{
    struct error err = { 0 };
    struct state_value v;
    char *bytes = arena_alloc(&s->a, MIB(1));
    INV(bytes);
    for (size_t i = 0; i < MIB(1); i++)
        bytes[i] = (char)(i * 31);
    struct state_write w = { .key = S("big"), .value = str_of(bytes, MIB(1)) };
    CHECK(state_write(s, w, &err) == 0);
    CHECK(state_read(s, S("big"), &v) == 0);
    CHECK(v.found && str_eq(v.value, w.value));
}

static void small_arena_is_an_error_not_a_crash(struct suite *s)
{
    struct error err = { 0 };
    struct state_value v = { 0 };
    struct arena small;
    str value = arena_printf(&s->a, "\"%0*d\"", 100000, 0);
    CHECK(state_put(s, "k", value.p) == 0);
    arena_init(&small, KIB(8));
    int r = ops_of(s)->get(s->self, S("k"), CONSISTENCY_NONE, (struct kvs){ 0 }, &small, &v, &err);
    CHECK(r == -EXHAUSTED && err.text[0]);
    arena_done(&small);
    CHECK(state_holds(s, "k", value.p));
}

static void save_many(void *arg, size_t i)
{
    struct suite *s = arg, own = *s;
    arena_init(&own.a, MIB(1));
    for (int n = 0; n < 20; n++) {
        str key = arena_printf(&own.a, "key-%zu-%d", i, n);
        str value = arena_printf(&own.a, "\"%zu %d\"", i, n);
        suite_check(s, state_put(&own, key.p, value.p) == 0, "save", __FILE__, __LINE__);
        suite_check(s, state_holds(&own, key.p, value.p), "read own write", __FILE__, __LINE__);
    }
    arena_done(&own.a);
}

static void concurrent_saves_are_all_there(struct suite *s)
{
    CHECK(suite_parallel(32, save_many, s));
    for (size_t i = 0; i < 32; i++)
        for (int n = 0; n < 20; n++)
            CHECK(state_holds(s, arena_printf(&s->a, "key-%zu-%d", i, n).p,
                              arena_printf(&s->a, "\"%zu %d\"", i, n).p));
}

/* Each allocation in turn fails: the call succeeds or says so, and the store goes on. */
static void failing_allocations_are_errors(struct suite *s)
{
    for (uint64_t k = 1; k <= 40; k++) {
        struct error err = { 0 };
        struct state_value v = { 0 };
        struct arena a;
        struct state_write w = { .key = arena_printf(&s->a, "key-%llu", (unsigned long long)k),
                                 .value = S("not json") };
        arena_init(&a, MIB(1));
        mem_fail_at(k);
        int wrote = state_write(s, w, &err);
        mem_fail_at(0);
        CHECK(wrote == 0 || (err.code != OK && err.text[0]));
        err = (struct error){ 0 };
        mem_fail_at(k);
        int read =
            ops_of(s)->get(s->self, w.key, CONSISTENCY_NONE, (struct kvs){ 0 }, &a, &v, &err);
        mem_fail_at(0);
        CHECK(read == 0 || (err.code != OK && err.text[0]));
        CHECK(read < 0 || v.found == (wrote == 0));
        arena_done(&a);
        CHECK(state_put(s, w.key.p, "1") == 0);
        CHECK(state_holds(s, w.key.p, "1"));
    }
}

static void transaction_without_memory_leaves_no_trace(struct suite *s)
{
    bool failed_once = false;
    for (uint64_t k = 1; k <= 60; k++) {
        struct error err = { 0 };
        struct state_write w[6];
        for (size_t i = 0; i < COUNT(w); i++)
            w[i] = (struct state_write){
                .key = arena_printf(&s->a, "t-%llu-%zu", (unsigned long long)k, i),
                .value = S("bytes"),
            };
        CHECK(state_put(s, w[5].key.p, "0") == 0);
        w[5].remove = true;
        mem_fail_at(k);
        int r = ops_of(s)->transact(s->self, w, COUNT(w), (struct kvs){ 0 }, &err);
        mem_fail_at(0);
        failed_once |= r < 0;
        CHECK(r == 0 || err.text[0]);
        bool done = r == 0;
        if (r < 0 && suite_promises(s, "remote")) /* it may be the answer that wasn't taken */
            done = state_holds(s, w[0].key.p, "bytes");
        for (size_t i = 0; i < 5; i++)
            CHECK(state_holds(s, w[i].key.p, done ? "bytes" : NULL));
        CHECK(state_holds(s, w[5].key.p, done ? NULL : "0"));
    }
    CHECK(failed_once);
}

#define CASE(needs, name)                                                                          \
    {                                                                                              \
#name, needs, NULL, name                                                                   \
    }
const struct suite_case state_limit_cases[] = {
    CASE(0, value_of_a_megabyte_is_kept),
    CASE(0, small_arena_is_an_error_not_a_crash),
    CASE(0, concurrent_saves_are_all_there),
    CASE(0, failing_allocations_are_errors),
    CASE(STATE_TXN, transaction_without_memory_leaves_no_trace),
};
const size_t n_state_limit_cases = COUNT(state_limit_cases);
