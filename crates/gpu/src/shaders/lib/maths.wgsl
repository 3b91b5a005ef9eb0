// Elementary functions that do not use the device's own, whose errors differ and have loose bounds. NaN is kept by all of them:
// comparisons with it select the other operand.

// e^x with x clamped to [-87, 88]: 2^n e^r with n = round(x / ln 2), where ln 2 is split in two parts and e^r is the Taylor series
// to the 7th power.
fn exp_of(x: f32) -> f32 {
    let low = select(x, -87.0, x < -87.0);
    let clamped = select(low, 88.0, low > 88.0);
    let n = round(clamped * 1.44269504);
    let r = (clamped - n * 0.693145751953125) - n * 1.42860682e-6;
    var e = 1.98412698e-4;
    e = e * r + 1.38888889e-3;
    e = e * r + 8.33333333e-3;
    e = e * r + 4.16666667e-2;
    e = e * r + 1.66666667e-1;
    e = e * r + 0.5;
    e = e * r + 1.0;
    e = e * r + 1.0;
    return e * bitcast<f32>(u32(i32(n) + 127) << 23u);
}

// Below 0.625: x + x^3 P(x^2). Above: 1 - 2 / (1 + e^2|x|) with the sign of x.
fn tanh_of(x: f32) -> f32 {
    let s = x * x;
    var q = -6.096716e-3;
    q = q * s + 2.0996e-2;
    q = q * s - 5.385091e-2;
    q = q * s + 1.333277e-1;
    q = q * s - 3.3333328e-1;
    let small = x + x * s * q;
    let large = 1.0 - 2.0 / (1.0 + exp_of(2.0 * abs(x)));
    return select(select(large, -large, x < 0.0), small, abs(x) < 0.625);
}

// The error function. Below 1: x + x P(x^2). Above: 1 - e^(-t - t Q(t)) with t = min(|x|, 4) and the sign of x.
fn erf_of(x: f32) -> f32 {
    let s = x * x;
    var a = 7.875875e-5;
    a = a * s - 8.016864e-4;
    a = a * s + 5.189087e-3;
    a = a * s - 2.6854211e-2;
    a = a * s + 1.1283594e-1;
    a = a * s - 3.7612626e-1;
    a = a * s + 1.2837917e-1;
    let small = x + x * a;
    let t = select(abs(x), 4.0, abs(x) > 4.0);
    var b = 1.630929e-5;
    b = b * t - 3.691624e-4;
    b = b * t + 3.8051528e-3;
    b = b * t - 2.40326e-2;
    b = b * t + 1.0644119e-1;
    b = b * t + 6.3510936e-1;
    b = b * t + 1.2863511e-1;
    let large = 1.0 - exp_of(-t - t * b);
    return select(select(large, -large, x < 0.0), small, abs(x) < 1.0);
}
