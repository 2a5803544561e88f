#include "component/diag.h"
#include "component/suggest.h"

#include "test/testing.h"

TEST(text_has_its_place)
{
    static const struct {
        struct diag d;
        const char *want;
    } row[] = {
        { { DIAG_WARN, "a.yaml", 3, 7, "odd" }, "a.yaml:3:7: odd" },
        { { DIAG_WARN, "a.yaml", 0, 0, "odd" }, "a.yaml: odd" },
        { { DIAG_WARN, NULL, 0, 0, "odd" }, "odd" },
    };
    char text[DIAG_TEXT_MAX];
    EACH (row, r)
        CHECK_TEXT(diag_print(&r->d, text), r->want);
}

TEST(more_than_the_limit_is_counted_not_kept)
{
    struct arena a;
    struct diags d;
    arena_init(&a, MIB(1));
    diags_init(&d, &a);
    for (int i = 0; i < DIAGS_MAX + 5; i++)
        diag_add(&d, DIAG_WARN, NULL, 0, 0, "%d", i);
    CHECK_EQ(d.n, DIAGS_MAX);
    CHECK_EQ(d.n_lost, 5);
    CHECK(!d.no_memory);
    CHECK_TEXT(d.v[DIAGS_MAX - 1].text, "999");
    CHECK(diags_have(&d, DIAG_WARN) && !diags_have(&d, DIAG_FATAL));
    arena_done(&a);
}

TEST(no_memory_is_remembered)
{
    struct arena a;
    struct diags d;
    arena_init(&a, 0);
    diags_init(&d, &a);
    diag_add(&d, DIAG_WARN, NULL, 0, 0, "lost");
    CHECK(d.n == 0 && d.n_lost == 1 && d.no_memory);
    diag_add(NULL, DIAG_WARN, NULL, 0, 0, "nobody listens");
}

TEST(nearest_name_is_suggested_when_it_is_near)
{
    static const struct {
        const char *word, *want;
    } row[] = {
        { "metadta", " (did you mean \"metadata\"?)" },
        { "METADATA", " (did you mean \"metadata\"?)" },
        { "verison", " (did you mean \"version\"?)" },
        { "typ", " (did you mean \"type\"?)" },
        { "banana", "" },
        { "", "" },
        { "x", "" },
    };
    EACH (row, r) {
        char text[SUGGEST_MAX];
        struct suggest s = { .word = str_c(r->word) };
        suggest_offer(&s, S("type"));
        suggest_offer(&s, S("version"));
        suggest_offer(&s, S("metadata"));
        CHECK_TEXT(suggest_text(&s, text), r->want, "%s", r->word);
    }
}
