#include "serve.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void echo(struct stream *s)
{
    char p[256];
    for (ssize_t n; (n = stream_read(s, p, sizeof p)) > 0;)
        if (stream_write(s, str_of(p, (size_t)n)) < 0)
            return;
}

static void check_echo(struct stream *s)
{
    char got[5];
    CHECK_OK(stream_write(s, S("hello")));
    CHECK(read_all(s, got, 5) && memcmp(got, "hello", 5) == 0);
}

TEST_LOOP(port_0_gives_a_real_port)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    char want[64];
    CHECK(listener_port(server.listener) > 0);
    snprintf(want, sizeof want, "127.0.0.1:%u", listener_port(server.listener));
    CHECK_TEXT(listener_address(server.listener), want);
    serve_stop(&server);
}

TEST_LOOP(every_worker_accepts)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s[64];
    EACH (s, i) {
        *i = dial_server(&server);
        check_echo(*i);
    }
    /* The kernel spreads by a hash of the ports: all 64 on one side has a chance of 2^-63. */
    CHECK(atomic_load(&server.per_worker[0]) > 0);
    CHECK(atomic_load(&server.per_worker[1]) > 0);
    EACH (s, i)
        stream_close(*i);
    serve_stop(&server);
}

TEST_LOOP(all_interfaces_take_v4_and_v6)
{
    struct server server;
    serve_start(&server, ":0", echo);
    char address[64];
    static const char *const host[] = { "127.0.0.1", "[::1]", "localhost" };
    EACH (host, h) {
        struct stream *s = NULL;
        struct error err = { 0 };
        snprintf(address, sizeof address, "%s:%u", *h, listener_port(server.listener));
        int r = stream_dial(address, &s, &err);
        if (r < 0 && **h == '[')
            continue; /* a machine without IPv6 */
        CHECK_OK(r, "%s: %s", *h, err.text);
        if (s)
            check_echo(s);
        stream_close(s);
    }
    serve_stop(&server);
}

TEST_LOOP(address_in_use_is_refused)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct listener *other = NULL;
    struct error err = { 0 };
    CHECK_EQ(listener_open(listener_address(server.listener), serve_accept, &server, &other, &err),
             -EXISTS, "though the workers' own sockets share it");
    CHECK(str_contains(str_c(err.text), str_c(listener_address(server.listener))));
    CHECK(!other);
    serve_stop(&server);
}

TEST_LOOP(bad_addresses_are_explained)
{
    static const struct {
        const char *name, *address;
        int want;
    } row[] = {
        { "empty", "", -INVALID },
        { "no port", "127.0.0.1", -INVALID },
        { "port too big", "127.0.0.1:65536", -INVALID },
        { "port no number", "127.0.0.1:http", -INVALID },
        { "v6 without brackets", "::1:80", -INVALID },
        { "half a bracket", "[::1:80", -INVALID },
        { "nonsense in brackets", "[::zz]:80", -INVALID },
        { "unix without path", "unix:", -INVALID },
        { "unix path too long",
          "unix:/tmp/0123456789012345678901234567890123456789012345678901234567890123456789"
          "012345678901234567890123456789012345678901234567890123456789",
          -INVALID },
        { "not ours", "192.0.2.1:0", -UNAVAILABLE },
        { "no such directory", "unix:/nonexistent/sock", -UNAVAILABLE },
    };
    EACH (row, r) {
        struct listener *l = NULL;
        struct error err = { 0 };
        CHECK_EQ(listener_open(r->address, serve_accept, NULL, &l, &err), r->want, "%s", r->name);
        CHECK(err.text[0] && !l, "%s", r->name);
    }
}

/* ---- unix sockets ---- */

TEST_LOOP(unix_socket_spreads_over_workers_and_is_removed)
{
    char address[64];
    unix_address(address, "a");
    struct server server;
    serve_start(&server, address, echo);
    CHECK_TEXT(listener_address(server.listener), address);
    CHECK_EQ(listener_port(server.listener), 0);
    for (int i = 0; i < 4; i++) {
        struct stream *s = dial_server(&server);
        CHECK(str_starts(str_c(stream_peer(s)), S("unix:/tmp/proa-test-")));
        check_echo(s);
        stream_close(s);
    }
    CHECK_EQ(atomic_load(&server.per_worker[0]), 2);
    CHECK_EQ(atomic_load(&server.per_worker[1]), 2);
    serve_stop(&server);
    struct stat st;
    CHECK(lstat(address + 5, &st) < 0, "removed");
}

TEST_LOOP(unix_socket_in_use_is_left_alone_and_a_stale_one_replaced)
{
    char address[64];
    unix_address(address, "b");
    struct server server, second;
    serve_start(&server, address, echo);
    struct listener *l = NULL;
    struct error err = { 0 };
    CHECK_EQ(listener_open(address, serve_accept, &second, &l, &err), -EXISTS);
    char hidden[80];
    snprintf(hidden, sizeof hidden, "%s.old", address + 5);
    CHECK(rename(address + 5, hidden) == 0);
    serve_stop(&server); /* its file has moved: a stale one, as after a crash */
    CHECK(rename(hidden, address + 5) == 0);
    serve_start(&second, address, echo);
    struct stream *s = dial_server(&second);
    check_echo(s);
    stream_close(s);
    serve_stop(&second);
}

TEST_LOOP(unix_address_that_is_a_file_is_refused)
{
    char address[64];
    unix_address(address, "c");
    int fd = open(address + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    close(fd);
    struct listener *l = NULL;
    struct error err = { 0 };
    CHECK_EQ(listener_open(address, serve_accept, NULL, &l, &err), -EXISTS);
    CHECK(unlink(address + 5) == 0, "still there");
}

/* ---- out of descriptors ---- */

TEST_LOOP(accepting_goes_on_after_descriptors_ran_out)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server); /* so that everything is open that is needed */
    check_echo(s);
    struct stream *waiting = dial_server(&server);
    check_echo(waiting);
    struct rlimit old, low;
    getrlimit(RLIMIT_NOFILE, &old);
    int next = dup(0);
    close(next);
    /* One more descriptor for the dialling side, none for the accepting one. */
    low = (struct rlimit){ (rlim_t)next + 1, old.rlim_max };
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    struct stream *late = NULL;
    struct error err = { 0 };
    CHECK_OK(stream_dial(listener_address(server.listener), &late, &err), "%s", err.text);
    CHECK_OK(fiber_sleep(MS(50)));
    CHECK_EQ(atomic_load(&server.n_open), 2, "it waits in the backlog");
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    if (late)
        check_echo(late);
    stream_close(late);
    stream_close(waiting);
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(open_survives_each_failing_allocation)
{
    FAIL_EACH_ALLOC(n)
    {
        struct listener *l = NULL;
        struct error err = { 0 };
        int r = listener_open("127.0.0.1:0", serve_accept, NULL, &l, &err);
        CHECK(r == 0 || (r == -EXHAUSTED && !l), "allocation %zu: %s", n, err.text);
        listener_close(l);
    }
}
