/* frames_fuzz.c — any bytes as a message between sidecars: no crash, no overread, only the codes
 * that frames.h names; and what could be read says the same after it was packed again. */
#include "block/call/frames.h"
#include "fuzz.h"

enum { ARENA_MAX = 4 << 20 };

static bool known(int r)
{
    return r == 0 || r == -INVALID || r == -EXHAUSTED;
}

static void check_headers(const struct http_headers *h)
{
    for (size_t i = 0; i < h->n; i++) /* they go into an HTTP/1.1 head as they are */
        FUZZ_CHECK(http_is_token(h->v[i].name) && http_is_field_value(h->v[i].value));
}

static void pack_response_again(const struct frame_response *f, struct arena *a)
{
    struct buf out;
    struct frame_response again;
    buf_init(&out, FRAME_MESSAGE_MAX);
    str data = f->has_payload ? str_of(f->data.n ? f->data.p : "", f->data.n) : (str){ 0 };
    int r = frame_pack_response(f, data, f->seq, a, &out);
    if (r == 0 && frame_unpack_response(buf_str(&out), a, &again) == 0) {
        FUZZ_CHECK(again.has_response && again.has_payload == f->has_payload);
        FUZZ_CHECK(str_eq(again.data, f->data) && again.headers.n == f->headers.n);
        FUZZ_CHECK(again.grpc == f->grpc && again.status == f->status);
        FUZZ_CHECK(!f->grpc || again.outcome.code == f->outcome.code);
        FUZZ_CHECK(!f->has_payload || again.seq == f->seq);
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct frame_request q;
    struct frame_response p;
    str message = str_of(data, size);
    arena_init(&a, ARENA_MAX);
    int r = frame_unpack_request(message, &a, &q);
    FUZZ_CHECK(known(r));
    if (r == 0 && q.has_request)
        check_headers(&q.headers);
    r = frame_unpack_unary(message, &a, &q);
    FUZZ_CHECK(known(r));
    if (r == 0)
        check_headers(&q.headers);
    r = frame_unpack_response(message, &a, &p);
    FUZZ_CHECK(known(r));
    if (r == 0 && p.has_response) {
        check_headers(&p.headers);
        check_headers(&p.trailers);
        if (p.status)
            pack_response_again(&p, &a);
    }
    FUZZ_CHECK(known(frame_unpack_unary_response(message, &a, &p)));
    arena_done(&a);
    return 0;
}
