# shellcheck shell=sh disable=SC2013,SC2016,SC2317 # the promises are called by name
# The ctask command against a real broker and worker: what it prints, how it exits, what it never
# does. Each promise is one function; they share one worker on a queue of their own.
set -u

[ -n "${CTASK_TEST_BROKER:-}" ] || {
    echo "SKIPPED: needs a broker: set CTASK_TEST_BROKER, or run ./dev test"
    exit 77
}
top=$(cd "$(dirname "$0")/../.." && pwd)
bin=${CTASK_BIN:-$top/build/bin}
[ -x "$bin/ctask-worker" ] || {
    echo "SKIPPED: there is no $bin/ctask-worker: build it first"
    exit 77
}

PATH=$bin:$PATH
CTASK_BROKER_URL=$CTASK_TEST_BROKER
CTASK_QUEUE=test-cli-$$
export CTASK_BROKER_URL CTASK_QUEUE
list=$top/producer/prime_list.txt
tmp=$(mktemp -d)
failed=0
worker=''
trap 'kill -TERM $worker 2>/dev/null; wait; rm -rf "$tmp"' EXIT

bad() {
    echo "FAIL $promise: $*"
    sed 's/^/    out: /' "$tmp/out" | head -n 5
    sed 's/^/    err: /' "$tmp/err" | head -n 5
    failed=$((failed + 1))
}

# run STATUS COMMAND...: its output in $tmp/out and $tmp/err; a command that hangs is ended.
run() {
    wanted=$1
    shift
    timeout -k 5 60 "$@" >"$tmp/out" 2>"$tmp/err"
    status=$?
    [ "$status" = "$wanted" ] || bad "exit status $status instead of $wanted: $*"
}

prints() { [ "$(cat "$tmp/out")" = "$1" ] || bad "does not print $1"; }
says() { grep -q -e "$1" "$tmp/err" || bad "does not say $1"; }
one_line() { [ "$(wc -l <"$tmp/err")" = 1 ] || bad "does not say it in one line"; }

# wait_until COMMAND...: an event, at most 30 s away.
wait_until() {
    tries=300
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || {
            bad "waited in vain: $*"
            return 1
        }
        sleep 0.1
    done
}
holds() { grep -q -e "$2" "$1"; }
has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }

# ---- ctask call ------------------------------------------------------------------------------

call_prints_the_result_as_json() {
    run 0 ctask call is_prime 112272535095293 && prints true
    run 0 ctask call is_prime -k n=1099726899285419 && prints false
    run 0 ctask call demo.echo hello && prints '"hello"'
    run 0 ctask call demo.echo '"97"' && prints '"97"'
    run 0 ctask call demo.echo '{"a": [1, null]}' && prints '{"a":[1,null]}'
    run 0 ctask call demo.add -- -2 5 && prints 3
    run 0 ctask call --countdown 100ms demo.add 2 -k b=3 && prints 5
    run 0 ctask call -b "$CTASK_TEST_BROKER" -Q "$CTASK_QUEUE" is_prime 97 && prints true
    run 0 ctask -b "$CTASK_TEST_BROKER" call is_prime 97 && prints true
}

call_of_a_failing_task_exits_1_and_says_why_in_one_line() {
    run 1 ctask call demo.fail ValueError 'width -1 is not positive'
    prints '' && one_line && says 'ValueError: width -1 is not positive'
    run 1 ctask call demo.fail RuntimeError "$(printf 'two\nlines \033[31mred')"
    prints '' && one_line && says 'RuntimeError: two lines'
    run 1 ctask call is_prime seven
    prints '' && one_line && says TypeError
}

call_without_a_worker_times_out_with_4() {
    run 4 ctask call -Q "$CTASK_QUEUE-nobody" --timeout 300ms is_prime 97
    prints '' && one_line && says 'no result within'
    run 4 ctask call --timeout 0.3 demo.sleep 2
}

no_wait_prints_the_id_once_the_broker_has_the_task() {
    run 0 ctask call --no-wait -Q "$CTASK_QUEUE-nobody" is_prime 97
    holds "$tmp/out" '^[0-9a-f-]\{36\}$' || bad "prints no id"
    run 0 sh -c 'seq 50 | ctask map -q --no-wait -Q "$CTASK_QUEUE-nobody" is_prime'
    [ "$(sort -u "$tmp/out" | wc -l)" = 50 ] || bad "prints no 50 ids"
    run 0 sh -c 'seq 3 | ctask map --no-wait -Q "$CTASK_QUEUE-nobody" is_prime'
    says '^3 tasks sent in'
}

