/* http1_fuzz.c — heads, chunks, and whole connections of server and client. The first byte chooses
 * what is fed and in which pieces; however it is cut, the verdict must be the same. */
#include "fake_loop.h"
#include "fuzz.h"

#include "http/client.h"
#include "http/h1_parse.h"
#include "http/server.h"

enum { HEAD_MAX = 2048 };

struct verdict {
    int r;
    struct h1_head head;
};

static struct verdict parse(enum h1_kind kind, str in, size_t step, struct arena *arena)
{
    struct verdict v = { .r = 0 };
    h1_head_init(&v.head, kind, HEAD_MAX, arena);
    for (size_t n = 0; v.r == 0 && n < in.n;) {
        n = min_size(n + step, in.n);
        v.r = h1_parse(&v.head, in.p, n);
    }
    return v;
}

static void check_head(const struct h1_head *h, str in)
{
    FUZZ_CHECK(h->size <= in.n && h->size <= HEAD_MAX);
    FUZZ_CHECK(!(h->chunked && h->content_length >= 0));
    FUZZ_CHECK(h->kind != H1_REQUEST || h->minor == 0 || h->host_seen);
    for (size_t i = 0; i < h->headers.n; i++) {
        str name = h->headers.v[i].name, value = h->headers.v[i].value;
        FUZZ_CHECK(http_is_token(name) && http_is_field_value(value));
        FUZZ_CHECK(name.p >= in.p && value.p + value.n <= in.p + h->size);
    }
}

static void fuzz_head(enum h1_kind kind, str in, size_t step)
{
    struct arena arena;
    arena_init(&arena, MIB(1));
    struct verdict a = parse(kind, in, in.n ? in.n : 1, &arena), b = parse(kind, in, step, &arena);
    FUZZ_CHECK(a.r == b.r);
    if (a.r == 1) {
        check_head(&a.head, in);
        FUZZ_CHECK(a.head.size == b.head.size && a.head.headers.n == b.head.headers.n);
        FUZZ_CHECK(a.head.content_length == b.head.content_length);
        FUZZ_CHECK(a.head.chunked == b.head.chunked && a.head.close == b.head.close);
    }
    arena_done(&arena);
}

/* The end's verdict and a sum over the data and its place. */
static int dechunk(str in, size_t step, uint64_t *ret_sum, size_t *ret_used)
{
    struct h1_chunks c;
    h1_chunks_init(&c);
    *ret_sum = 0;
    for (size_t at = 0; at < in.n;) {
        size_t used = 0, n = min_size(step, in.n - at);
        str data = { 0 };
        int r = h1_chunks_next(&c, in.p + at, n, &used, &data);
        if (r < 0)
            return r;
        FUZZ_CHECK(used <= n);
        at += used;
        *ret_used = at;
        if (r == H1_CHUNKS_END)
            return r;
        for (size_t i = 0; r == H1_CHUNKS_DATA && i < data.n; i++)
            *ret_sum = *ret_sum * 31 + (unsigned char)data.p[i];
    }
    return H1_CHUNKS_MORE;
}

static void fuzz_chunks(str in, size_t step)
{
    uint64_t sum_a, sum_b;
    size_t used_a = 0, used_b = 0;
    int a = dechunk(in, in.n ? in.n : 1, &sum_a, &used_a), b = dechunk(in, step, &sum_b, &used_b);
    FUZZ_CHECK(a == b);
    if (a >= 0)
        FUZZ_CHECK(sum_a == sum_b && used_a == used_b);
}

/* ---- connections ---- */

static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    str piece;
    if (x->req.path.n > 5) { /* one that doesn't care for the body */
        (void)http_reply(x, 200, &x->req.headers, S("ok"));
        return;
    }
    if (http_reply_start(x, 200, NULL, -1) < 0)
        return;
    while (http_read(x, &piece) == 1 && http_reply_write(x, piece) == 0)
        ;
    (void)http_reply_end(x, NULL);
}

static void fuzz_server(struct fake_peer *peer)
{
    static struct http_server *server;
    fake_reset(peer);
    struct http_server_config config = { .handle = handle,
                                         .max_header_bytes = HEAD_MAX,
                                         .max_body_bytes = 5000 };
    if (!server)
        FUZZ_CHECK(http_server_open("x", &config, &server, NULL) == 0);
    fake_accept();
    fake_run();
    FUZZ_CHECK(peer->closed && !http_server_active(server));
}

static void call(void *arg)
{
    struct http_client *c = arg;
    struct http_request req = { .method = S("POST"), .target = S("/"), .content_length = -1 };
    for (int i = 0; i < 3; i++) {
        AUTO(http_call_freep) struct http_call *call = NULL;
        const struct http_response *res;
        str piece;
        if (http_call_start(c, "x:1", &req, S("body"), i, &call, NULL) < 0)
            return;
        if (!i && http_call_end(call, NULL) < 0)
            return;
        if (http_call_response(call, &res, NULL) < 0)
            return;
        FUZZ_CHECK(res->status >= 200 && res->status <= 999);
        while (http_call_read(call, &piece) == 1)
            ;
    }
}

static void fuzz_client(struct fake_peer *peer)
{
    fake_reset(peer);
    struct http_client *c = http_client_new(&(struct http_client_config){ 0 });
    FUZZ_CHECK(c && fiber_spawn("call", call, c));
    fake_run();
    http_client_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    str in = { (const char *)data + 1, size - 1 };
    size_t step = (data[0] >> 3) + 1;
    struct fake_peer peer = { .in = in, .step = step % 32, .room = step % 5 };
    switch (data[0] & 7) {
    case 0:
        fuzz_head(H1_REQUEST, in, step);
        break;
    case 1:
        fuzz_head(H1_RESPONSE, in, step);
        break;
    case 2:
        fuzz_head(H1_TRAILERS, in, step);
        break;
    case 3:
        fuzz_chunks(in, step);
        break;
    case 4:
    case 5:
        fuzz_server(&peer);
        break;
    default:
        fuzz_client(&peer);
    }
    return 0;
}
