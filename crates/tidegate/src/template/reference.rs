//! Bare references to a row's values (`row.a`, `line`, `index`): the hot path, without minijinja.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::RenderError;
use super::jinja;
use crate::row::{Record, Row, write_json_str};

/// A value of the row, resolved as far as the input is known.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// As the template says it, for messages.
    name: Arc<str>,
    target: Target,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Line,
    Index,
    /// A CSV column and where it should be.
    Column(Option<usize>),
    /// The way through JSON objects to a member.
    Member(Box<[String]>),
    /// The whole row.
    Whole,
}

/// Whether an object or array may stand where text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// URLs, headers, form fields: no.
    Scalar,
    /// Texts in bodies: as JSON.
    Document,
}

impl Reference {
    pub(super) fn new(name: &str, target: Target) -> Self {
        Self { name: name.into(), target }
    }

    /// The value as text: a string's content, a number's digits as they were read.
    pub(super) fn text<'r>(&self, view: &RowView<'r>, style: Style) -> Result<Cow<'r, str>, RenderError> {
        let name = || Arc::clone(&self.name);
        let json = match self.find(view)? {
            Found::Text(text) => return Ok(Cow::Borrowed(text)),
            Found::Json(json) => json,
        };
        match json.as_bytes().first() {
            Some(b'"') => unquote(json).ok_or_else(|| RenderError::NotText { name: name() }),
            Some(b'n') => Err(RenderError::Null { name: name() }),
            Some(b'{' | b'[') if style == Style::Scalar => Err(RenderError::NotScalar { name: name() }),
            _ => Ok(json),
        }
    }

    /// Appends the value as JSON: text as a string, JSON byte for byte as it was read.
    pub(super) fn write_json(&self, view: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match self.find(view)? {
            Found::Text(text) => write_json_str(text, out),
            Found::Json(json) => out.extend_from_slice(json.as_bytes()),
        }
        Ok(())
    }

    fn find<'r>(&self, view: &RowView<'r>) -> Result<Found<'r>, RenderError> {
        let missing = || RenderError::Missing { name: Arc::clone(&self.name) };
        match (&self.target, view.record) {
            (Target::Line, Record::Line(line)) => Ok(Found::Text(line)),
            (Target::Index, _) => Ok(Found::Json(view.index.to_string().into())),
            (Target::Column(at), Record::Fields { columns, values }) => {
                let at = at.filter(|&at| columns.get(at).is_some_and(|column| **column == *self.name));
                let at = at.or_else(|| columns.iter().position(|column| **column == *self.name));
                at.and_then(|at| values.get(at)).map(Found::Text).ok_or_else(missing)
            }
            (Target::Member(path), Record::Json(_)) => {
                let raw = view.member(path).ok_or_else(missing)?;
                Ok(Found::Json(raw.get().into()))
            }
            (Target::Whole, Record::Json(raw)) => Ok(Found::Json(raw.get().into())),
            (Target::Whole, record) => {
                let mut json = Vec::new();
                record.write_json(&mut json);
                String::from_utf8(json).map(|json| Found::Json(json.into())).map_err(|_| missing())
            }
            _ => Err(missing()),
        }
    }
}

enum Found<'r> {
    Text(&'r str),
    Json(Cow<'r, str>),
}

/// A readable row while it is being rendered; what is costly is made at most once, when needed.
pub(super) struct RowView<'r> {
    pub(super) index: u64,
    pub(super) record: &'r Record,
    /// All rows of a call that carries many; then nothing asks for the one above.
    pub(super) all: &'r [&'r Row],
    members: OnceCell<Option<Members<'r>>>,
    context: OnceCell<Value>,
}

impl<'r> RowView<'r> {
    pub(super) fn new(row: &'r Row) -> Result<Self, RenderError> {
        let record = row.record.as_ref().map_err(|fault| RenderError::Unreadable(fault.clone()))?;
        let (members, context) = (OnceCell::new(), OnceCell::new());
        Ok(Self { index: row.index, record, all: &[], members, context })
    }

    /// Of a call that carries many rows.
    pub(super) fn of_many(rows: &'r [&'r Row]) -> Result<Self, RenderError> {
        for row in rows {
            row.record.as_ref().map_err(|fault| RenderError::Unreadable(fault.clone()))?;
        }
        Ok(Self { all: rows, ..Self::new(rows[0])? })
    }

    /// The variables of minijinja expressions.
    pub(super) fn context(&self) -> Value {
        let context = || match self.all {
            [] => jinja::context(self.index, self.record),
            all => jinja::context_of_all(all.iter().filter_map(|row| row.record.as_ref().ok())),
        };
        self.context.get_or_init(context).clone()
    }

    fn member(&self, path: &[String]) -> Option<&'r RawValue> {
        let Record::Json(raw) = self.record else { return None };
        let (first, rest) = path.split_first()?;
        let top = self.members.get_or_init(|| serde_json::from_str(raw.get()).ok()).as_ref()?;
        rest.iter().try_fold(top.find(first)?, |raw, name| {
            serde_json::from_str::<Members<'r>>(raw.get()).ok()?.find(name)
        })
    }
}

/// The members of a JSON object, their values unread.
struct Members<'r>(Vec<(Name<'r>, &'r RawValue)>);

#[derive(Deserialize)]
struct Name<'r>(#[serde(borrow)] Cow<'r, str>);

impl<'r> Members<'r> {
    fn find(&self, name: &str) -> Option<&'r RawValue> {
        // The last of several wins, as in every common JSON parser.
        self.0.iter().rev().find(|(key, _)| key.0 == name).map(|(_, raw)| *raw)
    }
}

impl<'de: 'r, 'r> Deserialize<'de> for Members<'r> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The content of a JSON string; `None` if it is not Unicode.
fn unquote(json: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', json.as_bytes()).is_some() {
        return serde_json::from_str(&json).ok().map(Cow::Owned);
    }
    match json {
        Cow::Borrowed(json) => json.get(1..json.len() - 1).map(Cow::Borrowed),
        Cow::Owned(json) => json.get(1..json.len() - 1).map(|text| Cow::Owned(text.to_owned())),
    }
}
