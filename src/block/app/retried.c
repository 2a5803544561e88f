#include "block/app/retried.h"

#include "base/hash.h"
#include "base/mem.h"
#include "block/app/context.h"
#include "block/core/headers.h"

#include <stdatomic.h>

enum { WAYS = 4, SETS = RETRIED_TRACES / WAYS };

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/* Two who write one place at the same instant may mix trace and time up; both times are now. */
struct note {
    _Atomic uint64_t trace; /* its hash; 0 = empty */
    _Atomic uint64_t at_ns;
};

struct retried {
    struct note note[SETS][WAYS];
};

struct retried *retried_new(void)
{
    return mem_zalloc(sizeof(struct retried)); /* whose pages cost nothing before the first note */
}

void retried_free(struct retried *r)
{
    mem_free(r);
}

static uint64_t key_of(const struct http_headers *call)
{
    uint8_t trace[16];
    return context_trace(call, trace) ? hash_bytes(str_of((const char *)trace, sizeof trace)) | 1
                                      : 0;
}

void retried_note(struct retried *r, const struct http_headers *call, uint64_t now_ns)
{
    uint64_t key = key_of(call);
    struct note *set = r->note[key / 2 % SETS], *to = set;
    if (!key)
        return;
    for (size_t i = 0; i < WAYS && GET(to->trace) != key; i++)
        if (GET(set[i].trace) == key || GET(set[i].at_ns) < GET(to->at_ns))
            to = &set[i];
    SET(to->at_ns, now_ns);
    SET(to->trace, key);
}

bool retried_since(struct retried *r, const struct http_headers *call, uint64_t since_ns)
{
    uint64_t key = key_of(call);
    const struct note *set = r->note[key / 2 % SETS];
    for (size_t i = 0; key && i < WAYS; i++)
        if (GET(set[i].trace) == key && GET(set[i].at_ns) >= since_ns)
            return true;
    return false;
}

void retried_mark(struct retried *r, const struct http_headers *call, uint64_t since_ns,
                  struct http_headers *answer)
{
    if (!retried_is_marked(answer) && retried_since(r, call, since_ns))
        (void)http_headers_set(answer, S(RETRIED_HEADER), S("1"));
}

bool retried_is_marked(const struct http_headers *answer)
{
    return http_headers_has(answer, S(RETRIED_HEADER));
}
