#include "block/core/block.h"

#include "base/mem.h"
#include "test/testing.h"

/* An engine that remembers whether it has been closed. */
struct engine {
    int *closed;
};

static void engine_close(void *self)
{
    ++*((struct engine *)self)->closed;
}

static const struct state_ops state_ops = {
    .t = { .kind = "state",
           .type = "state.x",
           .size = sizeof(struct engine),
           .close = engine_close },
};
static const struct component_type stranger = { .kind = "stranger", .type = "stranger.x" };

static struct instance *make(const struct component_type *type, const char *name, int *closed)
{
    struct instance *i = mem_zalloc(sizeof *i);
    REQUIRE(i);
    i->type = type;
    i->name = mem_dup(name, strlen(name));
    struct engine *e = mem_zalloc(sizeof *e);
    REQUIRE(e && i->name);
    e->closed = closed;
    i->self = e;
    return i;
}

static void open_blocks(struct blocks *b)
{
    *b = (struct blocks){ 0 };
    REQUIRE(blocks_init(b) == 0);
}

/* Lets mail and the closing fibers have their turn. */
static void until_closed(const int *closed, int want)
{
    DEADLINE(SEC(5));
    while (*closed < want && fiber_sleep(MS(1)) == 0)
        ;
    CHECK_EQ(*closed, want);
}

TEST_LOOP(kinds_have_names_and_strangers_none)
{
    CHECK_EQ(component_kind_of("state"), KIND_STATE);
    CHECK_EQ(component_kind_of("middleware.http"), KIND_MIDDLEWARE);
    CHECK_EQ(component_kind_of("crypto"), KIND_CRYPTO);
    CHECK_EQ(component_kind_of("nameresolution"), COMPONENT_KINDS);
    struct blocks b;
    open_blocks(&b);
    struct error err = { 0 };
    struct instance *i = make(&stranger, "s", NULL);
    CHECK_EQ(catalog_add(&b, i, &err), -INVALID);
    instance_free(i);
    blocks_done(&b);
}

TEST_LOOP(added_components_are_found_by_kind_and_name)
{
    struct blocks b;
    int closed = 0;
    struct error err = { 0 };
    open_blocks(&b);
    struct instance *one = make(&state_ops.t, "one", &closed);
    CHECK_OK(catalog_add(&b, one, &err));
    CHECK(catalog_get(&b, KIND_STATE, S("one")) == one);
    CHECK(!catalog_get(&b, KIND_PUBSUB, S("one")));
    CHECK_EQ(catalog_count(&b, KIND_STATE), 1);
    struct instance *again = make(&state_ops.t, "one", &closed);
    CHECK_EQ(catalog_add(&b, again, &err), -EXISTS);
    instance_free(again);
    CHECK_EQ(closed, 1);
    blocks_done(&b);
    CHECK_EQ(closed, 2);
}

TEST_LOOP(replaced_component_is_closed_when_its_last_reader_has_gone)
{
    struct blocks b;
    int closed_old = 0, closed_new = 0;
    struct error err = { 0 };
    open_blocks(&b);
    struct instance *old = make(&state_ops.t, "s", &closed_old);
    struct instance *new = make(&state_ops.t, "s", &closed_new);
    CHECK_OK(catalog_add(&b, old, &err));

    struct catalog *pin = catalog_pin(&b);
    size_t at = 0;
    CHECK_OK(catalog_swap(&b, old, new, &err));
    CHECK(catalog_get(&b, KIND_STATE, S("s")) == new);
    CHECK(catalog_next(pin, KIND_STATE, &at) == old); /* what a reader walks through stays */
    CHECK_OK(fiber_sleep(MS(5)));
    CHECK_EQ(closed_old, 0);
    catalog_unpin(pin);
    until_closed(&closed_old, 1);
    CHECK_EQ(closed_new, 0);
    blocks_done(&b);
    CHECK_EQ(closed_new, 1);
}

