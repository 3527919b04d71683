#!/bin/sh
# mutants.sh [NAME]...: deletes each barrier, each wait and each bound of kernels/cuda/NAME.cu (of all files, if none is
# named; NAME.h: of that header, in the first .cu that includes it), one at a time, and runs the emulated cases of the
# file's operators, then, if they notice nothing, the family's own test (tests/cuda/test_cuda_nn, ...). Prints a row
# for each and fails if a mutant lives. FIRST=1: only the first of each kind in a file. Run by `make mutants`.
#
# What is mutated: __syncthreads, gy_syncwarp, gy_cp_async_wait and the waits of mma.h vanish; `if (x >= ...) return;`
# and `continue;` vanish; `< a->...` becomes `<=` (but not in loops over an int, which
# count operands, not elements, and not in `x < y ? x : y`, the same either way). A line that ends in the words "mutant: same" is left alone: there the
# mutant computes the same on purpose, and the line says why.
dir=$BUILD/mutants
mkdir -p "$dir"
[ $# -gt 0 ] || set -- $(ls kernels/cuda/*.cu | sed 's|.*/||; s|\.cu$||')
# run TEST [ARGUMENT]...: the test, with the mutant in the place of its original
run() {
    test=$1
    shift
    $CC $LDFLAGS -o "$dir/test" "$BUILD/tests/cuda/$test.o" "$BUILD"/tests/harness/*.o "$dir/$name.o" "$BUILD/libgyrus.a" \
        -Wl,--allow-multiple-definition -lcmocka -lm -lpthread > "$dir/log" 2>&1 && timeout 120 "$dir/test" "$@" > "$dir/log" 2>&1
}
all=0 alive=0
echo '| file | line | deleted | caught by |'
echo '| --- | --- | --- | --- |'
for name in "$@"; do
    case $name in
    *.h) src=kernels/cuda/$name unit=$(grep -l "\"$name\"" kernels/cuda/*.cu | head -1) ;;
    *) src=kernels/cuda/$name.cu unit=$src ;;
    esac
    case $name in
    matmul*) own=test_cuda_matmul ;;
    attention* | conv* | norm* | loss* | softmax* | row* | spatial*) own=test_cuda_nn ;;
    *) own=test_cuda_paths ;;
    esac
    # the operators whose rows name a function of this file
    ops=$(for f in $(sed -n 's/^void \(cuda_[a-z0-9_]*\)(const gy_kargs \*k) {.*/\1/p' "$src"); do
        sed -n "s/^GY_CUDA(\([a-z0-9_]*\),.*[ ,]$f,.*/\1/p" kernels/cuda/cuda.def
    done | sort -u)
    awk -v first="$FIRST" '
        /#ifdef GY_HOST/ { exit }
        /mutant: same/ { next }
        function found(kind) { if (!(first && kind in seen)) print NR " " kind; seen[kind] = 1 }
        /__syncthreads\(\);/ { found("barrier") }
        /gy_syncwarp\(\);/ { found("warp") }
        /gy_[a-z0-9_]*_wait[a-z0-9_]*\(.*\);/ { found("wait") }
        /if \([a-z_0-9]+ >= [^;]*\) (return|continue);/ { found("guard") }
        /[a-z_0-9)] < a->[a-z_]/ && !/for \(int |< a->[a-z_]+ \?/ { found("bound") }
    ' "$src" > "$dir/sites"
    while read -r line kind; do
        case $kind in
        barrier) edit='s/__syncthreads();//' ;;
        warp) edit='s/gy_syncwarp();//' ;;
        wait) edit='s/gy_[a-z0-9_]*_wait[a-z0-9_]*([^;]*);//' ;;
        guard) edit='s/if ([a-z_0-9]* >= [^;]*) \(return\|continue\);//' ;;
        bound) edit='s/\([a-z_0-9)]\) < a->/\1 <= a->/' ;;
        esac
        sed "${line}$edit" "$src" > kernels/cuda/mutant.tmp.${src##*.}
        [ "$src" = "$unit" ] || sed "s/\"$name\"/\"mutant.tmp.h\"/" "$unit" > kernels/cuda/mutant.tmp.cu
        what=$(sed -n "${line}s/^ *//;${line}s/|/\\\\|/g;${line}p" "$src" | cut -c1-60)
        all=$((all + 1))
        if ! $CC $FLAGS -Wno-error -w -x c -c kernels/cuda/mutant.tmp.cu -o "$dir/$name.o" 2> "$dir/log"; then
            caught="the compiler"
        elif { [ -z "$ops" ] || run test_cuda_ops $ops; } && run $own; then
            caught="NOBODY"
            alive=$((alive + 1))
        else
            caught=$(sed -n 's/.*\(kernel [a-z0-9_]*, block.*\)/\1/p; s/.*\(other bits in another order\).*/\1/p; s/.*\(element [0-9]* is [^,]*\).*/\1/p' "$dir/log" | head -1 | cut -c1-90)
            [ -n "$caught" ] || caught="the time limit or a signal"
        fi
        echo "| $name | $line | \`$what\` | $caught |"
    done < "$dir/sites"
done
rm -f kernels/cuda/mutant.tmp.cu kernels/cuda/mutant.tmp.h
echo
echo "$all mutants, $alive alive"
[ $alive -eq 0 ]
