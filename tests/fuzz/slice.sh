#!/bin/sh
# tests/fuzz/slice.sh BUILD NAME SECONDS - lets libFuzzer feed a target that was built in BUILD.
#
# Fails if the target dies, and if it runs so few inputs that nothing was tried. What it found stays
# in BUILD/corpus/NAME, and each slice that ended well is a line {name, seconds, inputs} in
# $CTASK_FUZZ_SLICES, else tests/fuzz/slices: so an hour may be made of many, over days and machines.
set -u
HOUR=3600 INPUTS_MIN=10000
build=$1 name=$2 seconds=$3
target=$build/tests/fuzz_$name kept=$(dirname "$0")/corpus/$name found=$build/corpus/$name
log=$build/$name.log slices=${CTASK_FUZZ_SLICES:-$(dirname "$0")/slices}

mkdir -p "$found" || exit
[ -d "$kept" ] || kept=
{
    # libFuzzer measures wall time: on a busy machine an input of milliseconds may take 10 s.
    "$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 \
        -artifact_prefix="$build/$name-" "$found" ${kept:+"$kept"}
    echo $? >"$log.status"
} 2>&1 | tee "$log"

status=$(cat "$log.status")
if [ "$status" -ne 0 ]; then
    echo "fuzz_$name died (status $status); what killed it is above, and in $build/$name-*"
    exit 1
fi
# shellcheck disable=SC2046 # two numbers
set -- $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 \2/p' "$log")
inputs=${1:-0} ran=${2:-0}
if [ "$inputs" -lt "$INPUTS_MIN" ]; then
    echo "fuzz_$name ran $inputs inputs, fewer than $INPUTS_MIN: give it more time, or look at what holds it up"
    exit 1
fi
echo "$name $ran $inputs" >>"$slices"
awk -v hour="$HOUR" '
    { seconds[$1] += $2; inputs[$1] += $3; count[$1]++ }
    END {
        for (name in count)
            printf "%-12s %6d s of %d, %d inputs in %d slices\n", name, seconds[name], hour, inputs[name], count[name]
    }' "$slices" | sort
