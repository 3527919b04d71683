/* fiber.h: stacks to switch between, for the threads of a block. */
#ifndef GY_FIBER_H
#define GY_FIBER_H

#include <stddef.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef struct gy_fiber {
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *stack; /* lowest address; NULL: the thread's own, learnt at the first switch (sanitizers want to know) */
    size_t bytes;
    void *shadow; /* of the address sanitizer */
} gy_fiber;

/* entry never returns; it switches away for good. */
void gy_fiber_make(gy_fiber *f, void *stack, size_t bytes, void (*entry)(void));
/* To be called first thing by entry, with the fiber that switched here. */
void gy_fiber_arrived(gy_fiber *self, gy_fiber *from);
void gy_fiber_switch(gy_fiber *from, gy_fiber *to);
/* Before and after leaving a fiber by longjmp, for the sanitizers. */
void gy_fiber_leaving(gy_fiber *to);
void gy_fiber_left(void);
/* A stack that functions were left on without returning is plain memory again, for the sanitizers. */
void gy_fiber_forget(void *stack, size_t bytes);

#endif
