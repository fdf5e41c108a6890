//! A table: the input's columns and the values selected from each answer.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::{Finished, Select, SinkError};
use crate::json;
use crate::row::Record;

/// The columns of a CSV output.
#[derive(Debug, Clone)]
pub(super) struct Table {
    columns: Arc<[String]>,
    select: Vec<Select>,
    /// Header line of the results.
    pub(super) results_header: Vec<u8>,
    /// Header line of the failures.
    pub(super) failures_header: Vec<u8>,
}

impl Table {
    pub(super) fn new(columns: &Arc<[String]>, select: &[Select]) -> Result<Self, SinkError> {
        let mut taken: HashSet<&str> = columns.iter().map(String::as_str).collect();
        if let Some(twice) = select.iter().find(|select| !taken.insert(select.name())) {
            return Err(SinkError::DuplicateColumn { name: twice.name().to_owned() });
        }
        let names = || columns.iter().map(|name| Cow::Borrowed(name.as_str()));
        let selected = select.iter().map(|select| Cow::Borrowed(select.name()));
        let failed = ["error_kind", "error_message", "status"].map(|name| free_name(name, columns));
        let (mut results_header, mut failures_header) = (Vec::new(), Vec::new());
        write_record(names().chain(selected), &mut results_header);
        write_record(names().chain(failed.map(Cow::Owned)), &mut failures_header);
        Ok(Self { columns: Arc::clone(columns), select: select.to_vec(), results_header, failures_header })
    }

    pub(super) fn write(&self, row: &Finished<'_>, out: &mut Vec<u8>) {
        let input = input_values(row, self.columns.len());
        if let Some(error) = row.error {
            let status = row.status.map(|status| status.to_string()).unwrap_or_default();
            let ours = [error.kind.as_str().into(), error.message.as_str().into(), status.into()];
            write_record(input.chain(ours), out);
            return;
        }
        // Anything but JSON has no selected values.
        let body = row.body.and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
        let body = body.strip_prefix('\u{feff}').unwrap_or(body);
        let selected = self.select.iter().map(|select| select.value(body).unwrap_or_default());
        write_record(input.chain(selected), out);
    }
}

fn input_values<'a>(row: &Finished<'a>, columns: usize) -> impl Iterator<Item = Cow<'a, str>> {
    let record = row.record.ok();
    (0..columns).map(move |column| match record {
        Some(Record::Line(line)) => Cow::Borrowed(line.as_str()),
        Some(Record::Fields { values, .. }) => Cow::Borrowed(values.get(column).unwrap_or_default()),
        Some(Record::Json(raw)) => {
            let mut text = Vec::with_capacity(raw.get().len());
            json::write_one_line(raw.get().as_bytes(), &mut text);
            Cow::Owned(String::from_utf8_lossy(&text).into_owned())
        }
        None => Cow::Borrowed(""),
    })
}

/// The user's columns keep their names: failures that are an input again already have ours.
fn free_name(name: &str, columns: &[String]) -> String {
    let mut free = name.to_owned();
    while columns.contains(&free) {
        free.insert_str(0, "tidegate_");
    }
    free
}

/// One record and its line end. (`csv::Writer` owns its output, and would have to be made anew, with
/// its buffer, for every row.)
fn write_record<'a>(values: impl Iterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    let start = out.len();
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let bytes = value.as_bytes();
        if memchr::memchr3(b',', b'"', b'\n', bytes).or_else(|| memchr::memchr(b'\r', bytes)).is_none() {
            out.extend_from_slice(bytes);
            continue;
        }
        out.push(b'"');
        for part in bytes.split_inclusive(|byte| *byte == b'"') {
            out.extend_from_slice(part);
            if part.ends_with(b"\"") {
                out.push(b'"');
            }
        }
        out.push(b'"');
    }
    // A record of one empty value would be a blank line, which readers skip.
    if out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}
