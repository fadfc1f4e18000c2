#!/bin/sh
# tests/install/image.sh - the container image, without a container engine, by hand, as root.
#
#     sh tests/install/image.sh DIR [SUITE]
#
# Builds worker/Dockerfile with Debian's buildah on a base made by debootstrap (SUITE: trixie), as
# DIR/SUITE.base, which chroot.sh uses as well. Then runs the image's worker and the demo of
# compose.yaml against a private broker of this machine, and stops the worker with SIGTERM. Needs
# buildah, debootstrap and 4 GB in DIR. Not part of ctest.
set -u

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || {
    sed -n 's/^#  *sh /usage: sh /p' "$0"
    exit 2
}
mkdir -p "$1" || exit
DIR=$(cd "$1" && pwd)
SUITE=${2:-trixie}
export CTASK_BROKER_DIR="$DIR/broker" BUILDAH_ISOLATION=chroot
worker=""

say() { echo "image: $*"; }
die() { say "$*" && exit 1; }
buildah() { command buildah --storage-driver vfs --root "$DIR/storage" --runroot "$DIR/run" "$@"; }
# buildah passes no signals on. The worker's name holds its pid, which is the same out here.
worker_pid() { sed -n 's/^ctask-worker .*, ctask\([0-9]*\)@.*/\1/p' "$DIR/worker.log"; }

finish() {
    status=$?
    [ -z "$worker" ] || kill -TERM "$(worker_pid)"
    "$ROOT/dev" broker stop
    buildah rm --all >/dev/null
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

if [ ! -e "$DIR/$SUITE.base/usr/bin/apt-get" ]; then
    say "debootstrap $SUITE"
    debootstrap --variant=minbase "$SUITE" "$DIR/$SUITE.base" || die "no base"
fi
if ! buildah inspect --type image "localhost/$SUITE" >/dev/null 2>&1; then
    say "the base image"
    base=$(buildah from scratch) || die "no container"
    buildah add -q "$base" "$DIR/$SUITE.base" / >/dev/null || die "no base image"
    buildah commit -q --rm "$base" "localhost/$SUITE" >/dev/null || die "no base image"
fi

say "building worker/Dockerfile"
buildah build --isolation chroot --network host --build-arg "BASE=localhost/$SUITE" \
    -f "$ROOT/worker/Dockerfile" -t localhost/ctask "$ROOT" || die "the image was not built"

# As compose.yaml runs it: the entrypoint, the user and the address of the broker.
inspect() { buildah inspect --type image --format "{{$1}}" localhost/ctask; }
[ "$(inspect .OCIv1.Config.Entrypoint)" = "[ctask-worker]" ] || die "not the worker's entrypoint"
[ "$(inspect .OCIv1.Config.User)" = ctask ] || die "not the worker's user"
url=$("$ROOT/dev" broker start) || die "no broker"
url=amqp://ctask:ctask@${url#*@}
one=$(buildah from localhost/ctask) || die "no container"
two=$(buildah from localhost/ctask) || die "no container"

say "its worker"
buildah run --network host -e CTASK_BROKER_URL="$url" "$one" -- ctask-worker -A primes --grace 30 \
    2>"$DIR/worker.log" &
worker=$!
until grep -q ready "$DIR/worker.log"; do
    kill -0 "$worker" 2>/dev/null || { cat "$DIR/worker.log" && die "the worker did not start"; }
    sleep 0.1
done

say "its demo"
demo=$(sed -n 's/.*entrypoint: \["sh", "-c", "\(.*\)"\]/\1/p' "$ROOT/compose.yaml")
buildah run --network host -e CTASK_BROKER_URL="$url" "$two" -- sh -c "$demo" >"$DIR/results" ||
    die "the demo failed"
[ "$(grep -c true "$DIR/results") of $(wc -l <"$DIR/results")" = "14 of 15" ] ||
    die "the demo's results are wrong: $(tr '\n' ' ' <"$DIR/results")"

say "its end"
kill -TERM "$(worker_pid)"
wait "$worker" || die "the worker's exit status is $?"
worker=""
cat "$DIR/worker.log"
say "passed"
