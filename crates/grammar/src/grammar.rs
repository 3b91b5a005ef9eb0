//! Compiled grammars.

use std::sync::Arc;

use honelm_text::Reasoning;
use honelm_text::answer::{CallForm, CallGrammar, Tool, ToolChoice};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Logger, TokenParser};
use serde_json::{Value, json};

use crate::error::{GrammarError, Result, shortened};
use crate::matcher::Matcher;
use crate::vocabulary::TokenVocabulary;
use crate::{gbnf, schema};

/// The deepest nesting of brackets in a Lark grammar.
const MAX_NESTING: usize = 200;

/// What a text must match.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// A JSON text that a schema accepts.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
    /// A text that a regular expression matches as a whole, in the syntax of the crate `regex`, without anchors and word
    /// boundaries.
    Regex(String),
    /// A grammar in llguidance's variant of Lark. Its first rule is `start`.
    Lark(String),
    /// A grammar in llama.cpp's GBNF. Its first rule is `root`.
    Gbnf(String),
    /// One of these strings.
    Choice(Vec<String>),
}

/// The tool calls that an answer may or must have.
#[derive(Debug, Clone)]
pub struct Calls<'a> {
    /// The form of the calls.
    pub form: CallForm,
    /// The tools.
    pub tools: &'a [Tool],
    /// Which of them must be called.
    pub choice: &'a ToolChoice,
    /// Allows several calls.
    pub parallel: bool,
    /// The tags of the reasoning that may come first, with `true` if the prompt has begun it.
    pub reasoning: Option<(Reasoning, bool)>,
}

/// Bounds of the work for a grammar. The defaults hold a mask below about 20 ms and a matcher below about 100 MB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The length of a grammar, in bytes.
    pub bytes: usize,
    /// The number of subschemas of a JSON schema.
    pub subschemas: usize,
    /// The nesting of a JSON schema.
    pub depth: usize,
    /// The number of symbols in the productions.
    pub symbols: usize,
    /// The number of nodes of regular expressions that compiling makes.
    pub compile_fuel: u64,
    /// The number of nodes of regular expressions that a mask makes.
    pub mask_fuel: u64,
    /// The number of Earley items that a mask makes.
    pub mask_items: usize,
    /// The number of states of the lexer.
    pub states: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 512 << 10,
            subschemas: 10_000,
            depth: 64,
            symbols: 200_000,
            compile_fuel: 1_000_000,
            mask_fuel: 200_000,
            mask_items: 50_000,
            states: 50_000,
        }
    }
}

/// A compiled grammar. It belongs to one vocabulary and can be shared by any number of answers.
#[derive(Clone)]
pub struct Grammar {
    vocabulary: Arc<TokenVocabulary>,
    /// A parser at the start.
    start: Arc<TokenParser>,
}

impl Grammar {
    /// Compiles a grammar.
    ///
    /// # Errors
    /// [`GrammarError::Schema`], [`GrammarError::SchemaNotCompiled`], [`GrammarError::Invalid`],
    /// [`GrammarError::TooLarge`].
    pub fn compile(vocabulary: &Arc<TokenVocabulary>, constraint: &Constraint, limits: &Limits) -> Result<Self> {
        let invalid = |what| move |reason: String| GrammarError::Invalid { what, reason };
        match constraint {
            Constraint::JsonSchema(schema) => {
                let checked = schema::checked("schema", schema, limits)?;
                let compile = |schema: Value| Self::new(vocabulary, json_grammar(schema), limits);
                compile(checked.clone()).map_err(|reason| {
                    let place = format!("schema#{}", schema::locate(&checked, |part| compile(part).is_ok()));
                    GrammarError::SchemaNotCompiled { place, reason }
                })
            }
            Constraint::JsonObject => {
                Self::new(vocabulary, json_grammar(json!({"type": "object"})), limits).map_err(invalid("json_object"))
            }
            Constraint::Regex(regex) => {
                fits("regex", regex, limits)?;
                Self::new(vocabulary, TopLevelGrammar::from_regex(regex), limits).map_err(invalid("regex"))
            }
            Constraint::Lark(lark) => Self::lark(vocabulary, lark.clone(), limits),
            Constraint::Gbnf(source) => {
                fits("gbnf", source, limits)?;
                let lark = gbnf::to_lark(source)?;
                Self::new(vocabulary, TopLevelGrammar::from_lark(lark), limits).map_err(invalid("gbnf"))
            }
            Constraint::Choice(texts) => {
                let strings: Vec<String> = texts.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
                let lark = format!("start: ONE\nONE: {}\n", strings.join("\n  | "));
                fits("choice", &lark, limits)?;
                match texts.iter().position(String::is_empty) {
                    _ if texts.is_empty() => Err(invalid("choice")("it has no strings".to_owned())),
                    Some(at) => Err(invalid("choice")(format!("string {at} is empty"))),
                    None => Self::new(vocabulary, TopLevelGrammar::from_lark(lark), limits).map_err(invalid("choice")),
                }
            }
        }
    }

