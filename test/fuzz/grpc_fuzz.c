/* grpc_fuzz.c — a stream of gRPC messages in any pieces (the same messages must come out), and the
 * texts of headers: timeout, status, message, details. */
#include "fuzz.h"

#include "http/client_private.h"
#include "http/grpc.h"

enum { MESSAGE_MAX = 300 };

struct source {
    struct http_exchange x;
    str rest;
    size_t step;
};

static int read_piece(struct http_exchange *x, str *ret)
{
    struct source *s = CONTAINER_OF(x, struct source, x);
    if (!s->rest.n)
        return 0;
    *ret = str_take(s->rest, s->step);
    s->rest = str_skip(s->rest, s->step);
    return 1;
}

static const struct http_exchange_ops source_ops = { .read = read_piece };

static int sum_messages(str in, size_t step, uint64_t *ret_sum)
{
    struct arena arena;
    arena_init(&arena, MIB(1));
    struct source s = { .x = { .ops = &source_ops, .arena = &arena }, .rest = in, .step = step };
    str message;
    int r;
    *ret_sum = 0;
    while ((r = grpc_recv(&s.x, MESSAGE_MAX, &message)) == 1) {
        FUZZ_CHECK(message.n <= MESSAGE_MAX);
        *ret_sum = *ret_sum * 31 + message.n + 1;
        for (size_t i = 0; i < message.n; i++)
            *ret_sum = *ret_sum * 31 + (unsigned char)message.p[i];
    }
    arena_done(&arena);
    return r;
}

static void fuzz_messages(str in, size_t step)
{
    uint64_t a, b;
    FUZZ_CHECK(sum_messages(in, in.n ? in.n : 1, &a) == sum_messages(in, step, &b));
    FUZZ_CHECK(a == b);
}

/* A call whose answer is trailers only. */
struct fake_call {
    struct http_call call;
    struct http_response res;
};

static int give_response(struct http_call *c, const struct http_response **ret, struct error *err)
{
    (void)err;
    *ret = &CONTAINER_OF(c, struct fake_call, call)->res;
    return 0;
}

static int read_nothing(struct http_call *c, str *ret)
{
    (void)c, (void)ret;
    return 0;
}

static const struct http_headers *no_trailers(const struct http_call *c)
{
    (void)c;
    return NULL;
}

static const struct http_call_ops call_ops = { .response = give_response,
                                               .read = read_nothing,
                                               .trailers = no_trailers };

/* One field a line. */
static void fuzz_texts(str in)
{
    static const str names[] = { S("grpc-status"), S("grpc-message"), S("grpc-status-details-bin"),
                                 S("grpc-timeout"), S("content-type") };
    struct arena arena;
    arena_init(&arena, MIB(4));
    struct fake_call c = { .call = { .ops = &call_ops, .arena = &arena },
                           .res = { .status = 200 } };
    http_headers_init(&c.res.headers, &arena);
    str rest = in, line;
    for (size_t i = 0; i < COUNT(names) && str_next(&rest, '\n', &line); i++)
        FUZZ_CHECK(http_headers_add(&c.res.headers, names[i], line) == 0);
    struct grpc_status status;
    uint64_t ns;
    str a, b;
    FUZZ_CHECK(grpc_call_status(&c.call, &status) == 0 && status.code <= UNAUTHENTICATED);
    (void)grpc_timeout(&c.res.headers, &ns);
    (void)grpc_split_path(in, &a, &b);
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    str in = { (const char *)data + 1, size - 1 };
    if (data[0] & 1)
        fuzz_messages(in, (data[0] >> 1) % 32 + 1);
    else
        fuzz_texts(in);
    return 0;
}
