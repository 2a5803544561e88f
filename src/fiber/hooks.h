/* hooks.h — what sanitizers and valgrind must be told about stacks and switches.
 * Owner:  a struct in each fiber, and one in each scheduler for the thread's own stack.
 * Thread: the scheduler's.   Failure: none; in a plain build all of it is empty. */
#pragma once

#include "base/defs.h"

struct hooks {
    void *fake_stack;   /* ASan's, while suspended */
    const void *bottom; /* of the stack */
    size_t size;
    void *tsan; /* TSan's fiber */
    unsigned valgrind_id;
};

/* The stack that a build really needs: AddressSanitizer's redzones make frames several times
 * larger. */
size_t hooks_stack_size(size_t asked);
/* A stack was mapped: register it. Before it is unmapped: take it back. */
void hooks_map(struct hooks *h, const void *bottom, size_t size);
void hooks_unmap(struct hooks *h);
/* A fiber begins on a stack, fresh or recycled, or has ended on it. */
void hooks_begin(struct hooks *h);
void hooks_end(struct hooks *h);
/* The thread's own stack, once per round. */
void hooks_thread(struct hooks *h);
/* Around each context_switch(): before it on the old stack, after it on the new one. `last` = the
 * old one is never resumed. */
void hooks_leave(struct hooks *from, const struct hooks *to, bool last);
void hooks_arrive(struct hooks *self, struct hooks *thread);
