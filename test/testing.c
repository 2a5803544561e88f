#include "test/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>

#include <cmocka.h>

enum { TESTS_MAX = 256, MAX_FIBERS = 20000, WORKER_FIBERS = 5000, N_WORKERS = 2 };

static struct {
    const char *name;
    enum test_kind kind;
    test_fn *fn;
} tests[TESTS_MAX];
static size_t n_tests;

static atomic_size_t n_failed; /* checks of the running test */
static _Atomic uint64_t virtual_now;

void test_register(const char *name, enum test_kind kind, test_fn *fn)
{
    REQUIRE(n_tests < TESTS_MAX, "raise TESTS_MAX");
    tests[n_tests].name = name;
    tests[n_tests].kind = kind;
    tests[n_tests++].fn = fn;
}

/* ---- checks ---- */

static void report(const char *file, int line, const char *what, const char *fmt, va_list args)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, args);
    fprintf(stderr, "%s:%d: %s%s%s\n", file, line, what, text[1] ? " --" : "", text);
    atomic_fetch_add(&n_failed, 1);
}

bool test_check(bool ok, const char *file, int line, const char *expr, const char *fmt, ...)
{
    if (ok)
        return true;
    va_list args;
    va_start(args, fmt);
    report(file, line, expr, fmt, args);
    va_end(args);
    return false;
}

bool test_check_eq(intmax_t got, intmax_t want, const char *file, int line, const char *expr,
                   const char *fmt, ...)
{
    if (got == want)
        return true;
    char what[512];
    snprintf(what, sizeof what, "%s is %jd, want %jd", expr, got, want);
    va_list args;
    va_start(args, fmt);
    report(file, line, what, fmt, args);
    va_end(args);
    return false;
}

bool test_check_str(str got, str want, const char *file, int line, const char *expr,
                    const char *fmt, ...)
{
    if (str_eq(got, want))
        return true;
    char what[2048];
    snprintf(what, sizeof what, "%s is\n  \"%.*s\", want\n  \"%.*s\"", expr,
             STR_ARG(str_take(got.p ? got : S("(null)"), 800)), STR_ARG(str_take(want, 800)));
    va_list args;
    va_start(args, fmt);
    report(file, line, what, fmt, args);
    va_end(args);
    return false;
}

bool test_check_ok(int got, const char *file, int line, const char *expr, const char *fmt, ...)
{
    if (got == 0)
        return true;
    char what[512];
    snprintf(what, sizeof what, "%s is %d (%s)", expr, got,
             got < 0 ? code_name((enum code) - got) : "?");
    va_list args;
    va_start(args, fmt);
    report(file, line, what, fmt, args);
    va_end(args);
    return false;
}

/* ---- failing allocations ---- */

size_t test_fail_first(void)
{
    mem_fail_at(1);
    return 1;
}

bool test_alloc_failed(size_t n)
{
    return mem_count() >= n;
}

size_t test_fail_next(size_t n)
{
    bool hit = test_alloc_failed(n);
    mem_fail_at(hit ? n + 1 : 0);
    return hit ? n + 1 : 0;
}

/* ---- the three kinds of test ---- */

static uint64_t read_virtual(void *ctx)
{
    (void)ctx;
    return virtual_now;
}

void test_advance(uint64_t ns)
{
    virtual_now += ns;
}

static void run_body(void *arg)
{
    test_fn *const *fn = arg;
    (*fn)();
}

static void run_in_fiber(test_fn *fn)
{
    virtual_now = SEC(1000);
    struct sched *s = sched_new(&(struct sched_config){
        .max_fibers = MAX_FIBERS, .stack_size = KIB(128), .now = read_virtual });
    REQUIRE(s);
    sched_enter(s);
    REQUIRE(fiber_spawn("test", run_body, &fn));
    bool cancelled = false;
    while (sched_count(s)) {
        uint64_t next = sched_run(s);
        if (next != UINT64_MAX) {
            virtual_now += next;
        } else if (sched_count(s)) {
            CHECK(false, "%zu fibers wait for ever", sched_count(s));
            REQUIRE(!cancelled, "and can't be cancelled");
            (void)sched_cancel_all(s);
            cancelled = true;
        }
    }
    sched_free(s);
}

static void run_on_worker(test_fn *fn)
{
    struct error err = { 0 };
    REQUIRE(workers_start(N_WORKERS, WORKER_FIBERS, &err) == 0, "%s", err.text);
    CHECK_OK(worker_run(worker_at(0), "test", run_body, &fn));
    CHECK_EQ(workers_stop(SEC(10)), 0, "fibers left behind");
}

static void run_one(void **state)
{
    size_t i = (size_t)(uintptr_t)*state;
    atomic_store(&n_failed, 0);
    if (tests[i].kind == TEST_FIBER)
        run_in_fiber(tests[i].fn);
    else if (tests[i].kind == TEST_WORKER)
        run_on_worker(tests[i].fn);
    else
        tests[i].fn();
    mem_fail_at(0);
    if (atomic_load(&n_failed))
        fail_msg("%zu failed checks", atomic_load(&n_failed));
}

int main(int argc, char **argv)
{
    static struct CMUnitTest unit[TESTS_MAX];
    for (size_t i = 0; i < n_tests; i++)
        unit[i] = (struct CMUnitTest){ .name = tests[i].name,
                                       .test_func = run_one,
                                       .initial_state = (void *)i };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests("tests", unit, n_tests, NULL, NULL);
}
