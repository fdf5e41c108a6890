//! The rows that are under way: read ahead, ready to send, or waiting for their retry.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};

use slab::Slab;
use tidegate_core::{Costs, Time, Wait, Why};
use tidegate_quota::Gate;

use super::budget::Budget;
use super::feeder::{Feed, Feeder};
use super::gather::Gatherer;
use super::job::Job;
use crate::Row;
use crate::source::SourceError;

/// Rows that wait for a retry at most; at this many, no fresh row is begun.
const MAX_WAITING: usize = 4_096;
/// Rows, and bytes of their records, that stand in lanes at most while others are looked for.
const MAX_STANDING: usize = 20_000;
const MAX_STANDING_BYTES: usize = 32 << 20;

/// A lane's place; valid while there are rows of it.
pub(super) type LaneId = usize;

/// All rows between source and outcome.
///
/// Rows stand in *lanes*, one for each quota that they count against: where the quota of one has
/// nothing to give, its rows wait, and those of other lanes go by.
#[derive(Debug, Default)]
pub(super) struct Work {
    fresh: VecDeque<Row>,
    gatherer: Gatherer,
    lanes: Slab<Lane>,
    by_name: HashMap<Box<str>, LaneId>,
    /// Lanes with rows that may be sent, as far as is known: each has its turn. Also some that were
    /// shut since, or have no more rows.
    open: VecDeque<LaneId>,
    /// When shut lanes open.
    opening: BinaryHeap<Reverse<(Time, LaneId)>>,
    /// Rows standing in lanes, and the bytes of their records.
    standing: (usize, usize),
    waiting: BinaryHeap<Waiting>,
    waited: u64,
    budget: Budget,
    /// Due, and waiting for the budget.
    over_budget: VecDeque<Box<Job>>,
    input_ended: bool,
    /// Calls taken and not yet at an end or back in line.
    pub(super) active: usize,
    /// Rows of all lanes count against one quota: there is no other lane to look for.
    one_lane: bool,
}

/// The rows that count against one quota.
#[derive(Debug)]
struct Lane {
    name: Box<str>,
    gate: Gate,
    /// Sent before, or rendered and not granted: ahead of fresh rows.
    ready: VecDeque<Box<Job>>,
    /// Rows that will come back or end: ready, under way, or waiting for a retry.
    rows: usize,
    /// What they wait for.
    shut: Option<Wait>,
    /// It stands in `open`.
    queued: bool,
    /// When it is looked at, by `opening`.
    opens_at: Option<Time>,
}

/// The next thing to do, before asking for a permit.
pub(super) enum Next {
    /// This call was begun already.
    Again(Box<Job>),
    /// Rows that have no call yet, and are to share one.
    Fresh(Vec<Row>),
    /// Nothing now; a retry is due, or a lane opens, at that time, or a row may come.
    Nothing(Option<Time>),
    /// The input broke.
    Broken(SourceError),
}

impl Work {
    pub(super) fn new(one_lane: bool, retry_percent: u64, gatherer: Gatherer) -> Self {
        Self { one_lane, budget: Budget::new(retry_percent), gatherer, ..Self::default() }
    }

    /// What to send next: rows that were begun before new ones, or the other way round.
    pub(super) fn next(&mut self, now: Time, feeder: &Feeder, fresh_first: bool) -> Next {
        self.look_at_clock(now);
        if fresh_first && let Some(rows) = self.gather(now) {
            return self.begun(rows);
        }
        if let Some(job) = self.pop() {
            self.active += 1;
            return Next::Again(job);
        }
        if !self.wants_fresh() {
            return Next::Nothing(self.due());
        }
        loop {
            if let Some(rows) = self.gather(now) {
                return self.begun(rows);
            }
            if self.input_ended {
                break;
            }
            match feeder.take(&mut self.fresh) {
                Feed::Open if self.fresh.is_empty() => break,
                Feed::Open => {}
                Feed::Ended => self.input_ended = true,
                Feed::Failed(error) => {
                    self.input_ended = true;
                    return Next::Broken(error);
                }
            }
        }
        // No new row is there to be crowded out.
        if let Some(job) = self.over_budget.pop_front() {
            self.stand(job, false);
            if let Some(job) = self.pop() {
                self.active += 1;
                return Next::Again(job);
            }
        }
        Next::Nothing(self.due())
    }

    /// The rows of the next call, as far as they have been read.
    fn gather(&mut self, now: Time) -> Option<Vec<Row>> {
        while let Some(row) = self.fresh.pop_front() {
            if let Some(rows) = self.gatherer.add(row, now) {
                return Some(rows);
            }
        }
        if self.input_ended { self.gatherer.rest() } else { self.gatherer.ripe(now) }
    }

