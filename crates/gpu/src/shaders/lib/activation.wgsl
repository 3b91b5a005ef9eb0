//!include lib/maths
// The activation selected by the constant ACTIVATION: 0 relu, 1 silu, 2 gelu, 3 gelu by tanh.

fn activation(x: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return select(x, 0.0, x < 0.0); }
        case 1u: { return x / (1.0 + exp_of(-x)); }
        case 2u: { return 0.5 * x * (1.0 + erf_of(x * 0.70710678)); }
        default: { return 0.5 * x * (1.0 + tanh_of(0.79788456 * (x + 0.044715 * x * x * x))); }
    }
}

fn activation4(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(activation(x.x), activation(x.y), activation(x.z), activation(x.w));
}
