#!/bin/sh
# tests/lint/test_arrows.sh - who may know whom. base <- wire, amqp <- transport <- client, task <-
# worker; producer and tasks see public headers only; each outside world has one door.
set -u
cd "${CTASK_SOURCE:-$(dirname "$0")/../..}" || exit
bad=0

# A pattern that is found nowhere but in the files that may have it.
only() { # sentence, files that may, pattern, where...
    sentence=$1 may=$2 pattern=$3
    shift 3
    found=$(grep -rnE --include='*.[ch]' -e "$pattern" "$@" | grep -vE "^($may)") || return 0
    printf '%s\n%s\n\n' "$sentence" "$found"
    bad=1
}

# A room includes its own headers and those of the rooms it may see.
room() { # directory, rooms
    others=$(printf '%s\n' amqp base client task transport wire worker | grep -vxE "$2" | tr '\n' '|')
    only "$1 may include: $2" - "#include \"(${others%|})/" "$1"
}
room lib/base 'base'
room lib/wire 'base|wire'
room lib/amqp 'base|amqp'
room lib/transport 'base|wire|amqp|transport'
room lib/client 'base|wire|transport|client'
room lib/task 'base|wire|transport|client|task'
room worker 'base|wire|transport|client|task|worker'
only "producer and tasks include public headers and is_prime only" 'producer/[a-z]+.c:[0-9]+:#include "../tasks/is_prime.h"' \
    '#include "([a-z]+/|\.\.)' producer tasks

all="lib worker producer tasks"
# shellcheck disable=SC2086 # a list
{
    only "<amqp.h> is for lib/amqp" 'lib/amqp/' '#include <(rabbitmq-c/)?(amqp|framing)' $all
    only "<dlfcn.h> is for the loader" 'lib/task/loader.c' '#include <dlfcn.h>' $all
    only "<uuid.h> is for ids" 'lib/base/ids.c' '#include <uuid' $all
    only "OpenSSL is for the TLS stream" 'lib/amqp/(tls.c|identity\.)' '#include <openssl/' $all
    only "only the pool forks" 'worker/pool\.' '[^_a-z]v?fork\(' lib worker tasks producer/cli
    only "Celery's field names are for lib/wire" 'lib/wire/' \
        '"(exc_type|exc_message|exc_module|root_id|parent_id|argsrepr|kwargsrepr|timelimit|origin|traceback|shadow|group_index)"' \
        lib worker tasks producer/cli
}

# What libctask.so gives away.
library=${CTASK_BUILD:-build}/lib/libctask.so
if [ -e "$library" ]; then
    foreign=$(nm -D --defined-only "$library" | awk '{ print $3 }' | grep -v '^ctask_')
    [ -z "$foreign" ] || { echo "exported by libctask.so without ctask_: $foreign" && bad=1; }
fi
exit "$bad"
