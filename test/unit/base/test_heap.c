#include "base/heap.h"

#include "base/id.h"
#include "test/testing.h"

TEST(first_is_the_nearest_whatever_is_added_and_removed)
{
    enum { N = 500 };
    struct heap h = { 0 };
    struct heap_node node[N] = { 0 };
    REQUIRE(heap_reserve(&h, N) == 0);
    CHECK_EQ(heap_next(&h), UINT64_MAX);
    CHECK(!heap_first(&h));
    for (int step = 0; step < 20000; step++) {
        struct heap_node *n = &node[id_random() % N];
        if (n->place)
            heap_remove(&h, n);
        else
            heap_add(&h, n, id_random() % 1000);
        uint64_t want = UINT64_MAX;
        for (size_t i = 0; i < N; i++)
            if (node[i].place && node[i].at < want)
                want = node[i].at;
        if (!CHECK_EQ(heap_next(&h), want, "step %d", step))
            break;
    }
    uint64_t last = 0;
    for (struct heap_node *n; (n = heap_first(&h));) {
        CHECK(n->at >= last);
        last = n->at;
        heap_remove(&h, n);
        heap_remove(&h, n);
    }
    heap_done(&h);
}

TEST(reserve_out_of_memory_keeps_what_is_there)
{
    struct heap h = { 0 };
    struct heap_node node = { 0 };
    REQUIRE(heap_reserve(&h, 1) == 0);
    heap_add(&h, &node, 5);
    mem_fail_at(1);
    CHECK_EQ(heap_reserve(&h, 1000), -EXHAUSTED);
    CHECK_EQ(heap_next(&h), 5);
    heap_done(&h);
}
