//! Grammars of answers: the draw under a grammar, and the compiled grammars of a model.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use honelm_backend::{BackendError, Sampling, choose_allowed};
use honelm_grammar::{Calls, Constraint, Grammar, GrammarError, Limits, Matcher, TokenVocabulary};
use honelm_text::answer::{CallForm, Tool, ToolChoice};
use honelm_text::{Reasoning, Tokenizer};

use crate::EngineError;

/// The number of compiled grammars that are kept for a model.
const KEPT: usize = 16;

/// Draws a token that a grammar allows, or an end token of the answer where the text may end. Returns `None` if the text may
/// end and no token is possible. // `[V]`
pub(crate) fn draw_allowed(
    grammar: &mut Matcher,
    ends: &[u32],
    logits: &[f32],
    how: &Sampling,
    position: u64,
) -> Result<Option<u32>, EngineError> {
    let mut allowed = grammar.mask()?.clone();
    let may_end = grammar.is_complete()?;
    if may_end {
        ends.iter().for_each(|&id| allowed.insert(id));
    }
    match choose_allowed(logits, &allowed, how, position) {
        Ok(token) => Ok(Some(token)),
        Err(BackendError::NoAllowedToken { .. }) if may_end => Ok(None),
        Err(BackendError::NoAllowedToken { allowed, .. }) => {
            Err(EngineError::NoAllowedToken { tokens: grammar.taken(), allowed })
        }
        Err(error) => Err(error.into()),
    }
}

/// Advances a grammar by a token. Returns `true` if nothing may follow.
pub(crate) fn has_ended(grammar: &mut Option<Matcher>, token: u32) -> Result<bool, EngineError> {
    let Some(grammar) = grammar else { return Ok(false) };
    grammar.advance(token)?;
    Ok(grammar.is_finished())
}

/// The source of a grammar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub constraint: Option<Constraint>,
    /// The form of calls, if there are tools or a call is required.
    pub form: Option<CallForm>,
    pub tools: Arc<[Tool]>,
    pub choice: ToolChoice,
    pub parallel: bool,
    /// The tags of the reasoning that may come first, with `true` if the prompt has begun it.
    pub reasoning: Option<(Reasoning, bool)>,
}

impl Wanted {
    /// Returns `true` if answers need not match anything but can.
    fn is_optional(&self) -> bool {
        self.constraint.is_none() && self.choice == ToolChoice::Auto && !self.tools.iter().any(|tool| tool.strict)
    }

    /// Compiles the grammar. It is `None` if any answer is allowed.
    fn compile(
        &self,
        vocabulary: &Arc<TokenVocabulary>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Grammar>, GrammarError> {
        let limits = Limits::default();
        let special = |text: &str| tokenizer.id_of(text).filter(|&id| tokenizer.special(id));
        let Some(form) = self.form else {
            let Some(constraint) = &self.constraint else { return Ok(None) };
            let compiled = match self.reasoning {
                None => Grammar::compile(vocabulary, constraint, &limits),
                Some(tags) => Grammar::after_reasoning(vocabulary, constraint, tags, &special, &limits),
            };
            return compiled.map(Some);
        };
        let calls = Calls {
            form,
            tools: &self.tools,
            choice: &self.choice,
            parallel: self.parallel,
            reasoning: self.reasoning,
            format: self.constraint.as_ref(),
        };
        match Grammar::of_calls(vocabulary, &calls, &special, &limits) {
            // Tools whose arguments need not be valid may have schemas that cannot be enforced.
            Err(_) if self.is_optional() => Ok(None),
            compiled => compiled,
        }
    }
}

/// The grammars of a model, each compiled once while it is used often.
#[derive(Default)]
pub(crate) struct Grammars {
    /// The model's tokens, prepared when a grammar first needs them.
    vocabulary: OnceCell<Arc<TokenVocabulary>>,
    /// The last used ones come last.
    compiled: RefCell<Vec<(Wanted, Option<Grammar>)>>,
}

impl Grammars {
    /// Returns a matcher at the start of a grammar. It is `None` if any answer is allowed.
    pub fn matcher(&self, wanted: Wanted, tokenizer: &Tokenizer) -> Result<Option<Matcher>, EngineError> {
        if wanted.constraint.is_none() && wanted.form.is_none() {
            return Ok(None);
        }
        let mut compiled = self.compiled.borrow_mut();
        let entry = match compiled.iter().position(|(of, _)| *of == wanted) {
            Some(at) => compiled.remove(at),
            None => {
                let grammar = wanted.compile(self.vocabulary(tokenizer)?, tokenizer)?;
                if compiled.len() >= KEPT {
                    compiled.remove(0);
                }
                (wanted, grammar)
            }
        };
        let matcher = entry.1.as_ref().map(Grammar::matcher);
        compiled.push(entry);
        Ok(matcher)
    }

    fn vocabulary(&self, tokenizer: &Tokenizer) -> Result<&Arc<TokenVocabulary>, EngineError> {
        if let Some(vocabulary) = self.vocabulary.get() {
            return Ok(vocabulary);
        }
        let vocabulary = TokenVocabulary::new(tokenizer, tokenizer.eos_ids())?;
        Ok(self.vocabulary.get_or_init(|| vocabulary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_grammars_are_kept() {
        let tokenizer = Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("a tokenizer");
        let grammars = Grammars::default();
        let regex = |regex: String| Wanted {
            constraint: Some(Constraint::Regex(regex)),
            form: None,
            tools: [].into(),
            choice: ToolChoice::Auto,
            parallel: true,
            reasoning: None,
        };
        let matcher = |i: usize| grammars.matcher(regex(format!("[a-z]{{{i}}}")), &tokenizer).expect("it compiles");
        for i in 1..KEPT + 5 {
            assert!(matcher(i).is_some());
            // The first one is always among the last used.
            assert!(matcher(1).is_some());
        }
        let kept: Vec<Wanted> = grammars.compiled.borrow().iter().map(|(wanted, _)| wanted.clone()).collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.last(), Some(&regex("[a-z]{1}".to_owned())));
        assert!(!kept.contains(&regex("[a-z]{2}".to_owned())));
        // One that does not compile is not kept.
        assert!(grammars.matcher(regex("(a".to_owned()), &tokenizer).is_err());
        assert_eq!(grammars.compiled.borrow().len(), KEPT);
    }
}
