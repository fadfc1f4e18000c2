#!/bin/sh
# tests/lint/test_size.sh - a file is one idea: over 400 lines is a warning, over 450 is too
# long, but in tests, where a table of cases may be.
set -u
cd "${CTASK_SOURCE:-$(dirname "$0")/../..}" || exit
find lib worker producer tasks tests -name '*.[ch]' -exec wc -l {} + | awk '
    $2 == "total" || $1 <= 400 { next }
    { print $2, "has", $1, "lines" }
    $1 > 450 && $2 !~ /^tests/ { bad = 1 }
    END { exit bad }'
