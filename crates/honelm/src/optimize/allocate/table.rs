//! The table of an allocation: why each group of tensors has its encoding.

use super::{Allocation, StepTo};
use crate::optimize::{Column, Table};
use crate::units::bytes;

const COLUMNS: [Column; 7] = [
    Column { title: "tensors", meaning: "Tensors that share an encoding, by their names in GGUF." },
    Column { title: "type", meaning: "The encoding of these tensors." },
    Column { title: "bits", meaning: "The bits per weight of the encoding." },
    Column { title: "bytes", meaning: "The size of these tensors in the file." },
    Column { title: "KL share", meaning: "The share of the predicted KL divergence that these tensors cause." },
    Column {
        title: "next up",
        meaning: "The next larger encoding: what it costs, and the change of the predicted KL.",
    },
    Column {
        title: "next down",
        meaning: "The next smaller encoding: what it saves, and the change of the predicted KL.",
    },
];

impl Allocation {
    /// Returns a row per group of tensors.
    #[must_use]
    pub fn table(&self) -> Table {
        let row = |group: &super::Group| {
            vec![
                Self::group_name(group),
                group.encoding.clone(),
                format!("{:.2}", group.bits),
                bytes(group.size_bytes),
                format!("{:.2}%", group.kl_share_percent),
                step(group.up.as_ref()),
                step(group.down.as_ref()),
            ]
        };
        Table { columns: &COLUMNS, rows: self.groups.iter().map(row).collect() }
    }

    /// Returns the size and the divergences in some sentences.
    #[must_use]
    pub fn summary(&self) -> String {
        let [alone, mixes] = self.evaluations;
        let target = self.target_bytes.map_or_else(String::new, |most| format!(" of at most {most}"));
        let found = match (self.measured_kl, self.first_kl) {
            (Some(kl), Some(first)) => format!(
                " On the half of the held-out text that the gate does not see, with tensors rounded one by one: {kl:.5}, \
                 {first:.5} before the search ({mixes} measurements of mixes).",
            ),
            _ => String::new(),
        };
        format!(
            "{} bytes{target}, {:.3} bits per weight, predicted KL divergence {:.5} from {alone} measurements of single \
             tensors.{found}",
            self.size_bytes, self.bits_per_weight, self.predicted_kl,
        )
    }
}

fn step(step: Option<&StepTo>) -> String {
    let sign = |n: i64| if n < 0 { "-" } else { "+" };
    step.map_or_else(
        || "-".to_owned(),
        |s| format!("{} {}{}, KL {:+.1e}", s.encoding, sign(s.size_bytes), bytes(s.size_bytes.unsigned_abs()), s.kl),
    )
}
