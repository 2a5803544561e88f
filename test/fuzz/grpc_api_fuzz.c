/* grpc_api_fuzz.c — what clients send to the gRPC API: a method's index and a message for its
 * decoder, which must come out again as it was understood; and reflection requests. */
#include "fuzz.h"

#include "api/grpc_call.h"
#include "api/grpc_reflect.h"

static void fuzz_message(const struct grpc_method *m, str in)
{
    struct arena a;
    struct error err = { 0 };
    void *first, *second;
    str packed, again;
    arena_init(&a, MIB(4));
    if (m->in && pb_decode(&a, m->in, in, &first, &err) == 0 &&
        pb_encode(&a, first, &packed) == 0) {
        /* Unknown fields come out as they came in: one numbered 0, in two bytes, isn't read again.
         */
        if (pb_decode(&a, m->in, packed, &second, &err) == 0) {
            FUZZ_CHECK(pb_encode(&a, second, &again) == 0);
            FUZZ_CHECK(str_eq(packed, again));
        }
    }
    arena_done(&a);
}

static void fuzz_reflection(str in)
{
    struct arena a;
    str answer;
    arena_init(&a, MIB(4));
    int r = reflect_answer(in, DAPR_SERVICE, &a, &answer);
    FUZZ_CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 65536)
        return 0;
    const struct grpc_method *m = grpc_method_at(data[0] % 80);
    str in = str_of(data + 1, n - 1);
    if (m)
        fuzz_message(m, in);
    else
        fuzz_reflection(in);
    return 0;
}
