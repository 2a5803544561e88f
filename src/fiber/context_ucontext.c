#include "fiber/context.h"

void context_make(struct context *c, void *bottom, size_t size, void (*entry)(void))
{
    int r = getcontext(&c->uc);
    INV(r == 0);
    c->uc.uc_stack.ss_sp = bottom;
    c->uc.uc_stack.ss_size = size;
    c->uc.uc_link = NULL;
    makecontext(&c->uc, entry, 0);
}

void context_switch(struct context *from, struct context *to)
{
    int r = swapcontext(&from->uc, &to->uc);
    INV(r == 0);
}
