#include "loop/stream.h"
#include "test/testing.h"

static uint16_t free_port(void)
{
    struct listener *l = NULL;
    REQUIRE(listener_open("127.0.0.1:0", NULL, NULL, &l, NULL) == 0);
    uint16_t port = listener_port(l);
    listener_close(l);
    return port;
}

TEST_LOOP(group_members_on_one_machine_hear_each_other)
{
    static const char *const group[] = { "239.255.77.77", "ff02::4d:77" };
    EACH (group, g) {
        struct udp *a = NULL, *b = NULL;
        struct error err = { 0 };
        uint16_t port = free_port();
        if (udp_open_multicast(*g, port, &a, &err) < 0 && (*g)[0] == 'f')
            continue; /* a machine without IPv6 */
        REQUIRE(a, "%s", err.text);
        REQUIRE(udp_open_multicast(*g, port, &b, &err) == 0, "%s", err.text);
        CHECK_OK(udp_send(a, S("who is there?"), NULL));
        DEADLINE(SEC(5));
        char got[64], from[ADDRESS_MAX];
        ssize_t n = udp_recv(b, got, sizeof got, from);
        CHECK_STR(str_of(got, n > 0 ? (size_t)n : 0), "who is there?");
        CHECK(str_contains(str_c(from), S(":")));
        udp_close(a);
        udp_close(b);
    }
}

TEST_LOOP(receiving_ends_at_the_deadline)
{
    struct udp *u = NULL;
    struct error err = { 0 };
    REQUIRE(udp_open_multicast("239.255.77.78", free_port(), &u, &err) == 0, "%s", err.text);
    char got[64], from[ADDRESS_MAX];
    DEADLINE(MS(10));
    CHECK_EQ(udp_recv(u, got, sizeof got, from), -TIMEOUT);
    CHECK_EQ(udp_send(u, S("x"), "not an address"), -INVALID);
    udp_close(u);
}

TEST_LOOP(what_is_no_group_is_refused)
{
    static const char *const group[] = { "127.0.0.1", "::1", "example.org", "" };
    EACH (group, g) {
        struct udp *u = NULL;
        struct error err = { 0 };
        CHECK_EQ(udp_open_multicast(*g, 5353, &u, &err), -INVALID, "'%s'", *g);
        CHECK(!u && err.text[0]);
    }
}
