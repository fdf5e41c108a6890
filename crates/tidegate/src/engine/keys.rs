//! Idempotency keys: by these a provider knows a call that comes twice.

use http::header::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::template::Call;

/// The key of each row: the same in all its attempts, in all runs of the job.
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

    /// Adds the row's key, unless the call has one.
    pub(super) fn stamp(&self, row: u64, call: &mut Call) {
        let Some(job) = &self.job else { return };
        if !call.headers.contains_key(&self.header) {
            call.headers.insert(self.header.clone(), key(job, row));
        }
    }

    /// Whether the call carries a key.
    pub(super) fn has(&self, call: &Call) -> bool {
        call.headers.contains_key(&self.header)
    }
}

/// In the form of a UUID, which is what providers recommend.
fn key(job: &str, row: u64) -> HeaderValue {
    let digest = Sha256::new().chain_update(job).chain_update(row.to_be_bytes()).finalize();
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
        let text = |job, row| key(job, row).to_str().unwrap().to_owned();
        assert_eq!(text("a", 7), text("a", 7));
        assert_ne!(text("a", 7), text("a", 8));
        assert_ne!(text("a", 7), text("b", 7));
        let uuid = text("a", 7);
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'8');
    }
}
