#!/bin/sh
# Installs (or, with the argument "uninstall", removes) what `make` built. Called by the Makefile with
# DESTDIR, PREFIX, BUILD, VERSION. Layout under PREFIX:
#   bin/gyrus
#   lib/libgyrus.a  libgyrus.so.VERSION  libgyrus.so.0 -> libgyrus.so.VERSION  libgyrus.so -> libgyrus.so.0
#   lib/pkgconfig/gyrus.pc
#   include/gyrus/gyrus.h, and below it the headers in the tree they include each other by
#   share/gyrus/peers: the scripts and sources of gyrus bench --peers
#   share/man/man1/gyrus.1, share/bash-completion/completions/gyrus, share/zsh/site-functions/_gyrus
set -eu
PREFIX=${PREFIX:-/usr/local} DESTDIR=${DESTDIR:-}
root=$DESTDIR$PREFIX
case $PREFIX in
/*) ;;
*) echo "install: PREFIX=$PREFIX: expected an absolute path" >&2; exit 2 ;;
esac

if [ "${1:-}" = uninstall ]; then
    rm -f "$root/bin/gyrus" "$root/lib/libgyrus.a" "$root"/lib/libgyrus.so* "$root/lib/pkgconfig/gyrus.pc" \
        "$root/share/man/man1/gyrus.1" "$root/share/bash-completion/completions/gyrus" \
        "$root/share/zsh/site-functions/_gyrus"
    rm -rf "$root/include/gyrus" "$root/share/gyrus/peers"
    rmdir "$root/share/gyrus" 2>/dev/null || true
    echo "removed from $root"
    exit 0
fi

put() { # put MODE FILE TARGET
    mkdir -p "$(dirname "$root/$3")"
    cp "$2" "$root/$3.new"
    chmod "$1" "$root/$3.new"
    mv -f "$root/$3.new" "$root/$3" # a running gyrus keeps its old file
}

put 755 "$BUILD/gyrus" bin/gyrus
put 644 "$BUILD/libgyrus.a" lib/libgyrus.a
put 755 "$BUILD/libgyrus.so.$VERSION" "lib/libgyrus.so.$VERSION"
ln -sf "libgyrus.so.$VERSION" "$root/lib/libgyrus.so.0"
ln -sf libgyrus.so.0 "$root/lib/libgyrus.so"

# Public headers: all but those that only the engine's own files see.
for h in core/*.h core/ops/*.h core/ops/ops.def core/linalg/*.h io/*.h io/formats/*.h io/report/*.h; do
    case $h in
    */internal.h | *_internal.h | */inner.h | */nifti_layout.h | */html_style.h | core/op.h | core/ops/fused.h) continue ;;
    esac
    put 644 "$h" "include/gyrus/$h"
done
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
printf '/* gyrus.h: the engine; the readers and writers of files are in <gyrus/io/...>. */\n#include "core/gyrus.h"\n' >"$tmp"
put 644 "$tmp" include/gyrus/gyrus.h

cat >"$tmp" <<PC
prefix=$PREFIX
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: gyrus
Description: Numerical framework for brain decoding
Version: $VERSION
Libs: -L\${libdir} -lgyrus
Libs.private: -lm -lpthread
Cflags: -I\${includedir}
PC
put 644 "$tmp" lib/pkgconfig/gyrus.pc
for f in bench/peers/*.py bench/peers/*.sh bench/peers/*.c bench/peers/*.cpp bench/peers/*.h; do put 644 "$f" "share/gyrus/peers/${f##*/}"; done
put 644 io/cli/gyrus.1 share/man/man1/gyrus.1
put 644 io/cli/completion.bash share/bash-completion/completions/gyrus
put 644 io/cli/completion.zsh share/zsh/site-functions/_gyrus
echo "installed into $root"
