#!/bin/sh
# tests/fuzz/test_slices.sh - a slice of fuzzing fails when its target dies or hardly runs, and slices
# that end well add up.
set -u
command -v clang >/dev/null || {
    echo "SKIPPED: needs clang, for libFuzzer"
    exit 77
}
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$dir/tests"
bad=0
fail() {
    echo "FAIL $*"
    sed 's/^/    /' "$dir/said"
    bad=1
}

target() { # name, what it does with each input
    cat >"$dir/$1.c" <<C
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    $2
    return 0;
}
C
    clang -fsanitize=fuzzer -o "$dir/tests/fuzz_$1" "$dir/$1.c" >"$dir/said" 2>&1 || fail "cannot compile $1"
}
slice() { # name
    CTASK_FUZZ_SLICES=$dir/slices sh "$CTASK_SOURCE/tests/fuzz/slice.sh" "$dir" "$1" 1 >"$dir/said" 2>&1
}

target sound ""
target dying "if (size > 3) abort();"
target slow "usleep(10000);"

slice sound || fail "a sound target fails"
slice sound || fail "a sound target fails the second time"
grep -qE '^sound +[1-9][0-9]* s of 3600, [0-9]{5,} inputs in 2 slices$' "$dir/said" || fail "two slices do not add up"
slice dying && fail "a target that dies is taken for a sound one"
grep -q 'fuzz_dying died' "$dir/said" || fail "a target that dies is not told"
slice slow && fail "a target that hardly runs is taken for a sound one"
grep -q 'fewer than 10000' "$dir/said" || fail "a target that hardly runs is not told"
[ "$(wc -l <"$dir/slices")" -eq 2 ] || fail "slices that failed count"
exit "$bad"
