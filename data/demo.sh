#!/bin/sh
# make demo, two acts. First: decode which category of object a person saw from real brain volumes, into
# runs/demo/report.html. Without a way to get the real data, the same on generated data, and it says so. Second, on
# generated brains whose truth is known: draw the pictures that were seen, into runs/demo/pictures/report.html.
set -eu
gyrus=${GYRUS:-build/gyrus}
out=${OUT:-runs/demo}
start=$(date +%s)

if dir=$(sh data/fetch_haxby.sh build/data/haxby); then
    echo "data: one slice of Haxby et al. 2001 (Science 293:2425-2430), licence CC BY-SA 3.0, in $dir"
    set -- --data "$dir"
    real=1
else
    echo "data: GENERATED, because the real set could not be had; the figures below say nothing about brains"
    set --
    real=0
fi

rm -rf "$out"
metrics=$("$gyrus" train haxby "$@" --seed 1 --out "$out")

value() { echo "$metrics" | awk -v m="$1" '$1 == m { printf "%.3f", $2 }'; }
row() { printf '%-34s %8s  %8s  %8s\n' "$1" "$2" "$3" "$4"; }
echo
if [ $real = 1 ]; then
    echo "Leave-one-run-out on real fMRI, 12 runs, 864 volumes, 530 voxels"
    expected="0.68" pair="0.98"
else
    echo "Leave-one-run-out on GENERATED data"
    expected="-" pair="-"
fi
row "" "measured" "expected" "chance"
row "networks, 8 categories" "$(value accuracy)" "" "0.125"
row "linear (ridge), 8 categories" "$(value accuracy_linear)" "$expected" "0.125"
row "linear (logistic), 8 categories" "$(value accuracy_logistic)" "" "0.125"
row "face against house, linear" "$(value pair_accuracy_linear)" "$pair" "0.500"
row "permutation p" "$(value permutation_p)" "< 0.01" ""
echo
echo "expected: what a standard linear classifier reaches on the real set; time $(($(date +%s) - start)) s"

echo
echo "Second act: pictures drawn from generated brains"
metrics=$("$gyrus" train mindbridge --seed 1 --out "$out/pictures")
row "" "measured" "" "chance"
row "picture found among 50, person 0" "$(value top1_of_50.subject0)" "" "0.020"
row "a newcomer with 100 trials" "$(value top1_of_50.newcomer3)" "" "0.020"
echo
echo "open $out/report.html and $out/pictures/report.html; time $(($(date +%s) - start)) s"
