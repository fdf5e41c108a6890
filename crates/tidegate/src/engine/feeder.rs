//! The feeder: reads the source on a thread of its own, a bounded stretch ahead.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::Notify;

use super::{Disk, lock};
use crate::Row;
use crate::log::InputMark;
use crate::row::Record;
use crate::sink::Done;
use crate::source::{Marker, Source, SourceError};

/// Rows and bytes that are read ahead at most; one row is, whatever its size.
const AHEAD_ROWS: usize = 2_048;
const AHEAD_BYTES: usize = 4 << 20;

/// Rows that are ready to be taken, and the thread that reads more.
pub(super) struct Feeder {
    shared: Arc<Shared>,
    /// Without a thread: reads when it is asked for rows.
    inline: Option<Mutex<Reader>>,
}

/// What the input has left.
#[derive(Debug)]
pub(super) enum Feed {
    /// More may come; the engine is woken when it does.
    Open,
    /// All rows have been taken.
    Ended,
    /// Reading failed; the rows before that were handed out.
    Failed(SourceError),
}

struct Shared {
    state: Mutex<State>,
    room: Condvar,
    wake: Arc<Notify>,
}

struct State {
    rows: VecDeque<Row>,
    bytes: usize,
    /// The engine found nothing and wants to be woken.
    hungry: bool,
    ended: Option<Result<(), SourceError>>,
    /// It ended where it was told to, not where the input ends.
    cut: bool,
    /// The engine wants no more.
    closed: bool,
    /// What the input looks like so far.
    mark: Option<InputMark>,
}

impl Feeder {
    /// Rows of `source`; those in `done` and those from index `end` on are left out.
    pub(super) fn start(
        source: Source,
        done: Done,
        end: u64,
        marker: Option<Marker>,
        disk: Disk,
        wake: Arc<Notify>,
    ) -> io::Result<Self> {
        let state = State {
            rows: VecDeque::new(),
            bytes: 0,
            hungry: true,
            ended: None,
            cut: false,
            closed: false,
            mark: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new(), wake });
        let mut reader = Reader { source, done, end, index: 0, marker };
        let inline = match disk {
            Disk::Inline => Some(Mutex::new(reader)),
            Disk::Threads => {
                let shared = Arc::clone(&shared);
                // Not joined: it may sit in a read of stdin that never returns.
                thread::Builder::new()
                    .name("feeder".to_owned())
                    .spawn(move || while reader.next(&shared).is_some_and(|row| shared.push(row)) {})?;
                None
            }
        };
        Ok(Self { shared, inline })
    }

    /// Whether the rows ended before the input did, as far as anybody looked.
    pub(super) fn was_cut(&self) -> bool {
        self.shared.lock().cut
    }

    /// No more rows are wanted: the thread ends, unless it sits in a read.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_one();
    }

    /// What the input looks like so far, if that is news.
    pub(super) fn take_mark(&self) -> Option<InputMark> {
        self.shared.lock().mark.take()
    }

    /// Moves all rows that are ready into `rows`, which must be empty.
    pub(super) fn take(&self, rows: &mut VecDeque<Row>) -> Feed {
        if let Some(reader) = &self.inline {
            lock(reader).fill(&self.shared);
        }
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.rows, rows);
        state.bytes = 0;
        state.hungry = rows.is_empty();
        self.shared.room.notify_one();
        if !rows.is_empty() {
            return Feed::Open;
        }
        match state.ended.take() {
            None => Feed::Open,
            Some(Ok(())) => {
                state.ended = Some(Ok(()));
                Feed::Ended
            }
            Some(Err(error)) => {
                state.ended = Some(Ok(()));
                Feed::Failed(error)
            }
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.close();
    }
}

/// The source, and which of its rows are wanted.
struct Reader {
    source: Source,
    done: Done,
    end: u64,
    index: u64,
    /// Sees to it that it is still the input that earlier runs have read.
    marker: Option<Marker>,
}

impl Reader {
    /// The next row that is wanted; after the last one, how the input ended is noted.
    fn next(&mut self, shared: &Shared) -> Option<Row> {
        let ended = loop {
            if self.index >= self.end {
                shared.lock().cut = true; // not a read further: stdin may have no more as yet
                break Ok(());
            }
            match self.source.next_row() {
                Ok(Some(row)) => {
                    self.index = row.index + 1;
                    if let Some(marker) = &mut self.marker {
                        match marker.add(&row) {
                            Ok(None) => {}
                            Ok(mark) => shared.lock().mark = mark,
                            Err(error) => break Err(error),
                        }
                    }
                    if !self.done.contains(row.index) {
                        return Some(row);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let mark = self.marker.as_mut().and_then(Marker::last);
        let mut state = shared.lock();
        state.ended = Some(ended);
        state.mark = mark.or(state.mark.take());
        drop(state);
        shared.wake.notify_one();
        None
    }

    /// Reads as far ahead as the thread would.
    fn fill(&mut self, shared: &Shared) {
        let wanted = |state: &State| {
            state.ended.is_none() && state.rows.len() < AHEAD_ROWS && state.bytes < AHEAD_BYTES
        };
        while wanted(&shared.lock()) {
            let Some(row) = self.next(shared) else { return };
            shared.lock().add(row);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Adds a row when there is room; false if nobody wants it.
    fn push(&self, row: Row) -> bool {
        let size = size(&row);
        let mut state = self.lock();
        while !state.closed
            && !state.rows.is_empty()
            && (state.rows.len() >= AHEAD_ROWS || state.bytes + size > AHEAD_BYTES)
        {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.add(row);
        if std::mem::take(&mut state.hungry) {
            self.wake.notify_one();
        }
        true
    }
}

impl State {
    fn add(&mut self, row: Row) {
        self.bytes += size(&row);
        self.rows.push_back(row);
    }
}

/// Bytes of a row's record.
pub(super) fn size(row: &Row) -> usize {
    match &row.record {
        Ok(Record::Line(line)) => line.len(),
        Ok(Record::Fields { values, .. }) => values.as_slice().len(),
        Ok(Record::Json(raw)) => raw.get().len(),
        Err(_) => 0,
    }
}
