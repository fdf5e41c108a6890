//! Answers as providers send them, and what is to be read from each.
//!
//! A file for each dialect. A case is a line that names it (`# …`), fields, and lines of what they
//! say (`=> …`); a blank line ends it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::feedback::{Dialect, Dialects, Feedback, Reading, Reset};

struct Case {
    name: String,
    fields: Vec<(String, String)>,
    expected: BTreeSet<String>,
}

#[test]
fn every_answer_is_read_as_it_is_meant() {
    let dialects = Dialects::builtin();
    let mut wrong = String::new();
    for path in files() {
        let cases = cases(&fs::read_to_string(&path).unwrap());
        assert!(!cases.is_empty(), "{} has no case", path.display());
        for case in cases {
            let (feedback, of) = dialects.read_named(&case.fields[..], None);
            let read = said(&feedback, &of);
            if read != case.expected {
                let _ = writeln!(wrong, "{}: {}", path.file_name().unwrap().display(), case.name);
                for line in case.expected.difference(&read) {
                    let _ = writeln!(wrong, "  expected => {line}");
                }
                for line in read.difference(&case.expected) {
                    let _ = writeln!(wrong, "  read     => {line}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_dialect_has_a_file_and_is_met_in_it() {
    let dialects = Dialects::builtin();
    let stems: BTreeSet<String> =
        files().iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    for dialect in dialects.iter() {
        let name = dialect.name();
        assert!(stems.contains(name), "no answers of {name}");
        let text = fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        let met = name == "slack" || name == "retry-after" || text.contains(&format!("=> {name} "));
        assert!(met, "{name}.txt has no reading of {name}");
    }
}

/// One reading of each, whichever dialect it is, does not depend on the order of the fields.
#[test]
fn the_order_of_fields_does_not_matter() {
    let dialects = Dialects::builtin();
    for path in files() {
        for case in cases(&fs::read_to_string(&path).unwrap()) {
            let mut fields = case.fields;
            let names: BTreeSet<_> = fields.iter().map(|(name, _)| name.clone()).collect();
            if names.len() < fields.len() {
                continue; // lists have an order
            }
            fields.reverse();
            let (feedback, of) = dialects.read_named(&fields[..], None);
            assert_eq!(said(&feedback, &of), case.expected, "{}: {}", path.display(), case.name);
        }
    }
}

/// What users are told is what is read.
#[test]
fn the_page_on_headers_has_a_row_for_each_dialect() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/headers.md")).unwrap();
    let names = |names: BTreeSet<&str>| {
        let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let dialects = Dialects::builtin();
    let row = |dialect: &Dialect| {
        let (fields, marks) = (names(dialect.headers().collect()), names(dialect.marks().collect()));
        format!("| {} | {fields} | {marks} | {} |", dialect.name(), dialect.source())
    };
    let rows: Vec<String> = dialects.iter().map(row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !page.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "docs/headers.md has no\n{missing:#?}");
}

fn cases(text: &str) -> Vec<Case> {
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    let case = |block: &str| {
        let mut case = Case { name: String::new(), fields: Vec::new(), expected: BTreeSet::new() };
        for line in block.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                case.name.push_str(name);
            } else if let Some(expected) = line.strip_prefix("=> ") {
                case.expected.insert(expected.to_owned());
            } else {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
                case.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        case
    };
    blocks.map(case).collect()
}

fn said(feedback: &Feedback, of: &[&str]) -> BTreeSet<String> {
    assert_eq!(feedback.readings.len(), of.len());
    let readings = feedback.readings.iter().zip(of).map(|(reading, of)| format!("{of} {}", line(reading)));
    let silence = feedback.retry_after.map(|silence| format!("silence for {silence:?}"));
    let ignored =
        feedback.ignored.iter().map(|ignored| format!("ignored {}: {}", ignored.field, ignored.why));
    readings.chain(silence).chain(ignored).collect()
}

fn line(reading: &Reading) -> String {
    let number = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
    let time = |time: Option<Duration>| time.map_or("?".to_owned(), |time| format!("{time:?}"));
    let what = match reading.reset {
        Reset::Some => "some",
        Reset::All => "all",
        Reset::Full => "full",
    };
    format!(
        "{}: {} of {} {} per {}, {what} in {}",
        reading.resource,
        number(reading.remaining),
        number(reading.limit),
        reading.unit,
        time(reading.window),
        time(reading.resets_in),
    )
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects")
}
