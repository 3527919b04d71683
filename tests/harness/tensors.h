/* tensors.h: values of tensors against values of tensors. */
#ifndef GY_TEST_TENSORS_H
#define GY_TEST_TENSORS_H

#include "harness.h"

#include "core/gyrus.h"

/* The largest magnitude. */
double largest(const gy_tensor *t);
/* As many elements, each |have - want| <= tolerance max(largest |want|, least_scale). `what` names them in the message.
 */
void assert_tensor_near(const char *what, const gy_tensor *have, const gy_tensor *want, double tolerance,
                        double least_scale);
/* As many elements, each as assert_close: |have - want| <= tolerance max(1, |want|). */
void assert_tensor_close(const char *what, const gy_tensor *have, const gy_tensor *want, double tolerance);

#endif
