#include "cli/run_usage.h"

#include "test/testing.h"

#include <unistd.h>

TEST(a_stat_line_is_read_whatever_the_command_is_called)
{
    static const struct {
        const char *name, *line;
        bool ok;
    } row[] = {
        { "plain", "7 (cat) S 1 42 42 0 -1 4194560 93 0 0 0 5 6 0 0 20 0 1 0 100 2000 300 1844 0",
          true },
        { "brackets", "7 (a) b) S 1 42 42 0 -1 0 93 0 0 0 5 6 0 0 20 0 1 0 100 2000 300 18 0",
          true },
        { "cut off", "7 (cat) S 1 42 42 0 -1 0 93 0 0 0 5 6", false },
        { "empty", "", false },
    };
    EACH (row, r) {
        pid_t group = -9;
        uint64_t ticks = 9, pages = 9;
        CHECK_EQ(usage_parse(str_c(r->line), &group, &ticks, &pages), r->ok, "%s", r->name);
        CHECK_EQ(group, r->ok ? 42 : -9, "%s", r->name);
        CHECK_EQ(ticks, r->ok ? 11 : 9, "%s", r->name);
        CHECK_EQ(pages, r->ok ? 300 : 9, "%s", r->name);
    }
}

TEST(our_own_group_uses_memory_and_nobodys_none)
{
    struct usage v[] = { { .group = getpgrp() }, { .group = -1 } };
    usage_look("/proc", v, COUNT(v));
    CHECK(v[0].n >= 1 && v[0].rss_bytes > KIB(100));
    CHECK_EQ(v[1].n, 0);
    CHECK_EQ(v[1].rss_bytes, 0);
    usage_look("/nowhere", v, COUNT(v));
    CHECK_EQ(v[0].n, 0);
}
