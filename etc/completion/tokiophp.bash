# bash completion of tokiophp. tests/check-install compares its words with what the program says itself.

_tokiophp_pools() { # of the running server
    tokiophp ctl "${control[@]}" status 2>/dev/null | sed -n 's/^pool \([^ ]*\).*/\1/p'
}

_tokiophp() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command='' words='' i
    local control=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -s|-y) control=("${COMP_WORDS[i]}" "${COMP_WORDS[i+1]}") ;;
            serve|fpm|ctl|top|php|doctor) [[ -n $command ]] || command=${COMP_WORDS[i]} ;;
        esac
    done
    case $before in
        -y|--fpm-config|--config|-c|--php-ini|-g|--pid|-s|--output|--index|--worker|--tls-cert|--tls-key)
            mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        -p|--prefix) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
        -d|--define|--listen|--workers|--seconds|--hz) return ;;
        --print-settings) words="text markdown ini man" ;;
        --format) words="folded speedscope pprof" ;;
        restart|profile) [[ $command != ctl ]] || words=$(_tokiophp_pools) ;;
    esac
    if [[ -z $words ]]; then
        case $command in
            serve)
                if [[ $word != -* ]]; then mapfile -t COMPREPLY < <(compgen -d -- "$word"); return; fi
                words="--listen --index --workers --worker --watch --tls-cert --tls-key --tls --open -d -c -n -t --help" ;;
            ctl) words="status health restart reload reopen drain config profile help --seconds --last --hz --format --output -s -y" ;;
            top) words="--once --help -s -y" ;;
            php|doctor) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
            *)
                words="--php-ini --no-php-ini --define --profile-info --help --info --modules --version --fpm-config
                    --test --prefix --pid --allow-to-run-as-root --daemonize --nodaemonize --force-stderr"
                [[ $command == fpm ]] || words="$words --config --print-settings serve fpm ctl top php doctor" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o filenames -F _tokiophp tokiophp