    fn begun(&mut self, rows: Vec<Row>) -> Next {
        self.budget.earn();
        self.active += 1;
        Next::Fresh(rows)
    }

    /// The lane of the quota with this name, and a gate to it; `gate` makes one.
    pub(super) fn lane(&mut self, name: &str, gate: impl FnOnce() -> Gate) -> (LaneId, Gate) {
        let id = if let Some(&id) = self.by_name.get(name) {
            id
        } else {
            let id = self.lanes.insert(Lane {
                name: name.into(),
                gate: gate(),
                ready: VecDeque::new(),
                rows: 0,
                shut: None,
                queued: false,
                opens_at: None,
            });
            self.by_name.insert(name.into(), id);
            id
        };
        self.lanes[id].rows += 1;
        (id, self.lanes[id].gate.clone())
    }

    /// What the first row in line would be granted with, if anything: looks, and takes nothing.
    pub(super) fn peek(&mut self, now: Time) -> Option<(LaneId, Gate, Costs)> {
        self.look_at_clock(now);
        let id = self.first_open()?;
        let job = self.lanes[id].ready.front()?;
        Some((id, job.gate.clone(), job.costs))
    }

    /// The gate of all rows, if there is one for all and one was begun.
    pub(super) fn only_gate(&self) -> Option<Gate> {
        let (_, lane) = self.lanes.iter().next().filter(|_| self.one_lane)?;
        Some(lane.gate.clone())
    }

    /// The lane has nothing to give until then.
    pub(super) fn shut(&mut self, id: LaneId, wait: Wait) {
        let lane = &mut self.lanes[id];
        lane.shut = Some(wait);
        // One that was opened early may be noted for that time already, or for an earlier one.
        if let Some(until) = wait.until
            && lane.opens_at.is_none_or(|noted| until < noted)
        {
            lane.opens_at = Some(until);
            self.opening.push(Reverse((until, id)));
        }
    }

    /// What the lane gives may have changed: it is tried again. Whether it had been shut.
    pub(super) fn reopen(&mut self, id: LaneId) -> bool {
        let was_shut = self.lanes[id].shut.take().is_some();
        self.queue(id);
        was_shut
    }

