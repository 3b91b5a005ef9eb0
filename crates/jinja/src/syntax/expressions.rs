//! The parser of expressions, with Jinja2's precedence.

use crate::error::{Error, Result};
use crate::syntax::ast::{Arguments, Comparison, Expression, ExpressionKind, FilterCall, Literal, Operator, Text};
use crate::syntax::lexer::Token;
use crate::syntax::parser::{MAX_DEPTH, Parser, too_deep};

/// Returns the largest depth of some expressions.
fn deepest<'e>(parts: impl IntoIterator<Item = &'e Expression>) -> u32 {
    parts.into_iter().map(|part| part.depth).max().unwrap_or(0)
}

impl Arguments {
    fn depth(&self) -> u32 {
        let named = self.keyword.iter().map(|(_, value)| value);
        let rest = self.rest.iter().chain(&self.keyword_rest).map(|value| &**value);
        deepest(self.positional.iter().chain(named).chain(rest))
    }
}

impl Parser {
    /// Makes a node whose deepest part has the depth `below`.
    fn node(&self, kind: ExpressionKind, line: u32, below: u32) -> Result<Expression> {
        if below >= MAX_DEPTH {
            return Err(too_deep(line));
        }
        Ok(Expression { kind: Box::new(kind), line, depth: below + 1 })
    }

    /// Parses an expression.
    pub(crate) fn expression(&mut self) -> Result<Expression> {
        self.enter()?;
        let line = self.line();
        let mut value = self.either()?;
        while self.skip_name("if") {
            let condition = self.either()?;
            let otherwise = if self.skip_name("else") { Some(self.expression()?) } else { None };
            let below = deepest([&value, &condition].into_iter().chain(&otherwise));
            value = self.node(ExpressionKind::Conditional { condition, value, otherwise }, line, below)?;
        }
        self.level -= 1;
        Ok(value)
    }

    /// Parses an expression, or a tuple of expressions separated by commas. Without `conditional`, `if` ends the
    /// expression. The name `end` ends the tuple.
    pub(crate) fn tuple(&mut self, conditional: bool, end: Option<&str>) -> Result<Expression> {
        let line = self.line();
        let mut items = vec![if conditional { self.expression()? } else { self.either()? }];
        let mut is_tuple = false;
        while self.skip_symbol(",") {
            is_tuple = true;
            let ends = matches!(self.peek(), None | Some(Token::EmitEnd | Token::TagEnd)) || self.is_symbol(")");
            if ends || end.is_some_and(|end| self.is_name(end)) {
                break;
            }
            items.push(if conditional { self.expression()? } else { self.either()? });
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            last => {
                items.extend(last);
                let below = deepest(&items);
                self.node(ExpressionKind::Tuple(items), line, below)
            }
        }
    }

    /// Parses `a or b`.
    fn either(&mut self) -> Result<Expression> {
        self.enter()?;
        let line = self.line();
        let mut left = self.both()?;
        while self.skip_name("or") {
            let right = self.both()?;
            let below = deepest([&left, &right]);
            left = self.node(ExpressionKind::Or(left, right), line, below)?;
        }
        self.level -= 1;
        Ok(left)
    }

