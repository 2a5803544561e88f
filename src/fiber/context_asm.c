#include "fiber/context.h"

/* In context_<cpu>.S: saves what the ABI calls callee-saved below the stack pointer, stores that in
 * *save, loads the other one. */
void proa_context_swap(void **save, void *load);
void proa_context_start(void);

/* The first switch pops this frame, as if proa_context_swap() had saved it. */
#if defined(__x86_64__)
struct frame {
    uint32_t mxcsr;
    uint16_t x87_control, unused;
    uint64_t r15, r14, r13, r12, rbx, rbp, rip;
};

static struct frame first_frame(void (*entry)(void))
{
    struct frame f = { .rbx = (uintptr_t)entry, .rip = (uintptr_t)proa_context_start };
    __asm__("stmxcsr %0" : "=m"(f.mxcsr)); /* rounding and exception masks: those of the maker */
    __asm__("fnstcw %0" : "=m"(f.x87_control));
    return f;
}
#elif defined(__aarch64__)
struct frame {
    uint64_t x19_x28[10], fp, lr, d8_d15[8], fpcr, unused;
};

static struct frame first_frame(void (*entry)(void))
{
    struct frame f = { .x19_x28 = { (uintptr_t)entry }, .lr = (uintptr_t)proa_context_start };
    __asm__("mrs %0, fpcr" : "=r"(f.fpcr));
    return f;
}
#else
#error "no assembly for this CPU: configure with -Dfiber_switch=ucontext"
#endif

void context_make(struct context *c, void *bottom, size_t size, void (*entry)(void))
{
    char *top = (char *)bottom + size;
    PRE(((uintptr_t)top & 15) == 0);
    struct frame *f = (struct frame *)(top - sizeof *f);
    *f = first_frame(entry);
    c->sp = f;
}

void context_switch(struct context *from, struct context *to)
{
    proa_context_swap(&from->sp, to->sp);
}
