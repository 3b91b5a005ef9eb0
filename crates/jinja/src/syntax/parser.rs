//! The parser of statements (`jinja2/parser.py`).

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::syntax::ast::{Expression, ExpressionKind, Extras, For, Macro, Statement, StatementKind, Target, Text};
use crate::syntax::lexer;
use crate::syntax::lexer::Token;

/// The deepest nesting of expressions, and of blocks. Published templates nest at most 28 levels.
pub(crate) const MAX_DEPTH: u32 = 120;

/// Parses a template.
///
/// # Errors
/// [`ErrorKind::Syntax`](crate::ErrorKind::Syntax), with the line.
pub(crate) fn parse(source: &str) -> Result<Vec<Statement>> {
    let mut parser =
        Parser { tokens: lexer::tokens(source)?, at: 0, blocks: 0, level: 0, loops: 0, extras: Vec::new() };
    let body = parser.body(&[])?;
    Ok(body)
}

pub(crate) struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    /// The number of open blocks.
    blocks: u32,
    /// The number of open expressions.
    pub(crate) level: u32,
    /// The number of open loops in this macro.
    loops: u32,
    /// The names that the open macros use.
    pub(crate) extras: Vec<Extras>,
}

impl Parser {
    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(crate) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|(token, _)| token)
    }

    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(crate) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        let found = self.peek().map_or("the end of the template".to_owned(), describe);
        Error::syntax(format!("found {found}, expected {expected}"), self.line())
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    pub(crate) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if **found == *name)
    }

    pub(crate) fn skip_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.skip_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("{symbol:?}"))) }
    }

    pub(crate) fn expect_name(&mut self, what: &str) -> Result<Text> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn expect_end(&mut self, token: &Token) -> Result<()> {
        if self.peek() == Some(token) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(&describe(token)))
    }

    /// Parses statements up to a tag whose name is in `ends`, or up to the end of the template if `ends` is empty. The
    /// start of that tag is read, its name is not.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Statement>> {
        self.blocks += 1;
        if self.blocks > MAX_DEPTH {
            return Err(Error::syntax(format!("blocks nested deeper than {MAX_DEPTH}"), self.line()));
        }
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let kind = match self.next() {
                None if ends.is_empty() => break,
                None => return Err(Error::syntax(format!("the template ends before {}", ends.join(" or ")), line)),
                Some(Token::Text(text)) => StatementKind::Text(text),
                Some(Token::EmitBegin) => {
                    let value = self.tuple(true, None)?;
                    self.expect_end(&Token::EmitEnd)?;
                    StatementKind::Emit(value)
                }
                Some(Token::TagBegin) => {
                    if ends.iter().any(|end| self.is_name(end)) {
                        break;
                    }
                    let kind = self.statement()?;
                    self.expect_end(&Token::TagEnd)?;
                    kind
                }
                Some(other) => return Err(Error::syntax(format!("unexpected {}", describe(&other)), line)),
            };
            body.push(Statement { kind, line });
        }
        self.blocks -= 1;
        Ok(body)
    }

    /// Parses the end of a tag and the statements up to one of `ends`. Returns the statements and the name of the
    /// ending tag.
    fn block(&mut self, ends: &[&str]) -> Result<(Vec<Statement>, Text)> {
        self.skip_symbol(":");
        self.expect_end(&Token::TagEnd)?;
        let body = self.body(ends)?;
        Ok((body, self.expect_name("the end of the block")?))
    }

    fn statement(&mut self) -> Result<StatementKind> {
        let line = self.line();
        let tag = self.expect_name("the name of a tag")?;
        Ok(match &*tag {
            "set" => self.set()?,
            "if" => self.conditional()?,
            "for" => StatementKind::For(Arc::new(self.for_loop()?)),
            "macro" => {
                let name = self.variable()?;
                StatementKind::Macro(Arc::new(self.macro_of(name, true, "endmacro")?))
            }
            "call" => self.call()?,
            "filter" => {
                let first = self.filter_call()?;
                let mut filters = vec![first];
                filters.extend(self.filters()?);
                StatementKind::Filter(filters, self.block(&["endfilter"])?.0)
            }
            "with" => self.with()?,
            "generation" => StatementKind::Scope(self.outside_loops(|p| p.block(&["endgeneration"]))?.0),
            "autoescape" => {
                let value = self.expression()?;
                if !matches!(*value.kind, ExpressionKind::Literal(crate::syntax::ast::Literal::Bool(false))) {
                    return Err(Error::syntax("autoescape can only be false", line));
                }
                StatementKind::Scope(self.block(&["endautoescape"])?.0)
            }
            "block" => {
                self.expect_name("the name of the block")?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                let body = self.outside_loops(|p| p.block(&["endblock"]))?.0;
                if matches!(self.peek(), Some(Token::Name(_))) {
                    self.at += 1;
                }
                StatementKind::Scope(body)
            }
            "break" | "continue" if self.loops == 0 => {
                return Err(Error::syntax(format!("{tag} outside of a loop"), line));
            }
            "break" => StatementKind::Break,
            "continue" => StatementKind::Continue,
            "print" => StatementKind::Emit(self.tuple(true, None)?),
            "include" | "import" | "from" | "extends" => {
                while self.peek().is_some_and(|token| *token != Token::TagEnd) {
                    self.at += 1;
                }
                StatementKind::Load(tag)
            }
            other => return Err(Error::syntax(format!("unknown tag {other:?}"), line)),
        })
    }

    /// Parses something that cannot contain a `break` or `continue` of the loops around it.
    fn outside_loops<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let loops = std::mem::take(&mut self.loops);
        let parsed = parse(self);
        self.loops = loops;
        parsed
    }

    fn set(&mut self) -> Result<StatementKind> {
        let target = self.target(true, "=")?;
        if self.skip_symbol("=") {
            return Ok(StatementKind::Set(target, self.tuple(true, None)?));
        }
        let filters = self.filters()?;
        let body = self.outside_loops(|p| p.block(&["endset"]))?.0;
        Ok(StatementKind::SetBlock(target, filters, body))
    }

    fn conditional(&mut self) -> Result<StatementKind> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, None)?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match &*end {
                "elif" => {}
                "else" => return Ok(StatementKind::If(branches, self.block(&["endif"])?.0)),
                _ => return Ok(StatementKind::If(branches, Vec::new())),
            }
        }
    }

    fn for_loop(&mut self) -> Result<For> {
        let target = self.target(false, "in")?;
        if !self.skip_name("in") {
            return Err(self.unexpected("in"));
        }
        let over = self.tuple(false, Some("recursive"))?;
        let filter = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let (body, end) = self.block(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = if *end == *"else" { self.block(&["endfor"])?.0 } else { Vec::new() };
        Ok(For { target, over, filter, body, otherwise, recursive })
    }

    fn call(&mut self) -> Result<StatementKind> {
        let line = self.line();
        // The parameters come before the call.
        let has_parameters = self.is_symbol("(");
        let parameters = if has_parameters { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(*call.kind, ExpressionKind::Call(..)) {
            return Err(Error::syntax("a call block needs a call of a macro", line));
        }
        let mut caller = self.macro_of("caller".into(), false, "endcall")?;
        caller.parameters = parameters;
        Ok(StatementKind::Call(call, Arc::new(caller)))
    }

    /// Parses a macro's parameters, if `signature` is set, and its body.
    fn macro_of(&mut self, name: Text, signature: bool, end: &str) -> Result<Macro> {
        self.extras.push(Extras::default());
        let parameters = if signature { self.parameters()? } else { Vec::new() };
        let body = self.outside_loops(|p| p.block(&[end]))?.0;
        let uses = self.extras.pop().unwrap_or_default();
        if let Some(outer) = self.extras.last_mut() {
            outer.varargs |= uses.varargs;
            outer.kwargs |= uses.kwargs;
            outer.caller |= uses.caller;
        }
        Ok(Macro { name, parameters, body, uses })
    }

    fn parameters(&mut self) -> Result<Vec<(Text, Option<Expression>)>> {
        self.expect_symbol("(")?;
        let mut parameters: Vec<(Text, Option<Expression>)> = Vec::new();
        let mut names = HashSet::new();
        while !self.is_symbol(")") {
            if !parameters.is_empty() {
                self.expect_symbol(",")?;
            }
            let line = self.line();
            let name = self.variable()?;
            let default = if self.skip_symbol("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(Error::syntax(
                    format!("parameter {name} without a default follows a parameter with a default"),
                    line,
                ));
            }
            if !names.insert(name.clone()) {
                return Err(Error::syntax(format!("parameter {name} is named twice"), line));
            }
            parameters.push((name, default));
        }
        self.expect_symbol(")")?;
        Ok(parameters)
    }

    fn with(&mut self) -> Result<StatementKind> {
        let mut pairs = Vec::new();
        while self.peek() != Some(&Token::TagEnd) {
            if !pairs.is_empty() {
                self.expect_symbol(",")?;
            }
            let target = self.target(false, "=")?;
            self.expect_symbol("=")?;
            pairs.push((target, self.expression()?));
        }
        let body = self.block(&["endwith"])?.0;
        Ok(StatementKind::With(pairs, body))
    }

    /// Parses a name that can be assigned to.
    fn variable(&mut self) -> Result<Text> {
        let line = self.line();
        let name = self.expect_name("a name")?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(Error::syntax(format!("cannot assign to {name}"), line));
        }
        Ok(name)
    }

    /// Parses the target of an assignment: a name, a tuple of names with or without parentheses, or an attribute if
    /// `attributes` is set.
    fn target(&mut self, attributes: bool, end: &str) -> Result<Target> {
        let mut targets = vec![self.single_target(attributes)?];
        let mut is_tuple = false;
        while self.skip_symbol(",") {
            is_tuple = true;
            if self.is_name(end) || self.is_symbol(end) || self.is_symbol(")") {
                break;
            }
            targets.push(self.single_target(attributes)?);
        }
        match targets.pop() {
            Some(only) if !is_tuple => Ok(only),
            last => Ok(Target::Tuple(targets.into_iter().chain(last).collect())),
        }
    }

    fn single_target(&mut self, attributes: bool) -> Result<Target> {
        if self.skip_symbol("(") {
            self.enter()?;
            let inner = self.target(attributes, ")")?;
            self.level -= 1;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        let name = self.variable()?;
        if attributes && self.skip_symbol(".") {
            return Ok(Target::Attribute(name, self.expect_name("the name of an attribute")?));
        }
        Ok(Target::Name(name))
    }

    /// Enters an expression.
    pub(crate) fn enter(&mut self) -> Result<()> {
        self.level += 1;
        if self.level > MAX_DEPTH { Err(too_deep(self.line())) } else { Ok(()) }
    }
}

/// Makes the error of an expression that nests too deep.
pub(crate) fn too_deep(line: u32) -> Error {
    Error::syntax(format!("an expression is nested deeper than {MAX_DEPTH}"), line)
}

/// Describes a token for an error message.
fn describe(token: &Token) -> String {
    match token {
        Token::Text(_) => "text".to_owned(),
        Token::EmitBegin => "\"{{\"".to_owned(),
        Token::EmitEnd => "\"}}\"".to_owned(),
        Token::TagBegin => "\"{%\"".to_owned(),
        Token::TagEnd => "\"%}\"".to_owned(),
        Token::Name(name) => format!("{name:?}"),
        Token::Str(_) => "a string".to_owned(),
        Token::Int(value) => value.to_string(),
        Token::Float(value) => value.to_string(),
        Token::Symbol(symbol) => format!("{symbol:?}"),
    }
}
