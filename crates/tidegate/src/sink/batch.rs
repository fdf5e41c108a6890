//! One line for each row, as the batch endpoints of LLM providers write them.
//!
//! ```text
//! {"id":"batch_req_…_17","custom_id":"r17","response":{"status_code":200,"request_id":"…","body":{…}},"error":null}
//! ```

use std::fmt::Write as _;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::jsonl::{MAX_FAILED_BODY, cut, write_number};
use super::scan::{ID, ID_DIGITS};
use super::{Failure, Finished};
use crate::json;
use crate::row::{Record, write_json_str};

/// Writes lines whose ids are made of the job's own number and the row's index.
#[derive(Debug)]
pub(super) struct BatchLines {
    job: Sha256,
}

impl BatchLines {
    /// For the job with this number.
    pub(super) fn new(job: &str) -> Self {
        Self { job: Sha256::new_with_prefix(job) }
    }

    pub(super) fn write(&self, row: &Finished<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(ID);
        let digest = self.job.clone().chain_update(row.index.to_be_bytes()).finalize();
        let digits = digest.iter().take(ID_DIGITS / 2).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // a String takes everything
            hex
        });
        out.extend_from_slice(digits.as_bytes());
        out.push(b'_');
        write_number(row.index, out);
        out.extend_from_slice(b"\",\"custom_id\":");
        write_custom_id(row, out);
        out.extend_from_slice(b",\"response\":");
        match row.status {
            Some(status) => write_response(row, status, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"error\":");
        match row.error {
            Some(Failure { kind, message }) => {
                out.extend_from_slice(b"{\"code\":");
                write_json_str(kind.as_str(), out);
                out.extend_from_slice(b",\"message\":");
                write_json_str(message, out);
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}\n");
    }
}

/// The row's own; in other inputs its key, or its index.
fn write_custom_id(row: &Finished<'_>, out: &mut Vec<u8>) {
    let own = match row.record {
        Ok(record @ Record::Json(_)) => record.field("custom_id").ok(),
        _ => None,
    };
    match own.as_deref().or(row.key) {
        Some(id) => write_json_str(id, out),
        None => write_json_str(&row.index.to_string(), out),
    }
}

fn write_response(row: &Finished<'_>, status: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status_code\":");
    write_number(status, out);
    out.extend_from_slice(b",\"request_id\":");
    match row.request_id {
        Some(id) => write_json_str(id, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"body\":");
    let body = row.body.unwrap_or_default();
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = if row.error.is_some() && body.len() > MAX_FAILED_BODY { cut(body) } else { body };
    match serde_json::from_slice::<&RawValue>(body) {
        _ if body.trim_ascii().is_empty() => out.extend_from_slice(b"null"),
        Ok(valid) => json::write_one_line(valid.get().as_bytes(), out),
        // Not JSON: its text.
        Err(_) => write_json_str(&String::from_utf8_lossy(body), out),
    }
    out.push(b'}');
}
