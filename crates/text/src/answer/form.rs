//! The forms in which models write calls.

use super::grammar::{Body, CallGrammar};
use super::{Reader, Tool, general, hermes, llama, mistral, qwen_xml};
use crate::error::Result;
use crate::template::Message;

/// A form in which a model writes calls.
#[derive(Clone, Copy)]
pub struct CallForm(&'static Form);

/// A function that writes tools, calls and results as the text of messages.
pub(super) type WriteMessages = fn(&[Tool], &[Message]) -> Vec<Message>;

/// The definition of a form.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub name: &'static str,
    /// The marks that begin a call.
    pub opening: &'static [&'static str],
    /// All marks, also those inside a call.
    pub marks: &'static [&'static str],
    /// The first character of a call without a mark, at the beginning of an answer.
    pub bare: Option<char>,
    /// Returns `true` if a chat template has the form.
    pub is_in: fn(&str) -> bool,
    /// Returns the reader of what follows a mark.
    pub reader: fn(&str) -> Box<dyn Reader>,
    /// Writes the grammar of a call.
    pub grammar: fn(&CallGrammar<'_>) -> Result<Body>,
    /// Writes tools, calls and results as the text of messages, if the chat template does not.
    pub messages: Option<WriteMessages>,
}

/// All forms. Those whose marks are in the marks of others come last, and the general one is the last.
static FORMS: [&Form; 6] =
    [&qwen_xml::FORM, &hermes::FORM, &llama::FORM, &mistral::NAMED_FORM, &mistral::FORM, &general::FORM];

impl CallForm {
    /// Returns the form in a chat template, or the general one.
    #[must_use]
    pub fn find(template: &str) -> Self {
        let found = FORMS.into_iter().find(|form| (form.is_in)(template));
        Self(found.unwrap_or(&general::FORM))
    }

    /// Returns the form of a name: one of [`CallForm::names`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FORMS.into_iter().find(|form| form.name == name).map(Self)
    }

    /// Returns the names of all forms.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMS.into_iter().map(|form| form.name)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns a conversation whose system message describes the tools, and whose calls and results are texts. It is
    /// `None` if the chat template writes all of these, which then gets the tools.
    #[must_use]
    pub fn messages(&self, tools: &[Tool], messages: &[Message]) -> Option<Vec<Message>> {
        self.0.messages.map(|write| write(tools, messages))
    }

    /// Returns a grammar of the answers that `how` allows, in llguidance's variant of Lark. It is `None` if any text is
    /// allowed.
    ///
    /// # Errors
    /// [`TextError::CallGrammar`](crate::TextError::CallGrammar) if the arguments of a tool cannot be forced in this
    /// form, [`TextError::Tools`](crate::TextError::Tools) if the chosen tool does not exist.
    pub fn grammar(&self, how: &CallGrammar<'_>) -> Result<Option<String>> {
        how.write(*self)
    }

    pub(super) fn body(&self, how: &CallGrammar<'_>) -> Result<Body> {
        (self.0.grammar)(how)
    }

    /// Returns the marks that begin a call.
    pub(super) fn opening(&self) -> &'static [&'static str] {
        self.0.opening
    }

    pub(super) fn marks(&self) -> &'static [&'static str] {
        self.0.marks
    }

    pub(super) fn bare(&self) -> Option<char> {
        self.0.bare
    }

    pub(super) fn reader(&self, mark: &str) -> Box<dyn Reader> {
        (self.0.reader)(mark)
    }
}

impl std::fmt::Debug for CallForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CallForm").field(&self.0.name).finish()
    }
}

impl PartialEq for CallForm {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for CallForm {}
