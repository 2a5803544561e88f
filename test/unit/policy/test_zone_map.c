#include "policy/zone_map.h"

#include <stdio.h>

#include "test/testing.h"

TEST(zones_keep_their_numbers)
{
    struct zone_map m;
    zone_map_init(&m);
    CHECK_EQ(zone_map_count(&m), 1);
    CHECK_EQ(zone_map_index(&m, S(""), S("")), ZONE_UNKNOWN);
    uint8_t a = zone_map_index(&m, S("a"), S("eu")), b = zone_map_index(&m, S("b"), S("eu"));
    uint8_t far = zone_map_index(&m, S("a"), S("us"));
    CHECK(a != b && a != far && b != far);
    CHECK_EQ(zone_map_index(&m, S("a"), S("eu")), a);
    CHECK_EQ(zone_map_count(&m), 4);
    CHECK_STR(zone_map_zone(&m, far), "a");
    CHECK_STR(zone_map_region(&m, far), "us");
    CHECK_STR(zone_map_zone(&m, ZONE_UNKNOWN), "");
    zone_map_done(&m);
}

TEST(names_too_long_or_too_many_are_unknown)
{
    struct zone_map m;
    char name[ZONE_NAME_MAX + 1];
    memset(name, 'z', sizeof name);
    zone_map_init(&m);
    CHECK_EQ(zone_map_index(&m, str_of(name, ZONE_NAME_MAX), S("")), ZONE_UNKNOWN);
    CHECK_EQ(zone_map_index(&m, S("z"), str_of(name, ZONE_NAME_MAX)), ZONE_UNKNOWN);
    CHECK(zone_map_index(&m, str_of(name, ZONE_NAME_MAX - 1), S("")) != ZONE_UNKNOWN);
    for (int i = 0; i < 2 * ZONES_MAX; i++) {
        int n = snprintf(name, sizeof name, "zone-%d", i);
        CHECK_EQ(zone_map_index(&m, str_of(name, (size_t)n), S("")) != ZONE_UNKNOWN,
                 i < ZONES_MAX - 2, "zone %d", i);
    }
    CHECK_EQ(zone_map_count(&m), ZONES_MAX);
    zone_map_done(&m);
}
