#!/bin/sh
# demo.sh - the talk's job on workers that come and go: its list of numbers, then the list many
# times over while a worker joins and another leaves, then the talk's table for this machine.
#
# Needs a running broker in CTASK_BROKER_URL and a build in CTASK_BUILD (default: build/ of this
# tree); `./dev demo` provides both. Takes nothing but what the barest Debian has. Ends what it
# started, also on Ctrl-C. Exit status 0 only if every result came and is right.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${CTASK_BUILD:-${CTASK_BUILD_DIR:-$top/build}}
PATH=$build/bin:$build/examples:$PATH
list=$top/producer/prime_list.txt
tmp=$(mktemp -d)
workers='' # the pids of those that run
mapping='' # the pid of the long map
cores=$(nproc)
each=$((cores / 3)) # children of each worker, so that a third one has cores to use
[ "$each" -ge 1 ] || each=1

# A line of narration; on a terminal it takes the place of the progress bar, which comes back.
say() {
    if [ -t 1 ]; then printf '\r\033[K%s\n' "$*"; else printf '%s\n' "$*"; fi
}

die() {
    say "demo: $*" >&2
    tail -n 5 "$tmp"/*.log >&2 2>/dev/null || :
    exit 1
}

clean_up() {
    status=$?
    trap '' INT TERM
    for pid in $mapping $workers; do kill -TERM "$pid" 2>/dev/null || :; done
    for pid in $mapping $workers; do wait "$pid" 2>/dev/null || :; done
    rm -rf "$tmp"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_until COMMAND...: until it is true, at most a minute.
wait_until() {
    tries=600
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

is_ready() { grep -q ready "$tmp/$1.log"; }
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ] || ! kill -0 "$mapping" 2>/dev/null; }

# worker_start NAME CHILDREN
worker_start() {
    : >"$tmp/$1.log"
    ctask-worker -A primes -n "$1" -c "$2" </dev/null 2>>"$tmp/$1.log" &
    workers="$workers $!"
    wait_until is_ready "$1" || die "worker $1 did not start"
}

# worker_stop PID NAME: SIGTERM; it finishes what runs and gives back the rest.
worker_stop() {
    kill -TERM "$1"
    wait "$1" || die "worker $2 left with exit status $?"
    workers=$(for pid in $workers; do [ "$pid" = "$1" ] || printf ' %s' "$pid"; done)
}

# counted FIELD NAME: a figure of the counters that a worker logs when it leaves.
counted() {
    sed -n "s/.*$1 \([0-9][0-9]*\).*/\1/p" "$tmp/$2.log" | tail -n 1
}

# check NUMBERS RESULTS: as many results as numbers, and each what coreutils' factor says.
check() {
    factor <"$1" | while read -r _ _ more; do
        if [ -z "$more" ]; then echo true; else echo false; fi
    done >"$tmp/right"
    cmp -s "$tmp/right" "$2" || die "the results in $2 are not all right"
}

command -v ctask-worker >/dev/null || die "there is no build in $build; run ./dev build"
[ -n "${CTASK_BROKER_URL:-}" ] || die "CTASK_BROKER_URL names no broker; run ./dev demo"

CTASK_QUEUE=demo.$$
export CTASK_QUEUE

say "Two workers, $each child each, on a queue of this demo's own, CTASK_QUEUE=$CTASK_QUEUE:"
say "  \$ ctask-worker -A primes -c $each"
worker_start one "$each"
one=$!
worker_start two "$each"
two=$!

say "The talk's list, $(wc -l <"$list") numbers:"
say "  \$ ctask map is_prime < producer/prime_list.txt"
start=$(date +%s%N)
ctask map is_prime --timeout 120 <"$list" >"$tmp/short" || die "the map failed"
took=$((($(date +%s%N) - start) / 1000000 + 1))
paste "$list" "$tmp/short"
check "$list" "$tmp/short"

# Long enough to see something happen: about twelve seconds.
times=$((12000 / took))
[ "$times" -ge 4 ] || times=4
for _ in $(seq "$times"); do cat "$list"; done >"$tmp/numbers"
total=$(wc -l <"$tmp/numbers")

say ""
say "The list $times times over, $total tasks. A third worker joins on the way, the first leaves:"
[ "$cores" -ge 3 ] || say "($cores cores for three workers: tasks wait for each other, which their run time includes)"
: >"$tmp/long"
ctask map is_prime --chunk=1 --timeout 300 <"$tmp/numbers" >>"$tmp/long" & # messages are counted
mapping=$!
wait_until has_lines "$tmp/long" $((total / 3)) || die "the map makes no progress"
worker_start three "$each"
three=$!
say "  a third worker joined after $(wc -l <"$tmp/long") results"
wait_until has_lines "$tmp/long" $((total * 2 / 3)) || die "the map makes no progress"
say "  the first worker gets SIGTERM: kill -TERM $one"
worker_stop "$one" one
say "  it left after $(counted succeeded one) tasks; $(wc -l <"$tmp/long") results so far"
wait "$mapping" || die "the map failed"
mapping=''
check "$tmp/numbers" "$tmp/long"
worker_stop "$two" two
worker_stop "$three" three

say ""
say "The talk's table, on one worker with a child for each core:"
worker_start four "$cores"
four=$!
talk "$list" || die "the table could not be measured"
worker_stop "$four" four

say ""
say "Nothing was lost:"
say "  $((total + $(wc -l <"$list"))) tasks sent, as many results, each the one that factor(1) gives"
ran=0
for name in one two three; do
    ran=$((ran + $(counted succeeded "$name")))
    [ "$(counted 'kept dead' "$name")" = 0 ] || die "worker $name kept a task as dead"
    say "  worker $name ran $(counted succeeded "$name"), failed $(counted failed "$name"), kept dead 0"
done
say "  together $ran runs: $((ran - total - $(wc -l <"$list"))) tasks ran twice"
if [ -n "${CTASK_BROKER_DIR:-}" ]; then # a broker of ./dev, which lets us look inside
    "$top/dev" broker ctl -q --no-table-headers list_queues name messages >"$tmp/queues"
    say "  messages that RabbitMQ still holds:"
    sed -n "s/^$CTASK_QUEUE/    &/p" "$tmp/queues"
    ! grep "^$CTASK_QUEUE" "$tmp/queues" | grep -qv '[[:space:]]0$' || die "there are messages left"
fi
