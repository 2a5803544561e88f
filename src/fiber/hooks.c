#include "fiber/hooks.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WITH_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define WITH_TSAN 1
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(from, to) 0
#define VALGRIND_STACK_DEREGISTER(id) (void)(id)
#endif

size_t hooks_stack_size(size_t asked)
{
#ifdef WITH_ASAN
    return asked * 4;
#else
    return asked;
#endif
}

void hooks_map(struct hooks *h, const void *bottom, size_t size)
{
    *h = (struct hooks){ .bottom = bottom, .size = size };
    h->valgrind_id = VALGRIND_STACK_REGISTER(bottom, (const char *)bottom + size);
#ifdef WITH_ASAN
    /* A suspended frame may hold the only pointer to something: LSan must look there. */
    __lsan_register_root_region(bottom, size);
#endif
}

void hooks_unmap(struct hooks *h)
{
    VALGRIND_STACK_DEREGISTER(h->valgrind_id);
#ifdef WITH_ASAN
    __lsan_unregister_root_region(h->bottom, h->size);
    __asan_unpoison_memory_region(h->bottom, h->size);
#endif
}

void hooks_begin(struct hooks *h)
{
#ifdef WITH_ASAN
    /* The last frame of the one before never returned, so its redzones are still there. */
    __asan_unpoison_memory_region(h->bottom, h->size);
#endif
#ifdef WITH_TSAN
    h->tsan = __tsan_create_fiber(0);
#endif
    h->fake_stack = NULL;
}

void hooks_end(struct hooks *h)
{
#ifdef WITH_TSAN
    __tsan_destroy_fiber(h->tsan);
#endif
    h->tsan = NULL;
}

void hooks_thread(struct hooks *h)
{
#ifdef WITH_TSAN
    h->tsan = __tsan_get_current_fiber();
#else
    (void)h;
#endif
}

/* Not instrumented: TSan counts a function's exit on the fiber that is current then. */
__attribute__((no_sanitize("thread"))) void hooks_leave(struct hooks *from, const struct hooks *to,
                                                        bool last)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)from, (void)to, (void)last;
}

__attribute__((no_sanitize("thread"))) void hooks_arrive(struct hooks *self, struct hooks *thread)
{
#ifdef WITH_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &size);
    if (self != thread) { /* that is how one learns where the thread's own stack lies */
        thread->bottom = bottom;
        thread->size = size;
    }
#endif
    (void)self, (void)thread;
}
