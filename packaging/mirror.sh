# The mirror that this system's own apt configuration names, used without touching the system's apt state: apt's
# proxies, keys and hooks hold, and no root is needed. For scripts that source it:
#
#   mirror_open DIRECTORY            where the private state is kept; sets mirror_codename
#   mirror_use SUITE                 reads the suite's index, and its security archive's
#   mirror_versions PACKAGE [deb]    the versions in that index, newest first; of the source, or of the binary package
#   mirror_source PACKAGE VERSION DIRECTORY      fetches a source package and unpacks it as DIRECTORY/PACKAGE
#   mirror_upstream PACKAGE VERSION DIRECTORY    the same of its upstream tarball alone, without Debian's part
#   mirror_newest PACKAGE DIRECTORY SUITE...     of the newest version that is really there: mirror_source; with
#                                    mirror_upstream_do=yes its upstream tarball, where Debian's part is gone
#   mirror_download FILE SHA256 URI...           fetches one file from the first address that has it
#
# Each returns 1 if there is nothing, with mirror_why set to the reason; mirror_newest sets mirror_taken to what it took.
# An interrupted download is taken up where it ended. Variables of this file begin with mirror_ or m_.
# shellcheck shell=sh disable=SC2034

mirror_why=

mirror_open() {
    mirror_state=$1/apt mirror_why='' m_updated=''
    mirror_codename=
    # shellcheck disable=SC1091
    [ ! -r /etc/os-release ] || mirror_codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if ! command -v apt-get >/dev/null 2>&1 || [ -z "$mirror_codename" ]; then
        mirror_why="this system has no apt"
        return 1
    fi
    m_entries=$(mirror_entries)
    m_main=$(mirror_entry "$mirror_codename" stable oldstable testing)
    m_security=$(mirror_entry "$mirror_codename-security" stable-security oldstable-security testing-security)
    if [ -z "$m_main" ]; then
        mirror_why="apt's configuration has no entry for $mirror_codename"
        return 1
    fi
    mkdir -p "$mirror_state/lists/partial" "$mirror_state/cache/archives/partial" "$mirror_state/files" "$mirror_state/none"
    # Two that fetch at once would write the same files.
    exec 8>"$mirror_state/lock"
    flock 8
    m_apt="$mirror_state/apt.conf"
    # What is listed is kept, so that a suite is read anew quickly. A mirror that is silent is given up soon.
    cat > "$m_apt" <<END
Dir::State "$mirror_state"; Dir::State::Lists "$mirror_state/lists"; Dir::State::status "/dev/null";
Dir::Cache "$mirror_state/cache"; Dir::Etc::sourcelist "$mirror_state/sources.list"; Dir::Etc::sourceparts "-";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "$mirror_state/none"; APT::Get::List-Cleanup "false"; APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false"; Acquire::Retries "1"; Acquire::http::Timeout "20"; Acquire::https::Timeout "20";
END
}

mirror_apt() { "$@" 8>&- ; }
mirror_get() { mirror_apt apt-get -q -c "$m_apt" "$@"; }
mirror_cache() { mirror_apt apt-cache -q -c "$m_apt" "$@"; }

