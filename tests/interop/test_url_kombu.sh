#!/bin/sh
# Does kombu see in each URL of tests/golden/urls.txt that we take what we see in it? The other side
# of tests/unit/test_url.c, which reads the same table.
python=/usr/bin/python3
if ! "$python" -c 'import kombu' 2>/dev/null; then
    echo "skipped: $python has no kombu (Debian package python3-kombu)"
    exit 77
fi
table=${CTASK_SOURCE:-$(dirname "$0")/../..}/tests/golden/urls.txt
PYTHONIOENCODING=utf-8 exec "$python" - "$table" <<'END'
import re
import sys

from kombu import Connection

rows = differ = 0
for number, line in enumerate(open(sys.argv[1], encoding="utf-8"), 1):
    if line.startswith("#"):
        continue
    url, *want = line.rstrip("\n").split("\t")
    if want[0] == "refused":
        continue
    rows += 1
    try:
        # Files for TLS are no part of kombu's URLs but of its broker_use_ssl.
        info = Connection(re.sub(r"(ca|cert|key)(file|path)=[^&]*&?", "", url)).info()
        tls = info["ssl"] or info["transport"] == "amqps"
        beat = info["heartbeat"]
        explicit = "heartbeat=" in url
        got = ["amqps" if tls else "amqp", info["hostname"], str(info["port"]), info["userid"],
               info["password"], info["virtual_host"], str(int(beat)) if explicit else "-1"]
    except Exception as e:
        got = [repr(e)]
    if got != want:
        differ += 1
        print(f"line {number}: {url}\n  here:  {want}\n  kombu: {got}")
print(f"{rows} URLs, {differ} differ")
sys.exit(differ > 0 or rows == 0)
END
