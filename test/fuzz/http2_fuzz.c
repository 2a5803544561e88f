/* http2_fuzz.c — any bytes as the peer of an HTTP/2 connection: of a server (the preface is put
 * before them) or of a client with two calls in flight. */
#include "fake_loop.h"
#include "fuzz.h"

#include "base/mem.h"
#include "http/client.h"
#include "http/server.h"

static const str preface = { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 };

static void handle(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct http_headers trailers;
    http_headers_init(&trailers, x->arena);
    (void)http_headers_add(&trailers, S("X-End"), S("1"));
    str piece;
    if (x->req.path.n > 5) {
        (void)http_reply(x, 200, &x->req.headers, x->req.path);
        return;
    }
    if (http_reply_start(x, 200, NULL, -1) < 0)
        return;
    while (http_read(x, &piece) == 1 && http_reply_write(x, piece) == 0)
        ;
    (void)http_reply_end(x, &trailers);
}

static void fuzz_server(struct fake_peer *peer)
{
    static struct http_server *server;
    struct http_server_config config = { .handle = handle, .h2 = true, .max_streams = 20 };
    fake_reset(peer);
    if (!server)
        FUZZ_CHECK(http_server_open("x", &config, &server, NULL) == 0);
    fake_accept();
    fake_run();
    FUZZ_CHECK(peer->closed && !http_server_active(server));
}

static void call(void *arg)
{
    struct http_request req = { .method = S("POST"), .target = S("/"), .content_length = -1 };
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    str piece;
    DEADLINE(SEC(1));
    if (http_call_start(arg, "x:1", &req, S("body"), true, &call, NULL) < 0 ||
        http_call_response(call, &res, NULL) < 0)
        return;
    FUZZ_CHECK(res->status >= 200 && res->status <= 999);
    while (http_call_read(call, &piece) == 1)
        ;
    (void)http_call_trailers(call);
}

static void fuzz_client(struct fake_peer *peer)
{
    fake_reset(peer);
    struct http_client *c = http_client_new(&(struct http_client_config){ .h2 = true });
    FUZZ_CHECK(c && fiber_spawn("call", call, c) && fiber_spawn("call", call, c));
    fake_run();
    http_client_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    bool server = data[0] & 1;
    size_t before = server ? preface.n : 0;
    char *in = mem_alloc(before + size);
    FUZZ_CHECK(in);
    memcpy(in, preface.p, before);
    memcpy(in + before, data + 1, size - 1);
    struct fake_peer peer = { .in = { in, before + size - 1 },
                              .step = (data[0] >> 1) % 64,
                              .room = data[0] & 0x80 ? 100 : 0 };
    if (server)
        fuzz_server(&peer);
    else
        fuzz_client(&peer);
    mem_free(in);
    return 0;
}
