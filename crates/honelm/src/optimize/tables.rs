//! The tables of a report.

use std::path::Path;

use honelm_bench::Speed;
use honelm_eval::Verdict;

use super::gates::TextQuality;
use super::report::{Quality, Report, Row};
use super::speed::{SpeedRatio, Spread};
use crate::tasks::TaskFigures;
use crate::units::{bytes, seconds};

/// A column: its title and its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The title.
    pub title: &'static str,
    /// The meaning, in one sentence.
    pub meaning: &'static str,
}

pub(super) const fn column(title: &'static str, meaning: &'static str) -> Column {
    Column { title, meaning }
}

const NAME: Column = column("model", "The original, or the encoding of a candidate.");

const TIMES: [Column; 2] = [
    column("stage", "A part of the job; of a compression, the inputs that were observed and each step of the recipe."),
    column("seconds", "The time that it took, over all runs."),
];

const QUALITY: [Column; 9] = [
    NAME,
    column("verdict", "The gate's verdict; the accepted candidate is published."),
    column(
        "chunks",
        "The number of chunks of held-out text scored, fewer if the rejection was certain before. The row is about these.",
    ),
    column("perplexity", "The perplexity on these chunks and its standard error; lower is better."),
    column("original", "The original's perplexity on the same chunks."),
    column("difference", "`perplexity` minus `original`."),
    column("upper 95%", "The one-sided 95% upper bound of the difference. It decides: it must be within the budget."),
    column("KL", "The mean KL divergence of the next-token distribution from the original's, in nats; 0 is identical."),
    column("top-1", "The percentage of positions at which both find the same token most likely."),
];

const SPEED: [Column; 9] = [
    NAME,
    column("size", "The size of the files that hold the weights."),
    column("ratio", "The size divided by the original's."),
    column("bits/w", "The bits of these files divided by the number of parameters."),
    column("load", "The time to open and load the model, its files being in the page cache."),
    column("prefill tok/s", "The prompt tokens read per second, and the ratio to the original."),
    column("decode tok/s", "The tokens written per second, and the ratio to the original."),
    column("1st token", "The time from a prompt of 128 tokens to the first token of the answer."),
    column("memory", "The peak memory of the process."),
];

const COMPARISON: [Column; 9] = [
    column("recipe", "The recipe by which a candidate was compressed."),
    SPEED[1],
    QUALITY[3],
    QUALITY[5],
    QUALITY[6],
    QUALITY[7],
    QUALITY[8],
    column("quantise", "The time that the compression took."),
    column("decode", "The tokens written per second."),
];

const TEXTS: [Column; 8] =
    [NAME, column("text", "The further text."), QUALITY[2], QUALITY[3], QUALITY[4], QUALITY[5], QUALITY[6], QUALITY[7]];

const TASKS: [Column; 6] = [
    NAME,
    column("task", "The items of the task file with this name."),
    column("items", "The number of items."),
    column("accuracy", "The percentage of items with a correct answer, and its standard error."),
    column("retained", "The accuracy as a percentage of the original's."),
    column(
        "lower 95%",
        "The one-sided 95% lower bound of what is retained, over pairs of answers to the same item. It decides where a loss of \
         accuracy is limited.",
    ),
];
/// The same where widths or containers are compared.
const LADDER: [Column; 9] = {
    let mut columns = COMPARISON;
    columns[0] = NAME;
    columns
};

/// A table with a row per model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The columns.
    pub columns: &'static [Column],
    /// The cells, a list per row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns the titles of the columns.
    #[must_use]
    pub fn titles(&self) -> Vec<&'static str> {
        self.columns.iter().map(|column| column.title).collect()
    }
}

impl Report {
    /// Returns the verdict and the quality of every model.
    #[must_use]
    pub fn quality_table(&self) -> Table {
        Table { columns: &QUALITY, rows: self.rows.iter().map(quality).collect() }
    }

    /// Returns the quality on the further texts, a row per text and model. `None` without further texts.
    #[must_use]
    pub fn texts_table(&self) -> Option<Table> {
        let of = |row: &Row| {
            let found = row.findings.texts.iter().map(|found| text(&row.name, found));
            found.collect::<Vec<_>>()
        };
        let rows: Vec<_> = self.rows.iter().flat_map(of).collect();
        (!rows.is_empty()).then_some(Table { columns: &TEXTS, rows })
    }

    /// Returns the accuracy, a row per task and model, and one for all tasks. `None` without tasks.
    #[must_use]
    pub fn tasks_table(&self) -> Option<Table> {
        let of = |row: &Row| {
            let Some(found) = &row.findings.accuracy else { return Vec::new() };
            let all = (found.tasks.len() > 1).then_some(("all", &found.all));
            let each = found.tasks.iter().map(|task| (task.task.as_str(), &task.figures)).chain(all);
            each.map(|(task, figures)| accuracy(&row.name, task, figures)).collect()
        };
        let rows: Vec<_> = self.rows.iter().flat_map(of).collect();
        (!rows.is_empty()).then_some(Table { columns: &TASKS, rows })
    }

    /// Returns a row per compared candidate: size, quality, the time of the compression, and speed. `None` for a job that
    /// compares nothing.
    #[must_use]
    pub fn comparison_table(&self) -> Option<Table> {
        self.comparison.as_ref()?;
        // Widths and containers are told apart by the names of the rows.
        let by_recipe = self.by_container().count() < 2 && self.rows.iter().all(|row| row.bits.is_none());
        let columns = if by_recipe { &COMPARISON } else { &LADDER };
        Some(Table { columns, rows: self.rows.iter().map(|row| comparison(row, by_recipe)).collect() })
    }

