//! Single values of a row: what a call costs, which partition it belongs to.

use std::borrow::Cow;

use super::Input;
use super::error::{Place, RenderError, TemplateError};
use super::reference::{RowView, Style};
use super::scope::Scope;
use super::text::{Piece, Text};
use crate::Row;

/// A text made from a row: `{column}`, or a text with `{{ expression }}`s. Knows no environment:
/// what it makes is shown to people.
#[derive(Debug)]
pub struct ValueTemplate {
    text: Text,
}

impl ValueTemplate {
    /// Compiles and checks `source`; `place` is what it is for.
    ///
    /// # Errors
    ///
    /// If it is no template, or names what the input does not have.
    pub fn compile(source: &str, place: &Place, input: Input<'_>) -> Result<Self, TemplateError> {
        let mut scope = Scope::new(input, &|_| None);
        let column = source.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let text = match column.filter(|column| !column.contains(['{', '}'])) {
            Some(column) => {
                let reference = if column == "line" { scope.line() } else { scope.column(column) };
                let reference = reference.map_err(|problem| problem.at(place))?;
                let pieces = vec![Piece::Value(reference)];
                Text::Pieces { pieces, style: Style::Scalar, place: place.to_string().into() }
            }
            None => Text::compile(source, Style::Scalar, &mut scope, place)?,
        };
        Ok(Self { text })
    }

    /// The value for one row.
    ///
    /// # Errors
    ///
    /// If this row has none; others may.
    pub fn render<'a, 'r: 'a>(&'a self, row: &'r Row) -> Result<Cow<'a, str>, RenderError> {
        let view = RowView::new(row)?;
        Ok(Cow::Owned(self.text.render(&view)?.into_owned()))
    }
}
