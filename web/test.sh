#!/usr/bin/env bash
# Tests the browser package and its page in a real browser: bash web/test.sh
# Needs node with npm, chromium and a wasm32 target; prints SKIPPED if one is missing. Builds what it tests.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() {
  echo "SKIPPED: browser tests ($1)" >&2
  exit 0
}
command -v node >/dev/null && command -v npm >/dev/null || skip "node or npm is missing"
[ "$(node -p 'process.versions.node.split(".")[0] >= 20')" = true ] || skip "node is older than 20"
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$chromium" ] || skip "chromium is missing"
if [ ! -d "$(rustc --print target-libdir --target wasm32-unknown-unknown)" ] && ! command -v wasm-ld-19 >/dev/null; then
  skip "the wasm32 target is missing, both rustup's and Debian's"
fi
# The whole workspace, so that the features match the build of its tests.
cargo build --quiet --workspace --bin honelm
cargo xtask web
target=$(cargo metadata --no-deps --format-version 1 | node -p 'JSON.parse(require("fs").readFileSync(0)).target_directory')
cd web
CHROMIUM=$chromium HONELM_BINARY=${HONELM_BINARY:-$target/debug/honelm} npm test --silent
