#!/bin/sh
# tests/install/chroot.sh - the two commands on a fresh machine, by hand, as root.
#
#     sh tests/install/chroot.sh DIR [bookworm|trixie]...
#
# Makes minbase chroots of Debian 12 and 13 below DIR (kept as DIR/SUITE.base for the next time),
# copies this checkout into a fresh copy of each, runs `./dev demo` and `./dev test` there with
# nothing installed before, and the demo once more without a network. Needs debootstrap and an
# hour at most; the output of each step is in DIR/SUITE.STEP.log. Not part of ctest.
set -u

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || {
    sed -n 's/^#  *sh /usage: sh /p' "$0"
    exit 2
}
[ "$(id -u)" = 0 ] || {
    echo "as root: it mounts and changes roots" >&2
    exit 1
}
# Runs a program in the checkout that is in a chroot.
inside() { # suite command...
    suite=$1
    shift
    chroot "$DIR/$suite" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c 'cd /root/ctask && exec "$@"' sh "$@" </dev/null
}

if [ "$1" = --inside ]; then
    DIR=$2
    shift 2
    inside "$@"
    exit
fi

mkdir -p "$1" || exit
DIR=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- bookworm trixie

unmount() {
    for mounted in bookworm trixie; do
        for place in proc dev; do
            mountpoint -q "$DIR/$mounted/$place" && umount "$DIR/$mounted/$place"
        done
    done
}
trap unmount EXIT
trap 'exit 130' INT TERM HUP

prepare() { # suite
    if [ ! -e "$DIR/$1.base/usr/bin/apt-get" ]; then
        echo "$1: debootstrap"
        debootstrap --variant=minbase "$1" "$DIR/$1.base" >"$DIR/$1.debootstrap.log" 2>&1 || return
    fi
    unmount
    rm -rf --one-file-system "${DIR:?}/$1"
    cp -a "$DIR/$1.base" "$DIR/$1" || return
    mkdir -p "$DIR/$1/root/ctask"
    tar -C "$ROOT" --exclude=./build --exclude='./build-*' --exclude=./.git -cf - . |
        tar -C "$DIR/$1/root/ctask" -xf - || return
    mount -t proc proc "$DIR/$1/proc" && mount --bind /dev "$DIR/$1/dev"
}

bad=0
step() { # suite name command...
    suite=$1 name=$2
    shift 2
    began=$(date +%s)
    if "$@" >"$DIR/$suite.$name.log" 2>&1; then result=passed; else result=FAILED bad=1; fi
    echo "$suite: $name $result in $(($(date +%s) - began)) s"
    [ "$result" = passed ] || tail -n 20 "$DIR/$suite.$name.log"
}

for suite in "$@"; do
    prepare "$suite" || {
        echo "$suite: could not be prepared"
        exit 1
    }
    step "$suite" demo inside "$suite" ./dev demo
    step "$suite" test inside "$suite" ./dev test
    # A network of its own that leads nowhere: a second run needs none.
    step "$suite" offline unshare --net sh -c 'ip link set lo up && exec "$@"' sh \
        sh "$0" --inside "$DIR" "$suite" ./dev demo
done
exit "$bad"
