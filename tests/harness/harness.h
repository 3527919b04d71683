/* harness.h: what every test program shares. */
#ifndef GY_TEST_HARNESS_H
#define GY_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base.h"

/* A context with two threads; fails the test when memory leaked at teardown. */
int test_ctx_setup(void **state);
int test_ctx_teardown(void **state);

/* Fails unless `s` is an error and the message contains `part`. */
void assert_message(gy_ctx *ctx, gy_status s, const char *part);
/* Fails with the context's message unless s is GY_OK. */
void assert_ok(gy_ctx *ctx, gy_status s);
/* |a-b| <= tol * max(1, |b|) */
void assert_close(double a, double b, double tol);

#define TEST(f) cmocka_unit_test_setup_teardown(f, test_ctx_setup, test_ctx_teardown)

#endif
