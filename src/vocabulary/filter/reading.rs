//! Reading expressions: everything that could never hold, or not be evaluated, is refused here,
//! with the place where it stands.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::expression::{Comparison, Expression, Operand};
use super::field::{Field, Kind, Scope};
use crate::vocabulary::error::Error;

/// How deep expressions may nest.
const DEPTH: usize = 32;
/// How many operators the predicates of a rule may have.
const OPERATORS: usize = 1000;
/// How many regular expressions.
const PATTERNS: usize = 8;
/// What a compiled regular expression, and what it looks things up in, may take in memory.
const PATTERN_BYTES: usize = 256 << 10;

/// Reads the expressions of one rule.
pub(super) struct Reader {
    operators: usize,
    patterns: usize,
}

/// Where in the JSON the reader is: the index in each array on the way.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    index: usize,
}

impl<'a> Place<'a> {
    pub(super) const fn top(index: usize) -> Self {
        Self { above: None, index }
    }

    pub(super) const fn within(&'a self, index: usize) -> Self {
        Self { above: Some(self), index }
    }

    fn depth(&self) -> usize {
        1 + self.above.map_or(0, Self::depth)
    }

    fn shown(&self) -> String {
        let above = self.above.map_or("predicates".to_owned(), Self::shown);
        format!("{above}[{}]", self.index)
    }

    /// What is wrong here.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}: {what}", self.shown()))
    }
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self { operators: OPERATORS, patterns: PATTERNS }
    }

    pub(super) fn expression(
        &mut self,
        scope: Scope,
        value: &Value,
        place: Place<'_>,
    ) -> Result<Expression, Error> {
        let Some((Value::String(operator), args)) =
            value.as_array().and_then(|list| list.split_first())
        else {
            return Err(place.fault(format!("expected [OPERATOR, ...], got {}", short(value))));
        };
        self.count(place)?;
        match operator.as_str() {
            "&" => self.parts(scope, args, place).map(Expression::All),
            "|" => self.parts(scope, args, place).map(Expression::Any),
            "!" => self.negation(scope, args, place),
            "?" => truth(scope, args, place),
            "=~" => self.pattern(scope, args, place),
            "=[]" => contains(scope, args, place),
            symbol => comparison(scope, symbol, args, place),
        }
    }

    /// The predicate is one level more than its expression.
    fn count(&mut self, place: Place<'_>) -> Result<(), Error> {
        if place.depth() > DEPTH + 1 {
            return Err(place.fault(format!("nested more than {DEPTH} deep")));
        }
        match self.operators.checked_sub(1) {
            Some(left) => self.operators = left,
            None => {
                return Err(place.fault(format!("a rule has more than {OPERATORS} operators")));
            }
        }
        Ok(())
    }

    fn parts(
        &mut self,
        scope: Scope,
        args: &[Value],
        place: Place<'_>,
    ) -> Result<Vec<Expression>, Error> {
        let parts = args.iter().zip(1..);
        parts.map(|(part, index)| self.expression(scope, part, place.within(index))).collect()
    }

    fn negation(
        &mut self,
        scope: Scope,
        args: &[Value],
        place: Place<'_>,
    ) -> Result<Expression, Error> {
        match args {
            [inner] => {
                let inner = self.expression(scope, inner, place.within(1))?;
                Ok(Expression::Not(Box::new(inner)))
            }
            _ => Err(place.fault("expected [\"!\", EXPRESSION]")),
        }
    }

    fn pattern(
        &mut self,
        scope: Scope,
        args: &[Value],
        place: Place<'_>,
    ) -> Result<Expression, Error> {
        let (field, value) = field_and_value(scope, "=~", args, place)?;
        wants(&field, Kind::Text, "=~", place)?;
        let at = place.within(2);
        let text = value.as_str().ok_or_else(|| at.fault("a regular expression is a text"))?;
        if self.patterns == 0 {
            return Err(at.fault(format!("a rule has more than {PATTERNS} regular expressions")));
        }
        self.patterns -= 1;
        Ok(Expression::Matches(field, compiled(text).map_err(|why| at.fault(why))?))
    }
}

fn compiled(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    let built = builder.size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
    built.map_err(|error| format!("{text:?} is not a regular expression: {error}"))
}

fn truth(scope: Scope, args: &[Value], place: Place<'_>) -> Result<Expression, Error> {
    let [Value::String(name)] = args else { return Err(place.fault("expected [\"?\", FIELD]")) };
    let field = Field::named(scope, name).map_err(|why| place.within(1).fault(why))?;
    wants(&field, Kind::Bool, "?", place)?;
    Ok(Expression::True(field))
}

fn contains(scope: Scope, args: &[Value], place: Place<'_>) -> Result<Expression, Error> {
    let (field, value) = field_and_value(scope, "=[]", args, place)?;
    if field.kind() != Kind::Any {
        let (name, kind) = (field.name(), field.kind().said());
        return Err(place.fault(format!("{name} is {kind}; \"=[]\" looks into a list")));
    }
    Ok(Expression::Contains(field, operand(scope, value, place.within(2))?))
}

fn comparison(
    scope: Scope,
    symbol: &str,
    args: &[Value],
    place: Place<'_>,
) -> Result<Expression, Error> {
    let how = Comparison::of(symbol).ok_or_else(|| {
        let known = "& | ! ? = == != < > <= >= =~ =[]";
        place
            .within(0)
            .fault(format!("there is no operator {symbol:?}"))
            .hint(format!("there are {known}"))
    })?;
    let (field, value) = field_and_value(scope, symbol, args, place)?;
    let operand = operand(scope, value, place.within(2))?;
    let kind = if matches!(operand, Operand::Text(_)) { Kind::Text } else { Kind::Number };
    wants(&field, kind, symbol, place)?;
    Ok(Expression::Compare(how, field, operand))
}

fn field_and_value<'v>(
    scope: Scope,
    symbol: &str,
    args: &'v [Value],
    place: Place<'_>,
) -> Result<(Field, &'v Value), Error> {
    let [Value::String(name), value] = args else {
        return Err(place.fault(format!("expected [{symbol:?}, FIELD, VALUE]")));
    };
    let field = Field::named(scope, name).map_err(|why| place.within(1).fault(why))?;
    Ok((field, value))
}

fn operand(scope: Scope, value: &Value, place: Place<'_>) -> Result<Operand, Error> {
    match value {
        Value::String(text) if scope == Scope::Job && text == "watermark" => Ok(Operand::Watermark),
        Value::String(text) => Ok(Operand::Text(text.clone())),
        Value::Number(number) => Ok(Operand::Number(number.clone())),
        Value::Bool(_) => Err(place
            .fault("a field is not compared with true or false")
            .hint("[\"?\", FIELD] holds where it is true, [\"!\", [\"?\", FIELD]] elsewhere")),
        _ => Err(place.fault(format!("expected a text or a number, got {}", short(value)))),
    }
}

/// What a field is, and what the operator does with it, has to go together.
fn wants(field: &Field, wanted: Kind, symbol: &str, place: Place<'_>) -> Result<(), Error> {
    let (kind, name) = (field.kind(), field.name());
    if kind == wanted || kind == Kind::Any {
        return Ok(());
    }
    let (is, wanted) = (kind.said(), wanted.said());
    Err(place.fault(format!("{name} is {is}; this {symbol:?} needs {wanted}")))
}

/// The beginning of a value, for a message.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
