//! Idempotency keys: by these a provider knows a call that comes twice.

use http::header::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::template::Call;

/// The key of each call: the same in all its attempts, in all runs of the job, and another one for other rows.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKeys {
    header: HeaderName,
    /// The job's own number, if keys are to be added.
    job: Option<String>,
}

impl IdempotencyKeys {
    /// Keys in `header`; they are made of `job` and the row's index, or brought by the job's own
    /// headers if there is none.
    pub(crate) fn new(header: HeaderName, job: Option<String>) -> Self {
        Self { header, job }
    }

    /// Adds the key of the rows that the call is for, unless it has one.
    pub(super) fn stamp(&self, rows: impl Iterator<Item = u64>, call: &mut Call) {
        let Some(job) = &self.job else { return };
        if !call.headers.contains_key(&self.header) {
            call.headers.insert(self.header.clone(), key(job, rows));
        }
    }

    /// Whether the call carries a key.
    pub(super) fn has(&self, call: &Call) -> bool {
        call.headers.contains_key(&self.header)
    }
}

/// In the form of a UUID, which is what providers recommend.
fn key(job: &str, rows: impl Iterator<Item = u64>) -> HeaderValue {
    let job = Sha256::new().chain_update(job);
    let digest = rows.fold(job, |digest, row| digest.chain_update(row.to_be_bytes())).finalize();
    let mut hex: Vec<u8> = Vec::with_capacity(36);
    for (i, byte) in digest.iter().take(16).enumerate() {
        // Version 8 (RFC 9562, section 5.8): made in a way of one's own.
        let byte = match i {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        if matches!(i, 4 | 6 | 8 | 10) {
            hex.push(b'-');
        }
        hex.extend([byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    HeaderValue::from_bytes(&hex).unwrap_or(HeaderValue::from_static("")) // hex digits: it cannot fail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_uuid_of_job_and_row() {
        let text = |job, rows: &[u64]| key(job, rows.iter().copied()).to_str().unwrap().to_owned();
        assert_eq!(text("a", &[7]), text("a", &[7]));
        assert_ne!(text("a", &[7]), text("a", &[8]));
        assert_ne!(text("a", &[7]), text("b", &[7]));
        assert_ne!(text("a", &[7]), text("a", &[7, 8]));
        let uuid = text("a", &[7]);
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'8');
    }
}
