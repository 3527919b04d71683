#!/bin/sh
# Compiles bench/peers/NAME_rows against the peer that a variable names, and runs it: sh compiled.sh ggml|llama|llmc|sdcpp
#
#   GYRUS_GGML   a folder with include/ggml.h and lib/libggml.so        ggml
#   GYRUS_LLAMA  a folder with include/llama.h, ggml.h and lib/libllama.so   llama.cpp
#   GYRUS_LLMC   the sources of llm.c: train_gpt2.c
#   GYRUS_SDCPP  the sources of stable-diffusion.cpp with its build in build/
# The version of sources is their git commit, or what a file VERSION beside them says.
#
# Programs are kept in $GYRUS_PEER_BUILD (else a folder in $TMPDIR) and made again when their source is newer.
name=$1
here=$(dirname "$0")
absent() {
    printf '{"absent": "%s"}\n' "$1"
    exit 0
}
case $name in
ggml) at=${GYRUS_GGML-} variable=GYRUS_GGML needs=include/ggml.h source=ggml_rows.c ;;
llama) at=${GYRUS_LLAMA-} variable=GYRUS_LLAMA needs=include/llama.h source=llama_rows.c ;;
llmc) at=${GYRUS_LLMC-} variable=GYRUS_LLMC needs=train_gpt2.c source=llmc_rows.c ;;
sdcpp) at=${GYRUS_SDCPP-} variable=GYRUS_SDCPP needs=src/unet.hpp source=sdcpp_rows.cpp ;;
*) absent "no peer $name" ;;
esac
[ -n "$at" ] || absent "set $variable"
[ -r "$at/$needs" ] || absent "$variable=$at has no $needs"

commit=$(git -C "$at" rev-parse --short HEAD 2>/dev/null || cat "$at/VERSION" 2>/dev/null)
build=${GYRUS_PEER_BUILD:-${TMPDIR:-/tmp}/gyrus-peers-$(id -u)}
mkdir -p "$build" || absent "no folder $build"
program=$build/$name-$(printf '%s' "$at" | cksum | cut -d ' ' -f 1)
if [ ! -x "$program" ] || [ "$here/$source" -nt "$program" ] || [ "$here/rows.h" -nt "$program" ] ||
    [ "$0" -nt "$program" ]; then
    case $name in
    ggml) ${CC:-cc} -O2 -I"$at/include" "$here/$source" -o "$program" -L"$at/lib" -Wl,-rpath,"$at/lib" -lggml -lggml-cpu \
        -lggml-base -lm ;;
    llama) ${CC:-cc} -O2 -I"$at/include" "$here/$source" -o "$program" -L"$at/lib" -Wl,-rpath,"$at/lib" -lllama -lggml \
        -lggml-cpu -lggml-base -lm ;;
    llmc) ${CC:-cc} -Ofast -march=native -fopenmp -w -DTESTING -DOMP "-DLLMC_COMMIT=\" ${commit:-of unknown version}\"" -I"$at" "$here/$source" -o "$program" -lm ;;
    sdcpp) ${CXX:-c++} -std=c++17 -O3 -march=native -w -DGGML_MAX_NAME=128 "-DSDCPP_COMMIT=\"${commit:-of unknown version}\"" -I"$at/src" \
        -I"$at/include" -I"$at/thirdparty" -I"$at/ggml/include" "$here/$source" -o "$program" \
        $(find "$at/build" -name libstable-diffusion.a) $(find "$at/build" -name libzip.a) $(find "$at/build" -name libggml.a) \
        $(find "$at/build" -name libggml-cpu.a) $(find "$at/build" -name libggml-base.a) -fopenmp -lpthread -ldl -lm ;;
    esac >"$program.log" 2>&1 || absent "$source does not compile against $variable; see $program.log"
fi
exec "$program"
