# shellcheck shell=sh
# tests/support/packages.sh - installs the Debian packages that ./dev lacks.
#
# Looks at what is there (programs, files, pkg-config), never at the package database, so that a
# library built by hand counts and a machine that has all of it needs no network. Says what is
# missing and why, asks first on a terminal, and lets no package start a service.
#
# Sourced. Wants the functions say and die, and packages_cleanup in the caller's exit trap.

missing="" reasons="" policy_written=""

want() { # package why check...
    package=$1 why=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    missing="$missing $package"
    reasons="$reasons
  $(printf '%-16s %s' "$package" "$why")"
}

has_program() { # any of these
    for program in "$@"; do
        command -v "$program" && return
    done
    return 1
}

packages_for() { # what for
    case $1 in
    build)
        want gcc "compiles C" has_program cc
        want libc6-dev "the C library's headers" test -e /usr/include/stdio.h
        want cmake "configures the build" has_program cmake
        want ninja-build "runs the build" has_program ninja make
        want pkg-config "finds the libraries" has_program pkg-config
        want librabbitmq-dev "encodes AMQP" pkg-config --exists librabbitmq
        want libjansson-dev "reads and writes JSON" pkg-config --exists 'jansson >= 2.14'
        want uuid-dev "makes task ids" pkg-config --exists uuid
        want libssl-dev "speaks TLS to the broker" pkg-config --exists 'openssl >= 3.0'
        want check "runs the unit tests" pkg-config --exists 'check >= 0.15'
        ;;
    broker)
        want rabbitmq-server "the broker; started as a private node, never as a service" \
            test -x /usr/lib/rabbitmq/bin/rabbitmq-server
        want openssl "makes certificates and odd servers for the tests of TLS" has_program openssl
        ;;
    interop)
        want python3-celery "the other side of the tests with Celery" \
            /usr/bin/python3 -c 'import celery'
        ;;
    bench)
        want gnuplot-nox "draws what ./dev bench found" has_program gnuplot
        want strace "counts system calls" has_program strace
        want python3-ipyparallel "is measured beside" /usr/bin/python3 -c 'import ipyparallel'
        ;;
    cluster)
        want iproute2 "sets the network of a cluster's nodes up" has_program ip
        want nftables "cuts a node off" has_program nft
        want util-linux "makes a network for the nodes alone" has_program unshare nsenter
        ;;
    fuzz)
        want clang "has libFuzzer" has_program clang
        want llvm "shows where a finding is" has_program llvm-symbolizer llvm-symbolizer-14
        ;;
    format) want clang-format "formats C" has_program clang-format ;;
    lint)
        want clang-tidy "looks for mistakes in C" has_program clang-tidy
        want cppcheck "looks for mistakes in C" has_program cppcheck
        want shellcheck "looks for mistakes in sh" has_program shellcheck
        ;;
    esac
}

packages_ask() {
    say "missing, and what for:$reasons"
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        as_root=sudo
        has_program sudo >/dev/null || die "as root: apt-get install --no-install-recommends$missing"
    fi
    has_program apt-get >/dev/null || die "this is no Debian: please install what these packages hold"
    [ -t 0 ] || return 0
    printf 'Install them with apt-get%s? [Y/n] ' "${as_root:+ (sudo)}" >&2
    read -r answer
    case $answer in
    "" | [Yy]*) ;;
    *) die "nothing was installed" ;;
    esac
}

# The services that these packages would have the machine start at boot.
units="rabbitmq-server.service epmd.service epmd.socket"

units_enabled() {
    for unit in $units; do
        for link in /etc/systemd/system/*.wants/"$unit" /etc/rc[2-5].d/S[0-9][0-9]"${unit%.*}"; do
            [ -L "$link" ] && echo "$link"
        done
    done
}

unit_disable() { # link
    case $1 in
    /etc/rc*) $as_root mv -f "$1" "${1%/*}/K${1##*/S}" ;; # as update-rc.d disable does
    *) $as_root rm -f "$1" ;;
    esac
}

# Starting is forbidden by a policy-rc.d (none is replaced, ours is removed in the end); being
# enabled for the next boot is undone, for what was not enabled before.
packages_install() { # what for...
    missing="" reasons=""
    for purpose in "$@"; do
        packages_for "$purpose"
    done
    [ -n "$missing" ] || return 0
    packages_ask
    before=$(units_enabled)
    if [ ! -e /usr/sbin/policy-rc.d ] && [ ! -L /usr/sbin/policy-rc.d ]; then
        policy_written=yes
        printf '#!/bin/sh\n# Written by ctask while it installs packages.\nexit 101\n' |
            $as_root tee /usr/sbin/policy-rc.d >/dev/null
        $as_root chmod 755 /usr/sbin/policy-rc.d
    fi
    apt_get update
    # shellcheck disable=SC2086 # split on purpose
    apt_get install -y --no-install-recommends $missing
    packages_cleanup
    for link in $(units_enabled); do
        case " $(echo "$before" | tr '\n' ' ') " in
        *" $link "*) ;;
        *) unit_disable "$link" ;;
        esac
    done
    say "installed:$missing"
}

apt_get() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@" </dev/null >&2 ||
        die "apt-get $1 failed"
}

packages_cleanup() {
    [ -z "$policy_written" ] || $as_root rm -f /usr/sbin/policy-rc.d
    policy_written=""
}
