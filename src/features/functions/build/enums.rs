//! Enums: the object they are, filled in place.
//!
//! `enum E { A, B = A << 1 }` becomes `var E; (function (E) { E[E["A"] = 0] = "A"; E[E["B"] = 0] = "B";
//! })(E || (E = {}));`, each member on its own line.

use std::collections::HashMap;

use oxc_ast::ast::*;
use oxc_ast_visit::Visit;
use oxc_span::GetSpan;

use super::strip::Strip;

/// What a member is known to be before anything runs.
#[derive(Clone, Debug, PartialEq)]
enum Constant {
    Number(f64),
    Text(String),
}

/// The enum that is read, and what is known of the file's enums.
#[derive(Debug, Default)]
pub(super) struct Enums {
    /// Enum → member → value.
    known: HashMap<String, HashMap<String, Option<Constant>>>,
    /// The enum whose initialisers are being visited.
    current: Option<String>,
}

impl Enums {
    /// What goes in front of a name inside an initialiser: members may be named without their enum there.
    pub fn qualifier(&self, name: &str) -> Option<String> {
        let current = self.current.as_ref()?;
        self.known.get(current)?.contains_key(name).then(|| format!("{current}."))
    }

    fn member(&self, of: &str, name: &str) -> Option<Constant> {
        self.known.get(of)?.get(name)?.clone()
    }

    fn evaluate(&self, expression: &Expression<'_>) -> Option<Constant> {
        Some(match expression {
            Expression::NumericLiteral(it) => Constant::Number(it.value),
            Expression::StringLiteral(it) => Constant::Text(it.value.to_string()),
            Expression::ParenthesizedExpression(it) => self.evaluate(&it.expression)?,
            Expression::TSAsExpression(it) => self.evaluate(&it.expression)?,
            Expression::TemplateLiteral(it) => {
                let mut text = String::new();
                for (index, quasi) in it.quasis.iter().enumerate() {
                    text.push_str(quasi.value.cooked.as_ref()?.as_str());
                    match it.expressions.get(index).map(|expression| self.evaluate(expression)) {
                        None => {}
                        Some(value) => text.push_str(&self.printed(value?)?),
                    }
                }
                Constant::Text(text)
            }
            Expression::Identifier(it) => self.member(self.current.as_ref()?, it.name.as_str())?,
            Expression::StaticMemberExpression(it) => match &it.object {
                Expression::Identifier(object) => self.member(object.name.as_str(), it.property.name.as_str())?,
                _ => return None,
            },
            Expression::ComputedMemberExpression(it) => match (&it.object, &it.expression) {
                (Expression::Identifier(object), Expression::StringLiteral(name)) => {
                    self.member(object.name.as_str(), name.value.as_str())?
                }
                _ => return None,
            },
            Expression::UnaryExpression(it) => match (it.operator, self.evaluate(&it.argument)?) {
                (UnaryOperator::UnaryNegation, Constant::Number(value)) => Constant::Number(-value),
                (UnaryOperator::UnaryPlus, Constant::Number(value)) => Constant::Number(value),
                (UnaryOperator::BitwiseNot, Constant::Number(value)) => Constant::Number(f64::from(!int32(value))),
                _ => return None,
            },
            Expression::BinaryExpression(it) => {
                binary(it.operator, self.evaluate(&it.left)?, self.evaluate(&it.right)?)?
            }
            _ => return None,
        })
    }

    fn printed(&self, value: Constant) -> Option<String> {
        match value {
            Constant::Text(text) => Some(text),
            Constant::Number(number) => (number.fract() == 0.0 && number.abs() < 1e15).then(|| format!("{number}")),
        }
    }
}

