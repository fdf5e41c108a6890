//! The identity of a row: `--key COLUMN`.

use std::borrow::Cow;

use super::Input;
use super::error::{Place, RenderError, TemplateError};
use super::reference::{Reference, RowView, Style};
use super::scope::Scope;
use crate::Row;

/// The column, or member of a JSONL row, that says which row is which.
#[derive(Debug, Clone)]
pub struct KeyTemplate {
    reference: Reference,
}

impl KeyTemplate {
    /// The key column by its name.
    ///
    /// # Errors
    ///
    /// If the input is known not to have it.
    pub fn compile(column: &str, input: Input<'_>) -> Result<Self, TemplateError> {
        let scope = Scope::new(input, &|_| None);
        let reference = scope.column(column).map_err(|problem| problem.at(&Place::Key))?;
        Ok(Self { reference })
    }

    /// The key of a row; a number's digits are kept as they were read.
    ///
    /// # Errors
    ///
    /// If the row was not readable, or has no string, number or boolean there.
    pub fn key<'r>(&self, row: &'r Row) -> Result<Cow<'r, str>, RenderError> {
        self.reference.text(&RowView::new(row)?, Style::Scalar)
    }
}
