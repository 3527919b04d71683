#!/bin/sh
# Runs each test program (cmocka, TAP output), shows failures whole, ends with the count.
# Usage: tests/run.sh PROGRAM...; skipped tests (a sanitizer build cannot link an installed tree) are counted apart.
pass=0 fail=0 skip=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for t in "$@"; do
    start=$(date +%s)
    CMOCKA_MESSAGE_OUTPUT=TAP "$t" >"$out" 2>&1
    rc=$?
    k=$(grep -c '^\(not \)\?ok [0-9]* # SKIP' "$out") # cmocka says "not ok # SKIP"
    p=$(grep '^ok ' "$out" | grep -vc '# SKIP')
    f=$(grep '^not ok ' "$out" | grep -vc '# SKIP')
    # a crash or sanitizer report leaves no "not ok" line
    if [ $rc -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + k))
    printf '%-44s %5d passed %3d failed %4ds\n' "${t#*/tests/}" "$p" "$f" $(($(date +%s) - start))
    [ $rc -eq 0 ] || { grep -v '^ok ' "$out" | head -${TEST_LINES:-60}; }
done
[ "$skip" -eq 0 ] && echo "$pass passed, $fail failed" || echo "$pass passed, $fail failed, $skip skipped"
[ "$fail" -eq 0 ]
