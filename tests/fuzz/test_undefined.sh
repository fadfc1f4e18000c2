#!/bin/sh
# tests/fuzz/test_undefined.sh - the corpora, and the line whose memory a task may overwrite, built by
# clang: its sanitizer of undefined behaviour sees what gcc's does not, as NULL + 0.
set -u
command -v clang >/dev/null || {
    echo "SKIPPED: needs clang"
    exit 77
}
cd "$CTASK_SOURCE" || exit
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP

cat >"$dir/cc" <<C
#!/bin/sh
# Compiles all of a room into a directory of its own.
mkdir -p "$dir/\$1" && cd "$dir/\$1" && exec clang -std=c11 -D_GNU_SOURCE -g -fsanitize=undefined \
    -fno-sanitize-recover=all -I"$CTASK_SOURCE/lib" -I"$CTASK_SOURCE/lib/include" \
    $(pkg-config --cflags librabbitmq jansson uuid openssl) -c "$CTASK_SOURCE/\$1"/*.c
C
find lib/* tests/fuzz -maxdepth 0 -type d ! -name include -print0 | xargs -0 -n 1 -P 2 sh "$dir/cc" || exit
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    # shellcheck disable=SC2046 # libraries
    clang -fsanitize=undefined -o "$dir/$name" "$dir/tests/fuzz/$name.o" "$dir/tests/fuzz/failed.o" \
        "$dir/tests/fuzz/replay.o" "$dir"/lib/*/*.o \
        $(pkg-config --libs librabbitmq jansson uuid openssl) -ldl -pthread -lm || exit
    UBSAN_OPTIONS=print_stacktrace=1 "$dir/$name" "tests/fuzz/corpus/${name#fuzz_}" || {
        echo "FAIL $name"
        exit 1
    }
done

pkg-config --exists check || exit 0
# shellcheck disable=SC2046 # flags
clang -std=c11 -D_GNU_SOURCE -g -fsanitize=undefined -fno-sanitize-recover=all -o "$dir/unit_line" -I tests -I lib \
    tests/unit/test_line.c "$dir"/lib/base/*.o \
    $(pkg-config --cflags --libs check uuid jansson) -I lib/include -pthread || exit
"$dir/unit_line"
