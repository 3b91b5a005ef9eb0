//! A product without anything around it, whose instructions an emulator can count.

use honelm_blocks::Encoding;

use super::oracle::{Random, random_blocks};
use super::{full, rounded};
use crate::common::instruction_sets;
use honelm_cpu::int8::Int8Weight;

/// Multiplies a weight of 256 x 2048 by the number of rows, as often as `HONELM_COUNT=ENCODING,ROWS,TIMES` says.
#[test]
#[ignore = "does only what is counted: bash crates/cpu/tests/aarch64.sh --count"]
fn repeated_products() {
    let wanted = std::env::var("HONELM_COUNT").expect("HONELM_COUNT=ENCODING,ROWS,TIMES");
    let [encoding, rows, times] = wanted.split(',').collect::<Vec<_>>()[..] else { panic!("HONELM_COUNT={wanted}") };
    let encoding = Encoding::from_name(encoding).expect("an encoding");
    let mut random = Random::new(12);
    let weight = random_blocks(encoding, 256, 2048, 1.0, &mut random);
    let isa = instruction_sets().pop().expect("generic is always available");
    let packed = Int8Weight::pack(&weight, isa).expect("a kernel");
    let x = rounded(&random.matrix(rows.parse().expect("a number of rows"), 2048), None, isa);
    for _ in 0..times.parse().expect("a number of times") {
        let out = full(&packed, &x);
        assert!(out.data.iter().all(|v| v.is_finite()));
    }
}
