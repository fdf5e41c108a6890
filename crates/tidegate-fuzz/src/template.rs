//! Templates: a row's values stay where the template puts them.

use std::collections::BTreeSet;
use std::sync::Arc;

use percent_encoding::percent_decode;
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate::source::{Format, Source};
use tidegate::template::{BodySpec, Call, Input, InputKind, RequestSpec, Template};
use tidegate::{Record, Row};

use crate::assert_bounded;

pub(crate) const WORDS: &[&str] = &[
    SEPARATOR,
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{# ",
    " #}",
    "{a}",
    "{line}",
    "{{ row.a }}",
    "{{ row }}",
    "{{ line }}",
    "{{ index }}",
    "{{ rows }}",
    "rows",
    "lines",
    "|map(attribute='a')",
    "{{ env.TOKEN }}",
    "{{ env.INNER }}",
    "row",
    "line",
    "index",
    "env",
    ".a",
    "['a']",
    "[:2]",
    "|upper",
    "|urlencode",
    "|tojson",
    "|indent(9)",
    "|replace('a','b')",
    "|join(',')",
    "|list",
    "|batch(3,'x')",
    "|format(1)",
    "|default('x')",
    " ~ ",
    " * 9",
    "if ",
    "for i in ",
    "set x = ",
    "endif",
    "endfor",
    "macro m()",
    "endmacro",
    "raw",
    "endraw",
    "range(9)",
    "loop.index",
    "is defined",
    "not ",
    "true",
    "none",
    "https://",
    "http://",
    "api.example.com",
    ":80",
    "@",
    "/",
    "//",
    "..",
    ".",
    "%2e",
    "%2F",
    "%252e",
    "\\",
    "?",
    "&",
    "=",
    "#",
    "[::1]",
    "form:",
    "\r\n",
    "\0",
    "{\"a\":\"..\"}\n",
    "{\"a\":{\"b\":[1,null]}}\n",
    "\\ud800",
    "a,b\n",
    "\"",
    "99999999999",
    "-1",
    "1e999",
];

/// Parts of an input, in this order: URL, a header's value, a query parameter's value, body, rows.
const SEPARATOR: &str = "\n---\n";
/// The value of `env.TOKEN`, with characters that every encoding changes.
const TOKEN: &str = "s3cret/t\u{f6}k+en \"42\"";
/// Rows that are rendered.
const MAX_ROWS: usize = 8;
/// How often a server may decode a path.
const DECODERS: usize = 4;

pub(crate) fn env(name: &str) -> Option<String> {
    let value = match name {
        "TOKEN" => TOKEN,
        "INNER" => "two\nlines",
        _ => return None,
    };
    Some(value.to_owned())
}

/// A request and rows: whatever the rows hold, calls go to the one origin, keep the shape of the
/// template, and nothing that is shown holds the environment's secret.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains(TOKEN) {
        return; // Whoever writes a secret into a template sees it in messages.
    }
    let mut parts = text.splitn(5, SEPARATOR);
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let spec = RequestSpec {
        url: part(),
        headers: vec![("X-Value".to_owned(), part())],
        query: vec![("q".to_owned(), part())],
        body: body(part()),
        ..RequestSpec::default()
    };
    let rows = part();
    let many = RequestSpec { many_rows: true, ..spec.clone() };
    for format in [Format::Lines, Format::Csv, Format::Jsonl] {
        check(&spec, &rows, format, text.len());
        check(&many, &rows, format, text.len());
    }
}

fn body(text: String) -> BodySpec {
    if text.is_empty() {
        return BodySpec::None;
    }
    if let Some(value) = text.strip_prefix("form:") {
        return BodySpec::Form(vec![
            ("k".to_owned(), value.to_owned()),
            ("l".to_owned(), "{{ index }}".to_owned()),
        ]);
    }
    serde_json::from_str::<Value>(&text).map_or(BodySpec::Text(text), BodySpec::Json)
}

