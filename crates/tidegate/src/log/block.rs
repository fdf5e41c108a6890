//! Blocks: records that were written together, under one checksum.
//!
//! ```text
//! block   = length · checksum · records
//! length    varint: bytes of the records × 2, + 1 for the stream of ends
//! checksum  CRC-32 (IEEE) of the records, 4 bytes, little-endian
//! ```

use crc32fast::hash;

use super::varint;

/// Which thread wrote it, and so which state it is decoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Sends = 0,
    Ends = 1,
}

/// Longer blocks are not written, and not believed.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Appends a block of `records`, unless there are none.
pub(super) fn put(stream: Stream, records: &[u8], out: &mut Vec<u8>) {
    // One is cut up only if a single batch has millions of records: each starts where it can be read.
    if records.is_empty() {
        return;
    }
    varint::put((records.len() as u64) << 1 | stream as u64, out);
    out.extend_from_slice(&hash(records).to_le_bytes());
    out.extend_from_slice(records);
}

/// What stands at the start of some bytes.
pub(super) enum Found<'b> {
    /// A whole block, and its length with all that belongs to it.
    Block(Stream, &'b [u8], usize),
    /// The start of one; so many bytes are needed at least.
    Short(usize),
    /// Nothing that was written as a block.
    Bad,
}

pub(super) fn look(bytes: &[u8]) -> Found<'_> {
    const CHECKSUM: usize = 4;
    const LONGEST_LENGTH: usize = 5;
    let mut rest = bytes;
    let Some(word) = varint::take(&mut rest) else {
        return if bytes.len() < LONGEST_LENGTH { Found::Short(bytes.len() + 1) } else { Found::Bad };
    };
    let length = usize::try_from(word >> 1).unwrap_or(usize::MAX);
    if length == 0 || length > MOST_BYTES {
        return Found::Bad;
    }
    let stream = if word & 1 == 0 { Stream::Sends } else { Stream::Ends };
    let whole = bytes.len() - rest.len() + CHECKSUM + length;
    if bytes.len() < whole {
        return Found::Short(whole);
    }
    let (checksum, rest) = rest.split_at(CHECKSUM);
    let records = &rest[..length];
    if checksum == hash(records).to_le_bytes() { Found::Block(stream, records, whole) } else { Found::Bad }
}

/// Whether a whole block stands at the start of some bytes, for a search: of the longest ones, which are
/// rare, none is looked for.
pub(super) fn is_at(bytes: &[u8]) -> bool {
    const LONGEST: usize = 64 << 10;
    matches!(look(&bytes[..bytes.len().min(LONGEST)]), Found::Block(..))
}
