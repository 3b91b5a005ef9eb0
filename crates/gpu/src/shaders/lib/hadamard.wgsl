// The rotation of heads (`honelm_backend::hadamard`). RUN is the length of its runs, or 1 if heads are not rotated.

// Rotates the first `count` values of `head_values`, with THREADS threads. Ends with a barrier; the values must be visible to all.
fn rotate_vector(count: u32, thread: u32) {
    for (var distance = 1u; distance < RUN; distance *= 2u) {
        for (var i = thread; i < count / 2u; i += THREADS) {
            let at = i / distance * 2u * distance + i % distance;
            let a = head_values[at];
            let b = head_values[at + distance];
            head_values[at] = a + b;
            head_values[at + distance] = a - b;
        }
        workgroupBarrier();
    }
    let norm = 1.0 / sqrt(f32(RUN));
    for (var i = thread; i < count; i += THREADS) {
        head_values[i] *= norm;
    }
    workgroupBarrier();
}
