#!/usr/bin/env bash
# Starts an upstream, a PostgreSQL database and two gateways on loopback, sends requests to both gateways at once, and checks that
# together they do not exceed the budget that they share. Needs curl and Debian's package `postgresql`.
#   deploy/shared-budget.sh [HONELM]      HONELM is the program [target/release/honelm]
set -euo pipefail
cd "$(dirname "$0")/.."
honelm=$(realpath "${1:-target/release/honelm}")
budget=0.2 requests=40
postgres=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -1)
if [ -z "$postgres" ]; then
  echo "SKIPPED: found no PostgreSQL server in /usr/lib/postgresql"
  exit 0
fi

work=$(mktemp -d)
pids=()
end() {
  [ ${#pids[@]} -eq 0 ] || kill -INT "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap end EXIT
# PostgreSQL refuses to run as root.
user=()
if [ "$(id -u)" = 0 ]; then
  chown 65534:65534 "$work"
  user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
await() { # FILE PATTERN: waits until a log has a text, and prints it
  for _ in $(seq 300); do
    if grep -om1 "$2" "$1" 2>/dev/null; then return; fi
    sleep 0.1
  done
  cat "$1" >&2
  return 1
}

(cd "$work" && "${user[@]}" "${postgres%postgres}initdb" --auth=trust --username=honelm --no-sync --locale=C -D "$work/data" >/dev/null)
(cd "$work" && exec "${user[@]}" "$postgres" -D "$work/data" -k "$work" -c listen_addresses= -c fsync=off) >"$work/postgres.log" 2>&1 &
pids+=($!)
await "$work/postgres.log" "ready to accept connections" >/dev/null
records="postgres://honelm@localhost/postgres?host=$work"

"$honelm" serve pocket --only --port 0 >"$work/upstream.log" 2>&1 &
pids+=($!)
upstream=$(await "$work/upstream.log" 'http://127.0.0.1:[0-9]*')
# An answer of 20 tokens costs at most 0.02, so that ten such answers fit the budget of a day.
cat >"$work/gateway.toml" <<FILE
policy = "cloud-first"
[local]
model = "pocket"
context = 1024
[records]
url = "$records"
[[upstream]]
name = "shared"
api = "openai"
url = "$upstream/v1"
model = "pocket"
key = "none"
price = { input = 0, output = 1000 }
context = 1024
budget = { day = $budget }
FILE
gateways=()
for number in 1 2; do
  "$honelm" serve --gateway "$work/gateway.toml" --port 0 >"$work/gateway-$number.log" 2>&1 &
  pids+=($!)
  gateways+=("$(await "$work/gateway-$number.log" 'http://127.0.0.1:[0-9]*')")
done

echo "Two gateways, ${gateways[*]}, share a budget of $budget; $requests requests, eight at a time"
body='{"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 20, "temperature": 0}'
export work body
ask() { curl -sS -D "$work/$1.head" -o "$work/$1.json" -H "content-type: application/json" -d "$body" "$2/v1/chat/completions"; }
export -f ask
for request in $(seq $requests); do echo "$request ${gateways[request % 2]}"; done | xargs -P 8 -L 1 bash -c 'ask "$0" "$1"'
cloud=$(grep -il '^x-honelm: route=cloud' "$work"/*.head | wc -l)
device=$(grep -il '^x-honelm: route=local' "$work"/*.head | wc -l)
echo "answered in the cloud: $cloud, on the device: $device"
sleep 1 # records are written in batches
"$honelm" usage --records "$records" --by upstream --since 1h
cost=$("$honelm" usage --records "$records" --by upstream --since 1h --json | awk -F'[:,]' '/"total"/ {total = 1} total && /"cost"/ {print $2; exit}')
awk -v cost="$cost" -v budget="$budget" -v cloud="$cloud" -v all=$((cloud + device)) -v requests="$requests" 'BEGIN {
  held = cost <= budget + 0 && cloud > 0 && all == requests
  print (held ? "HELD" : "NOT HELD") ": " cost + 0 " of " budget
  exit !held
}'
