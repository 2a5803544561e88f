/* chaos_fuzz.c — what a client posts to /proa/v1/chaos: a fault is within its limits, or refused
 * with a reason; and what meets a call. */
#include "fuzz.h"

#include "policy/chaos.h"

static void check(const struct chaos_fault *f)
{
    const struct chaos_call call = { S("orders"), S("GET"), S("/orders/1"), S("a") };
    struct chaos_table t = { 0 };
    struct chaos_effect e;
    struct chaos_fault ended;
    char status[24];
    FUZZ_CHECK(f->name[0] && f->kind < CHAOS_KINDS && f->percent > 0 && f->percent <= 100);
    FUZZ_CHECK(f->for_ns && f->for_ns <= CHAOS_LONGEST_NS);
    FUZZ_CHECK((f->kind == CHAOS_DELAY) == (f->delay_ns != 0) && f->delay_ns <= f->delay_max_ns);
    FUZZ_CHECK(f->delay_max_ns <= CHAOS_LONGEST_NS);
    FUZZ_CHECK((f->kind == CHAOS_ERROR) == (f->status != 0));
    FUZZ_CHECK(chaos_status_text(f->status, status)[0]);
    FUZZ_CHECK(chaos_put(&t, f, 0, 0, NULL) == 0 && t.n == 1);
    if (chaos_meet(&t, &call, 1, 1, &e))
        FUZZ_CHECK(chaos_fits(f, &call) && e.delay_ns <= f->delay_max_ns && e.hit[f->kind]);
    FUZZ_CHECK(chaos_expired(&t, f->for_ns, &ended) && !t.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_done) struct arena a;
    struct json v;
    struct chaos_fault f;
    struct error err = { 0 };
    arena_init(&a, MIB(1));
    if (json_parse(str_of(data, size), &v, NULL) < 0)
        return 0;
    if (chaos_from_json(&a, v, &f, &err) == 0)
        check(&f);
    else
        FUZZ_CHECK(err.code && err.text[0]);
    return 0;
}
