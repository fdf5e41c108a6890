//! Reading a log from its start: events in the order in which they were written.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::block::{self, Found, Stream};
use super::{Commit, Control, End, MAGIC, Send, ends, sends};

/// Something that the log tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A rare record.
    Control(Control),
    /// A call is about to be sent.
    Send(Send),
    /// A call is over.
    End(Send, End),
    /// The run was killed before this call was over. Told when the next run begins, or at the end.
    Lost(Send),
    /// A row is at its end.
    Commit(Commit),
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The system says so.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was not written by this program, or by a newer one.
    #[error("{} is not a log that this version can read", path.display())]
    NotALog {
        /// The log.
        path: PathBuf,
    },
    /// Whole blocks follow on one that is broken: no kill leaves that behind.
    #[error("{} is damaged at byte {at}", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where.
        at: u64,
    },
}

const CHUNK: usize = 1 << 20;
/// Longer than the calls in flight of most runs.
const RING: usize = 8_192;

/// Reads the events of a log, in bounded memory.
///
/// A torn end, as a kill or a power cut leaves it, is where the log ends; see
/// [`length`](Self::length).
pub struct Reader<R = File> {
    path: PathBuf,
    input: R,
    buffer: Vec<u8>,
    /// Of the buffer: what has been read off.
    start: usize,
    /// Bytes of whole blocks so far.
    length: u64,
    at_end: bool,
    sends: sends::State,
    ends: ends::State,
    open: Open,
    events: VecDeque<Event>,
}

impl Reader {
    /// Opens the log at `path`; `None` if there is none, or not even its first bytes.
    ///
    /// # Errors
    /// If it cannot be opened, or is something else.
    pub fn open(path: &Path) -> Result<Option<Self>, LogError> {
        match File::open(path) {
            Ok(file) => Self::new(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LogError::Read { path: path.to_owned(), source }),
        }
    }
}

