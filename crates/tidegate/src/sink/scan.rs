//! Whose the lines of a JSONL output are: one pass at the speed of `memchr`, in constant memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::SinkError;
use memchr::memchr;

/// How the lines of JSONL outputs begin; the row's index and a comma follow.
pub(super) const INDEX: &[u8] = b"{\"index\":";
/// How the lines of batches begin; so many hex digits, `_`, the row's index and a quote follow.
pub(super) const ID: &[u8] = b"{\"id\":\"batch_req_";
pub(super) const ID_DIGITS: usize = 16;

/// Longer than the start of any line up to its index, which has 20 digits at most.
const HEAD: usize = 64;
const CHUNK: usize = 256 << 10;

/// How lines say whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineStart {
    Jsonl,
    Batch,
}

/// What the start of a line is.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Of this row.
    Row(u64),
    /// It may become one of ours.
    Open,
    Foreign,
}

/// Tells of each whole line its row's index and its length in bytes. What follows the last is a line
/// that a killed process did not finish.
pub(super) fn scan(
    file: &mut File,
    path: &Path,
    start: LineStart,
    mut found: impl FnMut(u64, u64),
) -> Result<(), SinkError> {
    let failed = |source| SinkError::Read { path: path.to_owned(), source };
    let mut lines = Lines::new(start);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let mut rest = &chunk[..count];
        while let Some(end) = memchr(b'\n', rest) {
            let before = lines.whole;
            let index = lines.finish(&rest[..end]).ok_or_else(|| lines.foreign(path))?;
            found(index, lines.whole - before);
            rest = &rest[end + 1..];
        }
        lines.hold(rest);
        if count == 0 {
            break;
        }
    }
    if lines.tail_may_be_ours() { Ok(()) } else { Err(lines.foreign(path)) }
}

/// The line that is being read, of which only the head and the last byte matter.
struct Lines {
    start: LineStart,
    head: Vec<u8>,
    last: u8,
    /// Bytes of the line so far.
    length: u64,
    /// Bytes of all lines before it.
    whole: u64,
    /// How many those are.
    count: u64,
}

impl Lines {
    fn new(start: LineStart) -> Self {
        Self { start, head: Vec::new(), last: 0, length: 0, whole: 0, count: 0 }
    }

    /// The line goes on after `part`.
    fn hold(&mut self, part: &[u8]) {
        let missing = HEAD.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(&part[..missing]);
        self.length += part.len() as u64;
        self.last = part.last().copied().unwrap_or(self.last);
    }

    /// The line ends after `part`: its index, or `None` when it is not ours.
    fn finish(&mut self, part: &[u8]) -> Option<u64> {
        let index = if self.length == 0 {
            part.ends_with(b"}").then(|| self.start.row(part))??
        } else {
            self.hold(part);
            let index = (self.last == b'}').then(|| self.start.row(&self.head))??;
            self.head.clear();
            self.whole += self.length - part.len() as u64;
            self.length = 0;
            index
        };
        self.whole += part.len() as u64 + 1;
        self.count += 1;
        Some(index)
    }

    /// Whether the unfinished line at the end can be the start of one of ours. Someone else's file
    /// without a last line end must not be cut; zeros are what a crashed system leaves where it
    /// had no time to write.
    fn tail_may_be_ours(&self) -> bool {
        self.start.of(&self.head) != Start::Foreign || self.head.iter().all(|byte| *byte == 0)
    }

    fn foreign(&self, path: &Path) -> SinkError {
        SinkError::NotOurs { path: path.to_owned(), line: self.count + 1 }
    }
}

impl LineStart {
    /// What every line begins with.
    pub(super) fn prefix(self) -> &'static [u8] {
        match self {
            Self::Jsonl => INDEX,
            Self::Batch => ID,
        }
    }

    /// Whose line begins with `head`.
    fn row(self, head: &[u8]) -> Option<u64> {
        match self.of(head) {
            Start::Row(row) => Some(row),
            Start::Open | Start::Foreign => None,
        }
    }

    fn of(self, head: &[u8]) -> Start {
        let prefix = self.prefix();
        let Some(mut rest) = head.strip_prefix(prefix) else {
            return if prefix.starts_with(head) { Start::Open } else { Start::Foreign };
        };
        if self == Self::Batch {
            let digits = rest.len().min(ID_DIGITS);
            if !rest[..digits].iter().all(u8::is_ascii_hexdigit) {
                return Start::Foreign;
            }
            rest = match rest[digits..].split_first() {
                None => return Start::Open,
                Some((b'_', rest)) => rest,
                Some(_) => return Start::Foreign,
            };
        }
        let end = if self == Self::Batch { b'"' } else { b',' };
        let mut index = 0_u64;
        for (i, byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    let next = index.checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    let Some(next) = next else { return Start::Foreign };
                    index = next;
                }
                byte if *byte == end && i > 0 => return Start::Row(index),
                _ => return Start::Foreign,
            }
        }
        Start::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_lines() {
        let jsonl = |head: &str| LineStart::Jsonl.of(head.as_bytes());
        assert_eq!(jsonl(r#"{"index":17,"key""#), Start::Row(17));
        let id = r#"{"id":"batch_req_0123456789abcdef_17","custom_id""#;
        assert_eq!(LineStart::Batch.of(id.as_bytes()), Start::Row(17));
        for cut in 0..36 {
            assert_eq!(LineStart::Batch.of(&id.as_bytes()[..cut]), Start::Open, "{cut}");
        }
        for (kind, foreign) in [
            (LineStart::Jsonl, r#"{"id":1}"#),
            (LineStart::Jsonl, r#"{"index":,"#),
            (LineStart::Jsonl, r#"{"index":99999999999999999999,"#),
            (LineStart::Batch, r#"{"index":17,"#),
            (LineStart::Batch, r#"{"id":"batch_req_0123456789abcdeg_17","#),
            (LineStart::Batch, r#"{"id":"batch_req_0123456789abcdef0_17","#),
        ] {
            assert_eq!(kind.of(foreign.as_bytes()), Start::Foreign, "{foreign}");
        }
    }
}