# One line "URI SUITE OPTION[;OPTION]" for each entry of apt's configuration, in its deb822 and its one-line format.
mirror_entries() {
    m_list='' m_parts=''
    eval "$(apt-config shell m_list Dir::Etc::sourcelist/f m_parts Dir::Etc::sourceparts/d)"
    for m_file in "$m_parts"/*.sources; do
        [ -r "$m_file" ] || continue
        awk 'function out(i, j, nu, ns, u, s, o) {
                 nu = split(uris, u, " "); ns = split(suites, s, " ")
                 o = (key ? "signed-by=" key ";" : "") (trusted ? "trusted=" trusted ";" : "")
                 if (enabled != "no") for (i = 1; i <= nu; i++) for (j = 1; j <= ns; j++) print u[i], s[j], (o ? o : "-")
                 uris = suites = key = trusted = enabled = "" }
             /^#/ { next }
             /^[ \t]*$/ { out(); next }
             /^[ \t]/ { next }
             { name = tolower($1); v = $0; sub(/^[^:]*:[ \t]*/, "", v) }
             name == "uris:" { uris = v } name == "suites:" { suites = v } name == "trusted:" { trusted = v }
             name == "signed-by:" { gsub(/ +/, ",", v); key = v } name == "enabled:" { enabled = tolower(v) }
             END { out() }' "$m_file"
    done
    for m_file in "$m_list" "$m_parts"/*.list; do
        [ -f "$m_file" ] || continue
        awk '$1 == "deb" || $1 == "deb-src" {
                 o = ""
                 if (match($0, /\[[^]]*\]/)) {
                     n = split(substr($0, RSTART + 1, RLENGTH - 2), word, " ")
                     for (i = 1; i <= n; i++) if (word[i] ~ /^(signed-by|trusted)=/) o = o word[i] ";"
                     $0 = $1 " " substr($0, RSTART + RLENGTH) }
                 print $2, $3, (o ? o : "-") }' "$m_file"
    done
}

mirror_entry() { # suite...: the first entry of the first suite that has one
    for m_name in "$@"; do
        m_found=$(echo "$m_entries" | awk -v s="$m_name" '$2 == s || $2 == s "/" { print; exit }')
        [ -z "$m_found" ] || { echo "$m_found"; return 0; }
    done
}

mirror_uri() { echo "${1%% *}" | sed 's,/*$,,'; } # entry
mirror_options() { # entry
    m_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    case $1 in
        *signed-by=*|*trusted=*) echo "[$(echo "${1##* }" | tr ';' ' ')]" ;;
        *) [ ! -r $m_keyring ] || echo "[signed-by=$m_keyring]" ;;
    esac
}

mirror_successor() { # codename
    case $1 in
        bookworm) echo trixie ;;
        trixie) echo forky ;;
    esac
}

mirror_use() {
    {
        for m_kind in deb-src deb; do
            echo "$m_kind $(mirror_options "$m_main") $(mirror_uri "$m_main") $1 main"
            [ -z "$m_security" ] ||
                echo "$m_kind $(mirror_options "$m_security") $(mirror_uri "$m_security") $1-security main"
        done
    } > "$mirror_state/sources.list"
    m_log=$mirror_state/update.$1.log
    case " $m_updated " in
        *" $1 "*) ;;
        *)
            m_updated="$m_updated $1"
            mirror_get update >"$m_log" 2>&1 || echo "E: failed" >>"$m_log"
            ;;
    esac
    grep -qE '^(E:|W: (Failed|Some))' "$m_log" || return 0
    mirror_why="the index of $1 cannot be read: $(mirror_reason "$m_log")"
    return 1
}

# Why apt failed, in a few words, from what it printed.
mirror_reason() {
    if grep -qE 'Could not (connect|resolve)|Unable to connect|Connection (failed|timed out)|Network is unreachable|Temporary failure' "$1"; then
        echo "the mirror does not answer"
    elif grep -qE 'Hash Sum mismatch|unexpected size' "$1"; then echo "wrong checksum or size"
    elif grep -qE ' 404 |File not found|No such file' "$1"; then echo "not on the mirror"
    elif grep -qE 'not signed|NO_PUBKEY|BADSIG|EXPKEYSIG|signatures? (couldn|were invalid)' "$1"; then echo "its signature does not hold"
    elif grep -qE 'Unable to find a source package|Unable to locate' "$1"; then echo "not in the index"
    else sed -n 's/^E: //p' "$1" | head -n 1 | cut -c1-160
    fi
}

mirror_versions() {
    if [ "${2:-}" = deb ]; then
        mirror_cache madison "$1" 2>/dev/null | awk -F ' *[|] *' '$3 !~ /Sources$/ { print $2 }'
    else
        mirror_cache showsrc --only-source "$1" 2>/dev/null | awk '$1 == "Version:" { print $2 }'
    fi | sort -Vru
}

mirror_source() {
    [ "$(cat "$3/$1/.fetched" 2>/dev/null)" = "$2" ] && return 0
    m_files=$mirror_state/files/$1_$2 m_log=$mirror_state/source.log
    mkdir -p "$m_files"
    if ! (cd "$m_files" && mirror_get --download-only source "$1=$2") >"$m_log" 2>&1; then
        mirror_why=$(mirror_reason "$m_log")
        return 1
    fi
    mirror_unpack "$m_files/"*.dsc "$3/$1" "$2" || return 1
    rm -rf "$m_files"
}

# Its files' checksums are right already. The tree appears whole or not at all.
mirror_unpack() { # .dsc file, tree, what it is
    m_tmp=$2.unpack.$$ m_log=$mirror_state/unpack.log
    rm -rf "$m_tmp"
    if ! command -v dpkg-source >/dev/null 2>&1; then
        mirror_why="dpkg-source is missing: apt-get install dpkg-dev"
        return 1
    fi
    if ! dpkg-source --no-check --no-copy -x "$1" "$m_tmp" >"$m_log" 2>&1; then
        rm -rf "$m_tmp"
        mirror_why="it cannot be unpacked: $(tail -n 1 "$m_log")"
        return 1
    fi
    echo "$3" > "$m_tmp/.fetched"
    rm -rf "$2"
    mv "$m_tmp" "$2"
}

# The checksum and the name of a source package's upstream tarball, as the index has them.
mirror_tarball() { # package, version
    mirror_cache showsrc --only-source "$1" 2>/dev/null | awk -v version="$2" '
        $1 == "Package:" { right = 0 } $1 == "Version:" { right = $2 == version }
        /^[^ ]/ { sums = $1 == "Checksums-Sha256:" }
        right && sums && $3 ~ /[.]orig[.]tar[.][a-z0-9]+$/ { print $1, $3; exit }'
}

mirror_upstream() {
    [ "$(cat "$3/$1/.fetched" 2>/dev/null)" = "$2, upstream" ] && return 0
    m_tarball=$(mirror_tarball "$1" "$2") m_files=$mirror_state/files/$1_$2
    if [ -z "$m_tarball" ]; then
        mirror_why="not in the index"
        return 1
    fi
    mkdir -p "$m_files"
    # shellcheck disable=SC2046
    mirror_download "$m_files/${m_tarball#* }" "${m_tarball% *}" $(mirror_pools "$1" | sed "s|\$|/${m_tarball#* }|") || return 1
    m_tmp=$3/$1.unpack.$$
    rm -rf "$m_tmp"
    mkdir -p "$m_tmp"
    if ! tar -xf "$m_files/${m_tarball#* }" -C "$m_tmp" 2>"$mirror_state/unpack.log"; then
        rm -rf "$m_tmp"
        mirror_why="it cannot be unpacked: $(tail -n 1 "$mirror_state/unpack.log")"
        return 1
    fi
    echo "$2, upstream" > "$m_tmp/.fetched"
    rm -rf "$3/$1" "$m_files"
    mv "$m_tmp" "$3/$1"
}

# A mirror can be behind its own index: a version is listed whose files are gone. Then the next older one is taken.
# mirror_taken names what was found, mirror_why all that was tried.
mirror_newest() {
    m_package=$1 m_target=$2 m_tried=
    shift 2
    for m_suite in "$@"; do
        m_listed='' m_nothing="$m_suite has no $m_package"
        mirror_use "$m_suite" || m_nothing=$mirror_why # of one archive; the other one may have answered
        for m_version in $(mirror_versions "$m_package"); do
            if mirror_source "$m_package" "$m_version" "$m_target"; then
                mirror_taken="$m_package $m_version of $m_suite"
                return 0
            fi
            m_listed="$m_listed, $m_version: $mirror_why"
            if [ "${mirror_upstream_do:-no}" = yes ] && mirror_upstream "$m_package" "$m_version" "$m_target"; then
                mirror_taken="$m_package $m_version of $m_suite, its upstream source alone"
                return 0
            fi
        done
        if [ -n "$m_listed" ]; then m_tried="$m_tried; $m_suite lists $m_package ${m_listed#, }"
        else m_tried="$m_tried; $m_nothing"; fi
    done
    mirror_why=${m_tried#; }
    return 1
}

mirror_download() {
    m_file=$1 m_sum=$2 m_log=$mirror_state/download.log m_reasons=
    shift 2
    for m_address in "$@"; do
        if mirror_apt /usr/lib/apt/apt-helper -c "$m_apt" download-file "$m_address" "$m_file" "SHA256:$m_sum" >"$m_log" 2>&1; then
            return 0
        fi
        m_reasons="$m_reasons, $(mirror_reason "$m_log")"
    done
    mirror_why="$(basename "$m_file"): $(echo "${m_reasons#, }" | sed 's/^\(.*\), \1$/\1/')"
    return 1
}

mirror_pools() { # source package: its folder in the pool of each archive
    m_pool=pool/main/$(echo "$1" | cut -c1)/$1
    echo "$(mirror_uri "$m_main")/$m_pool"
    [ -z "$m_security" ] || echo "$(mirror_uri "$m_security")/pool/updates/main/${m_pool#pool/main/}"
}
