//! What a user lets pass, and what is told of a model's files.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::ModelError;

/// How a model is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Fields of the configuration that are ignored although nobody knows what they mean, by the names that refusals give
    /// them: `rope_scaling.odd`.
    pub allow_unknown: Vec<String>,
}

/// The opening of a model.
pub(crate) struct Reading<'o> {
    options: &'o OpenOptions,
    warnings: Vec<String>,
}

impl<'o> Reading<'o> {
    pub(crate) fn new(options: &'o OpenOptions) -> Self {
        Self { options, warnings: Vec::new() }
    }

    /// Tells of something that the files leave open.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Everything that was told.
    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Whether an unknown field may be ignored, which is told.
    pub(crate) fn allows(&mut self, file: &str, field: &str, found: &str) -> bool {
        let allowed = self.options.allow_unknown.iter().any(|allowed| allowed == field);
        if allowed {
            self.warn(format!("{file}: the field {field} ({found}) is not known; it is ignored, as was asked for"));
        }
        allowed
    }

    /// Parses `settings`, without the fields that `parse` refuses as unknown and that may be ignored. `remove` takes a field
    /// out, and says whether it was there.
    pub(crate) fn parse<S, T>(
        &mut self,
        mut settings: S,
        remove: impl Fn(&mut S, &str) -> bool,
        parse: impl Fn(&S) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        loop {
            let error = match parse(&settings) {
                Err(error) => error,
                done => return done,
            };
            match error.unknown_field() {
                Some((file, field, found)) if remove(&mut settings, field) && self.allows(file, field, found) => {}
                _ => return Err(error),
            }
        }
    }

    /// As [`Reading::parse`], of a JSON object.
    pub(crate) fn parse_json<T>(
        &mut self,
        json: &Json,
        parse: impl Fn(&Json) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let remove = |json: &mut Cow<'_, Json>, field: &str| honelm_formats::remove_field(json.to_mut(), field);
        self.parse(Cow::Borrowed(json), remove, |json| parse(json))
    }
}