impl<R: Read> Reader<R> {
    /// Reads a log from `input`; `path` stands in errors.
    ///
    /// # Errors
    /// If it cannot be read, or is something else.
    pub fn new(input: R, path: &Path) -> Result<Option<Self>, LogError> {
        let mut this = Self {
            path: path.to_owned(),
            input,
            buffer: Vec::new(),
            start: 0,
            length: 0,
            at_end: false,
            sends: sends::State::default(),
            ends: ends::State::default(),
            open: Open::default(),
            events: VecDeque::new(),
        };
        this.fill(MAGIC.len())?;
        if !this.buffer.starts_with(MAGIC) {
            if MAGIC.starts_with(&this.buffer) {
                return Ok(None);
            }
            return Err(LogError::NotALog { path: path.to_owned() });
        }
        this.start = MAGIC.len();
        this.length = MAGIC.len() as u64;
        Ok(Some(this))
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn next_event(&mut self) -> Result<Option<Event>, LogError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.read_block()? {
                self.lose_open();
                return Ok(self.events.pop_front());
            }
        }
    }

    /// Bytes of whole blocks that were read so far; at the end, where the log may go on.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn read_block(&mut self) -> Result<bool, LogError> {
        let mut wanted = 1;
        loop {
            self.fill(wanted)?;
            let rest = &self.buffer[self.start..];
            if rest.is_empty() {
                return Ok(false);
            }
            match block::look(rest) {
                Found::Short(needed) if !self.at_end => wanted = needed,
                Found::Short(_) | Found::Bad => return self.torn(),
                Found::Block(stream, records, whole) => {
                    let records = self.start + whole - records.len()..self.start + whole;
                    let decoded = self.decode(stream, records);
                    if decoded.is_none() {
                        return Err(self.damaged());
                    }
                    self.start += whole;
                    self.length += whole as u64;
                    return Ok(true);
                }
            }
        }
    }

    fn decode(&mut self, stream: Stream, records: std::ops::Range<usize>) -> Option<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut bytes = buffer.get(records)?;
        let mut decoded = Some(());
        while decoded.is_some() && !bytes.is_empty() {
            decoded = match stream {
                Stream::Sends => self.decode_send(&mut bytes),
                Stream::Ends => self.decode_end(&mut bytes),
            };
        }
        self.buffer = buffer;
        decoded
    }

    fn decode_send(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let event = self.sends.decode(bytes)?;
        match &event {
            Event::Send(send) => self.open.push(send.clone()),
            Event::Control(Control::Run(_)) => {
                self.lose_open();
                self.sends = sends::State::default();
                self.ends = ends::State::default();
            }
            _ => {}
        }
        self.events.push_back(event);
        Some(())
    }

    fn decode_end(&mut self, bytes: &mut &[u8]) -> Option<()> {
        match self.ends.decode(bytes)? {
            ends::Record::Control(control) => self.events.push_back(Event::Control(control)),
            ends::Record::Commit(commit) => self.events.push_back(Event::Commit(commit)),
            ends::Record::End(end, line) => {
                let send = self.open.take(end.id)?; // else it was not sent, or has ended before
                let commit = line.map(|line| line.of(send.row));
                self.events.push_back(Event::End(send, end));
                self.events.extend(commit.map(Event::Commit));
            }
        }
        Some(())
    }

    /// The calls that are not over never will be.
    fn lose_open(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.events.extend(open.into_sends().map(Event::Lost));
    }

    /// What does not stand as it was written is the torn end, unless whole blocks follow: a kill leaves
    /// nothing behind it. A power cut may leave whole sectors of zeros, and blocks after them.
    fn torn(&mut self) -> Result<bool, LogError> {
        /// What a power cut can tear at most: the blocks since the last sync.
        const TORN: usize = 8 << 20;
        const SECTOR: usize = 512;
        self.fill(TORN)?;
        let rest = &self.buffer[self.start..];
        // What is broken may be the length: where the next block would be is not known.
        let follows = (1..rest.len()).find(|at| block::is_at(&rest[*at..]));
        let has_hole = |bytes: &[u8]| bytes.split(|byte| *byte != 0).any(|zeros| zeros.len() >= SECTOR);
        match follows {
            Some(at) if !has_hole(&rest[..at]) => Err(self.damaged()),
            _ => Ok(false),
        }
    }

    fn damaged(&self) -> LogError {
        LogError::Damaged { path: self.path.clone(), at: self.length }
    }

    /// Reads until so many bytes are there, or all.
    fn fill(&mut self, wanted: usize) -> Result<(), LogError> {
        if self.start > 0 && self.buffer.len() - self.start < wanted {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        while !self.at_end && self.buffer.len() - self.start < wanted {
            let old = self.buffer.len();
            let target = old + CHUNK;
            self.buffer.resize(target, 0);
            let read = loop {
                match self.input.read(&mut self.buffer[old..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            match read {
                Ok(count) => {
                    self.buffer.truncate(old + count);
                    self.at_end = count == 0;
                }
                Err(source) => return Err(LogError::Read { path: self.path.clone(), source }),
            }
        }
        Ok(())
    }
}

/// Calls of a run that are not over. They are numbered as they are sent, and most end soon: those stand in
/// a ring. One that hangs while thousands end goes into a map, so that the ring stays short.
#[derive(Default)]
struct Open {
    hanging: BTreeMap<u64, Send>,
    ring: VecDeque<Option<Send>>,
    /// The number of the first in the ring.
    first: u64,
}

impl Open {
    fn push(&mut self, send: Send) {
        if self.ring.len() == RING
            && let Some(Some(oldest)) = self.ring.pop_front()
        {
            self.hanging.insert(self.first, oldest);
            self.first += 1;
            self.drop_ended();
        }
        self.ring.push_back(Some(send));
    }

    fn take(&mut self, id: u64) -> Option<Send> {
        let Some(place) = id.checked_sub(self.first) else { return self.hanging.remove(&id) };
        let send = self.ring.get_mut(usize::try_from(place).ok()?)?.take()?;
        self.drop_ended();
        Some(send)
    }

    fn drop_ended(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first += 1;
        }
    }

    /// In the order in which they were sent.
    fn into_sends(self) -> impl Iterator<Item = Send> {
        self.hanging.into_values().chain(self.ring.into_iter().flatten())
    }
}
