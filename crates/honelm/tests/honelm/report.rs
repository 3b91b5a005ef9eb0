//! The report of a job, from its JSON.

use honelm::optimize::{Report, Table};
use serde_json::{Value, json};

fn row(name: &str, verdict: &Value, chunks: usize, quality: [f64; 3], ratio: Option<f64>) -> Value {
    let [perplexity, original, kl] = quality;
    let is_original = verdict.is_null();
    let difference = |value: f64| if is_original { Value::Null } else { json!(value) };
    let spread = |median: f64| json!({"median": median, "least": median * 0.9, "most": median * 1.1});
    json!({
        "name": name, "chosen": *verdict == "accepted", "verdict": verdict, "rejected_early": chunks < 161,
        "size_bytes": 1_416_793_904u64, "size_ratio": 0.3333, "bits_per_weight": 16.01, "chunks": chunks,
        "perplexity": perplexity, "perplexity_stderr": 1.382, "original_perplexity": difference(original),
        "perplexity_difference": difference(perplexity - original),
        "perplexity_difference_upper95": difference(perplexity - original + 0.245),
        "kl_divergence": difference(kl), "same_top_percent": difference(88.63), "load_seconds": 12.34,
        "prefill_tokens_per_second": 10284.4, "decode_tokens_per_second": 1081.2, "first_token_seconds": 0.0113,
        "peak_memory_bytes": 1_444_486_656u64,
        "speed_ratio": ratio.map(|r| json!({"pairs": 3, "prefill": spread(r), "decode": spread(r)})),
    })
}

fn report(model: &str) -> Report {
    let text = json!({"name": "shipped", "sha256": "ab", "tokens": 82619});
    let report = json!({
        "version": "1.2.3", "date": "2026-01-31T12:00:00Z", "command": "honelm optimize 'a b'",
        "machine": {"cpu": "A CPU", "threads": 1, "instruction_set": "avx2", "system": "linux", "memory_bytes": 8e9 as u64},
        "key": "k", "model": model, "model_digest": "m", "parameters": 8_390_000, "container": "gptq", "budget": {"kind": "absolute", "value": 0.5},
        "protocol": "llama.cpp-512", "context": 1024, "bos": true, "tokenizer_digest": "t", "compute": "cpu (avx2)",
        "evaluation": text, "calibration": text, "chosen": "int4 g32", "not_enough_text": false,
        "rows": [
            row("original", &Value::Null, 161, [44.72, 44.72, 0.0], None),
            row("int4 g128", &json!("rejected"), 60, [43.799, 42.93, 0.0270], Some(1.84)),
            row("int4 g32", &json!("accepted"), 161, [44.96, 44.72, 0.0074], Some(1.9)),
        ],
        "sample": {"prompt": "Tell me a story.", "original": "Once\nupon", "chosen": "a time"},
        "published": [{"container": "gptq", "path": "gptq", "sha256": "p"}], "warnings": ["a warning"],
    });
    serde_json::from_value(report).unwrap()
}

#[test]
fn a_row_that_was_rejected_early_is_consistent_in_itself() {
    let Table { columns, rows } = report("small").quality_table();
    let cell = |row: usize, title: &str| {
        let column = columns.iter().position(|column| column.title == title).unwrap();
        rows[row][column].clone()
    };
    assert_eq!((cell(0, "chunks"), cell(1, "chunks")), ("161".to_owned(), "60".to_owned()));
    assert_eq!((cell(1, "perplexity"), cell(1, "original")), ("43.80 ± 1.38".to_owned(), "42.93".to_owned()));
    assert_eq!((cell(1, "difference"), cell(1, "upper 95%")), ("+0.869".to_owned(), "+1.114".to_owned()));
    assert_eq!((cell(0, "original"), cell(1, "verdict")), ("-".to_owned(), "rejected".to_owned()));
}

#[test]
fn a_size_that_exceeds_the_default_budget_is_published_and_the_excess_told() {
    let mut report = report("small");
    (report.size_decides, report.rows[2].verdict) = (true, Some(honelm::Verdict::Rejected));
    let told = report.summary();
    assert!(told.starts_with("int4 g32 has the size that was asked for, but exceeds the budget of +0.5"), "{told}");
    assert!(told.ends_with("the size alone decides what is published.") && report.is_complete(), "{told}");
}

#[test]
fn times_add_up() {
    let mut report = report("small");
    assert_eq!(report.times_table(), None);
    for (name, seconds) in [("original: scoring", 2.0), ("Q4_0: gptq", 3.25)] {
        report.stages.push(honelm::StageTime { name: name.to_owned(), seconds });
    }
    let table = report.times_table().unwrap();
    assert_eq!(table.rows, [["original: scoring", "2.0"], ["Q4_0: gptq", "3.2"], ["all", "5.2"]]);
    assert!(report.markdown().contains("## Time"));
}

#[test]
fn tables_fit_into_100_columns() {
    for table in [report("small").quality_table(), report("small").speed_table()] {
        let cells = |column: usize| table.rows.iter().map(move |row| row[column].as_str());
        let widths = (0..table.columns.len()).map(|column| {
            let longest = cells(column).chain([table.columns[column].title]).map(|cell| cell.chars().count()).max();
            longest.unwrap()
        });
        // Two spaces between columns.
        let width: usize = widths.map(|width| width + 2).sum::<usize>() - 2;
        assert!(width <= 100, "{width}: {:?}", table.titles());
    }
}

#[test]
fn the_verdict_comes_first_and_all_circumstances_follow() {
    let markdown = report("small").markdown();
    let lines: Vec<&str> = markdown.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], "# small");
    assert!(lines[1].starts_with("**int4 g32 holds the budget of +0.5 perplexity"), "{}", lines[1]);
    for part in [
        "- machine: A CPU, 1 thread, instruction set avx2, 8.00 GB of memory; linux\n",
        "- command: `honelm optimize 'a b'`\n",
        "- version: honelm 1.2.3\n",
        "- date: 2026-01-31T12:00:00Z\n",
        "decode 1.90x (1.71x to 2.09x); median and range of 3 pairs",
        "](report.svg)\n",
        "- **KL**: ",
        "- held-out text: shipped, 82619 tokens, SHA-256 ab\n",
        "- a warning\n",
        "original:\n\n> Once\n> upon\n",
    ] {
        assert!(markdown.contains(part), "{part:?} is not in {markdown}");
    }
}

#[test]
fn the_plot_shows_every_model_and_escapes_its_name() {
    let plot = report("<b>\u{1b}&").plot();
    assert!(plot.starts_with("<svg ") && plot.trim_end().ends_with("</svg>"), "{plot}");
    for name in ["original", "int4 g128", "int4 g32"] {
        // A label in each of two panels; the legend has the original too.
        assert!(plot.matches(&format!(">{name}</text>")).count() >= 2, "{name}: {plot}");
    }
    assert!(plot.contains(">budget +0.5</text>") && plot.contains("&lt;b&gt; &amp;: size and quality"), "{plot}");
    assert!(!plot.contains("<b>") && !plot.contains('\u{1b}') && !plot.contains("script"), "{plot}");
}