output_that_cannot_be_written_is_74_and_says_why() {
    run 74 sh -c 'ctask call is_prime 97 >/dev/full' && says 'No space left'
    run 74 sh -c 'yes 97 | ctask map -q is_prime >/dev/full' && one_line && says 'No space left'
    run 74 sh -c 'ctask call is_prime 97 >&-' && says 'Bad file descriptor'
}

no_broker_is_69() {
    run 69 ctask call -b amqp://127.0.0.1:1 is_prime 97
    prints '' && one_line && says 'CTASK_BROKER_URL'
    run 69 sh -c "ctask map -b amqp://127.0.0.1:1 is_prime <$list"
}

a_wrong_password_is_77_and_is_not_repeated() {
    url=$(echo "$CTASK_TEST_BROKER" | sed 's|://[^@]*@|://guest:open-sesame@|')
    run 77 ctask call -b "$url" is_prime 97
    prints '' && one_line && says 'password'
    ! holds "$tmp/err" open-sesame || bad "repeats the password"
}

wrong_usage_is_2_and_reaches_no_broker() {
    CTASK_BROKER_URL=amqp://127.0.0.1:1
    run 2 ctask && says 'call'
    run 2 ctask cal is_prime && says 'there is no command "cal"'
    run 2 ctask call && says 'name the task'
    run 2 ctask call '' && says "the task's name is empty"
    run 2 ctask map '' && says "the task's name is empty"
    run 2 ctask call -b '' is_prime 97 && says 'the URL after -b is empty'
    run 2 ctask-worker -A primes -b '' && says 'the URL after -b is empty'
    run 2 ctask call --wrong is_prime && says 'wrong'
    run 2 ctask call is_prime '[1' && says 'begins like JSON'
    run 2 ctask call is_prime 99999999999999999999 && says '64 bits'
    run 2 ctask call is_prime -k 97 && says 'NAME=ARG'
    run 2 ctask call --timeout soon is_prime 97 && says 'is no time'
    run 2 ctask call -b http://localhost is_prime 97 && says 'amqp'
    run 2 ctask map -w 0 is_prime
    run 2 ctask map is_prime 97 && says 'stdin'
    CTASK_BROKER_URL=$CTASK_TEST_BROKER
}

help_and_version_are_0() {
    run 0 ctask --help && holds "$tmp/out" 'call TASK'
    run 0 ctask call --help && holds "$tmp/out" 'Exit status'
    run 0 ctask map --help && holds "$tmp/out" 'as-completed'
    run 0 ctask --version && holds "$tmp/out" '^ctask [0-9]'
}

the_password_leaves_the_process_list() {
    url=$(echo "$CTASK_TEST_BROKER" | sed 's|://|://|;s|?.*||')
    secret=$(echo "$url" | sed 's|.*://\([^@]*\)@.*|\1|')
    ctask call -b "$url" demo.sleep 3 >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    wait_until holds "/proc/$pid/cmdline" '\*\*\*'
    ! holds "/proc/$pid/cmdline" "$secret" || bad "the password can be seen"
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null
}

ctrl_c_ends_a_call_with_130() {
    env --default-signal=INT ctask call demo.sleep 5 >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    until grep -q '^SigBlk:.*[2367abef]$' "/proc/$pid/status"; do # it waits for SIGINT
        grep -q '^State:.*zombie' "/proc/$pid/status" && break
        sleep 0.02
    done
    kill -INT "$pid"
    wait "$pid"
    status=$?
    [ "$status" = 130 ] || bad "exit status $status instead of 130"
    says 'interrupted' && prints ''
}

# ---- ctask map -------------------------------------------------------------------------------

right_answers() {
    factor | while read -r _ _ more; do
        if [ -z "$more" ]; then echo true; else echo false; fi
    done
}

map_prints_results_in_the_order_of_the_lines() {
    right_answers <"$list" >"$tmp/right"
    run 0 sh -c "ctask map is_prime <$list"
    cmp -s "$tmp/out" "$tmp/right" || bad "the results are wrong or out of order"
    says '^15 results in .* speed-up'
    # The first ones take longest, so they come last.
    run 0 sh -c 'printf "0.4\n0.2\n0\n" | ctask map demo.sleep'
    prints "$(printf '0.4\n0.2\n0.0')"
}

