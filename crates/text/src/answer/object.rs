//! A call as a JSON object: `{"name": …, "arguments": {…}}`, which several forms share.

use super::scan::{Part, Scan};
use super::{BrokenCall, Output};

/// The longest beginning of a wrong value in an error, in characters.
const SHOWN: usize = 40;

/// The member that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Id,
    Other,
}

/// A reader of a call as a JSON object. The arguments are `arguments` or `parameters`; members other than these, `name` and
/// `id` are ignored.
#[derive(Debug, Clone)]
pub(super) struct ObjectCall {
    scan: Scan,
    key: String,
    field: Field,
    /// The text of the current value, unless it is passed on at once.
    value: String,
    name: Option<String>,
    id: Option<String>,
    /// The arguments, if they came before the name.
    early: Option<String>,
    has_arguments: bool,
    has_others: bool,
    index: Option<usize>,
    /// The error in a call that is valid JSON.
    fault: Option<BrokenCall>,
}

impl ObjectCall {
    pub(super) fn new() -> Self {
        Self {
            scan: Scan::new(),
            key: String::new(),
            field: Field::Other,
            value: String::new(),
            name: None,
            id: None,
            early: None,
            has_arguments: false,
            has_others: false,
            index: None,
            fault: None,
        }
    }

    /// Returns the number of the call if it has begun.
    pub(super) fn index(&self) -> Option<usize> {
        self.index
    }

    /// Returns `true` if the object names a tool, so that it is meant as a call.
    pub(super) fn names_tool(&self, out: &Output) -> bool {
        self.name.as_deref().is_some_and(|name| out.tool(name).is_some())
    }

    /// Returns `true` if the object has a name and arguments and nothing else.
    pub(super) fn resembles_call(&self) -> bool {
        self.name.is_some() && self.has_arguments && !self.has_others
    }

    /// Reads a character. Returns the number of the call when it is complete.
    pub(super) fn push(&mut self, c: char, out: &mut Output) -> Result<Option<usize>, BrokenCall> {
        match self.scan.push(c)? {
            Part::Space | Part::Open => {}
            Part::Key => self.key.push(c),
            Part::Colon => self.begin_value(),
            Part::Value => self.add(c, out),
            Part::Comma => self.end_value(out),
            Part::Close => {
                self.end_value(out);
                return self.end(out).map(Some);
            }
        }
        Ok(None)
    }

    fn begin_value(&mut self) {
        let key = serde_json::from_str::<String>(&std::mem::take(&mut self.key)).unwrap_or_default();
        self.value.clear();
        self.field = match &*key {
            "name" => Field::Name,
            "arguments" | "parameters" => Field::Arguments,
            "id" => Field::Id,
            "type" => Field::Other,
            _ => {
                self.has_others = true;
                Field::Other
            }
        };
        let again = match self.field {
            Field::Name => self.name.is_some(),
            Field::Arguments => self.has_arguments,
            Field::Id | Field::Other => false,
        };
        if again {
            self.fail(BrokenCall::Repeated { name: key });
            self.field = Field::Other;
        }
        self.has_arguments |= self.field == Field::Arguments;
    }

    /// Adds a character of a value.
    fn add(&mut self, c: char, out: &mut Output) {
        match self.field {
            Field::Other => {}
            Field::Arguments if self.value.is_empty() && c == '{' => {
                self.begin(out);
                self.pass(c, out);
            }
            Field::Arguments if self.value.starts_with('{') => self.pass(c, out),
            _ => self.value.push(c),
        }
    }

    /// Passes on a character of the arguments, or keeps it if the call has not begun.
    fn pass(&mut self, c: char, out: &mut Output) {
        match self.index {
            Some(index) => {
                // The first brace stays, as the sign that the arguments are an object.
                if self.value.is_empty() {
                    self.value.push(c);
                }
                out.arguments(index, c.encode_utf8(&mut [0; 4]));
            }
            None => self.value.push(c),
        }
    }

    fn end_value(&mut self, out: &mut Output) {
        let value = std::mem::take(&mut self.value);
        match std::mem::replace(&mut self.field, Field::Other) {
            Field::Other => {}
            Field::Id => self.id = serde_json::from_str(&value).ok(),
            Field::Name => match serde_json::from_str::<String>(&value) {
                Ok(name) => {
                    if out.tool(&name).is_none() {
                        self.fail(out.unknown(&name));
                    }
                    self.name = Some(name);
                    if let Some(arguments) = self.early.take() {
                        self.give(&arguments, out);
                    }
                }
                Err(_) => self.fail(BrokenCall::NoName),
            },
            Field::Arguments if self.index.is_some() => {}
            Field::Arguments => {
                let arguments = match value.chars().next() {
                    Some('{') => Some(value.clone()),
                    // Some models write the arguments as OpenAI's interface does, as JSON text in a string.
                    Some('"') => serde_json::from_str::<String>(&value).ok().filter(|text| is_object(text)),
                    _ => (value == "null").then(|| "{}".to_owned()),
                };
                match arguments {
                    Some(arguments) if self.name.is_some() => self.give(&arguments, out),
                    Some(arguments) => self.early = Some(arguments),
                    None => self.fail(BrokenCall::ArgumentsNotAnObject { found: value.chars().take(SHOWN).collect() }),
                }
            }
        }
    }

    /// Begins the call if it has a known name and nothing is wrong.
    fn begin(&mut self, out: &mut Output) {
        if let (None, Some(name), None) = (self.index, &self.name, &self.fault) {
            self.index = Some(out.begin(self.id.take(), name));
        }
    }

    /// Begins the call with all its arguments.
    fn give(&mut self, arguments: &str, out: &mut Output) {
        self.begin(out);
        if let Some(index) = self.index {
            out.arguments(index, arguments);
        }
    }

    fn end(&mut self, out: &mut Output) -> Result<usize, BrokenCall> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.name.is_none() {
            return Err(BrokenCall::NoName);
        }
        if self.index.is_none() {
            self.give("{}", out);
        }
        self.index.ok_or(BrokenCall::NoName)
    }

    fn fail(&mut self, fault: BrokenCall) {
        self.fault.get_or_insert(fault);
    }
}

/// Returns `true` if a text is a JSON object.
fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
