//! Replacing private data in texts and requests.

use std::collections::BTreeMap;

use serde_json::Value;

use super::request::{self, Api, Position};
use super::restore::Trie;
use super::tagger;
use super::{Detector, Kind, Span, Vault};
use crate::{GatewayError, Result};

/// The ways to deal with private data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Replace it by its kind: `<PERSON>`.
    Mask,
    /// Replace it by an invented value of the same form, which [`super::Restorer`] turns back.
    Surrogate,
    /// Refuse the text.
    Block,
}

/// Replaces the private data of one request or conversation.
#[derive(Debug)]
pub struct Redactor<'a> {
    detector: &'a Detector,
    mode: Mode,
    vault: Vault,
    replaced: BTreeMap<Kind, usize>,
}

impl<'a> Redactor<'a> {
    /// Creates a redactor that writes into a vault.
    #[must_use]
    pub fn new(detector: &'a Detector, mode: Mode, vault: Vault) -> Self {
        Self { detector, mode, vault, replaced: BTreeMap::new() }
    }

    /// Returns how many values of each kind were replaced so far.
    #[must_use]
    pub fn replaced(&self) -> &BTreeMap<Kind, usize> {
        &self.replaced
    }

    /// Returns the vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Returns the vault, which a gateway keeps until the answer is complete.
    #[must_use]
    pub fn into_vault(self) -> Vault {
        self.vault
    }

    /// Replaces the private data of a text. Values that were found in an earlier text are found in this one too.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Blocked`] in [`Mode::Block`] if there is any, and [`GatewayError::VaultFull`].
    pub fn text(&mut self, text: &str) -> Result<String> {
        Ok(self.text_with_spans(text)?.0)
    }

    /// Replaces the private data of a text, and returns the spans that were found in it too.
    ///
    /// # Errors
    ///
    /// Those of [`Redactor::text`].
    pub fn text_with_spans(&mut self, text: &str) -> Result<(String, Vec<Span>)> {
        let found = self.detector.detect(text);
        self.block(&found)?;
        self.learn(text, &found, &|by| text.contains(by))?;
        let known = self.known();
        let spans = self.with_known(text, found, &known);
        Ok((self.replace(text, &spans)?, spans))
    }

    /// Replaces the private data of a request's body: messages, system prompts, arguments and results of tools, names,
    /// metadata, and history. The names of the protocol stay: models, roles, ids, the names of tools.
    ///
    /// A value that is found at one place is replaced at every place.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Blocked`] in [`Mode::Block`] if there is any private data, [`GatewayError::Request`] if a part of the
    /// request cannot be inspected or a name of the protocol contains private data, and [`GatewayError::VaultFull`].
    pub fn request(&mut self, api: Api, body: &mut Value) -> Result<()> {
        // First everything is looked at, so that each value is known before anything is replaced.
        let mut all: Vec<(String, Vec<Span>)> = Vec::new();
        request::visit(api, &mut body.clone(), &mut |position, text| {
            if let Position::Text { label } = position {
                let spans = self.labelled(label, text);
                all.push((text.clone(), spans));
            }
            Ok(())
        })?;
        let spans: Vec<Span> = all.iter().flat_map(|(_, spans)| spans.iter().copied()).collect();
        self.block(&spans)?;
        for (text, spans) in &all {
            self.learn(text, spans, &|by| all.iter().any(|(text, _)| text.contains(by)))?;
        }
        let known = self.known();
        let mut next = all.into_iter();
        request::visit(api, body, &mut |position, text| match position {
            Position::Text { .. } => {
                let spans = next.next().map_or_else(Vec::new, |(_, spans)| spans);
                let spans = self.with_known(text, spans, &known);
                *text = self.replace(text, &spans)?;
                Ok(())
            }
            Position::Protocol { place } => self.must_be_clean(place, text, &known),
        })
    }

    /// Detects the private data of a value whose label, such as the key of a field, tells of what kind it may be.
    fn labelled(&self, label: &str, text: &str) -> Vec<Span> {
        let spans = self.detector.detect(text);
        let bare =
            text.len() < 80 && !text.contains(char::is_whitespace) || text.bytes().all(|b| !b.is_ascii_alphabetic());
        if label.is_empty() || !bare {
            return spans;
        }
        let prefix = label.replace(['_', '-'], " ") + ": ";
        let with = self.detector.detect(&format!("{prefix}{text}"));
        let inside = with.into_iter().filter(|s| s.start >= prefix.len());
        let mut all: Vec<Span> = inside
            .map(|s| Span { start: s.start - prefix.len(), end: s.end - prefix.len(), ..s })
            .chain(spans)
            .collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<Span> = Vec::new();
        for span in all {
            if kept.iter().all(|k| k.end <= span.start || span.end <= k.start) {
                kept.push(span);
            }
        }
        kept.sort_by_key(|s| s.start);
        kept
    }