    /// Compiles the grammar of answers with tool calls. It is `None` if any answer is allowed.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] and [`GrammarError::SchemaNotCompiled`] for the arguments of a tool,
    /// [`GrammarError::Text`] for a wrong choice and for arguments that the form cannot force,
    /// [`GrammarError::TooLarge`].
    pub fn of_calls(
        vocabulary: &Arc<TokenVocabulary>,
        calls: &Calls<'_>,
        special: &dyn Fn(&str) -> Option<u32>,
        limits: &Limits,
    ) -> Result<Option<Self>> {
        let mut tools = calls.tools.to_vec();
        for (i, tool) in tools.iter_mut().enumerate() {
            tool.parameters = schema::checked(&format!("tools[{i}].parameters"), &tool.parameters, limits)?;
        }
        let how = CallGrammar {
            tools: &tools,
            choice: calls.choice,
            parallel: calls.parallel,
            reasoning: calls.reasoning,
            special,
        };
        let Some(lark) = calls.form.grammar(&how)? else { return Ok(None) };
        fits("tools", &lark, limits)?;
        let compiled = Self::new(vocabulary, TopLevelGrammar::from_lark(lark), limits);
        compiled.map(Some).map_err(|reason| {
            // The schema of a tool that cannot be compiled alone is the reason.
            let compiles = |schema: Value| Self::new(vocabulary, json_grammar(schema), limits).is_ok();
            let wrong = tools.iter().position(|tool| !compiles(tool.parameters.clone()));
            match wrong {
                Some(i) => {
                    let inside = schema::locate(&tools[i].parameters, compiles);
                    GrammarError::SchemaNotCompiled { place: format!("tools[{i}].parameters#{inside}"), reason }
                }
                None => GrammarError::Invalid { what: "tools", reason },
            }
        })
    }

    /// Compiles a Lark grammar.
    fn lark(vocabulary: &Arc<TokenVocabulary>, lark: String, limits: &Limits) -> Result<Self> {
        fits("lark", &lark, limits)?;
        let nesting = nesting(&lark);
        if nesting > MAX_NESTING {
            let what = "lark, nesting of brackets".to_owned();
            return Err(GrammarError::TooLarge { what, found: nesting, limit: MAX_NESTING });
        }
        Self::new(vocabulary, TopLevelGrammar::from_lark(lark), limits)
            .map_err(|reason| GrammarError::Invalid { what: "lark", reason })
    }

    fn new(vocabulary: &Arc<TokenVocabulary>, grammar: TopLevelGrammar, limits: &Limits) -> Result<Self, String> {
        let factory = vocabulary.factory();
        let compile = || {
            factory.create_parser_from_init_ext(
                llguidance::api::GrammarInit::Serialized(grammar),
                Logger::new(0, 0),
                InferenceCapabilities::default(),
                TokenVocabulary::parser_limits(limits),
            )
        };
        // The compiler reports some errors of grammars by panics.
        let parser = llguidance::panic_utils::catch_unwind(std::panic::AssertUnwindSafe(compile));
        let start = parser.map_err(|error| shortened(format!("{error:#}")))?;
        let grammar = Self { vocabulary: vocabulary.clone(), start: Arc::new(start) };
        // A grammar without any text fails at its first mask.
        match grammar.matcher().mask() {
            Ok(_) => Ok(grammar),
            Err(GrammarError::Stopped { reason, .. }) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns a matcher at the start. It shares nothing with other matchers.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.vocabulary.clone(), self.start.deep_clone())
    }
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

/// Returns the grammar of a JSON schema, with bounded white space.
fn json_grammar(mut schema: Value) -> TopLevelGrammar {
    if let Value::Object(schema) = &mut schema {
        schema.insert("x-guidance".to_owned(), json!({"whitespace_pattern": "[\\x20\\x0A\\x0D\\x09]{1,20}"}));
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// Returns the deepest nesting of brackets, those in strings included. It bounds the stack of the compiler.
fn nesting(lark: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in lark.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn fits(what: &str, text: &str, limits: &Limits) -> Result<()> {
    if text.len() > limits.bytes {
        let what = format!("{what}, length in bytes");
        return Err(GrammarError::TooLarge { what, found: text.len(), limit: limits.bytes });
    }
    Ok(())
}
