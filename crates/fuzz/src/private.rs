//! Targets for private data: the detector, requests, and the restorer of streams.

use std::sync::OnceLock;

use honelm_gateway::pii::{Api, DetectOptions, Detector, Mode, Redactor, Restorer, Vault};

/// A detector that reports everything, so that all code runs.
fn detector() -> Option<&'static Detector> {
    static DETECTOR: OnceLock<Option<Detector>> = OnceLock::new();
    DETECTOR.get_or_init(|| Detector::new(DetectOptions { threshold: 0.0, kinds: None, all_dates: true }).ok()).as_ref()
}

/// Detects and replaces. Spans are in order, apart, and between characters.
pub(crate) fn private(data: &[u8]) {
    let (Ok(text), Some(detector)) = (str::from_utf8(data), detector()) else { return };
    let mut end = 0;
    for span in detector.detect(text) {
        assert!(span.start >= end && text.get(span.start..span.end).is_some_and(|part| !part.is_empty()), "{span:?}");
        end = span.end;
    }
    let mut redactor = Redactor::new(detector, Mode::Surrogate, Vault::new([1; 32]));
    if let Ok(redacted) = redactor.text(text) {
        let _ = redactor.vault().restorer().text(&redacted);
    }
}

/// Replaces in a request of each API.
pub(crate) fn private_request(data: &[u8]) {
    let Some(detector) = detector() else { return };
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    for api in [Api::Chat, Api::Responses, Api::Messages] {
        for mode in [Mode::Mask, Mode::Surrogate] {
            let mut own = body.clone();
            let mut redactor = Redactor::new(detector, mode, Vault::new([1; 32]));
            if redactor.request(api, &mut own).is_ok() {
                redactor.vault().restorer().json(&mut own);
            }
        }
    }
}

/// Restores an answer, whole and in pieces. The first byte is the size of the pieces, which must not matter.
pub(crate) fn restore(data: &[u8]) {
    static RESTORER: OnceLock<Option<Restorer>> = OnceLock::new();
    let restorer = RESTORER.get_or_init(|| {
        let mut redactor = Redactor::new(detector()?, Mode::Surrogate, Vault::new([1; 32]));
        redactor.text("Contact Katarzyna Nowak, kn@example.org, card 4111 1111 1111 1111, +49 30 901820.").ok()?;
        Some(redactor.vault().restorer())
    });
    let (Some(restorer), Some((&size, data))) = (restorer, data.split_first()) else { return };
    let Ok(text) = str::from_utf8(data) else { return };
    let characters: Vec<char> = text.chars().collect();
    for escapes in 0..2 {
        let mut stream = restorer.fork().escaping(escapes);
        let pieces = characters.chunks(1 + usize::from(size % 16)).map(|piece| piece.iter().collect::<String>());
        let mut answer: String = pieces.map(|piece| stream.push(&piece)).collect();
        answer.push_str(&stream.finish());
        assert_eq!(answer, restorer.fork().escaping(escapes).text(text));
    }
}
