# README tells the truth: a block after `<!-- file PATH -->` is lines of that file, a block after
# `<!-- output COMMAND -->` is what the command prints, and no C is shown that is not from a file.
set -u
top=${CTASK_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
PATH=${CTASK_BIN:-$top/build/bin}:$PATH
unset ARGP_HELP_FMT
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

bad() {
    echo "FAIL $*"
    failed=1
}

# Each marked block: its mark in N.mark, its text in N.text. C without a mark has an empty mark.
awk -v dir="$tmp" '
    /^<!-- (file|output) .* -->$/ { mark = $0; gsub(/^<!-- | -->$/, "", mark); next }
    /^```/ && inside { inside = 0; mark = ""; next }
    /^```/ {
        inside = 1
        keep = mark != "" || /^```c$/
        if (keep) { n++; print mark > (dir "/" n ".mark"); printf "" > (dir "/" n ".text") }
        next
    }
    inside { if (keep) print > (dir "/" n ".text"); next }
    /./ { mark = "" }' "$top/README.md" || exit 1

# is_part_of TEXT FILE: its lines, one after the other, are in the file.
is_part_of() {
    awk 'NR == FNR { text = text $0 "\n"; next } { file = file "\n" $0 }
        END { exit !index(file "\n", "\n" text) }' "$1" "$2"
}

for mark in "$tmp"/*.mark; do
    text=${mark%.mark}.text
    read -r kind what <"$mark"
    case $kind in
    file)
        is_part_of "$text" "$top/$what" || bad "README shows $what otherwise than it is"
        ;;
    output)
        if ! command -v "${what%% *}" >/dev/null; then
            echo "not built, not compared: $what"
            continue
        fi
        $what >"$tmp/output" 2>&1
        cmp -s "$text" "$tmp/output" || bad "README shows another output of: $what"
        ;;
    *) bad "README shows C that is from no file: $(head -n 1 "$text")" ;;
    esac
done
[ -e "$tmp/4.mark" ] || bad "README has no marked blocks: does this test still read it right?"
exit $failed
