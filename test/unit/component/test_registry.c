#include "component/registry.h"

#include "test/testing.h"

static const char *const sqlite_aliases[] = { "state.sqlite3", NULL };
static const struct component_type sqlite = {
    .kind = "state",
    .type = "state.sqlite",
    .aliases = sqlite_aliases,
    .version = "v1",
};
static const struct component_type etcd1 = { .kind = "state",
                                             .type = "state.etcd",
                                             .version = "v1" };
static const struct component_type etcd2 = { .kind = "state",
                                             .type = "state.etcd",
                                             .version = "v2" };

const struct component_type *const component_list[] = { &sqlite, &etcd1, &etcd2, NULL };
const size_t component_list_n = 3;

TEST(type_and_version_select_the_engine)
{
    static const struct {
        str type, version;
        const struct component_type *want;
    } row[] = {
        { S("state.sqlite"), S("v1"), &sqlite },
        { S("STATE.SQLite"), S("V1"), &sqlite },
        { S("state.sqlite"), S(""), &sqlite },
        { S("state.sqlite"), S("v0"), &sqlite },
        { S("State.sqlite3"), S("v1"), &sqlite },
        { S("state.sqlite"), S("v2"), NULL },
        { S("state.etcd"), S(""), &etcd1 },
        { S("state.etcd"), S("v2"), &etcd2 },
        { S("state.etcd"), S("v3"), NULL },
        { S("pubsub.sqlite"), S("v1"), NULL },
        { S(""), S(""), NULL },
        { S("state.sqlit"), S("v1"), NULL },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        CHECK(registry_find(row[i].type, row[i].version) == row[i].want, "%zu", i);
}

TEST(all_lists_every_table)
{
    size_t n = 77;
    const struct component_type *const *all = registry_all(&n);
    CHECK_EQ(n, 3);
    CHECK(all[2] == &etcd2);
}
