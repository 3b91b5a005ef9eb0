use std::cell::OnceCell;
use std::rc::Rc;

use honelm_text::answer::CallForm;
use honelm_text::{ChatTemplate, Reasoning, Tokenizer};

use crate::EngineError;

/// The template for models without a chat template: the texts of the messages, one per line.
pub const PLAIN_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
                                  {% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}";

/// A chat template, parsed when a conversation first needs it, because a model with a broken template can still continue a
/// text.
pub(crate) struct Template {
    pub source: String,
    parsed: OnceCell<Rc<ChatTemplate>>,
    /// The tags around the model's reasoning.
    pub reasoning: Option<Reasoning>,
    /// The form of the model's calls.
    pub form: CallForm,
}

impl Template {
    pub fn new(source: String, tokenizer: &Tokenizer) -> Self {
        let (reasoning, form) = (Reasoning::find(&source, tokenizer), CallForm::find(&source));
        Self { source, parsed: OnceCell::new(), reasoning, form }
    }

    /// Returns the template for models without one, whose answers have no reasoning.
    pub fn plain() -> Self {
        let source = PLAIN_TEMPLATE.to_owned();
        Self { form: CallForm::find(&source), source, parsed: OnceCell::new(), reasoning: None }
    }

    /// Returns the parsed template.
    ///
    /// # Errors
    /// [`EngineError::Text`] if it does not parse.
    pub fn parsed(&self, tokenizer: &Tokenizer) -> Result<Rc<ChatTemplate>, EngineError> {
        if let Some(template) = self.parsed.get() {
            return Ok(Rc::clone(template));
        }
        let template = Rc::new(ChatTemplate::new(&self.source, tokenizer.special_tokens())?);
        Ok(Rc::clone(self.parsed.get_or_init(|| template)))
    }
}