    fn block(&self, spans: &[Span]) -> Result<()> {
        if self.mode != Mode::Block || spans.is_empty() {
            return Ok(());
        }
        let found = super::counts(spans)
            .into_iter()
            .map(|(kind, n)| format!("{n} {}", kind.name()))
            .collect::<Vec<_>>()
            .join(", ");
        Err(GatewayError::Blocked { found })
    }

    /// Puts the values of a text into the vault.
    fn learn(&mut self, text: &str, spans: &[Span], taken: &dyn Fn(&str) -> bool) -> Result<()> {
        for span in spans {
            let value = &text[span.start..span.end];
            match self.mode {
                Mode::Mask => self.vault.remember(value, span.kind)?,
                Mode::Surrogate => drop(self.vault.surrogate(value, span.kind, taken)?),
                Mode::Block => {}
            }
        }
        Ok(())
    }

    /// Returns the values of the vault, to be found wherever they occur.
    fn known(&self) -> Trie {
        let mut trie = Trie::default();
        for (number, entry) in self.vault.entries().iter().enumerate() {
            let size = entry.value.chars().filter(|c| c.is_alphanumeric()).count();
            let word = !entry.value.chars().any(|c| !c.is_alphanumeric());
            if size > 3 && !(word && tagger::is_common(&entry.value)) {
                trie.insert(&entry.value, number);
            }
        }
        trie
    }

    /// Adds the known values between spans.
    fn with_known(&self, text: &str, spans: Vec<Span>, known: &Trie) -> Vec<Span> {
        let mut out = Vec::with_capacity(spans.len());
        let mut at = 0;
        let end = Span { start: text.len(), end: text.len(), kind: Kind::Person, score: 0.0 };
        for span in spans.into_iter().chain([end]) {
            for (range, number) in known.find(&text[at..span.start]) {
                let entry = &self.vault.entries()[number];
                let (start, end) = (at + range.start, at + range.end);
                if same_name(&entry.value, &text[start..end]) {
                    out.push(Span { start, end, kind: entry.kind, score: 1.0 });
                }
            }
            at = span.end;
            if span.start < span.end {
                out.push(span);
            }
        }
        out
    }

    fn replace(&mut self, text: &str, spans: &[Span]) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for span in spans {
            out.push_str(&text[at..span.start]);
            let value = &text[span.start..span.end];
            match self.mode {
                Mode::Surrogate => out.push_str(&self.vault.surrogate(value, span.kind, &|_| false)?),
                Mode::Mask | Mode::Block => out.push_str(&format!("<{}>", span.kind.name())),
            }
            *self.replaced.entry(span.kind).or_default() += 1;
            at = span.end;
        }
        out.push_str(&text[at..]);
        Ok(out)
    }

    /// Refuses private data where a name of the protocol belongs, as replacing it would break the request.
    fn must_be_clean(&self, place: &str, text: &str, known: &Trie) -> Result<()> {
        let certain = |s: &Span| s.score >= 0.8 && s.kind.is_structured() && s.kind != Kind::Url;
        let named = |(range, number): &(std::ops::Range<usize>, usize)| {
            same_name(&self.vault.entries()[*number].value, &text[range.clone()])
        };
        let dirty = self.detector.detect(text).iter().any(certain) || known.find(text).iter().any(named);
        if !dirty {
            return Ok(());
        }
        let expected = "a name without private data";
        Err(GatewayError::Request { place: place.to_owned(), found: "private data".to_owned(), expected })
    }
}

/// Tells if a text with the letters and digits of a value is that value: a single word must have the same case.
fn same_name(value: &str, found: &str) -> bool {
    let letters = value.chars().any(char::is_alphabetic);
    let single = !value.chars().any(char::is_whitespace) && !value.contains('@');
    !(letters && single) || value == found || found.chars().all(|c| !c.is_lowercase())
}