fn binary(operator: BinaryOperator, left: Constant, right: Constant) -> Option<Constant> {
    use BinaryOperator as Op;
    let (left, right) = match (left, right) {
        (Constant::Number(left), Constant::Number(right)) => (left, right),
        (Constant::Text(left), Constant::Text(right)) if operator == Op::Addition => {
            return Some(Constant::Text(left + &right));
        }
        _ => return None,
    };
    let count = int32(right) & 31;
    let value = match operator {
        Op::Addition => left + right,
        Op::Subtraction => left - right,
        Op::Multiplication => left * right,
        Op::Division => left / right,
        Op::Remainder => left % right,
        Op::Exponential => left.powf(right),
        Op::ShiftLeft => f64::from(int32(left) << count),
        Op::ShiftRight => f64::from(int32(left) >> count),
        Op::ShiftRightZeroFill => f64::from(int32(left).cast_unsigned() >> count),
        Op::BitwiseAnd => f64::from(int32(left) & int32(right)),
        Op::BitwiseOR => f64::from(int32(left) | int32(right)),
        Op::BitwiseXOR => f64::from(int32(left) ^ int32(right)),
        _ => return None,
    };
    value.is_finite().then_some(Constant::Number(value))
}

/// `ToInt32` of ECMA-262.
fn int32(value: f64) -> i32 {
    const TWO_32: f64 = 4_294_967_296.0;
    if !value.is_finite() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..2^32 after the remainder")]
    let low = value.trunc().rem_euclid(TWO_32) as u64;
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32")]
    let low = low as u32;
    low.cast_signed()
}

fn name_of(member: &TSEnumMember<'_>) -> Option<String> {
    Some(match &member.id {
        TSEnumMemberName::Identifier(it) => it.name.to_string(),
        TSEnumMemberName::String(it) | TSEnumMemberName::ComputedString(it) => it.value.to_string(),
        TSEnumMemberName::ComputedTemplateString(it) => it.quasis.first()?.value.cooked.as_ref()?.to_string(),
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn declaration<'a>(strip: &mut Strip<'_, 'a>, it: &TSEnumDeclaration<'a>) {
    let name = it.id.name.as_str();
    let first = strip.declare(name);
    let head = format!("{first}(function ({name}) {{");
    let body = it.body.span;
    let text = strip.text;
    strip.edits.replace(it.span.start, body.start + 1, text.with_lines_of(it.span.start, body.start + 1, head));

    let outer = strip.enums.current.replace(name.to_owned());
    let mut next = Some(0.0);
    for member in &it.body.members {
        let Some(member_name) = name_of(member) else {
            strip.refuse(member.span.start, "An enum member needs a plain name.");
            continue;
        };
        let key = quoted(&member_name);
        let value = match &member.initializer {
            Some(initializer) => strip.enums.evaluate(initializer),
            None => next.map(Constant::Number),
        };
        let put = |code: String| text.with_lines_of(member.span.start, member.span.end, code);
        match (&value, &member.initializer) {
            (Some(Constant::Number(number)), _) => {
                strip.edits.replace(
                    member.span.start,
                    member.span.end,
                    put(format!("{name}[{name}[{key}] = {number}] = {key};")),
                );
            }
            (Some(Constant::Text(string)), _) => {
                let string = quoted(string);
                strip.edits.replace(member.span.start, member.span.end, put(format!("{name}[{key}] = {string};")));
            }
            (None, Some(initializer)) => {
                let span = initializer.span();
                let head = format!("{name}[{name}[{key}] = ");
                strip.edits.replace(
                    member.span.start,
                    span.start,
                    text.with_lines_of(member.span.start, span.start, head),
                );
                strip.visit_expression(initializer);
                strip.edits.insert(span.end, format!("] = {key};"));
            }
            (None, None) => strip.refuse(
                member.span.start,
                format!(
                    "The enum member {member_name} needs a value, because the one before it is not a known number."
                ),
            ),
        }
        if let Some(comma) = text.next_is(member.span.end, b',') {
            strip.edits.blank(comma, comma + 1);
        }
        next = match &value {
            Some(Constant::Number(number)) => Some(number + 1.0),
            _ => None,
        };
        strip.enums.known.entry(name.to_owned()).or_default().insert(member_name, value);
    }
    strip.enums.current = outer;
    strip.edits.replace(body.end - 1, body.end, format!("}})({name} || ({name} = {{}}));"));
}
