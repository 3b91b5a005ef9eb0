#!/usr/bin/env bash
# The kernels of aarch64, compiled here and run by qemu: the operator table, the products of all encodings, and the greedy tokens
# of 32 prompts, each on a CPU without dot products, with those of signed bytes, and with mixed ones. bash crates/cpu/tests/aarch64.sh
# With --count: the instructions of a product per weight and row of activations.
set -euo pipefail
cd "$(dirname "$0")/../../.."
target=aarch64-unknown-linux-gnu

skip() {
  echo "SKIPPED: aarch64 (needs $*)"
  exit 0
}
command -v qemu-aarch64 >/dev/null || skip "qemu-user"
command -v aarch64-linux-gnu-gcc >/dev/null || skip "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
rustup target list --installed 2>/dev/null | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1 ||
  skip "the target $target of rustup"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The answers of this machine, one prompt at a time: 16 tokens each, since emulation is slow.
HONELM_PROOF_COMPUTE=fast HONELM_PROOF_TOKENS=16 cargo test --quiet --workspace --test engine -- --ignored --nocapture greedy_tokens_of_a_model |
  sed -n 's/^.*proof: //p' >"$out/answers"
[ -s "$out/answers" ] || { echo "found no answers of this machine"; exit 1; }

cargo test --target "$target" -p honelm-cpu -p honelm-model --features honelm-cpu/ndarray --test cpu --test model --no-run 2>&1 | tee "$out/build" >&2
executable() { realpath "$(sed -n "s/^ *Executable .*(\(.*\/$1-[^/]*\))$/\1/p" "$out/build" | tail -1)"; }
cpu=$(executable cpu)
model=$(executable model)
emulated() { qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"; }

if [ "${1:-}" = --count ]; then
  # A count of instructions is the difference of three products and of one.
  cc -shared -fPIC -O2 -o "$out/count.so" crates/cpu/tests/count.c
  count() {
    HONELM_COUNT=$1 emulated -cpu max -plugin "$out/count.so" "$cpu" --quiet --ignored --test-threads 1 repeated_products 2>&1 |
      sed -n 's/^instructions: //p'
  }
  echo "instructions per weight and row of activations"
  for encoding in ${ENCODINGS:-q4_0 q4_k q6_k q8_0}; do
    for rows in 1 4 64; do
      for HONELM_TEST_ISA in neon dotprod i8mm; do
        export HONELM_TEST_ISA
        awk -v a="$(count "$encoding,$rows,1")" -v b="$(count "$encoding,$rows,3")" -v rows="$rows" \
          -v what="$encoding $HONELM_TEST_ISA, $rows rows" \
          'BEGIN { printf "%-24s %.3f\n", what, (b - a) / 2 / 256 / 2048 / rows }'
      done
    done
  done
  exit 0
fi

check() {
  local machine=$1
  export HONELM_TEST_ISA=$2
  (cd crates/cpu && emulated -cpu "$machine" "$cpu" --quiet rounded_operators every_number_of_rows extreme_blocks product:: \
    integer_groups instruction_sets isa::)
  (cd crates/model && HONELM_PROOF_ANSWERS=$out/answers emulated -cpu "$machine" "$model" --quiet --ignored another_machine)
  printf 'aarch64: %s on %s: equal (%ss)\n' "$2" "$machine" "$SECONDS"
}
# The longest test of each is on one thread, so they run side by side.
checks=()
for pair in "cortex-a53 neon" "neoverse-n1 dotprod" "max i8mm"; do
  # shellcheck disable=SC2086
  check $pair >"$out/${pair#* }" 2>&1 &
  checks+=("$!:${pair#* }")
done
failed=0
for one in "${checks[@]}"; do
  wait "${one%%:*}" || failed=1
  cat "$out/${one#*:}"
done
exit "$failed"
