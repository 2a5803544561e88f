/* context.h — one suspended flow of control, and the switch from one to another.
 * Owner:  the fiber or the scheduler that it is part of.
 * Thread: a context is resumed on the thread that made it.   Failure: none.
 * Two makes: assembly (13 ns a switch) and ucontext (190 ns, portable), chosen at build time. */
#pragma once

#include "base/defs.h"

#ifdef PROA_UCONTEXT
#include <ucontext.h>

struct context {
    ucontext_t uc;
};
#else
struct context {
    void *sp; /* the saved registers lie there */
};
#endif

/* Makes *c start entry() on the stack [bottom, bottom + size) when it is first switched to;
 * bottom + size is 16-byte aligned. entry must not return. */
void context_make(struct context *c, void *bottom, size_t size, void (*entry)(void));
/* Saves the caller in *from and goes on in *to; returns when somebody switches back to *from. */
void context_switch(struct context *from, struct context *to);
