use honelm_grammar::Constraint;
use honelm_text::RenderOptions;
use honelm_text::answer::{Tool, ToolChoice};

use crate::Generation;

/// The settings of the answers to a conversation.
#[derive(Debug, Clone)]
pub struct ChatAsk {
    /// The settings for generating text.
    pub how: Generation,
    /// The variables of the chat template.
    pub options: RenderOptions,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which tools the model calls. With [`ToolChoice::Auto`], calls have the names and arguments of tools where their
    /// schemas can be enforced, and always if a tool is strict.
    pub choice: ToolChoice,
    /// The rule that an answer without calls must match, behind the reasoning if there is any.
    pub constraint: Option<Constraint>,
    /// Allows several calls in an answer.
    pub parallel: bool,
    /// The beginning of the answer, which exists already, behind the reasoning if there is any. The model goes on from it, and
    /// the completion does not repeat it.
    pub begun: Option<String>,
}

impl Default for ChatAsk {
    fn default() -> Self {
        Self {
            how: Generation::default(),
            options: RenderOptions::default(),
            tools: Vec::new(),
            choice: ToolChoice::Auto,
            constraint: None,
            parallel: true,
            begun: None,
        }
    }
}

impl From<Generation> for ChatAsk {
    fn from(how: Generation) -> Self {
        Self { how, ..Self::default() }
    }
}

impl From<RenderOptions> for ChatAsk {
    fn from(options: RenderOptions) -> Self {
        Self { options, ..Self::default() }
    }
}
