// Sums and maxima over the THREADS threads of a workgroup; every thread gets the result.

var<workgroup> reduced: array<f32, THREADS>;

fn sum_of_all(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            reduced[thread] += reduced[thread + half];
        }
        workgroupBarrier();
    }
    let all = reduced[0];
    workgroupBarrier();
    return all;
}

fn max_of_all(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            reduced[thread] = max(reduced[thread], reduced[thread + half]);
        }
        workgroupBarrier();
    }
    let all = reduced[0];
    workgroupBarrier();
    return all;
}
