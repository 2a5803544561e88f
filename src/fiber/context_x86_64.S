/* System V ABI: rbx, rbp, r12 to r15, and the control bits of mxcsr and x87 survive a call. */
    .text

/* void proa_context_swap(void **save: rdi, void *load: rsi) */
    .globl  proa_context_swap
    .hidden proa_context_swap
    .type   proa_context_swap, @function
    .p2align 4
proa_context_swap:
    .cfi_startproc
    pushq   %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq   %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq   %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq   %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq   %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq   %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    subq    $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw  4(%rsp)

    movq    %rsp, (%rdi)        /* from here on it is the other one's frame, of the same shape */
    movq    %rsi, %rsp

    ldmxcsr (%rsp)
    fldcw   4(%rsp)
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq    %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq    %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq    %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq    %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq    %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq    %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size   proa_context_swap, . - proa_context_swap

/* The first thing on a new stack: calls the entry that context_make() left in rbx. */
    .globl  proa_context_start
    .hidden proa_context_start
    .type   proa_context_start, @function
    .p2align 4
proa_context_start:
    .cfi_startproc
    .cfi_undefined %rip         /* nobody called this: debuggers and unwinders stop here */
    call    *%rbx
    ud2
    .cfi_endproc
    .size   proa_context_start, . - proa_context_start

    .section .note.GNU-stack, "", @progbits
