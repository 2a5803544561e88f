/* app_fuzz.c — any bytes as what an app answers, in the words of both protocols, and what goes to
 * it: no crash, no overread, only the codes that the headers name. The first byte says which. */
#include "block/app/channel_private.h"
#include "block/core/words.h"
#include "format/pbstruct.h"
#include "fuzz.h"

enum { ARENA_MAX = 4 << 20 };

static bool known(int r)
{
    return r == 0 || r == -INVALID || r == -EXHAUSTED;
}

static void check_subscriptions(const struct app_subscriptions *s)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; !s->v[i].wrong && k < s->v[i].n_rules; k++)
            FUZZ_CHECK(!s->v[i].rules[k].program && s->v[i].rules[k].path.n < ARENA_MAX);
}

static void check_bulk(const struct app_bulk *b)
{
    for (size_t i = 0; i < b->n; i++)
        FUZZ_CHECK(b->entry[i].verdict <= EVENT_DROP);
}

static void status_as_json(str text, struct arena *a)
{
    struct words_status s = { INTERNAL, S("m"), text };
    struct buf out;
    struct json v;
    buf_init(&out, ARENA_MAX);
    int r = words_json(&s, a, &out);
    FUZZ_CHECK(known(r) && (r < 0 || json_parse(buf_str(&out), &v, NULL) == 0));
    buf_done(&out);
}

static void json_as_struct(str text)
{
    struct json v;
    struct buf out;
    if (json_parse(text, &v, NULL) < 0)
        return;
    buf_init(&out, ARENA_MAX);
    pbstruct_put(&out, v, NULL);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct app_subscriptions subscriptions = { 0 };
    struct app_binding_answer binding = { 0 };
    struct app_bulk_entry entry[2] = { { .id = S("1") }, { .id = S("2") } };
    struct app_bulk bulk = { .entry = entry, .n = 2 };
    enum event_verdict verdict = EVENT_RETRY;
    if (!size)
        return 0;
    str text = str_of(data + 1, size - 1);
    arena_init(&a, ARENA_MAX);
    switch (data[0] % 8) {
    case 0:
        FUZZ_CHECK(known(http_read_subscriptions(text, &a, &subscriptions)));
        break;
    case 1:
        FUZZ_CHECK(http_read_status(text, S("id"), &a, &verdict, NULL) == 0 ||
                   verdict == EVENT_RETRY);
        break;
    case 2:
        http_read_statuses(&bulk, text, &a);
        break;
    case 3:
        FUZZ_CHECK(known(grpc_read_subscriptions(text, &a, &subscriptions)));
        break;
    case 4:
        FUZZ_CHECK(known(grpc_read_statuses(&bulk, text, &a)));
        break;
    case 5:
        FUZZ_CHECK(known(grpc_read_binding(text, &a, &binding)));
        break;
    case 6:
        status_as_json(text, &a);
        break;
    default:
        json_as_struct(text);
    }
    check_subscriptions(&subscriptions);
    check_bulk(&bulk);
    arena_done(&a);
    return 0;
}