    /// Parses `a and b`.
    fn both(&mut self) -> Result<Expression> {
        let line = self.line();
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            let below = deepest([&left, &right]);
            left = self.node(ExpressionKind::And(left, right), line, below)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression> {
        let line = self.line();
        if self.skip_name("not") {
            self.enter()?;
            let inner = self.not()?;
            self.level -= 1;
            let below = inner.depth;
            return self.node(ExpressionKind::Not(inner), line, below);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression> {
        let line = self.line();
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison_operator() {
            others.push((comparison, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        let below = deepest(others.iter().map(|(_, value)| value).chain([&first]));
        self.node(ExpressionKind::Compare(first, others), line, below)
    }

    fn comparison_operator(&mut self) -> Option<Comparison> {
        let (comparison, tokens) = match self.peek()? {
            Token::Symbol("==") => (Comparison::Equal, 1),
            Token::Symbol("!=") => (Comparison::NotEqual, 1),
            Token::Symbol("<") => (Comparison::Less, 1),
            Token::Symbol("<=") => (Comparison::LessOrEqual, 1),
            Token::Symbol(">") => (Comparison::Greater, 1),
            Token::Symbol(">=") => (Comparison::GreaterOrEqual, 1),
            Token::Name(name) if **name == *"in" => (Comparison::In, 1),
            Token::Name(name) if **name == *"not" => match self.peek_second() {
                Some(Token::Name(second)) if **second == *"in" => (Comparison::NotIn, 2),
                _ => return None,
            },
            _ => return None,
        };
        (0..tokens).for_each(|_| drop(self.next()));
        Some(comparison)
    }

    /// Parses left-associative operators of one precedence.
    fn binary(&mut self, operators: &[Operator], operand: fn(&mut Self) -> Result<Expression>) -> Result<Expression> {
        let line = self.line();
        let mut left = operand(self)?;
        while let Some(&operator) = operators.iter().find(|operator| self.is_symbol(operator.symbol())) {
            self.next();
            let right = operand(self)?;
            let below = deepest([&left, &right]);
            left = self.node(ExpressionKind::Binary(operator, left, right), line, below)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression> {
        self.binary(&[Operator::Add, Operator::Subtract], Self::concat)
    }

    /// Parses `a ~ b`.
    fn concat(&mut self) -> Result<Expression> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_symbol("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_symbol("~") {
            parts.push(self.product()?);
        }
        let below = deepest(&parts);
        self.node(ExpressionKind::Concat(parts), line, below)
    }

    fn product(&mut self) -> Result<Expression> {
        let operators = [Operator::Multiply, Operator::Divide, Operator::FloorDivide, Operator::Remainder];
        self.binary(&operators, Self::power)
    }

    fn power(&mut self) -> Result<Expression> {
        self.binary(&[Operator::Power], |p| p.unary(true))
    }

    /// Parses a value with signs. A sign binds weaker than an attribute and stronger than a filter.
    fn unary(&mut self, with_filters: bool) -> Result<Expression> {
        let line = self.line();
        let negative = self.is_symbol("-");
        let mut value = if negative || self.is_symbol("+") {
            self.next();
            self.enter()?;
            let inner = self.unary(false)?;
            self.level -= 1;
            let below = inner.depth;
            let kind = if negative { ExpressionKind::Negative(inner) } else { ExpressionKind::Positive(inner) };
            self.node(kind, line, below)?
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filters { self.filtered(value) } else { Ok(value) }
    }

    /// Parses the filters, tests and calls after a value.
    fn filtered(&mut self, mut value: Expression) -> Result<Expression> {
        loop {
            let line = self.line();
            if self.skip_symbol("|") {
                let filter = self.filter_call()?;
                let below = value.depth.max(filter.arguments.depth());
                value = self.node(ExpressionKind::Filter(value, filter), line, below)?;
            } else if self.is_name("is") {
                value = self.test(value)?;
            } else if self.is_symbol("(") {
                value = self.call_of(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expression> {
        let line = self.line();
        let literal = |literal| ExpressionKind::Literal(literal);
        let kind = match self.next() {
            Some(Token::Name(name)) => match &*name {
                "true" | "True" => literal(Literal::Bool(true)),
                "false" | "False" => literal(Literal::Bool(false)),
                "none" | "None" => literal(Literal::None),
                _ => {
                    if let Some(extras) = self.extras.last_mut() {
                        extras.varargs |= *name == *"varargs";
                        extras.kwargs |= *name == *"kwargs";
                        extras.caller |= *name == *"caller";
                    }
                    ExpressionKind::Name(name)
                }
            },
            Some(Token::Str(mut text)) => {
                // Adjacent strings are concatenated.
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                literal(Literal::Str(text.into()))
            }
            Some(Token::Int(value)) => literal(Literal::Int(value)),
            Some(Token::Float(value)) => literal(Literal::Float(value)),
            Some(Token::Symbol("(")) => {
                if self.skip_symbol(")") {
                    ExpressionKind::Tuple(Vec::new())
                } else {
                    let inner = self.tuple(true, None)?;
                    self.expect_symbol(")")?;
                    return Ok(inner);
                }
            }
            Some(Token::Symbol("[")) => return self.list(line),
            Some(Token::Symbol("{")) => return self.dictionary(line),
            _ => {
                let found = Error::syntax("expected an expression", line);
                return Err(found);
            }
        };
        self.node(kind, line, 0)
    }

    fn list(&mut self, line: u32) -> Result<Expression> {
        let mut items = Vec::new();
        while !self.skip_symbol("]") {
            if !items.is_empty() {
                self.expect_symbol(",")?;
                if self.skip_symbol("]") {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        let below = deepest(&items);
        self.node(ExpressionKind::List(items), line, below)
    }

    fn dictionary(&mut self, line: u32) -> Result<Expression> {
        let mut pairs: Vec<(Expression, Expression)> = Vec::new();
        while !self.skip_symbol("}") {
            if !pairs.is_empty() {
                self.expect_symbol(",")?;
                if self.skip_symbol("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.expect_symbol(":")?;
            pairs.push((key, self.expression()?));
        }
        let below = deepest(pairs.iter().flat_map(|(key, value)| [key, value]));
        self.node(ExpressionKind::Dict(pairs), line, below)
    }

    /// Parses the attributes, items and calls after a value.
    fn postfix(&mut self, mut value: Expression) -> Result<Expression> {
        loop {
            let line = self.line();
            if self.skip_symbol(".") {
                let below = value.depth;
                value = match self.next() {
                    Some(Token::Name(name)) => self.node(ExpressionKind::Attribute(value, name), line, below)?,
                    Some(Token::Int(index)) => {
                        let index = self.node(ExpressionKind::Literal(Literal::Int(index)), line, 0)?;
                        self.node(ExpressionKind::Item(value, index), line, below)?
                    }
                    _ => return Err(Error::syntax("expected a name or a number after the dot", line)),
                };
            } else if self.skip_symbol("[") {
                value = self.subscript(value, line)?;
            } else if self.is_symbol("(") {
                value = self.call_of(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// Parses a subscript: an index, a tuple of indices, or a slice. The opening bracket has been read.
    fn subscript(&mut self, value: Expression, line: u32) -> Result<Expression> {
        let ends = |p: &Self| p.is_symbol("]") || p.is_symbol(",");
        let first = if self.is_symbol(":") { None } else { Some(self.expression()?) };
        if !self.is_symbol(":") {
            let Some(mut key) = first else { return Err(self.unexpected("an index")) };
            if self.is_symbol(",") {
                let mut items = vec![key];
                while self.skip_symbol(",") {
                    items.push(self.expression()?);
                }
                let below = deepest(&items);
                key = self.node(ExpressionKind::Tuple(items), line, below)?;
            }
            self.expect_symbol("]")?;
            let below = value.depth.max(key.depth);
            return self.node(ExpressionKind::Item(value, key), line, below);
        }
        let mut bounds = [first, None, None];
        for bound in &mut bounds[1..] {
            if !self.skip_symbol(":") {
                break;
            }
            if !self.is_symbol(":") && !ends(self) {
                *bound = Some(self.expression()?);
            }
        }
        self.expect_symbol("]")?;
        let below = deepest(bounds.iter().flatten().chain([&value]));
        self.node(ExpressionKind::Slice(value, bounds), line, below)
    }

    fn call_of(&mut self, callee: Expression) -> Result<Expression> {
        let line = self.line();
        let arguments = self.arguments()?;
        let below = callee.depth.max(arguments.depth());
        self.node(ExpressionKind::Call(callee, arguments), line, below)
    }

    /// Parses arguments with their parentheses.
    fn arguments(&mut self) -> Result<Arguments> {
        self.expect_symbol("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.skip_symbol(")") {
            if !first {
                self.expect_symbol(",")?;
                if self.skip_symbol(")") {
                    break;
                }
            }
            first = false;
            let line = self.line();
            let wrong = |what: &str| Err(Error::syntax(format!("{what} in the arguments of a call"), line));
            if self.skip_symbol("*") {
                if arguments.rest.is_some() || arguments.keyword_rest.is_some() {
                    return wrong("misplaced *");
                }
                arguments.rest = Some(Box::new(self.expression()?));
            } else if self.skip_symbol("**") {
                if arguments.keyword_rest.is_some() {
                    return wrong("a second **");
                }
                arguments.keyword_rest = Some(Box::new(self.expression()?));
            } else if matches!(self.peek_second(), Some(Token::Symbol("="))) {
                let name = self.expect_name("the name of an argument")?;
                self.next();
                arguments.keyword.push((name, self.expression()?));
            } else {
                if !arguments.keyword.is_empty() || arguments.rest.is_some() || arguments.keyword_rest.is_some() {
                    return wrong("positional argument after a keyword argument");
                }
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }

    /// Parses `name.with.dots`.
    fn dotted(&mut self, what: &str) -> Result<Text> {
        let mut name = self.expect_name(what)?;
        while self.skip_symbol(".") {
            name = format!("{name}.{}", self.expect_name(what)?).into();
        }
        Ok(name)
    }

    /// Parses a filter's name and arguments. The `|` has been read.
    pub(crate) fn filter_call(&mut self) -> Result<FilterCall> {
        let line = self.line();
        let name = self.dotted("the name of a filter")?;
        let arguments = if self.is_symbol("(") { self.arguments()? } else { Arguments::default() };
        Ok(FilterCall { name, arguments, line })
    }

    /// Parses `| filter | filter`.
    pub(crate) fn filters(&mut self) -> Result<Vec<FilterCall>> {
        let mut filters = Vec::new();
        while self.skip_symbol("|") {
            filters.push(self.filter_call()?);
        }
        Ok(filters)
    }

    /// Parses `is name`, `is not name argument`, ...
    fn test(&mut self, value: Expression) -> Result<Expression> {
        let line = self.line();
        self.next();
        let negated = self.skip_name("not");
        let name = self.dotted("the name of a test")?;
        let mut arguments = Arguments::default();
        let ends = ["else", "or", "and"].iter().any(|name| self.is_name(name));
        match self.peek() {
            Some(Token::Symbol("(")) => arguments = self.arguments()?,
            Some(Token::Name(name)) if **name == *"is" => {
                return Err(Error::syntax("tests cannot be chained with is", line));
            }
            Some(Token::Name(_) | Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Symbol("[" | "{"))
                if !ends =>
            {
                let argument = self.primary()?;
                arguments.positional.push(self.postfix(argument)?);
            }
            _ => {}
        }
        let below = value.depth.max(arguments.depth());
        self.node(ExpressionKind::Test { value, name, arguments, negated }, line, below)
    }
}
