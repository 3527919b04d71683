#compdef gyrus
# zsh completion for gyrus. Verbs, options and models are asked of the program itself, so this file never lags behind.
_gyrus() {
    local gyrus=${words[1]} verb=${words[2]}
    local -a items
    if (( CURRENT == 2 )); then
        items=("${(@f)$($gyrus --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *\(.*\)$/\1:\2/p')}")
        _describe 'verb' items
        return
    fi
    case ${words[CURRENT-1]} in
    --family) items=(${(f)"$($gyrus list 2>/dev/null | awk '{ print $2 }' | sort -u)"}) ;;
    --config) items=(${(f)"$($gyrus show ${words[3]} 2>/dev/null | sed -n '/^configs/,/^options/s/^.\{12\} \([a-z0-9_-]*\): .*/\1/p')"}) ;;
    --ablate) items=(${(f)"$($gyrus show ${words[3]} 2>/dev/null | sed -n '/^ablations/,$s/^.\{12\} \([^ ]*\).*/\1/p')"}) ;;
    --op) items=(${(f)"$($gyrus list --ops 2>/dev/null | awk '{ print $1 }')"}) ;;
    --device) items=(cpu) ;;
    --dtype) items=(f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool) ;;
    *)
        if [[ ${words[CURRENT]} == -* ]]; then
            items=("${(@f)$($gyrus $verb --help 2>/dev/null | sed -n 's/^  \(-[^ ]*\)[^ ]* *\(.*\)$/\1:\2/p')}")
            _describe 'option' items
            return
        fi
        if (( CURRENT == 3 )); then
            case $verb in
            show|train|run|sample|claim|explain) items=(${(f)"$($gyrus list 2>/dev/null | awk '{ print $1 }')"}) ;;
            bench) items=(${(f)"$($gyrus bench --list 2>/dev/null)"}) ;;
            esac
        fi ;;
    esac
    (( $#items )) && compadd -a items
    [[ ${words[CURRENT-1]} == --(family|config|ablate|op|device|dtype) ]] || _files
}
_gyrus "$@"
