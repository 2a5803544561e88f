/* defs.h — the few macros of the house, and nothing else.
 * Owner:  nobody; expressions and attributes only.
 * Thread: any.   Failure: PRE/POST/INV print and abort: they guard our own bugs, never input. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A result that must be looked at; ignoring it is a visible (void). gcc warns even then, so the
 * build with clang is the one that checks. */
#ifdef __clang__
#define WUR __attribute__((warn_unused_result))
#else
#define WUR
#endif
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CO /* may suspend the calling fiber; tools/check_co.py refuses an unmarked caller */

/* A function whose large locals mustn't lie in the frame of its caller, which waits in deeper
 * calls: each call in flight keeps the pages of its stack that were ever touched. */
#define NOINLINE __attribute__((noinline))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* A local with a cleanup scope: AUTO(buf_done) struct buf b = …; the function takes a pointer. */
#define AUTO(fn) __attribute__((cleanup(fn)))
/* Hands an owned pointer over and leaves NULL behind. */
#define TAKE(ptr)                                                                                  \
    ({                                                                                             \
        __typeof__(ptr) *take_from_ = &(ptr);                                                      \
        __typeof__(ptr) take_value_ = *take_from_;                                                 \
        *take_from_ = NULL;                                                                        \
        take_value_;                                                                               \
    })

#define MS(n) ((uint64_t)(n)*1000000u)
#define SEC(n) ((uint64_t)(n)*1000000000u)
#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

_Noreturn void assert_failed(const char *kind, const char *expr, const char *file, int line);
#define PRE(x) (LIKELY(x) ? (void)0 : assert_failed("precondition", #x, __FILE__, __LINE__))
#define POST(x) (LIKELY(x) ? (void)0 : assert_failed("postcondition", #x, __FILE__, __LINE__))
#define INV(x) (LIKELY(x) ? (void)0 : assert_failed("invariant", #x, __FILE__, __LINE__))

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* From then to now; 0 where another thread's clock, read later, is ahead of ours. */
static inline uint64_t elapsed_ns(uint64_t then_ns, uint64_t now_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}
static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
