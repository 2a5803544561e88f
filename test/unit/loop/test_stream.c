#include "serve.h"

#include <sys/socket.h>
#include <time.h>

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
    CHECK_TEXT(stream_peer(s), listener_address(server.listener));
    CHECK(str_starts(str_c(stream_local(s)), S("127.0.0.1:")));
    for (int i = 0; i < 100; i++)
        check_echo(s, S("hello over tcp"));
    CHECK_OK(stream_shutdown(s));
    char c;
    CHECK_EQ(stream_read(s, &c, 1), 0);
    CHECK_EQ(stream_read(s, &c, 1), 0, "an end stays an end");
    CHECK_EQ(stream_try_read(s, &c, 1), 0);
    stream_close(s);
    serve_stop(&server);
}

/* Open sockets of ours that the kernel probes. */
static int count_kept_alive(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        int on = 0;
        socklen_t len = sizeof on;
        count += getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len) == 0 && on;
    }
    return count;
}

TEST_LOOP(dialled_tcp_is_probed_when_it_is_quiet)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    int before = count_kept_alive();
    struct stream *s = dial_server(&server);
    CHECK_EQ(count_kept_alive(), before + 1);
    stream_close(s);
    serve_stop(&server);
}

/* ---- backpressure ---- */

enum { BIG = 16 << 20 };

static char pattern(size_t i)
{
    return (char)(i * 31 + (i >> 12));
}

/* Sends BIG bytes in vectors of uneven parts. */
static void send_pattern(struct stream *s)
{
    char *p = mem_alloc(65536);
    REQUIRE(p);
    for (size_t at = 0; at < BIG; at += 65536) {
        for (size_t i = 0; i < 65536; i++)
            p[i] = pattern(at + i);
        struct iovec iov[] = { { p, 1 }, { p + 1, 0 }, { p + 1, 40000 }, { p + 40001, 25535 } };
        if (!CHECK_OK(stream_writev(s, iov, COUNT(iov))))
            break;
    }
    mem_free(p);
}

static size_t receive_pattern(struct stream *s, uint64_t pause_ns)
{
    char *p = mem_alloc(30000);
    REQUIRE(p);
    size_t at = 0, wrong = 0;
    for (ssize_t n; at < BIG && (n = stream_read(s, p, 30000)) > 0; at += (size_t)n) {
        for (ssize_t i = 0; i < n; i++)
            wrong += p[i] != pattern(at + (size_t)i);
        if (pause_ns && at % 7 == 0)
            CHECK_OK(fiber_sleep(pause_ns));
    }
    CHECK_EQ(wrong, 0);
    mem_free(p);
    return at;
}

static void send_big(struct stream *s)
{
    send_pattern(s);
}

TEST_LOOP(slow_reader_holds_the_writer_back)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", send_big);
    struct stream *s = dial_server(&server);
    CHECK_OK(fiber_sleep(MS(20)));
    CHECK_EQ(receive_pattern(s, MS(1)), BIG);
    stream_close(s);
    serve_stop(&server);
}

struct sender {
    struct stream *s;
    struct wait_group *g;
};

static void send_in_fiber(void *arg)
{
    struct sender *sender = arg;
    send_pattern(sender->s);
    wait_group_done(sender->g);
}

static void flow_both_ways(const char *address)
{
    struct server server;
    serve_start(&server, address, echo);
    struct stream *s = dial_server(&server);
    struct wait_group g;
    wait_group_init(&g);
    wait_group_add(&g);
    struct sender sender = { s, &g };
    REQUIRE(fiber_spawn("sender", send_in_fiber, &sender));
    CHECK_EQ(receive_pattern(s, 0), BIG);
    CHECK_OK(wait_group_wait(&g));
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(both_directions_of_tcp_flow_at_once)
{
    flow_both_ways("127.0.0.1:0");
}

TEST_LOOP(both_directions_of_a_unix_socket_flow_at_once)
{
    char address[64];
    unix_address(address, "flow");
    flow_both_ways(address);
}

/* ---- interruptions ---- */

TEST_LOOP(read_ends_at_the_deadline_and_can_go_on)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server);
    char c;
    {
        DEADLINE(MS(20));
        CHECK_EQ(stream_read(s, &c, 1), -TIMEOUT);
    }
    check_echo(s, S("still good"));
    stream_close(s);
    serve_stop(&server);
}

