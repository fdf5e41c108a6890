//! A log as attempts, in the order of their sends, with their ends known.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::book::Book;
use super::error::{Stop, VerifyError};
use super::findings::LogFacts;
use super::numbers::Numbers;
use super::timeline::{NEVER, place};
use crate::log::{Control, End, Event, Outcome, Reader, RunRecord, Send};

/// A call that was written to the network, or may have been.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// When it may have been counted at the earliest.
    pub(super) sent: i64,
    /// When the head of its answer came, or it was given up.
    pub(super) head: i64,
    /// When its last byte came.
    pub(super) last: i64,
    pub(super) row: u64,
    pub(super) number: u32,
    pub(super) run: u32,
    /// The run whose wall clock its end is told by.
    pub(super) over_in: u32,
    pub(super) partition: u32,
    /// What it cost of each limit of its run, where that is not as usual.
    pub(super) costs: Option<Box<[u64]>>,
    /// It is told of in another log.
    told: bool,
}

/// Sends may stand so much out of order.
const SLACK: i64 = 2_000_000;
/// Calls that are kept in mind while the end of an earlier one is awaited.
const MOST_WAITING: usize = 2 << 20;

/// Reads a log. Memory: what was sent since the oldest call that is still under way, and `SLACK`.
pub(super) struct Stream {
    path: PathBuf,
    /// Its place in the list of logs.
    log: u32,
    reader: Reader,
    /// What stands in its first bytes stands in another log as well, and is told from there.
    told: u64,
    /// Calls in the order of the log, from the oldest on whose end is not known.
    waiting: VecDeque<(Attempt, State)>,
    /// So many were taken off its front.
    taken: u64,
    /// So many had been put in when the run began.
    run_base: u64,
    /// Calls whose ends are known, in the order of their sends.
    sorted: VecDeque<Attempt>,
    newest: i64,
    at_end: bool,
    run: Option<(u32, i64)>,
    /// The latest time told of.
    latest: Option<i64>,
    /// By their numbers in the run.
    partitions: Vec<u32>,
    numbers: Numbers,
    facts: LogFacts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    Over,
    NotSent,
}

/// No partition has this number.
const NONE: u32 = u32::MAX;

impl Stream {
    pub(super) fn open(path: &Path, log: u32, told: u64) -> Result<Self, VerifyError> {
        let reader = Reader::open(path)?.ok_or_else(|| VerifyError::NoLog { path: path.to_owned() })?;
        Ok(Self {
            path: path.to_owned(),
            log,
            reader,
            told,
            waiting: VecDeque::new(),
            taken: 0,
            run_base: 0,
            sorted: VecDeque::new(),
            newest: i64::MIN,
            at_end: false,
            run: None,
            latest: None,
            partitions: Vec::new(),
            numbers: Numbers::default(),
            facts: LogFacts { path: path.to_owned(), ..LogFacts::default() },
        })
    }

    /// The attempt that was sent next.
    pub(super) fn next(&mut self, book: &mut Book) -> Result<Option<Attempt>, Stop> {
        loop {
            if let Some(first) = self.sorted.front()
                && (self.at_end || first.sent < self.newest.saturating_sub(SLACK))
            {
                return Ok(self.sorted.pop_front());
            }
            if self.at_end {
                return Ok(None);
            }
            if let Some(event) = self.reader.next_event().map_err(VerifyError::from)? {
                self.take(event, book)?;
            } else {
                self.facts.never_over = self.end_all(NEVER, None);
                self.at_end = true;
            }
        }
    }

    /// What is to be said of the log as a whole.
    pub(super) fn facts(mut self) -> LogFacts {
        self.facts.missing = self.numbers.missing;
        self.facts.first_missing = self.numbers.first;
        self.facts
    }

