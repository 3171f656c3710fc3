//! From text to a filter: sqlparser reads the expression, this takes from it what filters have.

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Spanned,
    UnaryOperator, Value,
};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token};

use super::{At, Comparison, FieldName, Filter, FilterError, Literal, Place};

/// Most bytes of a filter's text. A chain of conditions is a tree as deep as it is long on its way through the parser:
/// this keeps it within the stack of any thread.
pub const MAX_FILTER_BYTES: usize = 16 << 10;

/// SQL as filters have it: identifiers as everywhere, and the infix word CONTAINS.
#[derive(Debug)]
struct FilterDialect;

/// The name under which CONTAINS passes through the parser.
const CONTAINS: &str = "CONTAINS";

impl Dialect for FilterDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_in_empty_list(&self) -> bool {
        true
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        is_contains(&parser.peek_token_ref().token).then(|| {
            parser.advance_token();
            let right = parser.parse_subexpr(precedence)?;
            let op = BinaryOperator::Custom(CONTAINS.to_owned());
            Ok(Expr::BinaryOp { left: Box::new(expr.clone()), op, right: Box::new(right) })
        })
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let eq = self.prec_value(sqlparser::dialect::Precedence::Eq);
        is_contains(&parser.peek_token_ref().token).then_some(Ok(eq))
    }
}

fn is_contains(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(CONTAINS))
}

impl Filter {
    /// Reads a filter from text: see the module for the language. Field names are checked when the filter is
    /// used with a collection.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(FilterError::TooLong { bytes: text.len() });
        }
        let mut parser = Parser::new(&FilterDialect).try_with_sql(text)?;
        let expr = parser.parse_expr()?;
        let next = parser.peek_token();
        if next.token != Token::EOF {
            return Err(FilterError::Trailing { at: at(next.span) });
        }
        filter(expr)
    }
}

fn at(span: Span) -> At {
    At((span.start.line > 0).then_some(Place { line: span.start.line, column: span.start.column }))
}

fn unsupported<T>(what: &'static str, span: Span) -> Result<T, FilterError> {
    Err(FilterError::Unsupported { what, at: at(span) })
}

fn filter(expr: Expr) -> Result<Filter, FilterError> {
    let span = expr.span();
    match expr {
        Expr::Nested(inner) => filter(*inner),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(!filter(*expr)?),
        Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), left, right } => {
            chain(op, *left, *right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Custom(_), right } => {
            let name = field(*left)?;
            match literal(*right)? {
                Literal::Text(tag) => Ok(Filter::Contains(name, tag)),
                _ => unsupported("CONTAINS takes a text in single quotes", span),
            }
        }
        Expr::BinaryOp { left, op, right } => compare(*left, op, *right, span),
        Expr::Between { expr, negated, low, high } => {
            negate(negated, Filter::Between(field(*expr)?, literal(*low)?, literal(*high)?))
        }
        Expr::InList { expr, list, negated } => {
            let name = field(*expr)?;
            negate(negated, Filter::In(name, list.into_iter().map(literal).collect::<Result<_, _>>()?))
        }
        Expr::IsNull(expr) => Ok(Filter::IsNull(field(*expr)?)),
        Expr::IsNotNull(expr) => Ok(!Filter::IsNull(field(*expr)?)),
        Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
            let name = field(*expr)?;
            let Literal::Text(pattern) = literal(*pattern)? else {
                return unsupported("LIKE takes a text in single quotes", span);
            };
            match prefix(&pattern) {
                Some((text, true)) => negate(negated, Filter::StartsWith(name, text)),
                Some((text, false)) => {
                    negate(negated, Filter::Compare(name, Comparison::Equal, Literal::Text(text)))
                }
                None => unsupported(
                    "LIKE takes a prefix followed by %; write \\_ and \\% for the signs themselves",
                    span,
                ),
            }
        }
        Expr::Function(function) => {
            let is_near = match &function.name.0[..] {
                [ObjectNamePart::Identifier(name)] => name.value.eq_ignore_ascii_case("near"),
                _ => false,
            };
            match function.args {
                FunctionArguments::List(list) if is_near => near(list.args, span),
                _ => unsupported("the only function is NEAR(field, lat, lon, meters)", span),
            }
        }
        Expr::Value(value) => match value.value {
            Value::Boolean(true) => Ok(Filter::And(Vec::new())),
            Value::Boolean(false) => Ok(Filter::Or(Vec::new())),
            _ => unsupported("a value is no condition: compare a field with it", span),
        },
        name @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
            Ok(Filter::Compare(field(name)?, Comparison::Equal, Literal::Bool(true)))
        }
        _ => unsupported(
            "filters have =, !=, <, <=, >, >=, BETWEEN, IN, LIKE, CONTAINS, IS NULL, NEAR, AND, OR, NOT",
            span,
        ),
    }
}

