#include "runtime/private.h"
#include "test/testing.h"

#include <arpa/inet.h>
#include <unistd.h>

TEST(the_stable_port_is_stable)
{
    uint16_t first = host_stable_port("orders");
    for (int i = 0; i < 10; i++)
        CHECK_EQ(host_stable_port("orders"), first);
    CHECK(host_stable_port("stock") != first, "another app has another port");
}

TEST(the_stable_port_depends_on_the_folder)
{
    char here[4096];
    REQUIRE(getcwd(here, sizeof here));
    uint16_t first = host_stable_port("orders");
    REQUIRE(chdir("/") == 0);
    CHECK(host_stable_port("orders") != first);
    REQUIRE(chdir(here) == 0);
    CHECK_EQ(host_stable_port("orders"), first);
}

TEST(the_stable_port_lies_in_the_contracts_range)
{
    unsigned low = 65535, high = 0;
    for (int i = 0; i < 5000; i++) {
        char id[32];
        snprintf(id, sizeof id, "app%d", i);
        unsigned port = host_stable_port(id);
        low = port < low ? port : low;
        high = port > high ? port : high;
    }
    CHECK(low >= 47300 && high <= 65534, "%u … %u", low, high);
    CHECK(low < 48300 && high > 64500, "spread: %u … %u", low, high);
}

TEST(the_address_is_one_or_what_was_said)
{
    char address[64] = "";
    unsigned char bits[16];
    host_address("10.9.8.7", address);
    CHECK_TEXT(address, "10.9.8.7");
    host_address("", address);
    CHECK(inet_pton(AF_INET, address, bits) == 1 || inet_pton(AF_INET6, address, bits) == 1, "%s",
          address);
    host_address(NULL, address);
    CHECK(address[0]);
    char far_too_long[200];
    memset(far_too_long, '1', sizeof far_too_long - 1);
    far_too_long[199] = 0;
    host_address(far_too_long, address);
    CHECK_EQ(strlen(address), 63);
}