fn check(spec: &RequestSpec, rows: &str, format: Format, given: usize) {
    let Ok(mut source) = Source::from_reader(std::io::Cursor::new(rows.to_owned()), "rows", format, 4_096)
    else {
        return;
    };
    let columns: Option<Arc<[String]>> = source.columns().cloned();
    let kind = match format {
        Format::Csv => InputKind::Fields,
        Format::Jsonl => InputKind::Json,
        _ => InputKind::Lines,
    };
    let template = match Template::compile(spec, Input { kind, columns: columns.as_deref() }, env) {
        Ok(template) => template,
        Err(error) => {
            for shown in [error.to_string(), error.hint().unwrap_or_default()] {
                hides_token(&shown);
                assert_bounded(&shown, given);
            }
            return hides_token(&format!("{error:?}"));
        }
    };
    hides_token(&format!("{template:?}"));
    hides_token(template.identity());

    let rows: Vec<Row> = std::iter::from_fn(|| source.next_row().ok().flatten()).take(MAX_ROWS).collect();
    let plain = rows.iter().map(|row| Row { record: row.record.clone().map(harmless), ..row.clone() });
    let plain: Vec<Row> = plain.collect();
    // What shares a call: each row by itself, or all that can be read.
    let readable = |rows: &'_ [Row]| rows.iter().filter(|row| row.record.is_ok()).cloned().collect();
    let together: Vec<Vec<Row>> = if spec.many_rows {
        [readable(&rows), readable(&plain)].into_iter().filter(|rows: &Vec<Row>| !rows.is_empty()).collect()
    } else {
        rows.iter().zip(&plain).flat_map(|(row, plain)| [vec![row.clone()], vec![plain.clone()]]).collect()
    };
    let mut calls = Vec::new();
    for rows in together {
        match template.render_all(&rows.iter().collect::<Vec<_>>()) {
            Ok(call) => {
                check_call(spec, &template, &call);
                calls.push(call);
            }
            Err(error) => {
                hides_token(&format!("{error}\n{error:?}"));
                assert_bounded(&error.to_string(), given);
            }
        }
    }
    // Every row's call has the shape of the first one's.
    for call in calls.iter().skip(1) {
        same_shape(&calls[0], call);
    }
    no_row_leads_elsewhere(&calls);
}

/// A record of the same form with nothing special in it.
fn harmless(record: Record) -> Record {
    match record {
        Record::Line(_) => Record::Line("harmless".to_owned()),
        Record::Fields { columns, values } => {
            let values = values.iter().map(|_| "harmless").collect();
            Record::Fields { columns, values }
        }
        Record::Json(raw) => {
            let value = serde_json::from_str(raw.get()).map(harmless_json).unwrap_or_default();
            serde_json::value::to_raw_value(&value).map_or(Record::Json(raw), Record::Json)
        }
    }
}

fn harmless_json(value: Value) -> Value {
    match value {
        Value::String(_) => "harmless".into(),
        Value::Array(items) => items.into_iter().map(harmless_json).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, harmless_json(value))).collect()
        }
        other => other,
    }
}

fn check_call(spec: &RequestSpec, template: &Template, call: &Call) {
    let origin = template.origin();
    assert_eq!(call.uri.scheme(), Some(&origin.scheme));
    assert_eq!(call.uri.host(), Some(origin.host.as_str()));
    assert!(call.uri.port_u16().is_none_or(|port| port == origin.port));
    let written = spec.url.to_ascii_lowercase();
    assert!(
        written.starts_with(&format!("{}://{}", origin.scheme, origin.host)),
        "{} for {written}",
        call.uri
    );
    let uri = call.uri.to_string();
    assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()), "{uri:?}");
    assert!(!uri.contains(['#', '@', '\\', '{']) || spec.url.contains('@'), "{uri:?}");

    for (name, value) in &call.headers {
        let bytes = value.as_bytes();
        assert!(
            bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)),
            "{name}: {bytes:?}"
        );
        let secret = memchr(bytes, TOKEN.as_bytes());
        assert!(!secret || value.is_sensitive(), "{name} is secret, and not marked so");
    }
    if let BodySpec::Json(_) = spec.body {
        let json: Result<Box<RawValue>, _> = serde_json::from_slice(&call.body);
        assert!(json.is_ok(), "{:?}", String::from_utf8_lossy(&call.body));
    }
    hides_token(&format!("{call:?}"));
    let preview = template.preview(call);
    hides_token(&preview);
    assert!(!preview.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{preview:?}");
}

fn memchr(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

fn same_shape(one: &Call, other: &Call) {
    let syntax = |call: &Call| {
        let query = call.uri.query().map(|query| (query.matches('&').count(), query.matches('=').count()));
        (call.method.clone(), call.uri.path().matches('/').count(), query)
    };
    assert_eq!(syntax(one), syntax(other), "{} and {}", one.uri, other.uri);
    let names = |call: &Call| call.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    if one.headers.get("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded") {
        assert_eq!(one.headers.get("content-type"), other.headers.get("content-type"));
    }
}

/// Segments of the path that differ from row to row were made by rows: none of them may be one that
/// servers resolve, however often they decode it.
fn no_row_leads_elsewhere(calls: &[Call]) {
    let paths: Vec<Vec<&str>> = calls.iter().map(|call| call.uri.path().split('/').collect()).collect();
    for at in 0..paths.first().map_or(0, Vec::len) {
        let values: BTreeSet<&str> = paths.iter().map(|path| path[at]).collect();
        for value in values.iter().filter(|_| values.len() > 1) {
            assert!(!value.is_empty(), "an empty segment, made by a row");
            let mut bytes = value.as_bytes().to_vec();
            for _ in 0..=DECODERS {
                let mut parts = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
                assert!(!parts.any(|part| matches!(part, b"." | b"..")), "{value} leads elsewhere");
                bytes = percent_decode(&bytes).collect();
            }
        }
    }
}

fn hides_token(shown: &str) {
    assert!(!shown.contains(TOKEN), "a secret is shown: {shown}");
}
