#include "telemetry/http_labels.h"
#include "test/testing.h"

static int setup(bool increased, const char *const *pattern, size_t n, struct error *err)
{
    str p[16];
    for (size_t i = 0; i < n; i++)
        p[i] = str_c(pattern[i]);
    struct http_labels c = { .increased_cardinality = increased, .pattern = p, .n_patterns = n };
    return http_labels_setup(&c, err);
}

TEST(s60_without_patterns_paths_stay_or_go)
{
    static const struct {
        const char *path;
        bool keyed;
        const char *increased, *low;
    } row[] = {
        { "/v1.0/state/store/k/1", true, "/v1.0/state/store", "" },
        { "/v1.0/state/store", true, "/v1.0/state/store", "" },
        { "/v1.0/secrets/vault/k", true, "/v1.0/secrets/vault", "" },
        { "/v1.0/invoke/a/method/b", false, "/v1.0/invoke/a/method/b", "" },
        { "/healthz", false, "/healthz", "/healthz" },
        { "/dapr/config", false, "/dapr/config", "/dapr/config" },
        { "/dapr/subscribe", false, "/dapr/subscribe", "/dapr/subscribe" },
        { "/dapr/metrics", false, "/dapr/metrics", "/dapr/metrics" },
        { "", false, "", "" },
    };
    for (int increased = 0; increased < 2; increased++) {
        CHECK_OK(setup(increased, NULL, 0, NULL));
        CHECK_EQ(http_labels_increased(), increased);
        EACH (row, r)
            CHECK_STR(http_path_label(str_c(r->path), r->keyed), increased ? r->increased : r->low,
                      "%s", r->path);
    }
}

TEST(s61_excluded_verbs_leave_an_empty_label)
{
    struct http_labels c = { .exclude_verbs = true };
    CHECK_OK(http_labels_setup(&c, NULL));
    CHECK_STR(http_method_label(S("GET")), "");
    CHECK_OK(setup(true, NULL, 0, NULL));
    CHECK_STR(http_method_label(S("GET")), "GET");
}

TEST(the_most_specific_pattern_names_the_path)
{
    static const char *const patterns[] = {
        "/orders/{orderID}", "/orders/{orderID}/items/{itemID}",
        "/orders/new",       "/files/",
        "/files/{name}/raw", "/exact/{$}",
        "/deep/{rest...}",   "/v1.0/invoke/shop/method/orders/{orderID}",
        "GET /only/get",
    };
    static const struct {
        const char *path, *want; /* NULL: none */
    } row[] = {
        { "/orders/17", "/orders/{orderID}" },
        { "/orders/new", "/orders/new" },
        { "/orders/17/items/3", "/orders/{orderID}/items/{itemID}" },
        { "/orders", NULL },
        { "/orders/", NULL },
        { "/orders/17/", NULL },
        { "/orders/17/items", NULL },
        { "/files/", "/files/" },
        { "/files/a", "/files/" },
        { "/files/a/b/c", "/files/" },
        { "/files/a/raw", "/files/{name}/raw" },
        { "/exact/", "/exact/{$}" },
        { "/exact/x", NULL },
        { "/deep/a/b", "/deep/{rest...}" },
        { "/deep/", "/deep/{rest...}" },
        { "/only/get", "GET /only/get" },
        { "/", NULL },
        { "/v1.0/invoke/other/method/orders/5", "/v1.0/invoke/{app_id}/method/orders/{orderID}" },
        { "/v1.0/invoke/shop/method/orders/5", "/v1.0/invoke/shop/method/orders/{orderID}" },
        { "/v1.0/invoke/other/method/files/x/y", "/v1.0/invoke/{app_id}/method/files/" },
    };
    for (int increased = 0; increased < 2; increased++) {
        CHECK_OK(setup(increased, patterns, COUNT(patterns), NULL));
        EACH (row, r)
            CHECK_STR(http_path_label(str_c(r->path), false),
                      r->want     ? r->want
                      : increased ? r->path
                                  : "",
                      "%s", r->path);
        CHECK_STR(http_path_label(S("/healthz"), false), increased ? "/healthz" : "");
    }
}

TEST(the_root_takes_what_is_left)
{
    static const char *const patterns[] = { "/", "/a" };
    CHECK_OK(setup(false, patterns, 2, NULL));
    CHECK_STR(http_path_label(S("/a"), false), "/a");
    CHECK_STR(http_path_label(S("/b/c"), false), "/");
}

TEST(patterns_that_mean_nothing_are_refused)
{
    static const struct {
        const char *pattern, *why;
    } row[] = {
        { "orders", "doesn't begin with a slash" },
        { "", "doesn't begin with a slash" },
        { "/a/{", "has a { without }" },
        { "/a/x{id}", "has a {wildcard} that isn't a whole segment" },
        { "/a/{}", "has a {wildcard} without a name" },
        { "/a/{...}", "has a {wildcard} without a name" },
        { "/a/{rest...}/b", "has {…} before its end" },
        { "/a/{$}/b", "has {…} before its end" },
        { "/a//b", "has an empty segment" },
        { "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3",
          "has too many segments" },
    };
    EACH (row, r) {
        struct error err = { 0 };
        CHECK_EQ(setup(true, &r->pattern, 1, &err), -INVALID, "%s", r->pattern);
        CHECK(str_ends(str_c(err.text), str_c(r->why)), "%s", err.text);
    }
    str many[HTTP_PATTERNS_MAX + 1];
    EACH (many, m)
        *m = S("/a");
    struct http_labels c = { .pattern = many, .n_patterns = COUNT(many) };
    CHECK_EQ(http_labels_setup(&c, NULL), -INVALID);
    CHECK_OK(setup(true, NULL, 0, NULL));
}

TEST(without_memory_the_setup_fails)
{
    static const char *const patterns[] = { "/a/{b}", "/c" };
    FAIL_EACH_ALLOC(n)
    {
        struct error err = { 0 };
        int r = setup(true, patterns, 2, &err);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu: %s", n, err.text);
    }
    CHECK_OK(setup(true, NULL, 0, NULL));
}
