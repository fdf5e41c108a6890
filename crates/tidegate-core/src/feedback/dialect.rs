//! One provider's fields, as data.

use std::borrow::Cow;
use std::time::Duration;

use super::Reset;
use super::table::{Of, Row};
use super::value::Form;
use crate::limit::Unit;

/// One provider's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    name: Cow<'static, str>,
    source: Cow<'static, str>,
    pub(super) marks: Vec<Header>,
    pub(super) resources: Vec<Resource>,
    pub(super) retry_after: Vec<(Header, Form)>,
}

/// A field's name. The number is that of the name among all that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Cow<'static, str>,
    pub(super) id: u16,
}

/// The fields that tell of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) name: Cow<'static, str>,
    pub(super) unit: Unit,
    pub(super) window: Option<Duration>,
    /// Windows of resources that are named in a field.
    pub(super) windows: &'static [(&'static str, u64)],
    pub(super) reset: Reset,
    pub(super) fields: Vec<(Header, Role)>,
}

/// What a field tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// How much is allowed; policies may follow, as in `100, 100;w=60`.
    Limit,
    /// How much is left.
    Remaining,
    /// How much is used.
    Used,
    /// When there is more; of several such fields the first that is there.
    Reset(Form),
    /// The time over which the limit counts.
    Window(Form),
    /// The resource's name.
    Resource,
    /// `32/40`, used and allowed; behind a key and `=` if there is one.
    UsedOf(&'static str),
    /// `total=100; remaining=99; resets=41`.
    Parts,
    /// The structured field `RateLimit-Policy`.
    Policy,
    /// The structured field `RateLimit`.
    State,
}

impl Dialect {
    /// The fields of one resource, as a user declares them.
    pub fn declared(
        resource: impl Into<String>,
        unit: Unit,
        window: Option<Duration>,
        fields: impl IntoIterator<Item = (String, Role)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(name, role)| (Header::new(name), role)).collect();
        let (name, reset) = (Cow::Owned(resource.into()), Reset::Some);
        Self {
            name: "declared".into(),
            source: "the job".into(),
            marks: Vec::new(),
            resources: vec![Resource { name, unit, window, windows: &[], reset, fields }],
            retry_after: Vec::new(),
        }
    }

    /// The same dialect, with a field that asks for silence.
    #[must_use]
    pub fn with_retry_after(mut self, name: String, form: Form) -> Self {
        self.retry_after.push((Header::new(name), form));
        self
    }

    pub(super) fn of_row(row: &Row) -> Self {
        Self {
            name: row.name.into(),
            source: row.source.into(),
            marks: row.marks.iter().map(|name| Header::new(*name)).collect(),
            resources: row.resources.iter().map(Resource::of_row).collect(),
            retry_after: row.retry_after.iter().map(|(name, form)| (Header::new(*name), *form)).collect(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its facts are from: a page, and when it was read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of all its fields, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        let fields = self.resources.iter().flat_map(|resource| resource.fields.iter().map(|(h, _)| h));
        let retry_after = self.retry_after.iter().map(|(header, _)| header);
        fields.chain(retry_after).map(|header| &*header.name)
    }

    /// The names of fields that only this provider sends. Without one of them, names that others use
    /// as well are not taken for its.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().map(|header| &*header.name)
    }

    /// Every field that tells of a resource.
    pub(super) fn each_field(&self, mut visit: impl FnMut(&Header)) {
        self.resources.iter().flat_map(|resource| &resource.fields).for_each(|(header, _)| visit(header));
    }

    /// Those that are lists, however many there are.
    pub(super) fn each_list(&self, mut visit: impl FnMut(&Header)) {
        let fields = self.resources.iter().flat_map(|resource| &resource.fields);
        fields.filter(|(_, role)| matches!(role, Role::Policy | Role::State)).for_each(|(h, _)| visit(h));
    }

    pub(super) fn every_header(&mut self) -> impl Iterator<Item = &mut Header> {
        let fields = self.resources.iter_mut().flat_map(|r| r.fields.iter_mut().map(|(header, _)| header));
        let retry_after = self.retry_after.iter_mut().map(|(header, _)| header);
        fields.chain(retry_after).chain(&mut self.marks)
    }
}

impl Resource {
    fn of_row(of: &Of) -> Self {
        Self {
            name: of.resource.into(),
            unit: unit(of.unit),
            window: of.window,
            windows: of.windows,
            reset: of.reset,
            fields: of.fields.iter().map(|(name, role)| (Header::new(*name), *role)).collect(),
        }
    }
}

impl Header {
    fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), id: u16::MAX }
    }
}

/// A unit by its name.
pub(super) fn unit(name: &str) -> Unit {
    if name == "requests" { Unit::Requests } else { Unit::Named(name.to_owned()) }
}
