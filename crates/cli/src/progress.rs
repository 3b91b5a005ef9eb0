//! Where long work stands, on stderr.

use std::time::{Duration, Instant};

use honelm::{Event, printable};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Global;
use crate::{interrupt, output};

/// Stages shorter than this leave no line behind.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

enum Style {
    /// Bars with the time left, for a terminal.
    Bars,
    /// A line when a stage begins.
    Lines,
    /// Nothing.
    Quiet,
}

/// Shows events; knows when the user pressed Ctrl-C.
pub struct Progress {
    style: Style,
    stage: String,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Bars on a terminal; lines elsewhere and beside `--json`; nothing with `--quiet`.
    pub fn new(global: &Global) -> Self {
        let style = match () {
            () if global.quiet => Style::Quiet,
            () if global.json || !output::stderr_is_terminal() => Style::Lines,
            () => Style::Bars,
        };
        Self { style, stage: String::new(), begun: Instant::now(), bar: None }
    }

    /// Shows an event; false stops the work.
    pub fn event(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Stage { name, detail, done, total } => {
                self.stage(name, detail, *done as u64, *total as u64, STEPS);
            }
            Event::Transfer { name, detail, done, total } => self.stage(name, detail, *done, *total, BYTES),
            Event::Warning(text) => self.warning(text),
        }
        !interrupt::pressed()
    }

    /// Tells the user something without disturbing a bar.
    pub fn warning(&self, text: &str) {
        let text = format!("warning: {text}");
        match (&self.style, &self.bar) {
            (Style::Quiet, _) => {}
            (_, Some(bar)) => bar.suspend(|| output::note(&text)),
            (_, None) => output::note(&text),
        }
    }

    /// Ends the stage at hand.
    pub fn finish(&mut self) {
        let Some(bar) = self.bar.take() else { return };
        bar.finish_and_clear();
        let took = self.begun.elapsed();
        if took >= WORTH_A_LINE && !interrupt::pressed() {
            output::note(&format!("{} ({})", self.stage, honelm::optimize::seconds(took.as_secs_f64())));
        }
    }

    fn stage(&mut self, name: &str, detail: &str, done: u64, total: u64, template: &str) {
        let name = shown(name);
        if name != self.stage {
            self.finish();
            self.stage = name;
            self.begun = Instant::now();
            match self.style {
                Style::Bars => self.bar = Some(bar(&self.stage, done, total, template)),
                Style::Lines => output::note(&self.stage),
                Style::Quiet => {}
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(shown(detail));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

const STEPS: &str = "{prefix} {wide_bar} {pos}/{len} {eta:>3} left  {msg}";
const BYTES: &str = "{prefix} {wide_bar} {decimal_bytes} of {decimal_total_bytes} {eta:>3} left  {msg}";

/// A name or detail in a line that is drawn again and again.
fn shown(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// A bar that begins at `done`, so that what was there before does not count as speed.
fn bar(name: &str, done: u64, total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_position(done);
    bar.reset_eta();
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
