#include "harness.h"

#include "fiber/sync.h"

struct http_server *harness_open(void (*handle)(void *arg, struct http_exchange *x), void *arg,
                                 const struct http_server_config *config)
{
    struct http_server_config c = config ? *config : (struct http_server_config){ 0 };
    struct http_server *s;
    struct error err = { 0 };
    c.handle = handle;
    c.arg = arg;
    REQUIRE(http_server_open("127.0.0.1:0", &c, &s, &err) == 0, "%s", err.text);
    return s;
}

struct stop {
    struct http_server *server;
    uint64_t grace_ns;
    size_t cut;
};

static void stop(void *arg)
{
    struct stop *s = arg;
    s->cut = http_server_stop(s->server, s->grace_ns);
    http_server_free(s->server);
}

size_t harness_close(struct http_server *server, uint64_t grace_ns)
{
    struct stop s = { server, grace_ns, 0 };
    REQUIRE(blocking(stop, &s) == 0);
    return s.cut;
}

static void free_client(void *arg)
{
    http_client_free(arg);
}

void harness_client_free(struct http_client *c)
{
    REQUIRE(blocking(free_client, c) == 0);
}

struct stream *harness_dial(const char *address)
{
    struct stream *s;
    struct error err = { 0 };
    REQUIRE(stream_dial(address, &s, &err) == 0, "%s", err.text);
    return s;
}

static str read_on(struct stream *s, const char *until, struct arena *arena)
{
    size_t cap = MIB(1), n = 0;
    char *p = arena_alloc(arena, cap);
    REQUIRE(p);
    DEADLINE(SEC(20));
    for (;;) {
        ssize_t got = stream_read(s, p + n, cap - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        if (until && str_contains(str_of(p, n), str_c(until)))
            break;
    }
    return str_of(p, n);
}

str harness_read_until(struct stream *s, const char *text, struct arena *arena)
{
    return read_on(s, text, arena);
}

str harness_talk(const char *address, str text, size_t step, struct arena *arena)
{
    AUTO(stream_closep) struct stream *s = harness_dial(address);
    int r = 0;
    for (size_t at = 0; at < text.n && r == 0;) {
        str piece = str_take(str_skip(text, at), step ? step : text.n);
        r = stream_write(s, piece);
        at += piece.n;
        if (step)
            fiber_yield();
    }
    return read_on(s, NULL, arena);
}

/* ---- the scripted peer ---- */

static bool read_request(struct stream *stream)
{
    char in[4096];
    for (size_t n = 0; n < sizeof in;) {
        ssize_t got = stream_read(stream, in + n, sizeof in - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        if (str_contains(str_of(in, n), S("\r\n\r\n")))
            return true;
    }
    return false;
}

static void play(void *arg)
{
    AUTO(stream_closep) struct stream *stream = arg;
    struct script *s = stream_data(stream);
    size_t i = min_size(s->n_conns++, COUNT(s->reply) - 1);
    while (i && !s->reply[i] && !s->close)
        i--;
    while (read_request(stream)) {
        s->n_requests++;
        if (!s->reply[i] || stream_write(stream, str_c(s->reply[i])) < 0 || s->close)
            return;
    }
}

static void on_accept(void *arg, struct stream *s)
{
    stream_set_data(s, arg);
    REQUIRE(fiber_spawn("script", play, s));
}

void script_open(struct script *s)
{
    struct error err = { 0 };
    REQUIRE(listener_open("127.0.0.1:0", on_accept, s, &s->listener, &err) == 0, "%s", err.text);
}

static void close_listener(void *arg)
{
    listener_close(arg);
}

void script_close(struct script *s)
{
    REQUIRE(blocking(close_listener, s->listener) == 0);
}