static atomic_bool ignored_enough;

static void ignore(struct stream *s) /* reads nothing until told to end */
{
    (void)s;
    DEADLINE(SEC(5));
    while (!atomic_load(&ignored_enough) && fiber_sleep(MS(1)) == 0)
        ;
}

TEST_LOOP(write_to_one_that_does_not_read_ends_at_the_deadline)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", ignore);
    struct stream *s = dial_server(&server);
    char *p = mem_zalloc(BIG);
    REQUIRE(p);
    DEADLINE(MS(30));
    CHECK_EQ(stream_write(s, str_of(p, BIG)), -TIMEOUT);
    mem_free(p);
    stream_reset(s);
    SHIELD();
    atomic_store(&ignored_enough, true);
    serve_stop(&server);
}

static void leave_unread(struct stream *s) /* closing with unread data sends RST */
{
    CHECK_OK(fiber_sleep(MS(5)));
    (void)s;
}

TEST_LOOP(reset_by_the_peer_fails_reads_and_writes)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", leave_unread);
    struct stream *s = dial_server(&server);
    CHECK_OK(stream_write(s, S("unread")));
    char c;
    DEADLINE(SEC(5));
    CHECK_EQ(stream_read(s, &c, 1), -UNAVAILABLE);
    CHECK(stream_write(s, S("x")) < 0);
    CHECK_EQ(stream_read(s, &c, 1) > 0, false);
    stream_close(s);
    serve_stop(&server);
}

/* ---- hangup ---- */

static void cancel_it(void *arg)
{
    fiber_cancel(arg);
}

static _Atomic int seen;

static void work_until_hangup(struct stream *s)
{
    char c;
    if (stream_read(s, &c, 1) != 1)
        return;
    stream_on_hangup(s, cancel_it, fiber_self());
    int r = fiber_sleep(SEC(60));
    stream_on_hangup(s, NULL, NULL);
    atomic_store(&seen, r);
    CHECK_EQ(r, -CANCELLED);
    c = 0;
    SHIELD();
    if (stream_try_read(s, &c, 1) == 1)
        CHECK_EQ(c, 'p', "what was pipelined is left alone");
}

static void hang_up_at(const char *address, bool pipelined, void (*leave)(struct stream *))
{
    struct server server;
    atomic_store(&seen, 0);
    serve_start(&server, address, work_until_hangup);
    struct stream *s = dial_server(&server);
    CHECK_OK(stream_write(s, S("r")));
    CHECK_OK(fiber_sleep(MS(10)));
    if (pipelined)
        CHECK_OK(stream_write(s, S("pipelined")));
    CHECK_OK(fiber_sleep(MS(10)));
    CHECK_EQ(atomic_load(&seen), 0);
    leave(s);
    serve_stop(&server);
    CHECK_EQ(atomic_load(&seen), -CANCELLED);
}

static void hang_up(bool pipelined, void (*leave)(struct stream *))
{
    char address[64];
    unix_address(address, "hangup");
    hang_up_at("127.0.0.1:0", pipelined, leave);
    hang_up_at(address, pipelined, leave);
}

TEST_LOOP(hangup_cancels_the_worker_of_the_request)
{
    hang_up(false, stream_close);
}

TEST_LOOP(hangup_is_seen_behind_pipelined_data)
{
    hang_up(true, stream_close);
}

TEST_LOOP(reset_is_seen_as_hangup)
{
    hang_up(false, stream_reset);
    hang_up(true, stream_reset);
}

static void note(void *arg)
{
    ++*(int *)arg;
}

TEST_LOOP(hangup_that_came_before_the_watch_is_told)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", leave_unread); /* nothing sent, so it's FIN */
    struct stream *s = dial_server(&server);
    char c;
    CHECK_EQ(stream_read(s, &c, 1), 0);
    CHECK_OK(fiber_sleep(MS(5)));
    int n = 0;
    stream_on_hangup(s, note, &n);
    CHECK_EQ(n, 0, "never from inside the call");
    CHECK_OK(fiber_sleep(MS(5)));
    CHECK_EQ(n, 1);
    CHECK_OK(fiber_sleep(MS(5)));
    CHECK_EQ(n, 1, "once");
    stream_close(s);
    serve_stop(&server);
}

/* ---- idle mode ---- */

