#!/bin/sh
# Gets one slice of Haxby et al. 2001 (12 runs, 8 categories; CC BY-SA 3.0) out of the source package pymvpa2 2.6.5,
# verifies it and keeps it in DIR (default build/data/haxby). Prints DIR and exits 0 when the data are there; exits 1
# with manual steps otherwise. Nothing is fetched when the files are already there with the right sums.
# Usage: sh data/fetch_haxby.sh [DIR]
set -u
dir=${1:-build/data/haxby}
package=pymvpa2==2.6.5
log=$dir/fetch.log

sums() {
    cat <<'SUMS'
cbbd4d07803caaa9f77381af24e790cf77058664a128bd514a4c1668eefb92d7  bold.nii.gz
8d879d35aaeee3afddfb69a7e1b8dd2b3be446671452d7e841dc6588845f2877  mask.nii.gz
a252fa822cd1cec9e1192b139d7b5e35a5615dbe75598f73d4cf1b803aae62b0  attributes.txt
7769f235e93d3157ef7bd1102abfaf3bc058ad9ca28e89dc60b8e47f473207c3  attributes_literal.txt
SUMS
}
say() { echo "fetch_haxby: $*" >&2; }
complete() { sums | (cd "$1" 2>/dev/null && sha256sum --check --status - 2>/dev/null); }
give() { echo "$dir"; exit 0; }

manual() {
    say "$1"
    cat >&2 <<EOM
To get the data by hand, on any machine with Python:
    pip download --no-deps --no-binary :all: --no-build-isolation --no-clean -d pkg $package
then unpack pkg/pymvpa2-2.6.5.tar.gz and copy from its folder mvpa2/data the files
    bold.nii.gz  mask.nii.gz  attributes.txt  attributes_literal.txt
into $dir. Any folder of your own with images, a mask and labels works too: gyrus train haxby --data DIR
EOM
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null 2>&1; then sudo -n "$@"; else return 1; fi
}
find_pip() {
    for pip in "pip3" "pip" "python3 -m pip"; do
        if $pip --version >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

# The four files from wherever the package lies below $1.
take() {
    find "$1" -type f -path '*mvpa2/data/bold.nii.gz' 2>/dev/null | while read -r bold; do
        for f in bold.nii.gz mask.nii.gz attributes.txt attributes_literal.txt; do
            cp "$(dirname "$bold")/$f" "$dir/" 2>/dev/null
        done
        break
    done
    complete "$dir"
}

mkdir -p "$dir" || exit 1
complete "$dir" && give
rm -f "$log"

if ! find_pip; then
    say "installing python3-pip"
    { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            python3-pip python3-setuptools python3-wheel; } >>"$log" 2>&1
    find_pip || manual "pip is not here and cannot be installed (see $log)"
fi

work=$(mktemp -d "$dir/work.XXXXXX") || exit 1
work=$(cd "$work" && pwd)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
say "downloading $package"
# The package's setup script is older than today's Python: pip stops with an error after it has unpacked the archive,
# and --no-clean keeps what it unpacked. If it succeeds instead, the archive is there.
TMPDIR=$work $pip --disable-pip-version-check --default-timeout 20 download --retries 2 --no-deps --no-binary :all: \
    --no-build-isolation --no-clean -d "$work/pkg" $package >>"$log" 2>&1
take "$work" && give
for archive in "$work"/pkg/*.tar.gz; do
    [ -f "$archive" ] && tar -xzf "$archive" -C "$work" >>"$log" 2>&1 && take "$work" && give
done
if [ -f "$dir/bold.nii.gz" ]; then
    rm -f "$dir"/*.nii.gz "$dir"/attributes*.txt
    manual "$package holds other files than expected (sha256 differs); they were not used"
fi
manual "$package could not be downloaded: no network, or no such package there (see $log)"
