//! Sizes and times as text.

/// Formats a number of bytes in powers of 1000: `999 B`, `34.0 MB`, `1.20 GB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Formats a time in seconds: `250 ms`, `3.50 s`.
#[must_use]
pub fn seconds(s: f64) -> String {
    if s < 1.0 { format!("{:.0} ms", s * 1e3) } else { format!("{s:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_the_unit_that_fits() {
        assert_eq!([999, 1_500, 34_000_000, 1_200_000_000].map(bytes), ["999 B", "1.5 kB", "34.0 MB", "1.20 GB"]);
        assert_eq!([0.25, 3.5].map(seconds), ["250 ms", "3.50 s"]);
    }
}
