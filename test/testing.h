/* testing.h — the test suites' few words on top of cmocka.
 * Owner:  each test file; main() and the registry are in testing.c, so a file is only its tests.
 * Thread: checks may be made on any thread and in any fiber.
 * Failure: a failed check is printed, the test goes on and fails at its end; REQUIRE() aborts.
 *
 *     TEST(map_keeps_order) { … }                 on the main thread
 *     TEST_CO(lock_is_handed_to_the_first) { … }  in a fiber, under a virtual clock: when nothing
 * is ready, time jumps to the next timer TEST_LOOP(echo_returns_what_was_sent) { … } in a fiber on
 * worker 0 of 2, with real sockets
 *
 * In a meson.build:  test('x', executable('test_x', 'test_x.c', dependencies: [x_dep,
 * testing_dep]), suite: 'x') Run one:  build/test/unit/x/test_x 'lock_*'   */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "fiber/fiber.h"
#include "loop/worker.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__)
/* str_c() takes NULL, from which gcc 12 concludes at -O3 that each text of a table may be NULL. */
#pragma GCC diagnostic ignored "-Wformat-overflow"
#endif

typedef void test_fn(void);
enum test_kind { TEST_PLAIN, TEST_FIBER, TEST_WORKER };
void test_register(const char *name, enum test_kind kind, test_fn *fn);

#define TEST_OF(name, kind)                                                                        \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        test_register(#name, kind, name);                                                          \
    }                                                                                              \
    static void name(void)
#define TEST(name) TEST_OF(name, TEST_PLAIN)
#define TEST_CO(name) TEST_OF(name, TEST_FIBER)
#define TEST_LOOP(name) TEST_OF(name, TEST_WORKER)

/* Walks over a table: static const struct { const char *name; … } row[] = { … }; EACH(row, r) … */
#define EACH(table, at)                                                                            \
    for (__typeof__(&(table)[0]) at = (table); at < (table) + COUNT(table); at++)

/* Runs its body again and again, with the first, second, … allocation failing, until one run needs
 * fewer than that: FAIL_EACH_ALLOC(n) CHECK(try_it() == 0 || …, "allocation %zu", n); */
#define FAIL_EACH_ALLOC(n) for (size_t n = test_fail_first(); n; n = test_fail_next(n))
size_t test_fail_first(void);
size_t test_fail_next(size_t n);
/* Did an allocation fail in this run? */
bool test_alloc_failed(size_t n);

/* Each takes a message in printf form after its arguments, or none. */
#define CHECK(cond, ...) test_check((cond), __FILE__, __LINE__, #cond, " " __VA_ARGS__)
#define CHECK_EQ(got, want, ...)                                                                   \
    test_check_eq((intmax_t)(got), (intmax_t)(want), __FILE__, __LINE__, #got, " " __VA_ARGS__)
/* A str against a C string. */
#define CHECK_STR(got, want, ...)                                                                  \
    test_check_str((got), str_c(want), __FILE__, __LINE__, #got, " " __VA_ARGS__)
/* Two C strings. */
#define CHECK_TEXT(got, want, ...) CHECK_STR(str_c(got), want, __VA_ARGS__)
/* Code 0; otherwise prints its name. */
#define CHECK_OK(got, ...) test_check_ok((got), __FILE__, __LINE__, #got, " " __VA_ARGS__)
/* What the rest of the test can't do without. */
#define REQUIRE(cond, ...)                                                                         \
    ((cond) ? (void)0 : (test_check(false, __FILE__, __LINE__, #cond, " " __VA_ARGS__), abort()))

bool test_check(bool ok, const char *file, int line, const char *expr, const char *fmt, ...)
    PRINTF(5, 6);
bool test_check_eq(intmax_t got, intmax_t want, const char *file, int line, const char *expr,
                   const char *fmt, ...) PRINTF(6, 7);
bool test_check_str(str got, str want, const char *file, int line, const char *expr,
                    const char *fmt, ...) PRINTF(6, 7);
bool test_check_ok(int got, const char *file, int line, const char *expr, const char *fmt, ...)
    PRINTF(5, 6);

/* Pushes the virtual clock of a TEST_CO() on, without running anybody else. */
void test_advance(uint64_t ns);
