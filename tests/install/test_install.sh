#!/bin/sh
# tests/install/test_install.sh - what is installed can be moved, and is enough to work with.
#
# Installs, moves the tree, and compiles there as the README files say: a producer, the app of
# tasks/README.md and a worker binary of one's own. Runs each of them against the broker.
set -u

fail() {
    echo "FAIL $*"
    [ ! -e log ] || sed 's/^/    /' log
    exit 1
}
skip() {
    echo "SKIPPED: $*"
    exit 77
}
[ -n "${CTASK_TEST_BROKER:-}" ] || skip "needs a broker: set CTASK_TEST_BROKER, or run ./dev test"
[ -z "${CTASK_SANITIZED:-}" ] || skip "a program outside would need the sanitizer too"
for program in cc cmake pkg-config; do
    command -v "$program" >/dev/null || skip "needs $program"
done

dir=$(mktemp -d) || exit
worker=""
finish() {
    status=$?
    [ -z "$worker" ] || { kill -TERM "$worker" && wait "$worker"; }
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
cd "$dir" || exit

cmake --install "$CTASK_BUILD" --prefix "$dir/first" >log 2>&1 || fail "the installation"
mv first second
export PATH="$dir/second/bin:$PATH" PKG_CONFIG_PATH="$dir/second/lib/pkgconfig"
export CTASK_BROKER_URL="$CTASK_TEST_BROKER" CTASK_QUEUE="install.$$"

worker_start() { # program...
    "$@" 2>log &
    worker=$!
    until grep -q ready log; do
        kill -0 "$worker" 2>/dev/null || fail "$* did not start"
        sleep 0.05
    done
}
worker_stop() {
    kill -TERM "$worker"
    wait "$worker" || fail "the worker's exit status is $?"
    worker=""
}
expect() { # what, command...
    what=$1
    shift
    got=$("$@" 2>>log) || fail "$*: exit status $?"
    [ "$got" = "$what" ] || fail "$*: $got, not $what"
}

# A producer, linked with the library that was moved.
cat >p.c <<'C'
#include <ctask.h>
#include <stdio.h>

int main(void)
{
    AsyncResult *r = task_delay("is_prime", 112272535095293);
    bool prime = false;
    int rc = result_get(r, 30.0, &prime);
    puts(rc == CTASK_OK ? prime ? "prime" : "composite" : result_error(r)->text);
    result_forget(r);
    return rc != CTASK_OK;
}
C
# shellcheck disable=SC2046 # split on purpose, as a user types it
cc p.c $(pkg-config --cflags --libs ctask) -o p 2>log || fail "the producer does not compile"
worker_start ctask-worker -A primes
expect prime env LD_LIBRARY_PATH="$dir/second/lib" ./p
expect true ctask call is_prime 97
worker_stop

# The app of tasks/README.md: its first C block, and the lines that compile and install it.
readme=$CTASK_SOURCE/tasks/README.md
awk '/^```/ { inside = !inside && /^```c$/ && ++n == 1; next } inside' "$readme" >words.c
grep '^cc -shared' "$readme" >compile.sh
sed -n 's/^\(cp words.so .*\) && .*/\1/p' "$readme" >install.sh
for found in words.c compile.sh install.sh; do
    [ -s "$found" ] || fail "tasks/README.md shows no app"
done
sh -e compile.sh 2>log || fail "the app does not compile"
worker_start ctask-worker -A ./words.so
expect 2 ctask call words.count "to be or not to be" be
worker_stop
sh -e install.sh 2>log || fail "the app cannot be installed"
worker_start ctask-worker -A words
expect 2 ctask call words.count "to be or not to be" be
worker_stop

# A worker binary of one's own, with a function whose name the library uses inside.
cat >mine.c <<'C'
#include <ctask/worker.h>

const struct ctask_app *ctask_app_words(void);
int worker_run(void);
int worker_run(void)
{
    return 0;
}

int main(int argc, char **argv)
{
    return worker_run() + ctask_worker_main(argc, argv, ctask_app_words(), NULL);
}
C
# shellcheck disable=SC2046
cc mine.c words.c $(pkg-config --cflags --libs ctask-worker) -o mine 2>log || fail "the worker does not compile"
worker_start ./mine
expect 2 ctask call words.count "to be or not to be" be
worker_stop
worker_start ./mine -A words,"$dir/second/lib/ctask/primes.so"
expect true ctask call is_prime 97
worker_stop
echo "installed, moved and used"
