/* fiber_switch.c — what a fiber costs: ns for a switch, and for a spawn on a recycled stack.
 * Build it with -Dfiber_switch=asm and =ucontext to compare; docs/fiber.md has the figures. */
#include "base/clock.h"
#include "fiber/fiber.h"

#include <stdio.h>

enum { SWITCHES = 2000000, SPAWNS = 1000000 };

static uint64_t now(void *ctx)
{
    (void)ctx;
    return clock_now_ns();
}

static struct fiber *ping_fiber, *pong_fiber;

/* Two fibers wake each other: each turn is two switches, to the scheduler and from it. */
static void ping(void *arg)
{
    struct fiber **other = arg;
    for (int i = 0; i < SWITCHES / 4; i++) {
        (void)fiber_wake(*other, 0);
        (void)fiber_park();
    }
    (void)fiber_wake(*other, 0);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void drain(struct sched *s)
{
    while (sched_count(s))
        (void)sched_run(s);
}

int main(void)
{
    struct sched *s =
        sched_new(&(struct sched_config){ .max_fibers = 100, .stack_size = KIB(128), .now = now });
    if (!s)
        return 1;
    sched_enter(s);
    ping_fiber = fiber_spawn("ping", ping, &pong_fiber);
    pong_fiber = fiber_spawn("pong", ping, &ping_fiber);
    uint64_t start = clock_now_ns();
    drain(s);
    printf("switch       %6.1f ns\n", (double)(clock_now_ns() - start) / SWITCHES);

    start = clock_now_ns();
    for (int i = 0; i < SPAWNS; i++) {
        if (!fiber_spawn("nothing", nothing, NULL))
            return 1;
        if (i % 64 == 63)
            drain(s);
    }
    drain(s);
    printf("spawn to end %6.1f ns (recycled stack, two switches)\n",
           (double)(clock_now_ns() - start) / SPAWNS);
    sched_free(s);
    return 0;
}
