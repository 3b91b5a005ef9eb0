#![allow(unsafe_code, reason = "parts of one result for several threads")]

use honelm_cpu::{Output, TILE};

#[test]
fn writes_only_its_own_columns() {
    let mut values = vec![0.0f32; 2 * 20];
    let out = Output::new(&mut values, 2, 20);
    assert_eq!(out.tile_count(), 2);
    // SAFETY: the two parts have different tiles.
    let (mut a, mut b) = unsafe { (out.tiles(0..1), out.tiles(1..2)) };
    assert_eq!(b.columns(), 16..20);
    a.write(1, 0, &[1.0; TILE]);
    b.write(1, 1, &[2.0; TILE]);
    assert!(values[..20].iter().all(|v| *v == 0.0));
    assert!(values[20..36].iter().all(|v| *v == 1.0));
    assert!(values[36..].iter().all(|v| *v == 2.0));
}

#[test]
#[should_panic(expected = "tiles")]
fn rejects_tiles_past_the_edge() {
    let mut values = vec![0.0f32; 20];
    let out = Output::new(&mut values, 1, 20);
    // SAFETY: this is the only part.
    let _ = unsafe { out.tiles(1..3) };
}