    /// What any lane gives may have changed.
    pub(super) fn reopen_all(&mut self) {
        let shut: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| lane.shut.is_some()).map(|(id, _)| id).collect();
        for id in shut {
            self.reopen(id);
        }
    }

    /// An answer came: a lane to which it has brought something is tried again. Whether it has.
    pub(super) fn answered(&mut self, id: LaneId) -> bool {
        let lane = &self.lanes[id];
        let sooner = match (lane.shut, lane.ready.front()) {
            (Some(Wait { until: None, .. }), _) => true,
            // The time may be only that when other units come back, or when a doubt ends: a refund or a
            // call that is over may help before.
            (Some(Wait { until: Some(until), why: Why::Limit(_) | Why::Told }), Some(job)) => {
                let wait = lane.gate.wait(&job.costs);
                wait.is_none_or(|wait| wait.until.is_some_and(|now| now < until))
            }
            _ => false,
        };
        sooner && self.reopen(id)
    }

    /// In its lane, behind others: it was not taken from here.
    pub(super) fn put_aside(&mut self, job: Box<Job>) {
        self.stand(job, false);
    }

    /// Back to the head of its lane: it was taken, but nothing was sent.
    pub(super) fn put_back(&mut self, mut job: Box<Job>) {
        job.stake = None; // what waits holds up nobody
        self.active -= 1;
        self.stand(job, true);
    }

    /// To be sent again at `due`.
    pub(super) fn wait(&mut self, job: Box<Job>, due: Time) {
        self.active -= 1;
        self.add(job, due);
    }

    /// To be sent at `due`: it was not taken from here.
    pub(super) fn add(&mut self, mut job: Box<Job>, due: Time) {
        job.stake = None;
        self.waited += 1;
        self.waiting.push(Waiting { due, order: self.waited, job });
    }

    /// A call of this lane is at its end.
    pub(super) fn ended(&mut self, id: LaneId) {
        self.active -= 1;
        self.leave(id);
    }

    /// A call of this lane, that was not taken from here, is at its end.
    pub(super) fn leave(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id];
        lane.rows -= 1;
        if lane.rows == 0 && !self.one_lane {
            // The quota is remembered for as long as it must be, but not here.
            self.by_name.remove(&lane.name);
            self.lanes.remove(id);
        }
    }

    /// Whether there is, or will be, anything to send.
    pub(super) fn is_pending(&self) -> bool {
        self.standing.0 > 0
            || !self.fresh.is_empty()
            || !self.gatherer.is_empty()
            || !self.waiting.is_empty()
            || !self.over_budget.is_empty()
    }

    /// Whether a call could be made now, permits aside.
    pub(super) fn has_ready(&self, now: Time) -> bool {
        self.standing.0 > 0
            || !self.fresh.is_empty()
            || !self.gatherer.is_empty()
            || self.waiting.peek().is_some_and(|waiting| waiting.due <= now)
    }

    /// Whether nothing but time can bring a call: none is under way, and no row is to come.
    pub(super) fn waits_for_time_only(&self) -> bool {
        self.active == 0 && (self.input_ended || !self.wants_fresh())
    }

    /// Whether all rows are at their end.
    pub(super) fn is_over(&self) -> bool {
        self.input_ended && self.active == 0 && !self.is_pending()
    }

    /// The lane that opens first, of those that are shut: what it waits for, and its name.
    pub(super) fn opens_first(&self) -> Option<(Wait, &str)> {
        let waits = |lane: &'_ Lane| lane.shut.filter(|_| !lane.ready.is_empty());
        let soonest = self.opening.peek().and_then(|Reverse((_, id))| self.lanes.get(*id));
        let mut lanes = soonest.into_iter().chain(self.lanes.iter().map(|(_, lane)| lane));
        lanes.find_map(|lane| Some((waits(lane)?, &*lane.name)))
    }

    /// Retries that are due and lanes that open.
    fn look_at_clock(&mut self, now: Time) {
        while self.waiting.peek().is_some_and(|waiting| waiting.due <= now) {
            let Some(waiting) = self.waiting.pop() else { break };
            if waiting.job.is_exempt {
                self.stand(waiting.job, false);
            } else {
                self.over_budget.push_back(waiting.job);
            }
        }
        // Without new rows there is nothing that retries could crowd out.
        let is_free =
            self.input_ended && self.fresh.is_empty() && self.gatherer.is_empty() || self.has_many_waiting();
        while !self.over_budget.is_empty() && (is_free || self.budget.pays()) {
            let Some(job) = self.over_budget.pop_front() else { break };
            self.stand(job, false);
        }
        while let Some(&Reverse((until, id))) = self.opening.peek()
            && until <= now
        {
            self.opening.pop();
            // It may be gone, or have been opened and shut again meanwhile.
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            if lane.opens_at == Some(until) {
                lane.opens_at = None;
            }
            match lane.shut {
                Some(Wait { until: Some(until), .. }) if until <= now => drop(self.reopen(id)),
                Some(wait) => self.shut(id, wait),
                None => {}
            }
        }
    }

    /// The first row of the lane whose turn it is.
    fn pop(&mut self) -> Option<Box<Job>> {
        let id = self.first_open()?;
        self.open.pop_front();
        self.lanes[id].queued = false;
        let job = self.lanes[id].ready.pop_front()?;
        self.queue(id);
        self.standing.0 -= 1;
        self.standing.1 -= job.size();
        Some(job)
    }

    fn stand(&mut self, job: Box<Job>, first: bool) {
        self.standing.0 += 1;
        self.standing.1 += job.size();
        let id = job.lane;
        let lane = &mut self.lanes[id];
        if first {
            lane.ready.push_front(job);
        } else {
            lane.ready.push_back(job);
        }
        self.queue(id);
    }

    /// Gives a lane its turn, behind those that stand there already.
    fn queue(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id];
        if !lane.queued && lane.shut.is_none() && !lane.ready.is_empty() {
            lane.queued = true;
            self.open.push_back(id);
        }
    }

    /// The lane whose turn it is.
    fn first_open(&mut self) -> Option<LaneId> {
        while let Some(&id) = self.open.front() {
            let Some(lane) = self.lanes.get_mut(id) else {
                self.open.pop_front();
                continue;
            };
            if lane.shut.is_none() && !lane.ready.is_empty() {
                return Some(id);
            }
            lane.queued = false;
            self.open.pop_front();
        }
        None
    }

    /// Whether to begin another row, when none that was begun can be sent.
    fn wants_fresh(&self) -> bool {
        let (rows, bytes) = self.standing;
        !self.has_many_waiting()
            && (rows == 0 || (!self.one_lane && rows < MAX_STANDING && bytes < MAX_STANDING_BYTES))
    }

    fn has_many_waiting(&self) -> bool {
        self.waiting.len() + self.over_budget.len() >= MAX_WAITING
    }

    /// When there will be something to send.
    fn due(&self) -> Option<Time> {
        let retry = self.waiting.peek().map(|waiting| waiting.due);
        let opening = self.opening.peek().map(|Reverse((until, _))| *until);
        [retry, opening, self.gatherer.due()].into_iter().flatten().min()
    }
}

#[derive(Debug)]
struct Waiting {
    due: Time,
    order: u64,
    job: Box<Job>,
}

// A max-heap of which the top is the earliest; equal times in the order in which they came.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