map_as_completed_prints_line_numbers() {
    right_answers <"$list" | cat -n | tr -d ' ' >"$tmp/right"
    run 0 sh -c "ctask map --as-completed is_prime <$list"
    sort -n "$tmp/out" | cmp -s - "$tmp/right" || bad "the results are wrong"
    run 0 sh -c 'printf "0.8\n0\n" | ctask map --as-completed demo.sleep'
    [ "$(head -n 1 "$tmp/out" | cut -f 1)" = 2 ] || bad "the short task had to wait"
}

map_takes_lists_as_arguments_and_empty_lines_as_none() {
    run 0 sh -c "printf '[1, 2]\n[3, 4]' | ctask map demo.add" && prints "$(printf '3\n7')"
    run 1 sh -c "printf '\n[3, 4]\n' | ctask map demo.add" && prints "$(printf '\n7')"
}

map_tells_failed_lines_and_exits_1() {
    run 1 sh -c 'printf "2\nseven\n4\n" | ctask map is_prime'
    prints "$(printf 'true\n\nfalse')"
    says 'line 2: TypeError'
    says '^3 results, 1 failed'
}

map_stops_at_a_bad_line_with_2_and_loses_nothing() {
    run 2 sh -c 'printf "2\n4\n[5\n7\n" | ctask map is_prime'
    prints "$(printf 'true\nfalse')"
    says 'line 3 cannot be sent'
}

map_answers_a_line_before_the_next_one_is_written() {
    mkfifo "$tmp/in"
    ctask map is_prime <"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    exec 9>"$tmp/in"
    echo 97 >&9
    wait_until has_lines "$tmp/out" 1
    echo 98 >&9
    wait_until has_lines "$tmp/out" 2
    exec 9>&-
    wait "$pid" || bad "exit status $?"
    prints "$(printf 'true\nfalse')"
}

map_gives_up_after_its_timeout_with_4() {
    run 4 sh -c 'printf "0\n5\n" | ctask map --timeout 1 demo.sleep'
    prints 0.0 && says '1 of 2 calls'
}

ctrl_c_tells_what_is_outstanding_and_exits_130() {
    printf '0\n5\n5\n' >"$tmp/in.txt"
    env --default-signal=INT ctask map demo.sleep <"$tmp/in.txt" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    wait_until has_lines "$tmp/out" 1
    kill -INT "$pid"
    wait "$pid"
    status=$?
    [ "$status" = 130 ] || bad "exit status $status instead of 130"
    says 'interrupted; 2 of 3 calls'
}

# peak LINES: the most memory in KiB that ctask map took for so many lines.
peak() {
    seq 2 $(($1 + 1)) >"$tmp/in.txt"
    # A sanitizer would keep what is freed for a while; it shall not here.
    ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0 \
        ctask map -w 200 -q is_prime <"$tmp/in.txt" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    high=0
    while now=$(sed -n 's/VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) &&
        [ -n "$now" ]; do
        high=$now
        sleep 0.02
    done
    wait "$pid" || bad "exit status $? for $1 lines"
    [ "$(wc -l <"$tmp/out")" = "$1" ] || bad "not $1 results"
}

map_of_200000_lines_takes_no_more_memory_than_of_20000() {
    peak 20000
    small=$high
    peak 200000
    [ "$high" -le $((small + 2048)) ] || bad "$high KiB for 200,000 lines, $small for 20,000"
    right_answers <"$tmp/in.txt" | cmp -s - "$tmp/out" || bad "the results are wrong"
}

# ----------------------------------------------------------------------------------------------

ctask-worker -A primes,demo -c 4 </dev/null 2>"$tmp/worker.log" &
worker=$!
promise='a worker starts'
: >"$tmp/out" && : >"$tmp/err"
wait_until holds "$tmp/worker.log" ready || {
    cat "$tmp/worker.log"
    exit 1
}

for promise in $(sed -n 's/^\([a-z_0-9]*\)() {$/\1/p' "$0" | grep '_.*_.*_'); do
    : >"$tmp/out" && : >"$tmp/err"
    before=$failed
    "$promise"
    [ "$failed" = "$before" ] && echo "ok   $promise"
done
if [ "$failed" -gt 0 ]; then tail -n 20 "$tmp/worker.log"; fi
exit "$((failed > 0))"