/// `a AND b AND c`, which the parser gives as `((a AND b) AND c)`, as one list.
fn chain(op: BinaryOperator, left: Expr, right: Expr) -> Result<Filter, FilterError> {
    let mut parts = vec![right];
    let mut next = left;
    let first = loop {
        match next {
            Expr::BinaryOp { left, op: other, right } if other == op => {
                parts.push(*right);
                next = *left;
            }
            other => break other,
        }
    };
    parts.push(first);
    let parts = parts.into_iter().rev().map(filter).collect::<Result<Vec<_>, _>>()?;
    Ok(if op == BinaryOperator::And { Filter::And(parts) } else { Filter::Or(parts) })
}

fn negate(negated: bool, filter: Filter) -> Result<Filter, FilterError> {
    Ok(if negated { !filter } else { filter })
}

fn compare(left: Expr, op: BinaryOperator, right: Expr, span: Span) -> Result<Filter, FilterError> {
    let comparison = match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return unsupported("unknown operator between two values", span),
    };
    if is_field(&left) {
        return Ok(Filter::Compare(field(left)?, comparison, literal(right)?));
    }
    let turned = match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    };
    Ok(Filter::Compare(field(right)?, turned, literal(left)?))
}

fn is_field(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_field(inner),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

fn field(expr: Expr) -> Result<FieldName, FilterError> {
    let span = expr.span();
    let name = match expr {
        Expr::Nested(inner) => return field(*inner),
        Expr::Identifier(ident) => ident.value,
        Expr::CompoundIdentifier(parts) => dotted(&parts),
        _ => return unsupported("expected the name of a field here", span),
    };
    Ok(FieldName { name: name.into(), at: at(span) })
}

fn dotted(parts: &[Ident]) -> String {
    parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".")
}

fn literal(expr: Expr) -> Result<Literal, FilterError> {
    let span = expr.span();
    match expr {
        Expr::Nested(inner) => literal(*inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            // The smallest integer has no positive twin: the sign belongs to the digits.
            if let Expr::Value(value) = &*expr
                && let Value::Number(digits, false) = &value.value
            {
                return number(&format!("-{digits}"), span);
            }
            unsupported("expected a number behind the minus sign", span)
        }
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => literal(*expr),
        Expr::Value(value) => match value.value {
            Value::Number(digits, false) => number(&digits, span),
            Value::SingleQuotedString(text) => Ok(Literal::Text(text.into())),
            Value::Boolean(flag) => Ok(Literal::Bool(flag)),
            Value::Null => unsupported("nothing equals NULL: write IS NULL or IS NOT NULL", span),
            _ => unsupported("expected a number, a text in single quotes, TRUE or FALSE", span),
        },
        Expr::TypedString(typed) => match typed.value.value {
            Value::SingleQuotedString(text) => Ok(Literal::Text(text.into())),
            _ => unsupported("expected a text in single quotes", span),
        },
        _ => unsupported("expected a number, a text in single quotes, TRUE or FALSE", span),
    }
}

fn number(digits: &str, span: Span) -> Result<Literal, FilterError> {
    if let Ok(integer) = digits.parse::<i64>() {
        return Ok(Literal::Integer(integer));
    }
    match digits.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(Literal::Float(float)),
        _ => unsupported("a number that is no finite f64", span),
    }
}

/// The text of a LIKE pattern and whether a `%` follows it; `None` for any other pattern.
fn prefix(pattern: &str) -> Option<(Box<str>, bool)> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => text.push(chars.next()?),
            '%' => return chars.next().is_none().then(|| (text.into(), true)),
            '_' => return None,
            other => text.push(other),
        }
    }
    Some((text.into(), false))
}

fn near(args: Vec<FunctionArg>, span: Span) -> Result<Filter, FilterError> {
    let wrong = "NEAR takes a field and three numbers: NEAR(field, lat, lon, meters)";
    let mut exprs = Vec::new();
    for arg in args {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => exprs.push(expr),
            _ => return unsupported(wrong, span),
        }
    }
    let Ok([name, lat, lon, meters]) = <[Expr; 4]>::try_from(exprs) else {
        return unsupported(wrong, span);
    };
    let float = |expr| match literal(expr)? {
        Literal::Integer(number) => Ok(number as f64),
        Literal::Float(number) => Ok(number),
        _ => unsupported(wrong, span),
    };
    Ok(Filter::Near { field: field(name)?, lat: float(lat)?, lon: float(lon)?, meters: float(meters)? })
}
