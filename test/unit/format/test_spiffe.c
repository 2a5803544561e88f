#include "format/spiffe.h"

#include "test/testing.h"

TEST(ids_are_split_strictly)
{
    static const struct {
        const char *id, *domain, *path; /* domain NULL: refused */
    } row[] = {
        { "spiffe://public/ns/prod/shop", "public", "/ns/prod/shop" },
        { "spiffe://a.b-c_1/x", "a.b-c_1", "/x" },
        { "spiffe://td/Shop.V2", "td", "/Shop.V2" },
        { "spiffe://td", NULL, NULL },
        { "spiffe://td/", NULL, NULL },
        { "spiffe:///ns/prod/shop", NULL, NULL },
        { "spiffe://TD/x", NULL, NULL },
        { "spiffe://user@td/x", NULL, NULL },
        { "spiffe://td:1/x", NULL, NULL },
        { "spiffe://td/x/", NULL, NULL },
        { "spiffe://td//x", NULL, NULL },
        { "spiffe://td/./x", NULL, NULL },
        { "spiffe://td/a/../x", NULL, NULL },
        { "spiffe://td/a%2fb", NULL, NULL },
        { "spiffe://td/x?y", NULL, NULL },
        { "spiffe://td/x#y", NULL, NULL },
        { "SPIFFE://td/x", NULL, NULL },
        { "https://td/x", NULL, NULL },
        { "", NULL, NULL },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        str domain = S("canary"), path = S("canary");
        bool ok = spiffe_parse(str_c(row[i].id), &domain, &path);
        CHECK_EQ(ok, row[i].domain != NULL, "%s", row[i].id);
        CHECK(str_eq(domain, ok ? str_c(row[i].domain) : S("canary")), "%s", row[i].id);
        CHECK(str_eq(path, ok ? str_c(row[i].path) : S("canary")), "%s", row[i].id);
    }
}

TEST(an_id_of_too_many_bytes_is_refused)
{
    char id[SPIFFE_MAX + 1];
    str domain, path;
    memset(id, 'a', sizeof id);
    memcpy(id, "spiffe://td/", 12);
    CHECK(spiffe_parse(str_of(id, SPIFFE_MAX), &domain, &path));
    CHECK(!spiffe_parse(str_of(id, SPIFFE_MAX + 1), &domain, &path));
}

TEST(a_path_alone_is_wanted_of_any_domain)
{
    static const struct {
        const char *id, *wanted;
        bool want;
    } row[] = {
        { "spiffe://a/ns/p/shop", "/ns/p/shop", true },
        { "spiffe://b/ns/p/shop", "/ns/p/shop", true },
        { "spiffe://a/ns/p/shop2", "/ns/p/shop", false },
        { "spiffe://a/x/ns/p/shop", "/ns/p/shop", false },
        { "spiffe://a/ns/p/shop", "spiffe://a/ns/p/shop", true },
        { "spiffe://b/ns/p/shop", "spiffe://a/ns/p/shop", false },
        { "spiffe://a/ns/p/shop", "", false },
        { "/ns/p/shop", "/ns/p/shop", false },
        { "", "", false },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        CHECK_EQ(spiffe_is(str_c(row[i].id), str_c(row[i].wanted)), row[i].want, "%s %s", row[i].id,
                 row[i].wanted);
}
