//! One line of JSON for each row, written by hand: this runs once a call, beside the event loop.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::stamp::Stamp;
use super::{Failure, Finished};
use crate::json;
use crate::row::{Record, write_json_str};

/// How much of an unwanted answer is kept with its failure.
pub(super) const MAX_FAILED_BODY: usize = 64 << 10;

pub(super) fn write(row: &Finished<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
    // The prefix by which `scan` knows our lines.
    out.extend_from_slice(super::scan::INDEX);
    write_number(row.index, out);
    if let Some(key) = row.key {
        out.extend_from_slice(b",\"key\":");
        write_json_str(key, out);
    }
    out.extend_from_slice(b",\"input\":");
    write_input(row, out);
    if let Some(status) = row.status {
        out.extend_from_slice(b",\"status\":");
        write_number(status, out);
    }
    out.extend_from_slice(b",\"attempts\":");
    write_number(row.attempts, out);
    if let Some(sent_at) = row.sent_at {
        out.extend_from_slice(b",\"sent_at\":\"");
        stamp.write(sent_at, out);
        out.push(b'"');
    }
    if let Some(latency) = row.latency {
        out.extend_from_slice(b",\"latency_ms\":");
        write_number(latency.as_millis() as u64, out);
    }
    // A call that was never answered has no body; an empty answer has the body `null`.
    match (row.body, row.error) {
        (Some(body), Some(_)) if body.len() > MAX_FAILED_BODY => {
            write_body(cut(body), out);
            out.extend_from_slice(b",\"truncated\":true");
        }
        (Some(body), _) => write_body(body, out),
        (None, _) if row.status.is_some() => write_body(b"", out),
        (None, _) => {}
    }
    if let Some(Failure { kind, message }) = row.error {
        out.extend_from_slice(b",\"error\":{\"kind\":");
        write_json_str(kind.as_str(), out);
        out.extend_from_slice(b",\"message\":");
        write_json_str(message, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"}\n");
}

pub(super) fn write_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_input(row: &Finished<'_>, out: &mut Vec<u8>) {
    match row.record {
        // A lone `\r` may stand between the tokens of a line of JSONL.
        Ok(Record::Json(raw)) => json::write_one_line(raw.get().as_bytes(), out),
        Ok(record) => record.write_json(out),
        Err(_) => out.extend_from_slice(b"null"),
    }
}

fn write_body(body: &[u8], out: &mut Vec<u8>) {
    // Some servers put a byte order mark before their JSON; RFC 8259 lets readers ignore it.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.trim_ascii().is_empty() {
        out.extend_from_slice(b",\"body\":null");
        return;
    }
    if let Ok(valid) = serde_json::from_slice::<&RawValue>(body) {
        out.extend_from_slice(b",\"body\":");
        json::write_one_line(valid.get().as_bytes(), out);
        return;
    }
    let text = String::from_utf8_lossy(body);
    out.extend_from_slice(b",\"text\":");
    write_json_str(&text, out);
    if let Cow::Owned(_) = text {
        out.extend_from_slice(b",\"lossy\":true");
    }
}

/// The start of a body, not ending within a character.
pub(super) fn cut(body: &[u8]) -> &[u8] {
    let mut end = MAX_FAILED_BODY.min(body.len());
    let is_continuation = |at: usize| body.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    for _ in 0..3 {
        if is_continuation(end) {
            end -= 1;
        }
    }
    &body[..end]
}
