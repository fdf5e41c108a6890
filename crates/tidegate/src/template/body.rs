//! Body templates.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::BodySpec;
use super::MAX_BODY;
use super::encode::push_form;
use super::error::{Place, RenderError, TemplateError};
use super::jinja::{Jinja, Mode};
use super::names;
use super::reference::{Reference, RowView, Style};
use super::scope::Scope;
use super::text::{Expression, Text, json_string, single_expression};
use crate::row::write_json_str;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A compiled body.
#[derive(Debug)]
pub(super) enum Body {
    Constant(Bytes),
    Text(Text),
    Pieces(Vec<Piece>),
}

/// A part of a JSON or form body.
#[derive(Debug)]
pub(super) enum Piece {
    /// As it is sent.
    Literal(String),
    /// A JSON string that is made of a text.
    Quoted(Text),
    /// A form value that is made of a text.
    FormValue(Text),
    /// A JSON value as the row has it.
    Value(Reference),
    /// An expression that renders to JSON.
    Json(Box<Jinja>),
    /// The elements of a list: one for each row of the call.
    Each(Vec<Piece>),
}

impl Body {
    pub(super) fn compile(spec: &BodySpec, scope: &mut Scope<'_>) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        match spec {
            BodySpec::None | BodySpec::Batch => {}
            BodySpec::Text(source) => {
                let text = Text::compile(source, Style::Document, scope, &Place::Body(String::new()))?;
                return Ok(match text {
                    Text::Constant(text) => Self::Constant(text.into()),
                    text @ (Text::Pieces { .. } | Text::Jinja(_)) => Self::Text(text),
                });
            }
            BodySpec::Json(value) => compile_json(value, "", scope, &mut pieces)?,
            BodySpec::Form(fields) => compile_form(fields, scope, &mut pieces)?,
        }
        Ok(match pieces.as_slice() {
            [] => Self::Constant(Bytes::new()),
            [Piece::Literal(text)] => Self::Constant(text.clone().into()),
            _ => Self::Pieces(pieces),
        })
    }

    pub(super) fn render(&self, view: &RowView<'_>) -> Result<Bytes, RenderError> {
        let pieces = match self {
            Self::Constant(bytes) => return Ok(bytes.clone()),
            Self::Text(text) => return text.render(view).map(|text| text.into_owned().into()),
            Self::Pieces(pieces) => pieces,
        };
        let mut out = Vec::new();
        render(pieces, view, &mut out)?;
        Ok(out.into())
    }
}

fn render(pieces: &[Piece], view: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Quoted(text) => write_json_str(&text.render(view)?, out),
            Piece::Value(reference) => reference.write_json(view, out)?,
            Piece::Json(jinja) => out.extend_from_slice(jinja.render(view.context())?.as_bytes()),
            Piece::FormValue(text) => {
                let mut encoded = String::new();
                push_form(&text.render(view)?, &mut encoded);
                out.extend_from_slice(encoded.as_bytes());
            }
            Piece::Each(element) => {
                for (i, row) in view.all.iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b"," } else { b"" });
                    render(element, &RowView::new(row)?, out)?;
                }
            }
        }
        if out.len() > MAX_BODY {
            return Err(RenderError::TooLarge { place: Arc::from("body"), limit: MAX_BODY });
        }
    }
    Ok(())
}

/// The content type of a body that the request names none for; curl's choice for `-d`.
pub(super) fn content_type(spec: &BodySpec) -> Option<&'static str> {
    match spec {
        BodySpec::None => None,
        BodySpec::Json(_) | BodySpec::Batch => Some(JSON),
        BodySpec::Text(_) | BodySpec::Form(_) => Some(FORM),
    }
}

fn compile_json(
    value: &Value,
    pointer: &str,
    scope: &mut Scope<'_>,
    out: &mut Vec<Piece>,
) -> Result<(), TemplateError> {
    match value {
        Value::String(source) => {
            let piece = compile_leaf(source, scope, &Place::Body(pointer.to_owned()))?;
            match piece {
                Piece::Literal(json) => push_literal(out, &json),
                piece => out.push(piece),
            }
        }
        Value::Array(items) if scope.is_joint() && items.len() == 1 && uses_row(&items[0]) => {
            let mut element = Vec::new();
            scope.each(|scope| compile_json(&items[0], &format!("{pointer}/0"), scope, &mut element))?;
            push_literal(out, "[");
            out.push(Piece::Each(element));
            push_literal(out, "]");
        }
        Value::Array(items) => {
            push_literal(out, "[");
            for (i, item) in items.iter().enumerate() {
                push_literal(out, if i > 0 { "," } else { "" });
                compile_json(item, &format!("{pointer}/{i}"), scope, out)?;
            }
            push_literal(out, "]");
        }
        Value::Object(members) => {
            push_literal(out, "{");
            for (i, (name, member)) in members.iter().enumerate() {
                push_literal(out, if i > 0 { "," } else { "" });
                push_literal(out, &json_string(name));
                push_literal(out, ":");
                let name = name.replace('~', "~0").replace('/', "~1");
                compile_json(member, &format!("{pointer}/{name}"), scope, out)?;
            }
            push_literal(out, "}");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => push_literal(out, &value.to_string()),
    }
    Ok(())
}

fn uses_row(value: &Value) -> bool {
    match value {
        Value::String(source) => names::may_read_one_row(source),
        Value::Array(items) => items.iter().any(uses_row),
        Value::Object(members) => members.values().any(uses_row),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// One string of a JSON body: exactly one expression keeps its type, all else stays a string.
fn compile_leaf(source: &str, scope: &mut Scope<'_>, place: &Place) -> Result<Piece, TemplateError> {
    if let Some(expression) = single_expression(source) {
        return Ok(match Expression::compile(expression, Mode::Json, scope, place)? {
            Expression::Constant(json) => Piece::Literal(json),
            Expression::Value(reference) => Piece::Value(reference),
            Expression::Jinja(jinja) => Piece::Json(jinja),
        });
    }
    Ok(match Text::compile(source, Style::Document, scope, place)? {
        Text::Constant(text) => Piece::Literal(json_string(&text)),
        text @ (Text::Pieces { .. } | Text::Jinja(_)) => Piece::Quoted(text),
    })
}

fn compile_form(
    fields: &[(String, String)],
    scope: &mut Scope<'_>,
    out: &mut Vec<Piece>,
) -> Result<(), TemplateError> {
    for (i, (name, source)) in fields.iter().enumerate() {
        let mut literal = String::from(if i > 0 { "&" } else { "" });
        push_form(name, &mut literal);
        literal.push('=');
        match Text::compile(source, Style::Scalar, scope, &Place::Form(name.clone()))? {
            Text::Constant(text) => {
                push_form(&text, &mut literal);
                push_literal(out, &literal);
            }
            text @ (Text::Pieces { .. } | Text::Jinja(_)) => {
                push_literal(out, &literal);
                out.push(Piece::FormValue(text));
            }
        }
    }
    Ok(())
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Literal(last)) => last.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_owned())),
    }
}