struct idle {
    struct fiber *waiter;
    int n_readable, n_timed_out;
};

static void on_idle_event(void *arg, bool timed_out)
{
    struct idle *idle = arg;
    CHECK(!fiber_self());
    idle->n_readable += !timed_out;
    idle->n_timed_out += timed_out;
    (void)fiber_wake(idle->waiter, 0);
}

TEST_LOOP(idle_stream_tells_when_it_is_readable)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server);
    struct idle idle = { .waiter = fiber_self() };
    DEADLINE(SEC(5));
    for (int i = 1; i <= 3; i++) {
        stream_on_readable(s, SEC(60), on_idle_event, &idle);
        CHECK_OK(stream_write(s, S("ping")));
        CHECK_OK(fiber_park());
        CHECK_EQ(idle.n_readable, i);
        char got[4];
        CHECK_EQ(stream_try_read(s, got, 4), 4);
        CHECK_EQ(stream_try_read(s, got, 4), -ABORTED);
        CHECK(!stream_off_readable(s), "it has fired");
    }
    stream_on_readable(s, 0, on_idle_event, &idle);
    CHECK(stream_off_readable(s));
    CHECK_EQ(idle.n_timed_out, 0);
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(idle_stream_times_out_once)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server);
    struct idle idle = { .waiter = fiber_self() };
    stream_on_readable(s, MS(10), on_idle_event, &idle);
    DEADLINE(SEC(5));
    uint64_t before = clock_now_ns();
    CHECK_OK(fiber_park());
    CHECK(clock_now_ns() - before >= MS(9));
    CHECK_EQ(idle.n_timed_out, 1);
    CHECK_OK(fiber_sleep(MS(30)));
    CHECK_EQ(idle.n_timed_out + idle.n_readable, 1);
    check_echo(s, S("still good"));
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(idle_stream_tells_when_the_peer_has_gone)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", leave_unread);
    struct stream *s = dial_server(&server);
    struct idle idle = { .waiter = fiber_self() };
    stream_on_readable(s, 0, on_idle_event, &idle);
    DEADLINE(SEC(5));
    CHECK_OK(fiber_park());
    CHECK_EQ(idle.n_readable, 1);
    char c;
    CHECK_EQ(stream_try_read(s, &c, 1), 0);
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(data_that_nobody_waits_for_does_not_spin)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    struct stream *s = dial_server(&server);
    check_echo(s, S("so that the events are armed"));
    CHECK_OK(stream_write(s, S("nobody waits for this")));
    struct timespec before, after;
    CHECK_OK(fiber_sleep(MS(10)));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    CHECK_OK(fiber_sleep(MS(200)));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    int64_t spent =
        (after.tv_sec - before.tv_sec) * (int64_t)SEC(1) + after.tv_nsec - before.tv_nsec;
    CHECK(spent < (int64_t)MS(50), "%jd ns of CPU in 200 ms", (intmax_t)spent);
    char got[21];
    CHECK(read_all(s, got, sizeof got));
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(fast_sender_leaves_others_their_turn)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", send_big);
    struct stream *s = dial_server(&server);
    int ticks = 0;
    struct loop_timer *timer = loop_timer_start(0, MS(1), note, &ticks);
    REQUIRE(timer);
    CHECK_EQ(receive_pattern(s, 0), BIG);
    CHECK(ticks >= 1, "%d", ticks);
    loop_timer_stop(timer);
    stream_close(s);
    serve_stop(&server);
}

TEST_LOOP(closing_nothing_is_fine)
{
    stream_close(NULL);
    stream_reset(NULL);
    AUTO(stream_closep) struct stream *s = NULL;
    (void)s;
    listener_close(NULL);
    udp_close(NULL);
    loop_timer_stop(NULL);
}

TEST_LOOP(dial_survives_each_failing_allocation)
{
    struct server server;
    serve_start(&server, "127.0.0.1:0", echo);
    for (size_t n = 1; n <= 20; n++) {
        struct stream *s = NULL;
        struct error err = { 0 };
        mem_fail_at(n);
        int r = stream_dial(listener_address(server.listener), &s, &err);
        mem_fail_at(0);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu: %d %s", n, r, err.text);
        stream_close(s);
        CHECK_OK(fiber_sleep(MS(1)));
    }
    serve_stop(&server);
}