TEST_LOOP(reader_of_an_older_catalog_holds_what_it_found_in_a_later_one)
{
    struct blocks b;
    int closed[3] = { 0 };
    struct error err = { 0 };
    struct instance *v[3];
    open_blocks(&b);
    for (int i = 0; i < 3; i++)
        v[i] = make(&state_ops.t, "s", &closed[i]);
    CHECK_OK(catalog_add(&b, v[0], &err));
    struct catalog *pin = catalog_pin(&b);
    CHECK_OK(catalog_swap(&b, v[0], v[1], &err));
    CHECK(catalog_get(&b, KIND_STATE, S("s")) == v[1]); /* found now, by a pin from before */
    CHECK_OK(catalog_swap(&b, v[1], v[2], &err));
    CHECK_OK(fiber_sleep(MS(5)));
    CHECK_EQ(closed[0] + closed[1], 0);
    catalog_unpin(pin);
    until_closed(&closed[0], 1);
    until_closed(&closed[1], 1);
    CHECK_EQ(closed[2], 0);
    blocks_done(&b);
}

TEST_LOOP(adding_and_removing_leave_the_others_alone)
{
    struct blocks b;
    int closed_a = 0, closed_b = 0;
    struct error err = { 0 };
    open_blocks(&b);
    struct instance *one = make(&state_ops.t, "a", &closed_a);
    struct instance *two = make(&state_ops.t, "b", &closed_b);
    CHECK_OK(catalog_add(&b, one, &err));
    CHECK_OK(catalog_swap(&b, NULL, two, &err));
    CHECK_EQ(catalog_count(&b, KIND_STATE), 2);
    struct instance *clash = make(&state_ops.t, "b", &closed_b);
    CHECK_EQ(catalog_swap(&b, NULL, clash, &err), -EXISTS);
    instance_free(clash);
    CHECK_EQ(closed_b, 1);
    CHECK_OK(catalog_swap(&b, one, NULL, &(struct error){ 0 }));
    until_closed(&closed_a, 1);
    CHECK(!catalog_get(&b, KIND_STATE, S("a")));
    CHECK(catalog_get(&b, KIND_STATE, S("b")) == two);
    blocks_done(&b);
    CHECK_EQ(closed_b, 2);
}

/* ---- readers of all workers while components come and go ---- */

struct race {
    struct blocks *b;
    atomic_bool stop;
    atomic_int left, wrong;
};

static void race_reader(void *arg)
{
    struct race *r = arg;
    while (!atomic_load(&r->stop)) {
        PINNED(r->b);
        struct instance *i = catalog_get(r->b, KIND_STATE, S("s"));
        fiber_yield(); /* others swap meanwhile */
        if (!i || *((struct engine *)i->self)->closed)
            atomic_fetch_add(&r->wrong, 1);
    }
    atomic_fetch_sub(&r->left, 1);
}

TEST_LOOP(no_reader_of_any_worker_ever_meets_a_closed_component)
{
    enum { SWAPS = 200, READERS = 8 };
    static int closed[SWAPS + 1];
    struct blocks b;
    struct error err = { 0 };
    open_blocks(&b);
    struct instance *here = make(&state_ops.t, "s", &closed[0]);
    CHECK_OK(catalog_add(&b, here, &err));
    struct race race = { .b = &b };
    atomic_store(&race.left, READERS);
    for (size_t i = 0; i < READERS; i++)
        CHECK_OK(worker_spawn(worker_at(i % workers_count()), "reader", race_reader, &race));
    for (int i = 1; i <= SWAPS; i++) {
        struct instance *next = make(&state_ops.t, "s", &closed[i]);
        CHECK_OK(catalog_swap(&b, here, next, &err), "%s", err.text);
        here = next;
    }
    atomic_store(&race.stop, true);
    DEADLINE(SEC(10));
    while (atomic_load(&race.left) && fiber_sleep(MS(1)) == 0)
        ;
    CHECK_EQ(atomic_load(&race.wrong), 0);
    until_closed(&closed[SWAPS - 1], 1);
    blocks_done(&b);
    for (int i = 0; i <= SWAPS; i++)
        CHECK_EQ(closed[i], 1, "instance %d", i);
}

TEST_LOOP(swap_survives_each_failing_allocation)
{
    struct blocks b;
    int closed = 0;
    struct error err = { 0 };
    open_blocks(&b);
    struct instance *old = make(&state_ops.t, "s", &closed);
    CHECK_OK(catalog_add(&b, old, &err));
    FAIL_EACH_ALLOC(n)
    {
        struct error cause = { 0 };
        int r = catalog_swap(&b, NULL, NULL, &cause);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu", n);
        CHECK(catalog_get(&b, KIND_STATE, S("s")) == old);
    }
    blocks_done(&b);
    CHECK_EQ(closed, 1);
}
