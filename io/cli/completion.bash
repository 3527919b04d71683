# bash completion for gyrus. Verbs, options and models are asked of the program itself, so this file never lags behind.
_gyrus() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} gyrus=${COMP_WORDS[0]}
    local words
    compopt -o default 2>/dev/null
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words=$("$gyrus" --help 2>/dev/null | awk '/^  [a-z]+ / { print $1 }')
        COMPREPLY=($(compgen -W "$words --help --version" -- "$word"))
        return
    fi
    case $before in
    --family) words=$("$gyrus" list 2>/dev/null | awk '{ print $2 }' | sort -u) ;;
    --config) words=$("$gyrus" show "${COMP_WORDS[2]}" 2>/dev/null | sed -n '/^configs/,/^options/s/^.\{12\} \([a-z0-9_-]*\): .*/\1/p') ;;
    --ablate) words=$("$gyrus" show "${COMP_WORDS[2]}" 2>/dev/null | sed -n '/^ablations/,$s/^.\{12\} \([^ ]*\).*/\1/p') ;;
    --op) words=$("$gyrus" list --ops 2>/dev/null | awk '{ print $1 }') ;;
    --device) words=cpu ;;
    --dtype) words="f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool" ;;
    *)
        case $word in
        -*) words=$("$gyrus" "$verb" --help 2>/dev/null | awk '/^  -/ { print $1 }') ;;
        *)
            case $verb in
            show | train | run | sample | claim | explain)
                [ "$COMP_CWORD" -eq 2 ] && words=$("$gyrus" list 2>/dev/null | awk '{ print $1 }') ;;
            bench)
                words=$("$gyrus" bench --list 2>/dev/null) ;;
            esac ;;
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _gyrus gyrus
