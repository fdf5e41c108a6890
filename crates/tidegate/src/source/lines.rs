//! Lines out of a buffered reader, without copying those that lie whole in the buffer.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;

/// Cuts a stream at `\n`, in memory bounded by the reader's buffer and the longest line allowed.
pub(super) struct Lines<R> {
    input: R,
    /// Bytes of the last line still lying in `input`'s buffer.
    lent: usize,
    /// A line that spans buffers.
    spill: Vec<u8>,
    number: u64,
    /// Bytes before the last line.
    offset: u64,
    max: usize,
}

#[derive(Debug)]
pub(super) enum Line<'a> {
    /// Without its `\n` or `\r\n`.
    Bytes(&'a [u8]),
    /// Longer than the limit; it was skipped.
    TooLong,
}

impl<R: Read> Lines<BufReader<R>> {
    pub(super) fn new(input: BufReader<R>, max: usize) -> Self {
        Self::behind(input, max, 0)
    }

    /// The same of an input that begins behind so many lines.
    pub(super) fn behind(input: BufReader<R>, max: usize, lines: u64) -> Self {
        Self { input, lent: 0, spill: Vec::new(), number: lines, offset: 0, max }
    }

    /// Bytes up to the end of the line that was last returned.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.lent as u64
    }

    /// 1-based number of the line that was last returned.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.offset += self.lent as u64;
        self.input.consume(std::mem::take(&mut self.lent));
        let buffer = self.input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        match memchr(b'\n', buffer) {
            Some(end) => {
                self.lent = end + 1;
                let max = self.max;
                Ok(Some(checked(&self.input.buffer()[..end], max)))
            }
            None => self.spanning_line().map(Some),
        }
    }

    #[cfg(test)]
    pub(super) fn spill_capacity(&self) -> usize {
        self.spill.capacity()
    }

    fn spanning_line(&mut self) -> io::Result<Line<'_>> {
        self.spill.clear();
        let mut too_long = false;
        loop {
            let buffer = self.input.fill_buf()?;
            let end = memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            // Two bytes of grace: a `\r` that is cut off later, and no off-by-one to think about;
            // `checked` has the last word.
            too_long |= self.spill.len() + part.len() > self.max.saturating_add(2);
            if !too_long {
                self.spill.extend_from_slice(part);
            }
            let at_end = end.is_some() || part.is_empty();
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            self.offset += used as u64;
            if at_end {
                break;
            }
        }
        Ok(if too_long { Line::TooLong } else { checked(&self.spill, self.max) })
    }
}

fn checked(line: &[u8], max: usize) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > max { Line::TooLong } else { Line::Bytes(line) }
}
