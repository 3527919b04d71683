#!/bin/sh
# The claims of all models, on seeds that nobody tuned on, and broken on purpose. Ends with 1 if a claim fails, or holds
# although its mechanism was taken away.
# Usage: GYRUS=build/gyrus sh tests/claims.sh [SEED...]
#   CLAIM_MODELS='a b'    these models only        CLAIM_ABLATE='11'  seeds of the ablations (default: the first seed)
GYRUS=${GYRUS:-build/gyrus}
[ $# -gt 0 ] || set -- 11 12 13 14 15
models=${CLAIM_MODELS:-$("$GYRUS" list | cut -d' ' -f1)}
unexpected=0

field() { # NAME: the value of a member of the JSON object in $out
    printf '%s' "$out" | sed -n 's/.*"'"$1"'": *\("[^"]*"\|[^,}]*\).*/\1/p' | tr -d '"'
}

run() { # SLUG SEED EXPECTED [ABLATION]
    out=$("$GYRUS" claim "$1" --seed "$2" ${4:+--ablate "$4"} --json 2>&1 | tr '\n' ' ')
    pass=$(field pass)
    verdict=ok
    [ "$pass" = "$3" ] || { verdict=UNEXPECTED unexpected=$((unexpected + 1)); }
    case $pass in
    true | false) ;;
    *) pass=error ;;
    esac
    printf '%-22s %5s %-12s %-8.8s %-8.8s %-9.9s %-6s %7.1f %-10s %s\n' "$1" "$2" "${4:--}" "$(field value)" \
        "$(field baseline)" "$(field threshold)" "$pass" "$(field seconds || echo 0)" "$verdict" "$(field metric)"
    [ $pass != error ] || printf '    %s\n' "$out"
}

printf '%-22s %5s %-12s %-8s %-8s %-9s %-6s %7s %-10s %s\n' slug seed ablation value baseline threshold pass seconds \
    '' metric
for slug in $models; do
    about=$("$GYRUS" show "$slug") || { unexpected=$((unexpected + 1)); continue; }
    printf '%s\n' "$about" | grep -q '^claim  *none' && continue
    for seed in "$@"; do run "$slug" "$seed" true; done
    for name in $(printf '%s\n' "$about" | awk '/^ablations /{on = 1; print $2; next} /^[^ ]/{on = 0} on{print $1}'); do
        for seed in ${CLAIM_ABLATE:-$1}; do run "$slug" "$seed" false "$name"; done
    done
done
[ $unexpected -eq 0 ] || echo "$unexpected unexpected"
[ $unexpected -eq 0 ]
