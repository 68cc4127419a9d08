#!/bin/sh
# The agent that guests get needs nothing of the guest: no shared library, no loader. And it stays small.
# Usage: static_agent_test.sh PROGRAM
set -eu
program=$1
limit=6000000

size=$(stat -c %s "$program")
echo "size: $size bytes, at most $limit"
[ "$size" -le "$limit" ]

headers=$(readelf --program-headers --dynamic --wide "$program")
if echo "$headers" | grep -E "INTERP|DYNAMIC"; then
  echo "not static"
  exit 1
fi

# Runs with nothing around it, and says what kernels it is for.
env -i "$program" --version
env -i "$program" --check-config --device=org.cloudscale.agent.0
readelf --notes "$program" | grep "OS: Linux, ABI: 3\.2\."
