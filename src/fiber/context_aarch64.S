/* AAPCS64: x19 to x30, the low halves of v8 to v15, and fpcr survive a call. */
    .text

/* void proa_context_swap(void **save: x0, void *load: x1) */
    .globl  proa_context_swap
    .hidden proa_context_swap
    .type   proa_context_swap, %function
    .p2align 4
proa_context_swap:
    .cfi_startproc
    sub     sp, sp, #176
    .cfi_def_cfa_offset 176
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    .cfi_offset x29, -96
    .cfi_offset x30, -88
    stp     d8, d9, [sp, #96]
    stp     d10, d11, [sp, #112]
    stp     d12, d13, [sp, #128]
    stp     d14, d15, [sp, #144]
    mrs     x9, fpcr
    str     x9, [sp, #160]

    mov     x9, sp              /* from here on it is the other one's frame, of the same shape */
    str     x9, [x0]
    mov     sp, x1

    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    ldr     x9, [sp, #160]
    msr     fpcr, x9
    add     sp, sp, #176
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size   proa_context_swap, . - proa_context_swap

/* The first thing on a new stack: calls the entry that context_make() left in x19. */
    .globl  proa_context_start
    .hidden proa_context_start
    .type   proa_context_start, %function
    .p2align 4
proa_context_start:
    .cfi_startproc
    .cfi_undefined x30          /* nobody called this: debuggers and unwinders stop here */
    blr     x19
    brk     #1
    .cfi_endproc
    .size   proa_context_start, . - proa_context_start

    .section .note.GNU-stack, "", %progbits
