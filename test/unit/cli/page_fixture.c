#include "page_fixture.h"

const struct page_instance fixture_instance[3] = {
    { "orders", "orders-1", "a", 8080, 3500, 5001 },
    { "orders", "orders-2", "b", 8081, 3501, 5002 },
    { "stock", "stock-1", "", 8090, 3502, 5003 },
};

void fixture_begin(struct fixture *f)
{
    *f = (struct fixture){ .now = SEC(100) };
    arena_init(&f->arena, MIB(16));
    buf_init(&f->out, MIB(8));
    REQUIRE((f->page = page_new("shop", "/srv", f->now)));
    for (size_t i = 0; i < COUNT(fixture_instance); i++)
        REQUIRE(page_add_instance(f->page, &fixture_instance[i], &f->index[i]) == 0);
}

void fixture_end(struct fixture *f)
{
    page_free(f->page);
    buf_done(&f->out);
    arena_done(&f->arena);
}

int fixture_sample(struct fixture *f, size_t which, const char *text)
{
    struct error err = { 0 };
    return page_sample(f->page, f->index[which], str_c(text), f->now, &err);
}

void fixture_tick(struct fixture *f)
{
    f->now += SEC(1);
    page_tick(f->page, f->now, 0);
    buf_clear(&f->out);
    REQUIRE(page_write(f->page, f->now, 1767323045 * SEC(1), &f->out) == 0);
    REQUIRE(json_parse(buf_str(&f->out), &f->feed, NULL) == 0);
}
