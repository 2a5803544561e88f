#include "loop/address.h"
#include "serve.h"

#include <sys/socket.h>
#include <unistd.h>

/* A port that nobody listens on: bound, never listening. */
static int bound_socket(char ret[64])
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    snprintf(ret, 64, "127.0.0.1:%u", ntohs(in.sin_port));
    return fd;
}

TEST_LOOP(refused_connection_tells_address_and_cause)
{
    char address[64];
    int fd = bound_socket(address);
    struct stream *s = NULL;
    struct error err = { 0 };
    CHECK_EQ(stream_dial(address, &s, &err), -UNAVAILABLE);
    CHECK_EQ(err.code, UNAVAILABLE);
    CHECK(!s);
    CHECK(str_contains(str_c(err.text), str_c(address)), "%s", err.text);
    CHECK(str_contains(str_c(err.text), S("connection refused")), "%s", err.text);
    CHECK_EQ(stream_dial(address, &s, NULL), -UNAVAILABLE, "an error is not needed");
    close(fd);
}

TEST_LOOP(first_cause_is_kept)
{
    char address[64];
    int fd = bound_socket(address);
    struct stream *s = NULL;
    struct error err = { .code = NOT_FOUND, .text = "older" };
    CHECK_EQ(stream_dial(address, &s, &err), -UNAVAILABLE);
    CHECK_EQ(err.code, NOT_FOUND);
    CHECK_TEXT(err.text, "older");
    close(fd);
}

TEST_LOOP(bad_targets_are_refused)
{
    static const struct {
        const char *name, *address;
        int want;
    } row[] = {
        { "empty", "", -INVALID },
        { "no host", ":80", -INVALID },
        { "no port", "localhost", -INVALID },
        { "name that can't exist", "no-such-host.invalid:80", -UNAVAILABLE },
        { "unix socket that isn't there", "unix:/nonexistent/socket", -UNAVAILABLE },
    };
    EACH (row, r) {
        struct stream *s = NULL;
        struct error err = { 0 };
        CHECK_EQ(stream_dial(r->address, &s, &err), r->want, "%s: %s", r->name, err.text);
        CHECK(!s && err.text[0], "%s", r->name);
    }
}

/* Fills the backlog, so that the kernel drops further SYNs: connecting hangs. */
TEST_LOOP(dial_ends_at_deadline_and_cancel)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), full[8];
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    REQUIRE(bind(fd, (struct sockaddr *)&in, sizeof in) == 0 && listen(fd, 0) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    EACH (full, f) {
        *f = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(*f, (struct sockaddr *)&in, sizeof in);
    }
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(in.sin_port));
    struct stream *s = NULL;
    struct error err = { 0 };
    {
        DEADLINE(MS(30));
        CHECK_EQ(stream_dial(address, &s, &err), -TIMEOUT);
        CHECK(str_contains(str_c(err.text), S("no answer in time")), "%s", err.text);
    }
    fiber_cancel(fiber_self());
    CHECK_EQ(stream_dial(address, &s, NULL), -CANCELLED);
    CHECK(!s);
    EACH (full, f)
        close(*f);
    close(fd);
}

TEST_LOOP(lookup_that_is_given_up_cleans_up_after_itself)
{
    struct stream *s = NULL;
    struct error err = { 0 };
    for (int i = 0; i < 20; i++) {
        DEADLINE(1);
        CHECK_EQ(stream_dial("localhost:1", &s, &err), -TIMEOUT);
        CHECK(str_contains(str_c(err.text), S("localhost")), "%s", err.text);
    }
    fiber_cancel(fiber_self());
    CHECK_EQ(stream_dial("localhost:1", &s, NULL), -CANCELLED);
} /* LeakSanitizer looks at what the look-ups left, with some still under way here */

static void greet(struct stream *s)
{
    CHECK_OK(stream_write(s, S("hi")));
}

TEST_LOOP(names_are_resolved)
{
    struct server server;
    serve_start(&server, "localhost:0", greet);
    char address[64], got[2];
    snprintf(address, sizeof address, "localhost:%u", listener_port(server.listener));
    struct stream *s = NULL;
    struct error err = { 0 };
    CHECK_OK(stream_dial(address, &s, &err), "%s", err.text);
    CHECK_EQ(err.code, 0, "a first address that failed leaves no story");
    CHECK(s && read_all(s, got, 2) && memcmp(got, "hi", 2) == 0);
    stream_close(s);
    serve_stop(&server);
}

TEST(addresses_are_formatted_as_parsed)
{
    static const char *const text[] = { "127.0.0.1:80", "[::1]:443", "[2001:db8::1]:65535",
                                        "0.0.0.0:0", "unix:/run/x.sock" };
    EACH (text, t) {
        struct address a;
        char got[ADDRESS_TEXT_MAX];
        CHECK_OK(address_parse(*t, &a, NULL));
        CHECK(a.len, "numeric");
        address_format(&a.addr, a.len, got);
        CHECK_TEXT(got, *t);
    }
    struct address a;
    CHECK_OK(address_parse("[::ffff:10.0.0.1]:80", &a, NULL));
    char got[ADDRESS_TEXT_MAX];
    address_format(&a.addr, a.len, got);
    CHECK_TEXT(got, "10.0.0.1:80");
    CHECK_OK(address_parse("example.org:80", &a, NULL));
    CHECK_EQ(a.len, 0);
    CHECK_TEXT(a.host, "example.org");
    CHECK_EQ(a.port, 80);
}