    fn take(&mut self, event: Event, book: &mut Book) -> Result<(), Stop> {
        match event {
            Event::Send(send) => self.send(send)?,
            Event::End(_, end) => self.end(end)?,
            Event::Control(Control::Run(run)) => self.begin(*run, book)?,
            Event::Control(Control::Partition { number, name }) => {
                let place = number as usize;
                if place > self.partitions.len().saturating_add(MOST_WAITING) {
                    return Err(self.broken(format!("there is no partition {number}")).into());
                }
                if self.partitions.len() <= place {
                    self.partitions.resize(place + 1, NONE);
                }
                self.partitions[place] = book.partition(&name);
            }
            // `Lost` is told of each call that is not over when a run begins, or at the end: then all are.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, record: RunRecord, runs: &mut Book) -> Result<(), Stop> {
        let before = self.run.map(|(run, _)| run);
        let (at, former_over, boot) = (record.at, record.former_over, record.boot.clone());
        let (run, offset) = runs.begin(record, before, self.log, self.latest)?;
        // What a store says of the run before is told by the clock of that boot.
        let same_boot =
            before.is_some_and(|before| runs.runs[before as usize].record.boot == boot && !boot.is_empty());
        let over = former_over.filter(|_| same_boot).unwrap_or(at);
        self.facts.killed += self.end_all(place(over, offset), Some(run));
        self.run = Some((run, offset));
        self.facts.runs += 1;
        self.run_base = self.taken + self.waiting.len() as u64;
        self.partitions.clear();
        self.partitions.push(0);
        self.saw(place(at, offset));
        Ok(())
    }

    fn send(&mut self, send: Send) -> Result<(), VerifyError> {
        let Some((run, offset)) = self.run else {
            return Err(self.broken("a call stands before the first run".to_owned()));
        };
        let named = self.partitions.get(send.partition as usize).copied().filter(|number| *number != NONE);
        let Some(partition) = named else {
            let (row, number) = (send.row, send.partition);
            return Err(
                self.broken(format!("the call of row {row} names partition {number}, which has no name"))
            );
        };
        if self.waiting.len() >= MOST_WAITING
            && let Some((oldest, _)) = self.waiting.front()
        {
            let (row, number) = (oldest.row, oldest.number);
            return Err(VerifyError::TooLong { path: self.path.clone(), row, number, most: MOST_WAITING });
        }
        send.rows().for_each(|(row, number)| self.numbers.send(row, number));
        let granted = place(send.at, offset);
        self.saw(granted);
        let attempt = Attempt {
            sent: granted,
            head: NEVER,
            last: NEVER,
            row: send.row,
            number: send.number,
            run,
            over_in: run,
            partition,
            costs: send.costs,
            told: self.reader.length() <= self.told,
        };
        self.waiting.push_back((attempt, State::UnderWay));
        Ok(())
    }

    fn end(&mut self, end: End) -> Result<(), VerifyError> {
        let offset = self.run.map_or(0, |(_, offset)| offset);
        let (head, last) = (place(end.answered, offset), place(end.ended.max(end.answered), offset));
        let found = (self.run_base + end.id).checked_sub(self.taken).and_then(|i| usize::try_from(i).ok());
        let Some((attempt, state)) = found.and_then(|i| self.waiting.get_mut(i)) else {
            return Err(self.broken(format!("call {} has ended twice", end.id)));
        };
        attempt.over(head, last);
        if end.costs.is_some() {
            attempt.costs = end.costs;
        }
        *state = if end.outcome == Outcome::NotSent { State::NotSent } else { State::Over };
        self.saw(last);
        self.release();
        Ok(())
    }

    /// All calls under way are over; returns how many.
    fn end_all(&mut self, over: i64, over_in: Option<u32>) -> u64 {
        let mut ended = 0;
        for (attempt, state) in self.waiting.iter_mut().filter(|(_, state)| *state == State::UnderWay) {
            attempt.killed(over);
            attempt.over_in = over_in.unwrap_or(attempt.over_in);
            *state = State::Over;
            ended += u64::from(!attempt.told);
        }
        self.release();
        ended
    }

    /// Moves on what waits for no end any more.
    fn release(&mut self) {
        while let Some((_, state)) = self.waiting.front()
            && *state != State::UnderWay
        {
            let Some((attempt, state)) = self.waiting.pop_front() else { return };
            self.taken += 1;
            if attempt.told {
                continue;
            }
            if state == State::NotSent {
                self.facts.not_sent += 1;
                continue;
            }
            self.facts.attempts += 1;
            self.newest = self.newest.max(attempt.sent);
            let behind = self.sorted.iter().rev().take_while(|other| other.sent > attempt.sent).count();
            if behind == 0 {
                self.sorted.push_back(attempt);
            } else {
                self.sorted.insert(self.sorted.len() - behind, attempt);
            }
        }
    }

    fn saw(&mut self, time: i64) {
        self.latest = self.latest.max(Some(time));
    }

    fn broken(&self, what: String) -> VerifyError {
        VerifyError::Broken { path: self.path.clone(), what }
    }
}

impl Attempt {
    /// It is over. Its send was rounded down and its end up, to a microsecond: what is left after
    /// taking that back is no longer than what was.
    fn over(&mut self, head: i64, last: i64) {
        let sent = self.sent.saturating_add(1).min(head.max(self.sent));
        self.sent = sent;
        self.head = (head - 1).max(sent);
        self.last = (last - 1).max(sent);
    }

    /// It was under way when its run was killed; `over` was not rounded up.
    fn killed(&mut self, over: i64) {
        self.sent = self.sent.saturating_add(1).min(over.max(self.sent));
        self.head = over.max(self.sent);
        self.last = self.head;
    }
}
