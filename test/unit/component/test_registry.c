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

TEST(added_types_are_found_until_they_are_removed)
{
    static const struct component_type mine = { .kind = "state",
                                                .type = "state.mine",
                                                .version = "v1" };
    static const struct component_type twin = { .kind = "state",
                                                .type = "STATE.Mine",
                                                .version = "v1" };
    size_t n;
    CHECK(!registry_find(S("state.mine"), S("")));
    CHECK_EQ(registry_add(&mine), 0);
    CHECK_EQ(registry_add(&twin), -EXISTS);
    CHECK_EQ(registry_add(&sqlite), -EXISTS);
    CHECK(registry_find(S("state.MINE"), S("")) == &mine);
    CHECK(registry_added(&n)[0] == &mine && n == 1);
    registry_remove(&twin); /* never added: nothing happens */
    CHECK(registry_find(S("state.mine"), S("v1")) == &mine);
    registry_remove(&mine);
    CHECK(!registry_find(S("state.mine"), S("")));
    (void)registry_added(&n);
    CHECK_EQ(n, 0);
}

TEST(more_types_than_the_limit_are_refused)
{
    static struct component_type type[REGISTRY_ADDED_MAX + 1];
    static char name[REGISTRY_ADDED_MAX + 1][24];
    for (size_t i = 0; i <= REGISTRY_ADDED_MAX; i++) {
        snprintf(name[i], sizeof name[i], "state.n%zu", i);
        type[i] = (struct component_type){ .kind = "state", .type = name[i], .version = "v1" };
        CHECK_EQ(registry_add(&type[i]), i < REGISTRY_ADDED_MAX ? 0 : -EXHAUSTED, "%zu", i);
    }
    for (size_t i = 0; i <= REGISTRY_ADDED_MAX; i++)
        registry_remove(&type[i]);
    size_t n;
    (void)registry_added(&n);
    CHECK_EQ(n, 0);
}
