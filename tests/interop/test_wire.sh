#!/bin/sh
# Does Celery read each message of tests/golden/ctask.txt as it was meant? The unit tests check that
# these bytes are exactly what ctask writes, so no broker and no program of ours is needed here.
python=/usr/bin/python3
if ! "$python" -c 'import celery' 2>/dev/null; then
    echo "skipped: $python has no celery (Debian package python3-celery)"
    exit 77
fi
exec "$python" "$(dirname "$0")/wire.py" "${CTASK_SOURCE:-$(dirname "$0")/../..}/tests/golden/ctask.txt"
