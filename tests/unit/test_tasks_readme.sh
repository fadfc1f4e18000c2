# The app that tasks/README.md shows compiles without a warning by the line that it gives, and has
# the symbol that a worker looks for.
set -u
source=${CTASK_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
command -v cc >/dev/null || { echo "skipped: there is no C compiler called cc"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
readme=$source/tasks/README.md

awk '/^```/ { if (inside) exit; inside = /^```c$/; next } inside' "$readme" >"$dir/words.c"
grep -q '^CTASK_APP(words,' "$dir/words.c" || { echo "FAIL the first C of README is no app"; exit 1; }

# Not installed here: the headers are taken from the tree.
line=$(grep '^cc -shared' "$readme" | sed "s|\$(pkg-config --cflags ctask)|-I$source/lib/include|")
cd "$dir" || exit 1
eval "$line -Wall -Wextra -Werror" || { echo "FAIL $line"; exit 1; }
grep -q ctask_app_words words.so || { echo "FAIL words.so has no ctask_app_words"; exit 1; }