    /// Returns the size, speed and memory of every model.
    #[must_use]
    pub fn speed_table(&self) -> Table {
        Table { columns: &SPEED, rows: self.rows.iter().map(speed).collect() }
    }

    /// Returns the time that each part of the job took. `None` if it is not known.
    #[must_use]
    pub fn times_table(&self) -> Option<Table> {
        let rows = self.stages.iter().map(|stage| vec![stage.name.clone(), format!("{:.1}", stage.seconds)]);
        let whole: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        let rows = rows.chain([vec!["all".to_owned(), format!("{whole:.1}")]]).collect();
        (!self.stages.is_empty()).then_some(Table { columns: &TIMES, rows })
    }

    /// Returns the speed of the published models as a multiple of the original's, in one sentence each.
    #[must_use]
    pub fn speed_summary(&self) -> Option<String> {
        let told = |Spread { median, least, most }| format!("{median:.2}x ({least:.2}x to {most:.2}x)");
        let sentence = |row: &Row| {
            let SpeedRatio { pairs, prefill, decode } = row.speed_ratio?;
            Some(format!(
                "Speed of {} relative to the original: prefill {}, decode {}; median and range of {pairs} pairs of \
                 measurements.",
                row.name,
                told(prefill),
                told(decode)
            ))
        };
        let sentences: Vec<String> = self.rows.iter().filter(|row| row.chosen).filter_map(sentence).collect();
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

fn verdict(row: &Row) -> &'static str {
    match row.verdict {
        None => "-",
        Some(Verdict::Accepted) => "accepted",
        Some(Verdict::Rejected) => "rejected",
        Some(Verdict::NotEnoughText) => "not judged",
    }
}

fn text(name: &str, found: &TextQuality) -> Vec<String> {
    let file = Path::new(&found.text).file_name().map(|file| file.to_string_lossy().into_owned());
    let mut cells = vec![name.to_owned(), file.unwrap_or_else(|| found.text.clone())];
    cells.extend(figures(&found.quality).into_iter().take(6));
    cells
}

fn accuracy(name: &str, task: &str, found: &TaskFigures) -> Vec<String> {
    let stderr = found.accuracy_stderr_percent.map_or_else(String::new, |e| format!(" ± {e:.1}"));
    let percent = |value: f64| format!("{value:.1}%");
    vec![
        name.to_owned(),
        task.to_owned(),
        found.items.to_string(),
        format!("{:.1}%{stderr}", found.accuracy_percent),
        or_dash(found.against.and_then(|kept| kept.accuracy_retained_percent), percent),
        or_dash(found.against.and_then(|kept| kept.accuracy_retained_percent_lower95), percent),
    ]
}

fn quality(row: &Row) -> Vec<String> {
    let mut cells = vec![row.name.clone(), verdict(row).to_owned()];
    cells.extend(figures(&row.quality));
    cells
}

/// Returns the cells of [`QUALITY`] from the chunks on.
fn figures(q: &Quality) -> Vec<String> {
    vec![
        q.chunks.to_string(),
        format!("{:.2} ± {:.2}", q.perplexity, q.perplexity_stderr),
        or_dash(q.original_perplexity, |p| format!("{p:.2}")),
        or_dash(q.perplexity_difference, |d| format!("{d:+.3}")),
        or_dash(q.perplexity_difference_upper95, |d| format!("{d:+.3}")),
        or_dash(q.kl_divergence, |d| format!("{d:.4}")),
        or_dash(q.same_top_percent, |p| format!("{p:.1}%")),
    ]
}

fn comparison(row: &Row, by_recipe: bool) -> Vec<String> {
    let [_, _, _, perplexity, _, difference, upper, kl, top] =
        <[String; 9]>::try_from(quality(row)).unwrap_or_default();
    vec![
        row.recipe.clone().filter(|_| by_recipe).unwrap_or_else(|| row.name.clone()),
        bytes(row.size_bytes),
        perplexity,
        difference,
        upper,
        kl,
        top,
        or_dash(row.quantise_seconds, seconds),
        or_dash(row.speed.as_ref(), |s| format!("{:.0}", s.decode_tokens_per_second)),
    ]
}

fn speed(row: &Row) -> Vec<String> {
    let rate = |value: fn(&Speed) -> f64, ratio: fn(&SpeedRatio) -> Spread| {
        let ratio = row.speed_ratio.as_ref().map_or_else(String::new, |r| format!(" ({:.2}x)", ratio(r).median));
        or_dash(row.speed.as_ref(), |s| format!("{:.0}{ratio}", value(s)))
    };
    vec![
        row.name.clone(),
        bytes(row.size_bytes),
        format!("{:.2}", row.size_ratio),
        format!("{:.2}", row.bits_per_weight),
        or_dash(row.speed.as_ref(), |s| seconds(s.load_seconds)),
        rate(|s| s.prefill_tokens_per_second, |r| r.prefill),
        rate(|s| s.decode_tokens_per_second, |r| r.decode),
        or_dash(row.speed.as_ref(), |s| seconds(s.first_token_seconds)),
        or_dash(row.speed.as_ref().and_then(|s| s.peak_memory_bytes), bytes),
    ]
}
