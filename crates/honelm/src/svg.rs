//! Parts of plots as SVG, without scripts and external fonts. Lengths are in pixels.

use std::fmt::Write as _;

/// The width of a character of labels.
pub const CHARACTER: f64 = 7.0;
/// The height of a line of labels.
pub const LINE: f64 = 14.0;

/// The colour of text. All colours have enough contrast on white and on black.
pub const TEXT: &str = "#767b84";
/// The colour of axes.
pub const GRID: &str = "#9096a0";
/// The colour of what is good.
pub const GREEN: &str = "#2f9e55";
/// The colour of what is bad.
pub const RED: &str = "#d9534f";
/// The colour of what is neither.
pub const BLUE: &str = "#3f7fd0";

/// Begins a picture of a width and a height, with a title for readers that do not see it.
#[must_use]
pub fn begin([width, height]: [f64; 2], title: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{TEXT}\">\n"
    );
    let _ = writeln!(out, "<title>{}</title>", escaped(title));
    out
}

/// Ends a picture.
#[must_use]
pub fn end(mut out: String) -> String {
    out.push_str("</svg>\n");
    out
}

/// A range of values and a distance between tick marks that gives round numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    /// The end.
    pub most: f64,
    step: f64,
}

impl Axis {
    /// Creates an axis from 0 to a little more than the largest value.
    #[must_use]
    pub fn new(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.filter(|v| v.is_finite()).fold(0.0, f64::max);
        let largest = if largest > 0.0 { largest * 1.1 } else { 1.0 };
        let power = 10f64.powf((largest / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|s| largest / s <= 5.0);
        let step = step.unwrap_or(largest);
        Self { most: (largest / step).ceil() * step, step }
    }

    /// Returns the tick marks.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, count) = (self.step, (self.most / self.step).round() as usize);
        (0..=count).map(move |i| i as f64 * step)
    }

    /// Returns a tick as text, with as many decimals as the step needs.
    #[must_use]
    pub fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{value:.decimals$}")
    }
}

/// Draws a line between two points. `more` are further attributes.
pub fn line(out: &mut String, [x0, y0, x1, y1]: [f64; 4], colour: &str, more: &str) {
    let _ =
        writeln!(out, "<line x1=\"{x0:.1}\" y1=\"{y0:.1}\" x2=\"{x1:.1}\" y2=\"{y1:.1}\" stroke=\"{colour}\" {more}/>");
}

/// Writes text. `anchor` is the side that stands at the position: `start`, `middle` or `end`.
pub fn text(out: &mut String, [x, y]: [f64; 2], anchor: &str, size: u32, text: &str) {
    let text = escaped(text);
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>");
}

/// Escapes text for XML. Control characters, which XML 1.0 forbids, become spaces.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Draws a filled rectangle at a position, of a width and a height.
pub fn bar(out: &mut String, [x, y]: [f64; 2], [width, height]: [f64; 2], colour: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks_and_reach_beyond_the_largest_value() {
        for (largest, expected) in [(16.8, "20"), (0.027, "0.03"), (1.113, "1.5"), (0.0, "1.0"), (5e3, "6000")] {
            let axis = Axis::new([largest, f64::NAN].into_iter());
            let ticks: Vec<f64> = axis.ticks().collect();
            assert!((3..=7).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(ticks.last().is_some_and(|last| *last >= largest), "{largest}: {ticks:?}");
            assert_eq!(axis.label(axis.most), expected);
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b> & \"c\"\u{1b}"), "a&lt;b&gt; &amp; &quot;c&quot; ");
    }
}
