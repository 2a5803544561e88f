/* fiber_portable.c — checks the switch itself, with nothing but base and fiber: registers, the
 * floating-point control word, stack size and alignment, unwinding, and the rules of waiting. Also
 * cross-built, see test/unit/fiber/portable/meson.build. */
#include "base/error.h"
#include "fiber/sync.h"

#include <execinfo.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>

static int n_failed;

#define CHECK(cond) check((cond), __LINE__, #cond)
static void check(bool ok, int line, const char *expr)
{
    if (ok)
        return;
    fprintf(stderr, "fiber_portable.c:%d: %s\n", line, expr);
    n_failed++;
}

static uint64_t virtual_now = SEC(1);

static uint64_t read_virtual(void *ctx)
{
    return virtual_now;
}

static void run_all(struct sched *s)
{
    while (sched_count(s)) {
        uint64_t next = sched_run(s);
        CHECK(next != UINT64_MAX || !sched_count(s));
        if (next == UINT64_MAX)
            return;
        virtual_now += next;
    }
}

static void spawn(fiber_fn *fn, void *arg)
{
    CHECK(fiber_spawn("check", fn, arg) != NULL);
}

/* More values than there are callee-saved registers, whole and floating, alive over switches. */
static void registers(void *arg)
{
    uint64_t seed = (uintptr_t)arg, a[14];
    double d[14];
    for (size_t i = 0; i < 14; i++) {
        a[i] = seed * 1000 + i;
        d[i] = (double)seed + (double)i / 16;
    }
    uint64_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4], a5 = a[5], a6 = a[6], a7 = a[7];
    double d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5], d6 = d[6], d7 = d[7];
    for (int round = 0; round < 100; round++) {
        fiber_yield();
        a0 += 1, a1 += a0, a2 ^= a1, a3 += a2, a4 ^= a3, a5 += a4, a6 ^= a5, a7 += a6;
        d0 += 1, d1 += d0, d2 -= d1, d3 += d2, d4 -= d3, d5 += d4, d6 -= d5, d7 += d6;
    }
    uint64_t b0 = a[0], b1 = a[1], b2 = a[2], b3 = a[3], b4 = a[4], b5 = a[5], b6 = a[6], b7 = a[7];
    double e0 = d[0], e1 = d[1], e2 = d[2], e3 = d[3], e4 = d[4], e5 = d[5], e6 = d[6], e7 = d[7];
    for (int round = 0; round < 100; round++) {
        b0 += 1, b1 += b0, b2 ^= b1, b3 += b2, b4 ^= b3, b5 += b4, b6 ^= b5, b7 += b6;
        e0 += 1, e1 += e0, e2 -= e1, e3 += e2, e4 -= e3, e5 += e4, e6 -= e5, e7 += e6;
    }
    CHECK(a0 == b0 && a1 == b1 && a2 == b2 && a3 == b3 && a4 == b4 && a5 == b5 && a6 == b6);
    CHECK(a7 == b7 && d0 == e0 && d1 == e1 && d2 == e2 && d3 == e3 && d4 == e4 && d5 == e5);
    CHECK(d6 == e6 && d7 == e7);
}

/* 1.0 / 3.0 by the compiler is rounded to nearest, which here means down. */
static volatile double one = 1, three = 3;

static void rounds_up(void *arg)
{
    CHECK(fesetround(FE_UPWARD) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(one / three > 1.0 / 3.0);
        CHECK(fegetround() == FE_UPWARD);
        fiber_yield();
    }
}

static void rounds_to_nearest(void *arg)
{
    for (int i = 0; i < 10; i++) {
        CHECK(one / three == 1.0 / 3.0);
        CHECK(fegetround() == FE_TONEAREST);
        fiber_yield();
    }
}

static void aligned(void *arg)
{
    _Alignas(16) volatile char local[32] = { 0 };
    CHECK(((uintptr_t)local & 15) == 0);
    char text[64]; /* printf of a double saves vector registers by aligned stores */
    snprintf(text, sizeof text, "%g", 1.5 + local[3]);
    CHECK(str_eq(str_c(text), S("1.5")));
}

__attribute__((noinline)) static size_t dig(size_t depth)
{
    volatile char room[1000];
    room[depth % 1000] = 1;
    return depth ? dig(depth - 1) + (size_t)room[depth % 1000] : 0;
}

static void deep(void *arg)
{
    CHECK(dig(90) == 90); /* some 100 KiB of 128 */
    fiber_yield();
    CHECK(dig(90) == 90);
}

static void unwinds(void *arg)
{
    void *frame[64];
    int n = backtrace(frame, 64);
    CHECK(n >= 1 && n < 20); /* it ends at the fiber's first frame */
}

static void cancelled(void *arg)
{
    CHECK(fiber_park() == -CANCELLED);
    CHECK(fiber_sleep(1) == -CANCELLED);
    SHIELD();
    CHECK(fiber_sleep(MS(1)) == 0);
}

static void waits(void *arg)
{
    struct fiber *f = fiber_spawn("cancelled", cancelled, NULL);
    fiber_yield();
    fiber_cancel(f);
    uint64_t before = sched_now();
    CHECK(fiber_sleep(MS(5)) == 0);
    CHECK(sched_now() - before == MS(5));
    DEADLINE(MS(2));
    CHECK(fiber_park() == -TIMEOUT);
    CHECK(sched_now() - before == MS(7));
}

struct counter {
    struct fiber_mutex mutex;
    int n;
};

static void count(void *arg)
{
    struct counter *c = arg;
    CHECK(fiber_mutex_lock(&c->mutex) == 0);
    int n = c->n;
    CHECK(fiber_sleep(1000) == 0);
    c->n = n + 1;
    fiber_mutex_unlock(&c->mutex);
}

int main(void)
{
    struct sched *s = sched_new(
        &(struct sched_config){ .max_fibers = 5000, .stack_size = KIB(128), .now = read_virtual });
    if (!s)
        return 1;
    sched_enter(s);
    for (uintptr_t i = 1; i <= 20; i++)
        spawn(registers, (void *)i);
    spawn(rounds_up, NULL);
    spawn(rounds_to_nearest, NULL);
    spawn(aligned, NULL);
    spawn(deep, NULL);
    spawn(unwinds, NULL);
    spawn(waits, NULL);
    run_all(s);
    CHECK(fegetround() == FE_TONEAREST);

    struct counter c = { .n = 0 };
    fiber_mutex_init(&c.mutex);
    for (int i = 0; i < 2000; i++)
        spawn(count, &c);
    run_all(s);
    CHECK(c.n == 2000);
    sched_free(s);
    if (!n_failed)
        puts("ok");
    return n_failed != 0;
}
