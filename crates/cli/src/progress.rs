//! The progress of long work, on stderr.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use honelm::{Event, printable};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::arguments::Global;
use crate::interrupt::{self, STOPPING};
use crate::output;
use crate::time_left::{TimeLeft, about, taken};

/// Stages that take less time leave no line behind.
const WORTH_A_LINE: Duration = Duration::from_secs(2);

enum Style {
    /// Bars with the time left, on a terminal of that many columns.
    Bars(usize),
    /// A line when a stage begins.
    Lines,
    /// Nothing.
    Quiet,
}

/// Shows events, and stops the work after Ctrl-C.
pub struct Progress {
    style: Style,
    stage: String,
    begun: Instant,
    bar: Option<Bar>,
}

/// A bar on the terminal and the estimate that it shows.
struct Bar {
    bar: ProgressBar,
    left: Arc<Mutex<TimeLeft>>,
}

impl Progress {
    /// Creates a progress display: bars on a terminal, lines elsewhere and with `--json`, nothing with `--quiet`.
    pub fn new(global: &Global) -> Self {
        let style = match output::stderr_columns() {
            _ if global.quiet => Style::Quiet,
            Some(columns) if !global.json => Style::Bars(columns),
            _ => Style::Lines,
        };
        let progress = Self { style, stage: String::new(), begun: Instant::now(), bar: None };
        progress.acknowledge_interrupts();
        progress
    }

    /// Shows an event. Returns `false` to stop the work.
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

    /// Shows a warning above a bar.
    pub fn warning(&self, text: &str) {
        let text = format!("warning: {text}");
        match (&self.style, &self.bar) {
            (Style::Quiet, _) => {}
            (_, Some(Bar { bar, .. })) => bar.suspend(|| output::note(&text)),
            (_, None) => output::note(&text),
        }
    }

    /// Ends the current stage.
    pub fn finish(&mut self) {
        let Some(Bar { bar, .. }) = self.bar.take() else { return };
        self.acknowledge_interrupts();
        bar.finish_and_clear();
        let took = self.begun.elapsed();
        if took >= WORTH_A_LINE && !interrupt::pressed() {
            output::note(&format!("{} ({})", self.stage, taken(took)));
        }
    }

    fn stage(&mut self, name: &str, detail: &str, done: u64, total: u64, figures: &str) {
        let name = shown(name);
        if name != self.stage {
            self.finish();
            self.stage = name;
            self.begun = Instant::now();
            match self.style {
                Style::Bars(columns) => {
                    self.bar = Some(Bar::new(&self.stage, done, total, &template(columns, figures)));
                    self.acknowledge_interrupts();
                }
                Style::Lines => output::note(&self.stage),
                Style::Quiet => {}
            }
        }
        if let Some(Bar { bar, left }) = &self.bar {
            left.lock().unwrap_or_else(PoisonError::into_inner).update(self.begun.elapsed(), done, total);
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(shown(detail));
        }
    }

    /// Answers the first Ctrl-C at once, although a step may take long to finish.
    fn acknowledge_interrupts(&self) {
        let bar = self.bar.as_ref().map(|Bar { bar, .. }| bar.clone());
        interrupt::acknowledge_with(match self.style {
            Style::Quiet => None,
            _ => Some(Box::new(move || match &bar {
                Some(bar) => bar.suspend(|| output::note(STOPPING)),
                None => output::note(STOPPING),
            })),
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
        interrupt::acknowledge_with(None);
    }
}

const STEPS: &str = "{pos}/{len}";
const BYTES: &str = "{decimal_bytes} of {decimal_total_bytes}";

/// Returns the layout of a line with a bar as wide as the terminal has room for. The detail at the end is cut where the
/// line is full, since a line that wraps cannot be drawn again.
fn template(columns: usize, figures: &str) -> String {
    let bar = match columns {
        0..80 => "",
        80..120 => "{bar:16} ",
        _ => "{bar:40} ",
    };
    format!("{{prefix}} {bar}{figures}{{left}}  {{wide_msg}}")
}

/// Returns text for a line that is drawn again and again.
fn shown(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

impl Bar {
    fn new(name: &str, done: u64, total: u64, template: &str) -> Self {
        let left = Arc::new(Mutex::new(TimeLeft::new(done, total)));
        let bar = ProgressBar::new(total).with_position(done);
        if let Ok(style) = ProgressStyle::with_template(template) {
            let (left, begun) = (Arc::clone(&left), Instant::now());
            let show = move |_: &ProgressState, out: &mut dyn Write| {
                let left = left.lock().unwrap_or_else(PoisonError::into_inner).left(begun.elapsed());
                if let Some(left) = left {
                    // Writing to a line in memory cannot fail.
                    let _ = write!(out, "  {} left", about(left));
                }
            };
            bar.set_style(style.progress_chars("━╸ ").with_key("left", show));
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, left }
    }
}
