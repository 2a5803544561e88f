/* context_fuzz.c — what callers say of a call's priority (the first line) and deadline (the rest):
 * refused with a 400, or read as what writes back the same. */
#include "block/app/context.h"
#include "fuzz.h"

static void check(const struct call_context *c, str priority, str timeout)
{
    FUZZ_CHECK(c->has_priority == (priority.p != NULL));
    FUZZ_CHECK(c->priority < PRIORITIES && c->sub >= -1 && c->sub < PRIORITY_SUBS);
    FUZZ_CHECK((c->timeout_ns == UINT64_MAX) == (timeout.p == NULL));
    char text[PRIORITY_TEXT];
    enum priority again;
    int sub;
    unsigned level = priority_level(c->priority, c->sub < 0 ? 0 : (unsigned)c->sub);
    FUZZ_CHECK(priority_parse(priority_format(level, text), &again, &sub));
    FUZZ_CHECK(again == c->priority && sub == (c->sub < 0 ? 0 : c->sub));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str priority, timeout, all = str_of(data, size);
    bool both = str_cut(all, '\n', &priority, &timeout);
    struct arena arena;
    struct http_headers h;
    struct call_context c;
    struct error err = { 0 };
    arena_init(&arena, 1 << 20);
    http_headers_init(&h, &arena);
    FUZZ_CHECK(http_headers_add(&h, S("proa-priority"), priority) == 0);
    FUZZ_CHECK(!both || http_headers_add(&h, S("Proa-Timeout"), timeout) == 0);
    int r = context_read(&h, &c, &err);
    FUZZ_CHECK(r == 0 || (r == -INVALID && err.http == 400));
    if (r == 0)
        check(&c, priority, both ? timeout : (str){ 0 });
    arena_done(&arena);
    return 0;
}
