/* page_fixture.h — a page of three instances, for the tests of what it makes of their feeds.
 * Owner:  the test. */
#pragma once

#include "cli/run_page.h"
#include "test/testing.h"

/* orders-1 in zone a, orders-2 in zone b, stock-1 in none */
extern const struct page_instance fixture_instance[3];

struct fixture {
    struct page *page;
    struct arena arena;
    struct buf out;
    struct json feed; /* what the page's readers got by the latest tick */
    size_t index[4];  /* of fixture_instance[], and room for one more */
    uint64_t now;
};

void fixture_begin(struct fixture *f);
void fixture_end(struct fixture *f);
/* A feed of an instance; what page_sample() says of it. */
int fixture_sample(struct fixture *f, size_t which, const char *text);
/* One second later: a tick, and the feed as the page's readers get it. */
void fixture_tick(struct fixture *f);
