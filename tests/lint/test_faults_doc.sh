#!/bin/sh
# tests/lint/test_faults_doc.sh - docs/faults.md has each fault once, says how many there are, and every
# test that it names exists: in backticks a file below tests/, behind it the tests in that file. A row
# without any says "by design".
set -u
cd "${CTASK_SOURCE:-$(dirname "$0")/../..}" || exit
page=docs/faults.md
bad=0
say() {
    echo "$page: $*"
    bad=1
}

for family in A:20 B:28 C:19 D:6 E:9 F:8 G:12 H:86; do
    i=0
    while [ "$((i += 1))" -le "${family#*:}" ]; do
        n=$(grep -c "^| ${family%:*}$i | .* | .* | .* |\$" "$page")
        [ "$n" -eq 1 ] || say "${family%:*}$i has $n rows"
    done
done
n=$(grep -cE '^\| [A-Z][0-9]+ \|' "$page")
grep -q "^A catalogue of $n faults" "$page" || say "its first sentence does not say that there are $n faults"
doubles=$(grep -oE '^\| [A-Z][0-9]+ \|' "$page" | sort | uniq -d)
[ -z "$doubles" ] || say "more than one row has the number" $doubles

# The last cell of each row as "ROW file" and "ROW file test".
proofs=$(awk -F ' [|] ' '/^\| [A-Z][0-9]+ \|/ {
    row = $1; sub(/^\| /, "", row)
    count = split($NF, part, "`"); file = ""; named = 0
    for (i = 2; i <= count; i += 2) {
        if (part[i] ~ "/") { file = part[i]; print row, file } else print row, file, part[i]
        named++
    }
    if (!named && $NF !~ /by design/) print row, "-"
}' "$page")
printf '%s\n' "$proofs" | {
    while read -r row file test; do
        if [ "$file" = - ]; then
            say "$row names no test and gives no reason"
        elif [ ! -f "tests/$file" ]; then
            say "$row: there is no tests/$file"
        elif [ -n "$test" ] && ! grep -qE "(def |START_TEST\()$test\(?[(),]|START_TEST\($test\)" "tests/$file"; then
            say "$row: there is no $test in tests/$file"
        fi
    done
    exit "$bad"
} || bad=1
exit "$bad"
