#include "base/buf.h"
#include "serve.h"

static void echo(struct stream *s)
{
    char p[16384];
    for (ssize_t n; (n = stream_read(s, p, sizeof p)) > 0;)
        if (stream_write(s, str_of(p, (size_t)n)) < 0)
            return;
}

static void check_echo(struct stream *s, str text)
{
    char got[64];
    CHECK_OK(stream_write(s, text));
    CHECK(read_all(s, got, text.n));
    CHECK(str_eq(str_of(got, text.n), text));
}

TEST_LOOP(tcp_echoes_and_ends)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server);
    for (int i = 0; i < 100; i++)
        check_echo(s, S("hello over tcp"));
    CHECK_OK(stream_shutdown(s));
    char c;
    CHECK_EQ(stream_read(s, &c, 1), 0);
    CHECK_EQ(stream_read(s, &c, 1), 0, "an end stays an end");
    stream_close(s);
    serve_stop(&server);
}
