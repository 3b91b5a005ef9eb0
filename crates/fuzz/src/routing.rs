//! Targets for what a gateway reads: its settings, labelled traffic and estimators.

use honelm_gateway::estimator::{Estimator, Prompt, Target, read_traffic};
use honelm_gateway::policy::Settings;

/// The tables of an estimator are not parsed, so an input is the JSON head alone, and the tables are zeros.
pub fn estimator(data: &[u8]) {
    /// The bytes of all tables.
    const TABLES: usize = (1 << 15) + (1 << 17) + (1 << 17) + (1 << 14);
    let mut file = b"HNLMRT01".to_vec();
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file.resize(file.len() + TABLES, 0);
    let _ = Estimator::from_bytes("input", data);
    let Ok(estimator) = Estimator::from_bytes("input", &file) else { return };
    let prompt = Prompt::new("Which is not a prime number?\nA. 7\nB. 9");
    let found = estimator.explain(&prompt);
    let _ = estimator.threshold(Target::Gain(found.estimate.gain));
    for share in [0.0, 0.05, 0.75, 1.0] {
        let _ = (estimator.threshold(Target::KeepLocal(share)), estimator.threshold(Target::MaxFalseLocal(share)));
    }
}

/// Labelled traffic as text.
pub fn traffic(data: &[u8]) {
    let _ = read_traffic("input", &String::from_utf8_lossy(data));
}

/// A gateway file.
pub fn gateway_file(data: &[u8]) {
    let _ = Settings::from_toml("input", &String::from_utf8_lossy(data));
}
