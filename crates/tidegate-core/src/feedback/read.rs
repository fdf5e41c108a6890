//! The dialects that are looked for: one pass over an answer's fields, and then their meaning.

use std::time::Duration;

use super::dialect::{Dialect, Resource};
use super::fields::{Fields, Names};
use super::table::{RETRY_AFTER, ROWS};
use super::told::Told;
use super::value::{self, LONGEST, Moment};
use super::{Feedback, Headers, Ignored};

/// The dialects that are looked for, in the order of their claims on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialects {
    dialects: Vec<Dialect>,
    names: Names,
}

impl Default for Dialects {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Dialects {
    /// All that are known.
    pub fn builtin() -> Self {
        Self::new(ROWS.iter().chain([&RETRY_AFTER]).map(Dialect::of_row).collect())
    }

    /// One of those that are known, and `Retry-After`.
    pub fn of(name: &str) -> Option<Self> {
        let row = ROWS.iter().find(|row| row.name == name)?;
        Some(Self::new([row, &RETRY_AFTER].map(Dialect::of_row).into()))
    }

    /// The same, and before all others one that is declared.
    #[must_use]
    pub fn with(mut self, declared: Dialect) -> Self {
        self.dialects.insert(0, declared);
        Self::new(self.dialects)
    }

    fn new(mut dialects: Vec<Dialect>) -> Self {
        let names = Names::number(&mut dialects);
        Self { dialects, names }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Dialect> {
        self.dialects.iter()
    }

    /// What an answer's headers say. Times are relative to its own `Date`; without one, to
    /// `now_unix_ms`, when it arrived.
    pub fn read(&self, headers: &(impl Headers + ?Sized), now_unix_ms: Option<i64>) -> Feedback {
        self.read_each(headers, now_unix_ms, &mut |_| {})
    }

    /// The same, and of each reading the name of its dialect.
    pub fn read_named(
        &self,
        headers: &(impl Headers + ?Sized),
        now_unix_ms: Option<i64>,
    ) -> (Feedback, Vec<&str>) {
        let mut names = Vec::new();
        let feedback = self.read_each(headers, now_unix_ms, &mut |name| names.push(name));
        (feedback, names)
    }

    fn read_each<'d>(
        &'d self,
        headers: &(impl Headers + ?Sized),
        now_unix_ms: Option<i64>,
        of: &mut dyn FnMut(&'d str),
    ) -> Feedback {
        let mut fields = Fields::default();
        headers.each(&mut |name, value| self.names.take(name, value, &mut fields));
        let mut feedback = Feedback { ignored: fields.take_ignored(), ..Feedback::default() };
        if fields.is_empty() {
            return feedback;
        }
        let arrival = Arrival { date: fields.date(), now_unix_ms };
        if fields.tell() && fields.is_cached() {
            feedback.ignore("age", "a cache has kept the answer: what it says of limits is old");
        } else if fields.tell() {
            for (i, dialect) in self.dialects.iter().enumerate() {
                let is_marked =
                    dialect.marks.is_empty() || dialect.marks.iter().any(|mark| fields.has(mark.id));
                if !fields.may_be_of(i) || !is_marked {
                    continue;
                }
                for resource in &dialect.resources {
                    let before = feedback.readings.len();
                    read_resource(resource, &fields, arrival, &mut feedback);
                    (before..feedback.readings.len()).for_each(|_| of(dialect.name()));
                }
                dialect.each_field(|header| fields.claim(header.id));
            }
        }
        feedback.retry_after = self.retry_after(&fields, arrival, &mut feedback);
        feedback
    }

    /// The finest form that makes sense. Of one name with several values the longest counts: what
    /// stands between us and the provider may ask for silence, too.
    fn retry_after(
        &self,
        fields: &Fields,
        arrival: Arrival<'_>,
        feedback: &mut Feedback,
    ) -> Option<Duration> {
        for (header, form) in self.dialects.iter().flat_map(|dialect| &dialect.retry_after) {
            let mut longest = None;
            for text in fields.all(header.id) {
                match value::moment(text, *form).and_then(|moment| arrival.until(moment)) {
                    Ok(silence) => longest = longest.max(Some(silence)),
                    Err(why) => feedback.ignore(&header.name, why),
                }
            }
            if longest.is_some() {
                return longest;
            }
        }
        None
    }
}

fn read_resource(resource: &Resource, fields: &Fields, arrival: Arrival<'_>, feedback: &mut Feedback) {
    let mut told = Told::default();
    for (header, role) in &resource.fields {
        let Some(text) = fields.value(header.id) else { continue };
        if let Err(why) = told.take(*role, text, arrival) {
            feedback.ignore(&header.name, why);
        }
    }
    told.into_readings(resource, feedback);
}

impl Feedback {
    pub(super) fn ignore(&mut self, field: &str, why: &'static str) {
        self.ignored.push(Ignored { field: field.into(), why });
    }
}

/// When the answer came.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'f> {
    /// Its own word, which stamps are compared with: our clock may differ.
    date: Option<&'f str>,
    now_unix_ms: Option<i64>,
}

impl Arrival<'_> {
    /// From there to a moment; zero if it has passed.
    pub(super) fn until(self, moment: Moment) -> Result<Duration, &'static str> {
        let at = match moment {
            Moment::In(duration) => return Ok(duration),
            Moment::At(at) => at,
        };
        let now = self.date.and_then(value::http_date).or(self.now_unix_ms);
        let ms = at.saturating_sub(now.ok_or("no Date to compare it with")?).max(0);
        let duration = Duration::from_millis(ms.unsigned_abs());
        if duration > LONGEST { Err("further away than 400 days") } else { Ok(duration) }
    }
}
