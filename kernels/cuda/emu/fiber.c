/* Switching stacks. ucontext's swapcontext makes two system calls a switch (some 470 ns); saving the callee's registers
 * is all that the calling convention asks for, and takes about 24 ns. */
#define _GNU_SOURCE
#include "fiber.h"

#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

void gy_fiber_forget(void *stack, size_t bytes) {
#ifdef ASAN
    __asan_unpoison_memory_region(stack, bytes);
#else
    (void)stack, (void)bytes;
#endif
}

static void before(gy_fiber *from, const gy_fiber *to) {
#ifdef ASAN
    __sanitizer_start_switch_fiber(from ? &from->shadow : NULL, to->stack, to->bytes);
#else
    (void)from, (void)to;
#endif
}

/* On the new stack. `from`, if its bounds are unknown, is told them. */
static void after(const gy_fiber *self, gy_fiber *from) {
#ifdef ASAN
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self ? self->shadow : NULL, &stack, &bytes);
    if (from && !from->stack) {
        from->stack = (void *)(uintptr_t)stack;
        from->bytes = bytes;
    }
#else
    (void)self, (void)from;
#endif
}

#if defined(__x86_64__)
void gy_fiber_exchange(void **save, void *load);
__asm__(".text\n"
        ".hidden gy_fiber_exchange\n"
        ".globl gy_fiber_exchange\n"
        ".type gy_fiber_exchange, @function\n"
        "gy_fiber_exchange:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size gy_fiber_exchange, .-gy_fiber_exchange\n");

void gy_fiber_make(gy_fiber *f, void *stack, size_t bytes, void (*entry)(void)) {
    uintptr_t top = ((uintptr_t)stack + bytes) & ~(uintptr_t)15;
    void **sp = (void **)top;
    *--sp = NULL; /* entry finds the stack as after a call: 8 bytes past a multiple of 16 */
    memcpy(--sp, &entry, sizeof entry);
    for (int i = 0; i < 6; i++) *--sp = NULL;
    *f = (gy_fiber){.sp = sp, .stack = stack, .bytes = bytes};
}

void gy_fiber_switch(gy_fiber *from, gy_fiber *to) {
    before(from, to);
    gy_fiber_exchange(&from->sp, to->sp);
    after(from, NULL);
}
#else
void gy_fiber_make(gy_fiber *f, void *stack, size_t bytes, void (*entry)(void)) {
    *f = (gy_fiber){.stack = stack, .bytes = bytes};
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = bytes;
    makecontext(&f->context, entry, 0);
}

void gy_fiber_switch(gy_fiber *from, gy_fiber *to) {
    before(from, to);
    swapcontext(&from->context, &to->context);
    after(from, NULL);
}
#endif

void gy_fiber_arrived(gy_fiber *self, gy_fiber *from) {
    self->shadow = NULL;
    after(self, from);
}

void gy_fiber_leaving(gy_fiber *to) {
    before(NULL, to);
}

void gy_fiber_left(void) {
    after(NULL, NULL);
}
