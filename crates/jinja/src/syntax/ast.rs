//! The syntax tree.

use std::sync::Arc;

/// A shared string.
pub type Text = Arc<str>;

/// A statement and the line where it begins.
#[derive(Debug)]
pub(crate) struct Statement {
    pub kind: StatementKind,
    pub line: u32,
}

/// The kinds of statements.
#[derive(Debug)]
pub(crate) enum StatementKind {
    /// Literal text.
    Text(Text),
    /// `{{ value }}`
    Emit(Expression),
    /// `{% set target = value %}`
    Set(Target, Expression),
    /// `{% set name | filters %}body{% endset %}`
    SetBlock(Target, Vec<FilterCall>, Vec<Statement>),
    /// `{% if %}` and each `{% elif %}` with its body, and the body of `{% else %}`.
    If(Vec<(Expression, Vec<Statement>)>, Vec<Statement>),
    /// `{% for %}`
    For(Arc<For>),
    /// `{% macro %}`
    Macro(Arc<Macro>),
    /// `{% call(parameters) macro(...) %}body{% endcall %}`: the call, and the macro `caller`.
    Call(Expression, Arc<Macro>),
    /// `{% filter name %}body{% endfilter %}`
    Filter(Vec<FilterCall>, Vec<Statement>),
    /// `{% with a = 1 %}body{% endwith %}`
    With(Vec<(Target, Expression)>, Vec<Statement>),
    /// A body with its own variables: `{% block %}`, `{% generation %}`, `{% autoescape false %}`.
    Scope(Vec<Statement>),
    /// `{% break %}`
    Break,
    /// `{% continue %}`
    Continue,
    /// A tag that loads other templates. Running it is an error.
    Load(Text),
}

/// A `for` loop.
#[derive(Debug)]
pub(crate) struct For {
    pub target: Target,
    pub over: Expression,
    /// The condition after the iterable.
    pub filter: Option<Expression>,
    pub body: Vec<Statement>,
    /// The body of `{% else %}`, which runs if there are no items.
    pub otherwise: Vec<Statement>,
    pub recursive: bool,
}

/// A macro, or the body of a call block.
#[derive(Debug)]
pub(crate) struct Macro {
    pub name: Text,
    pub parameters: Vec<(Text, Option<Expression>)>,
    pub body: Vec<Statement>,
    /// The names beyond the parameters that the body uses.
    pub uses: Extras,
}

/// The names that a macro may use in addition to its parameters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    pub varargs: bool,
    pub kwargs: bool,
    pub caller: bool,
}

/// The target of an assignment.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Text),
    /// `namespace.attribute`
    Attribute(Text, Text),
    Tuple(Vec<Target>),
}

/// A call of a filter. The filtered value is stored elsewhere.
#[derive(Debug)]
pub(crate) struct FilterCall {
    pub name: Text,
    pub arguments: Arguments,
    pub line: u32,
}

/// The arguments of a call.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub positional: Vec<Expression>,
    pub keyword: Vec<(Text, Expression)>,
    /// `*list`
    pub rest: Option<Box<Expression>>,
    /// `**dictionary`
    pub keyword_rest: Option<Box<Expression>>,
}

/// An expression with its line and its depth.
#[derive(Debug)]
pub(crate) struct Expression {
    pub kind: Box<ExpressionKind>,
    pub line: u32,
    pub depth: u32,
}

/// The kinds of expressions.
#[derive(Debug)]
pub(crate) enum ExpressionKind {
    Literal(Literal),
    Name(Text),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Not(Expression),
    Negative(Expression),
    Positive(Expression),
    Binary(Operator, Expression, Expression),
    And(Expression, Expression),
    Or(Expression, Expression),
    /// `a < b <= c`
    Compare(Expression, Vec<(Comparison, Expression)>),
    /// `a ~ b ~ c`
    Concat(Vec<Expression>),
    /// `value if condition else otherwise`
    Conditional {
        condition: Expression,
        value: Expression,
        otherwise: Option<Expression>,
    },
    Attribute(Expression, Text),
    Item(Expression, Expression),
    /// `value[start:stop:step]`
    Slice(Expression, [Option<Expression>; 3]),
    Call(Expression, Arguments),
    /// A filtered value.
    Filter(Expression, FilterCall),
    Test {
        value: Expression,
        name: Text,
        arguments: Arguments,
        negated: bool,
    },
}

/// A constant.
#[derive(Debug, Clone)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

impl Operator {
    /// Returns the operator's symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::FloorDivide => "//",
            Self::Remainder => "%",
            Self::Power => "**",
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
