//! The state of opening a model: the fields that may be ignored, and the warnings.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::ModelError;

/// The options for opening a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The unknown fields of the configuration that are ignored, by the names that errors give, such as `rope_scaling.odd`.
    pub allow_unknown: Vec<String>,
}

/// The options and the warnings of a model that is being opened.
pub(crate) struct Reading<'o> {
    options: &'o OpenOptions,
    warnings: Vec<String>,
}

impl<'o> Reading<'o> {
    pub(crate) fn new(options: &'o OpenOptions) -> Self {
        Self { options, warnings: Vec::new() }
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Returns all warnings.
    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Returns `true`, with a warning, if an unknown field may be ignored.
    pub(crate) fn allows(&mut self, file: &str, field: &str, found: &str) -> bool {
        let allowed = self.options.allow_unknown.iter().any(|allowed| allowed == field);
        if allowed {
            self.warn(format!("{file}: the unknown field {field} ({found}) is ignored, as requested"));
        }
        allowed
    }

    /// Parses `settings`, after removing the unknown fields that may be ignored. `remove` removes a field and returns `true`
    /// if it was present.
    ///
    /// # Errors
    /// The first error of `parse` that is not about such a field.
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

    /// Parses a JSON object as [`Reading::parse`] does.
    pub(crate) fn parse_json<T>(
        &mut self,
        json: &Json,
        parse: impl Fn(&Json) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let remove = |json: &mut Cow<'_, Json>, field: &str| honelm_formats::remove_field(json.to_mut(), field);
        self.parse(Cow::Borrowed(json), remove, |json| parse(json))
    }
}
