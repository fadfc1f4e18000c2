#!/bin/sh
# gauntlet.sh DIRECTORY [TASKS] [SEED] [classic|quorum|cluster] - one run, and its verdict as exit status.
#
# DIRECTORY is replaced: it gets ledgers, fault log, the processes' logs and report.json. The line of
# JSON is also appended to $CTASK_GAUNTLET_REPORT. Wants CTASK_BIN and CTASK_BUILD.
set -u
here=$(dirname "$0")
dir=${1:?which directory?}
tasks=${2:-1000000}
seed=${3:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
type=${4:-classic}

python() {
    /usr/bin/python3 -W ignore -B "$here/$1" "$dir" "$2" ${3:+"$3" "$4"}
}

echo "gauntlet: $tasks tasks, seed $seed, $type, in $dir"
rm -rf "$dir"
python run.py "$tasks" "$seed" "$type"
python check.py "$dir/report.json"
verdict=$?
if [ -n "${CTASK_GAUNTLET_REPORT:-}" ] && [ -s "$dir/report.json" ]; then
    cat "$dir/report.json" >>"$CTASK_GAUNTLET_REPORT"
fi
exit "$verdict"
