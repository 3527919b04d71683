/* gyrus train by two processes: the losses of one, and one run folder. */
#include "../harness/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Column 2 of metrics.csv; the number of rows. */
static int losses(const char *file, double loss[8]) {
    size_t n;
    char *text = slurp(file, &n), *line = text;
    int rows = 0;
    assert_non_null(text);
    while ((line = strchr(line, '\n')) && rows < 8)
        if (sscanf(++line, "%*d,%lf", &loss[rows]) == 1) rows++;
    free(text);
    return rows;
}

static void compare(const char *device, int port) {
    char command[512];
    double one[8], two[8];
    snprintf(command, sizeof command,
             "\"$GYRUS\" train gpt2 --threads 1 --steps 2 --quiet --out alone%s --device %s >/dev/null && "
             "{ RANK=1 WORLD_SIZE=2 MASTER_PORT=%d \"$GYRUS\" train gpt2 --threads 1 --steps 2 --quiet --out both%s "
             "--device %s & RANK=0 WORLD_SIZE=2 MASTER_PORT=%d \"$GYRUS\" train gpt2 --threads 1 --steps 2 --quiet "
             "--out both%s --device %s >/dev/null && wait $!; }",
             device, device, port, device, device, port, device, device);
    cli_result r = cli_shell("%s", command);
    if (r.rc != 0) fail_msg("exit %d: %s", r.rc, r.err);
    cli_done(&r);
    char a[64], b[64];
    snprintf(a, sizeof a, "alone%s/metrics.csv", device);
    snprintf(b, sizeof b, "both%s/metrics.csv", device);
    assert_int_equal(losses(a, one), 2);
    assert_int_equal(losses(b, two), 2);
    for (int i = 0; i < 2; i++)
        if (!(fabs(one[i] - two[i]) <= 1e-5 * fabs(one[i])))
            fail_msg("step %d: %.9g alone, %.9g by two", i + 1, one[i], two[i]);
}

static void two_processes_train_as_one(void **state) {
    (void)state;
    compare("cpu", 29650);
}
static void a_batch_that_cannot_be_shared_is_refused(void **state) {
    (void)state;
    cli_result r =
        cli_shell("{ RANK=1 WORLD_SIZE=2 MASTER_PORT=29652 \"$GYRUS\" train gpt2 --steps 1 --quiet --out odd "
                  "--set batch=3 2>/dev/null & RANK=0 WORLD_SIZE=2 MASTER_PORT=29652 \"$GYRUS\" train gpt2 "
                  "--steps 1 --quiet --out odd --set batch=3; rc=$?; wait; exit $rc; }");
    assert_int_equal(r.rc, 2);
    assert_non_null(strstr(r.err, "a batch of 3 rows cannot be shared evenly by 2 processes"));
    cli_done(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_processes_train_as_one),
                                       cmocka_unit_test(a_batch_that_cannot_be_shared_is_refused)};
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
