//! Compiled grammars.

use std::sync::Arc;

use honelm_text::Reasoning;
use honelm_text::answer::{CallForm, CallGrammar, Tool, ToolChoice, reasoned_grammar};
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Logger, TokenParser};
use serde_json::{Value, json};

use crate::error::{GrammarError, Result, shortened};
use crate::matcher::Matcher;
use crate::vocabulary::TokenVocabulary;
use crate::{closing, gbnf, schema};

/// The deepest nesting of brackets in a Lark grammar.
const MAX_NESTING: usize = 200;

/// The name of the grammar of a constraint inside another grammar.
const FORMAT: &str = "format";

/// A rule that a text must match.
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

impl Constraint {
    /// Reads the field `response_format` of OpenAI's API: `text`, `json_object`, or `json_schema` with a schema. The form of
    /// the Responses API, which has the schema beside the type, is read too.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] for another type, or a `json_schema` without a schema.
    pub fn of_response_format(format: &Value) -> Result<Option<Self>> {
        let wrong = |place: &str, found: String, expected: &str| GrammarError::Schema {
            place: format!("response_format{place}"),
            found,
            expected: expected.to_owned(),
        };
        let schema = [&format["json_schema"]["schema"], &format["schema"]].into_iter().find(|schema| !schema.is_null());
        match format["type"].as_str() {
            _ if format.is_null() => Ok(None),
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(schema.cloned().map_or(Self::JsonObject, Self::JsonSchema))),
            Some("json_schema") => match schema {
                Some(schema) => Ok(Some(Self::JsonSchema(schema.clone()))),
                None => Err(wrong(".json_schema.schema", "nothing".to_owned(), "a JSON schema")),
            },
            _ => {
                let found = format!("{:.80}", format["type"].to_string());
                Err(wrong(".type", found, "\"text\", \"json_object\" or \"json_schema\""))
            }
        }
    }
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
    /// The rule that an answer without calls must match; any text by default.
    pub format: Option<&'a Constraint>,
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
        let forms = checked(constraint, limits)?.map(TopLevelGrammar::from_grammar);
        forms
            .compile(|grammar| Self::new(vocabulary, grammar, limits))
            .map_err(|reason| Self::not_compiled(vocabulary, constraint, limits, reason))
    }

    /// Compiles the grammar of answers that match a constraint behind the reasoning that may come first. `reasoning` has its
    /// tags, and `true` if the prompt has begun it; `special` returns the id of a text that is a special token.
    ///
    /// # Errors
    /// As [`Grammar::compile`].
    pub fn after_reasoning(
        vocabulary: &Arc<TokenVocabulary>,
        constraint: &Constraint,
        reasoning: (Reasoning, bool),
        special: &dyn Fn(&str) -> Option<u32>,
        limits: &Limits,
    ) -> Result<Self> {
        let lark = reasoned_grammar(reasoning, &format!("@{FORMAT}"), special);
        let forms = checked(constraint, limits)?.map(|format| with_format(lark.clone(), Some(format)));
        forms
            .compile(|grammar| Self::new(vocabulary, grammar, limits))
            .map_err(|reason| Self::not_compiled(vocabulary, constraint, limits, reason))
    }

    /// Returns the error for a constraint that cannot be compiled, with the place in its schema.
    fn not_compiled(
        vocabulary: &Arc<TokenVocabulary>,
        constraint: &Constraint,
        limits: &Limits,
        reason: String,
    ) -> GrammarError {
        let what = match constraint {
            Constraint::JsonSchema(schema) => {
                let compiles = |part: Value| Self::new(vocabulary, json_grammar(part), limits).is_ok();
                let inside = schema::checked("schema", schema, limits).map(|schema| schema::locate(&schema, compiles));
                let place = format!("schema#{}", inside.unwrap_or_default());
                return GrammarError::SchemaNotCompiled { place, reason };
            }
            Constraint::JsonObject => "json_object",
            Constraint::Regex(_) => "regex",
            Constraint::Lark(_) => "lark",
            Constraint::Gbnf(_) => "gbnf",
            Constraint::Choice(_) => "choice",
        };
        GrammarError::Invalid { what, reason }
    }

    /// Compiles the grammar of answers with tool calls. It is `None` if any answer is allowed.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] and [`GrammarError::SchemaNotCompiled`] for the arguments of a tool,
    /// [`GrammarError::Text`] for a wrong choice and for arguments that the form cannot force,
    /// [`GrammarError::TooLarge`], those of [`Grammar::compile`] for the format.
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
        // There are no answers of another kind if a call is required.
        let format = calls.format.filter(|_| *calls.choice == ToolChoice::Auto);
        let format = format.map(|format| checked(format, limits)).transpose()?;
        let reference = format!("@{FORMAT}");
        let write = |tools: &[Tool]| -> Result<Option<String>> {
            let how = CallGrammar {
                tools,
                choice: calls.choice,
                parallel: calls.parallel,
                reasoning: calls.reasoning,
                format: format.as_ref().map(|_| reference.as_str()),
                special,
            };
            let lark = calls.form.grammar(&how)?;
            lark.map(|lark| fits("tools", &lark, limits).map(|()| lark)).transpose()
        };
        let Some(lark) = write(&tools)? else { return Ok(None) };
        let closed_tools = closed_tools(&tools);
        // The form can refuse what closing adds.
        let closed_lark = closed_tools.and_then(|tools| write(&tools).ok().flatten());
        let is_exclusive = format.as_ref().is_some_and(|format| format.is_exclusive)
            || tools.iter().any(|tool| schema::has_one_of(&tool.parameters));
        let (closed_format, format) = format.map_or((None, None), |forms| (forms.closed, Some(forms.open)));
        let closed = (closed_lark.is_some() || closed_format.is_some()).then(|| {
            let lark = closed_lark.unwrap_or_else(|| lark.clone());
            with_format(lark, closed_format.or_else(|| format.clone()))
        });
        let forms = Forms { closed, open: with_format(lark, format), is_exclusive };
        let compiled = forms.compile(|grammar| Self::new(vocabulary, grammar, limits));
        compiled.map(Some).map_err(|reason| {
            if let Some(Err(error)) = calls.format.map(|format| Self::compile(vocabulary, format, limits)) {
                return error;
            }
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

/// The grammars of what is wanted.
struct Forms<T> {
    /// The one whose objects have declared properties alone, if it differs.
    closed: Option<T>,
    open: T,
    /// `true` if cases must exclude each other, which the open grammar decides.
    is_exclusive: bool,
}

impl<T> Forms<T> {
    fn open(open: T) -> Self {
        Self { closed: None, open, is_exclusive: false }
    }

    fn map<U>(self, mut f: impl FnMut(T) -> U) -> Forms<U> {
        Forms { closed: self.closed.map(&mut f), open: f(self.open), is_exclusive: self.is_exclusive }
    }

    /// Compiles the closed grammar; if there is none or it cannot be met, the open one.
    fn compile<C, E>(self, compile: impl Fn(T) -> Result<C, E>) -> Result<C, E> {
        match self.closed {
            None => compile(self.open),
            Some(closed) if self.is_exclusive => {
                let open = compile(self.open)?;
                Ok(compile(closed).unwrap_or(open))
            }
            Some(closed) => compile(closed).or_else(|_| compile(self.open)),
        }
    }
}

/// Returns the tools with closed parameters; `None` if all are closed already.
fn closed_tools(tools: &[Tool]) -> Option<Vec<Tool>> {
    let schemas: Vec<Option<Value>> = tools.iter().map(|tool| closing::closed(&tool.parameters)).collect();
    schemas.iter().any(Option::is_some).then(|| {
        let closed = tools.iter().zip(schemas);
        closed
            .map(|(tool, schema)| Tool { parameters: schema.unwrap_or(tool.parameters.clone()), ..tool.clone() })
            .collect()
    })
}

/// Checks a constraint and returns its grammars.
fn checked(constraint: &Constraint, limits: &Limits) -> Result<Forms<GrammarWithLexer>> {
    let invalid = |what, reason: String| Err(GrammarError::Invalid { what, reason });
    Ok(Forms::open(match constraint {
        Constraint::JsonSchema(schema) => {
            let open = schema::checked("schema", schema, limits)?;
            let (closed, is_exclusive) = (closing::closed(&open).map(json_format), schema::has_one_of(&open));
            return Ok(Forms { closed, open: json_format(open), is_exclusive });
        }
        Constraint::JsonObject => json_format(json!({"type": "object"})),
        Constraint::Regex(regex) => {
            fits("regex", regex, limits)?;
            GrammarWithLexer::from_regex(regex)
        }
        Constraint::Lark(lark) => {
            fits("lark", lark, limits)?;
            let found = nesting(lark);
            if found > MAX_NESTING {
                let what = "lark, nesting of brackets".to_owned();
                return Err(GrammarError::TooLarge { what, found, limit: MAX_NESTING });
            }
            GrammarWithLexer::from_lark(lark.clone())
        }
        Constraint::Gbnf(source) => {
            fits("gbnf", source, limits)?;
            GrammarWithLexer::from_lark(gbnf::to_lark(source)?)
        }
        Constraint::Choice(texts) => {
            let strings: Vec<String> = texts.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
            let lark = format!("start: ONE\nONE: {}\n", strings.join("\n  | "));
            fits("choice", &lark, limits)?;
            match texts.iter().position(String::is_empty) {
                _ if texts.is_empty() => return invalid("choice", "it has no strings".to_owned()),
                Some(at) => return invalid("choice", format!("string {at} is empty")),
                None => GrammarWithLexer::from_lark(lark),
            }
        }
    }))
}

/// Returns a Lark grammar that refers to the grammar of a constraint.
fn with_format(lark: String, format: Option<GrammarWithLexer>) -> TopLevelGrammar {
    let mut all = TopLevelGrammar::from_lark(lark);
    all.grammars.extend(format.map(|format| GrammarWithLexer { name: Some(FORMAT.to_owned()), ..format }));
    all
}

fn json_grammar(schema: Value) -> TopLevelGrammar {
    TopLevelGrammar::from_grammar(json_format(schema))
}

/// Returns the grammar of a JSON schema, with bounded white space.
fn json_format(mut schema: Value) -> GrammarWithLexer {
    if let Value::Object(schema) = &mut schema {
        // A model that is unsure of what follows often writes white space, so there is little of it.
        schema.insert("x-guidance".to_owned(), json!({"whitespace_pattern": " |\\r?\\n[ \\t]{0,32}"}));
    }
    GrammarWithLexer::from_json_schema(schema)
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
