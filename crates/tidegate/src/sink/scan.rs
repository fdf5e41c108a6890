//! Whose the lines of a JSONL output are: one pass at the speed of `memchr`, in constant memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::SinkError;
use memchr::memchr;

/// How every line of ours begins; the row's index and a comma follow.
pub(super) const PREFIX: &[u8] = b"{\"index\":";

/// The longest index has 20 digits.
const HEAD: usize = PREFIX.len() + 20 + 1;
const CHUNK: usize = 256 << 10;

/// Tells of each whole line its row's index and its length in bytes. What follows the last is a line
/// that a killed process did not finish.
pub(super) fn scan(file: &mut File, path: &Path, mut found: impl FnMut(u64, u64)) -> Result<(), SinkError> {
    let failed = |source| SinkError::Read { path: path.to_owned(), source };
    let mut lines = Lines::default();
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
#[derive(Default)]
struct Lines {
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
            part.ends_with(b"}").then(|| parse(part))??
        } else {
            self.hold(part);
            let index = (self.last == b'}').then(|| parse(&self.head))??;
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
        let is_start = self.head.len() < PREFIX.len() && PREFIX.starts_with(&self.head);
        let digits = self.head.strip_prefix(PREFIX).map(|rest| rest.strip_suffix(b",").unwrap_or(rest));
        is_start
            || digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
            || parse(&self.head).is_some()
            || self.head.iter().all(|byte| *byte == 0)
    }

    fn foreign(&self, path: &Path) -> SinkError {
        SinkError::NotOurs { path: path.to_owned(), line: self.count + 1 }
    }
}

fn parse(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(PREFIX)?;
    let mut index = 0_u64;
    for (i, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => index = index.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b',' if i > 0 => return Some(index),
            _ => return None,
        }
    }
    None
}
