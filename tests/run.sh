#!/bin/sh
# Runs each test program (cmocka, TAP output), shows failures whole, ends with the count.
# Usage: tests/run.sh PROGRAM...; TEST_FILTER='pattern*' runs matching tests only.
pass=0 fail=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for t in "$@"; do
    start=$(date +%s)
    CMOCKA_MESSAGE_OUTPUT=TAP "$t" >"$out" 2>&1
    rc=$?
    p=$(grep -c '^ok ' "$out")
    f=$(grep -c '^not ok ' "$out")
    # a crash or sanitizer report leaves no "not ok" line
    if [ $rc -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    pass=$((pass + p)) fail=$((fail + f))
    printf '%-44s %5d passed %3d failed %4ds\n' "${t#*/tests/}" "$p" "$f" $(($(date +%s) - start))
    [ $rc -eq 0 ] || { grep -v '^ok ' "$out" | head -${TEST_LINES:-60}; }
done
echo "$pass passed, $fail failed"
[ "$fail" -eq 0 ]
