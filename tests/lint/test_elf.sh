#!/bin/sh
# tests/lint/test_elf.sh - what the build made and what it installs: libraries are looked for in fixed
# places only, and every file has the protection that compiler and linker offer.
set -u
build=${CTASK_BUILD:-build}
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM HUP
bad=0
say() {
    echo "$*"
    bad=1
}

elf_files() { # directory
    find "$1" -type f ! -path '*/CMakeFiles/*' ! -path '*/broker*/*' ! -name '*.o' \
        \( -perm -u+x -o -name '*.so*' \) | sort | while read -r file; do
        [ "$(head -c 4 "$file" | tr -d '\177')" != ELF ] || echo "$file"
    done
}

# The elements of a library path, one a line, each with a dot behind it, so that an empty one shows.
elements() { # what readelf -d says
    sed -n 's/.*(R\(UN\)\{0,1\}PATH).*\[\(.*\)\]$/\2/p' | tr ':' '\n' | sed 's/$/./' | sort -u
}

look_at() { # file, prefix of elements that are fine beside $ORIGIN
    dynamic=$(readelf -dW "$1") || say "$1: readelf cannot read it"
    for element in $(printf '%s\n' "$dynamic" | elements); do
        case $element in
        "\$ORIGIN."* | "\$ORIGIN/"* | "$2"*) ;;
        *) say "$1: looks for libraries in '${element%.}', which is no fixed place" ;;
        esac
    done
    printf '%s\n' "$dynamic" | grep -qE 'BIND_NOW|Flags:.* NOW' || say "$1: is not linked with -z now"
    readelf -lW "$1" | grep -q GNU_RELRO || say "$1: has no RELRO"
}

installed=$dir/installed
cmake --install "$build" --prefix "$installed" >"$dir/log" 2>&1 || {
    cat "$dir/log"
    say "it cannot be installed"
}
made=$(elf_files "$build") ready=$(elf_files "$installed")
for file in $made; do look_at "$file" /; done
for file in $ready; do look_at "$file" '$ORIGIN'; done
for file in bin/ctask bin/ctask-worker lib/libctask.so lib/ctask/primes.so; do
    [ -e "$installed/$file" ] || say "$file is not installed"
done

# What is planted in the current directory is not loaded.
mkdir "$dir/planted" && cd "$dir/planted" || exit
for library in $(for file in $made; do readelf -dW "$file"; done |
    sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | sort -u); do
    echo "not a library" >"$library"
done
for program in "$build"/bin/ctask "$build"/bin/ctask-worker "$installed"/bin/ctask "$installed"/bin/ctask-worker; do
    "$program" --version >"$dir/log" 2>&1 || say "$program, in a directory with a planted library: $(cat "$dir/log")"
done

# The code itself, where its instructions are known: a landing place where each function begins, and
# a probe of each page of a large frame.
code() { # function, file below the installation
    objdump -d --no-show-raw-insn --disassemble="$1" "$installed/$2"
}
if [ "$(uname -m)" = x86_64 ]; then
    while read -r function file; do
        code "$function" "$file" | grep -qw endbr64 || say "$file: is not compiled with -fcf-protection"
    done <<'END'
main bin/ctask
main bin/ctask-worker
ctask_call_args lib/libctask.so
ctask_app_primes lib/ctask/primes.so
END
    code log_at bin/ctask-worker | grep -qE '(or|sub|test|cmp)[a-z]? +\$0x0,(0x[0-9a-f]+)?\(%rsp\)' ||
        say "bin/ctask-worker: is not compiled with -fstack-clash-protection"
fi
exit "$bad"
