//! What the provider says is left of a limit, held against what can be ours.
//!
//! The provider's count is of some moment between a call's send s and the head of its answer r. All of
//! ours that can be in it was sent by r, and was not over before the window that ends at s began: an
//! upper bound, so that nothing of ours is ever taken for somebody else's. What is counted beyond it is others',
//! or the limit is less than was declared. Either way it is not there to be used: it is taken from
//! the meter until the provider's reset.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Grant, Quota};
use crate::contract::Metered;
use crate::limit::{Limit, Rule};
use crate::meter::Taken;
use crate::time::Time;

/// What an answer says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Units of the whole limit, if it says that.
    pub amount: Option<u64>,
    /// Units that are left of it.
    pub remaining: u64,
    /// How long until some or all of it is back, if it says that.
    pub resets_in: Option<Duration>,
}

/// Units that are used and cannot be ours: others use the key, or less is allowed than was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// Index of the limit.
    pub limit: usize,
    /// Units, of the window that was told of.
    pub units: u64,
    /// Of so many.
    pub amount: u64,
}

/// A limit of which the provider tells.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// What was granted before is in `over` already; so many units, some of which may be in flight.
    created: Time,
    before: u64,
    /// Units granted since the watch began, and those of calls that are over.
    granted: u64,
    over: u64,
    /// What was over by then, now and then.
    past: VecDeque<(Time, u64)>,
    reach: Duration,
    /// The send of the call whose answer told last.
    told_at: Option<Time>,
    /// The most that others used, in this stretch of the time that a window reaches back and in the one
    /// before; and when this one began.
    most: (u64, u64),
    began: Time,
    /// While little is left that others use as well, calls are so far apart.
    slow: Option<(Time, Duration)>,
    not_before: Time,
}

/// What is over is noted so often in the time that a window reaches back.
const NOTES: u32 = 32;
/// Hardly any call takes longer.
const LONGEST_CALL: Duration = Duration::from_secs(600);
/// Calls are spread when less than one in so many is left.
const LITTLE: u64 = 10;

impl Watch {
    /// `used`: what the meter has in use; it counts as over only now.
    fn new(used: u64, reach: Duration, now: Time) -> Self {
        Self {
            created: now,
            before: used,
            granted: used,
            over: used,
            past: VecDeque::from([(Time::ZERO, 0), (now, used)]),
            reach,
            told_at: None,
            most: (0, 0),
            began: now,
            slow: None,
            not_before: Time::ZERO,
        }
    }

    #[inline]
    pub(super) fn grant(&mut self, units: u64, now: Time) {
        self.granted += units;
        if let Some((until, gap)) = self.slow {
            if now < until {
                self.not_before = now + gap;
            } else {
                self.slow = None;
            }
        }
    }

    /// Calls of an earlier process.
    pub(super) fn charge(&mut self, units: u64, now: Time) {
        self.granted += units;
        self.note(now);
        self.over += units;
    }

    /// A call is over at `now`, for which `taken` was granted, and has cost `actual`.
    #[inline]
    pub(crate) fn over(&mut self, taken: Taken, actual: u64, now: Time) {
        if taken.at < self.created {
            return;
        }
        self.granted = (self.granted + actual).saturating_sub(taken.cost);
        self.note(now);
        self.over += actual;
    }

    fn note(&mut self, now: Time) {
        if self.past.back().is_none_or(|(last, _)| now >= *last + self.reach / NOTES) {
            self.past.push_back((now, self.over));
            // The oldest that is needed is the last one before the window.
            while self.past.get(1).is_some_and(|(at, _)| *at + self.reach * 2 < now) {
                self.past.pop_front();
            }
        }
    }

    /// No call before.
    #[inline]
    pub(super) fn not_before(&self) -> Time {
        self.not_before
    }

    /// Units of ours that can have been counted in a window that ends between `sent` and now.
    fn ours(&self, sent: Time) -> u64 {
        let begin = sent - self.reach;
        let over = self.past.iter().rev().find(|(at, _)| *at <= begin).map_or(0, |(_, over)| *over);
        let in_flight_at_first = if begin < self.created + LONGEST_CALL { self.before } else { 0 };
        self.granted.saturating_sub(over) + in_flight_at_first
    }

    /// What is left to others: as much as they have used lately. Never all: who sends nothing hears nothing.
    fn left_to_others(&self, whole: u64) -> u64 {
        self.most.0.max(self.most.1).min(whole - (whole / LITTLE).max(1).min(whole))
    }

    /// When that may change by itself.
    fn changes_at(&self) -> Option<Time> {
        (self.most != (0, 0)).then(|| self.began + self.reach)
    }

    fn pass(&mut self, now: Time) {
        while self.began + self.reach <= now {
            self.most = (0, self.most.0);
            self.began = if self.most == (0, 0) { now } else { self.began + self.reach };
        }
    }
}

impl Quota {
    /// The answer to the granted call, whose head came at `now`, says what is left of the limit with this
    /// index. It only ever tightens, and what was said in answers to calls that were sent later counts for more.
    ///
    /// `Some` if more is used than can be ours.
    pub fn heed(&mut self, grant: &Grant, limit: usize, told: Told, now: Time) -> Option<Others> {
        let now = self.advance(now);
        let declared = self.contract.limit(limit);
        let (reach, whole, copies) = (reach(declared)?, whole(declared), declared.amplification());
        let (is_calendar, per) = (matches!(declared.rule(), Rule::Calendar(_)), declared.rule().per()?);
        let metered = self.limits.get_mut(limit)?;
        if metered.meter.share() < metered.whole {
            return None; // what the others of this quota have used is not known here
        }
        let watch = metered.watch.get_or_insert_with(|| {
            let used = metered.meter.used(now).iter().map(|(units, _)| units).sum();
            Box::new(Watch::new(used, reach, now))
        });
        if watch.told_at.is_some_and(|last| grant.at < last) {
            return None;
        }
        watch.told_at = Some(grant.at);
        let ours = watch.ours(grant.at).saturating_mul(copies);
        let others = whole.saturating_sub(told.remaining).saturating_sub(ours).div_ceil(copies);
        let leave = if is_calendar {
            others // of this period; nobody knows what they will do in the next one
        } else {
            watch.pass(now);
            if others > 0 && watch.most == (0, 0) {
                watch.began = now;
            }
            watch.most.0 = watch.most.0.max(by_the_end(others, per, told.resets_in).min(whole));
            watch.left_to_others(whole)
        };
        let amount = told.amount.unwrap_or(whole);
        let is_short = leave > 0 && told.remaining.saturating_mul(LITTLE) < amount;
        watch.slow = is_short.then(|| {
            let resets_in = told.resets_in.map_or(reach, |reset| reset.min(reach));
            let gap = resets_in / u32::try_from(told.remaining + 1).unwrap_or(u32::MAX);
            (now + resets_in, gap)
        });
        if watch.slow.is_some_and(|(_, gap)| grant.at + gap > watch.not_before) {
            watch.not_before = watch.slow.map_or(Time::ZERO, |(_, gap)| grant.at + gap);
        }
        self.note_change();
        let beyond = amount.saturating_sub(told.remaining).saturating_sub(ours);
        (beyond > 0).then_some(Others { limit, units: beyond, amount })
    }

    fn note_change(&mut self) {
        self.others_change_at =
            self.limits.iter().filter_map(|limit| limit.watch.as_ref()?.changes_at()).min();
    }

    /// What was left to others and they have not used for long is taken again.
    pub(super) fn take_again(&mut self, now: Time) {
        let contract = &self.contract;
        for (i, limit) in self.limits.iter_mut().enumerate() {
            let Some(watch) = &mut limit.watch else { continue };
            let declared = contract.limit(i);
            if matches!(declared.rule(), Rule::Calendar(_)) {
                continue;
            }
            watch.pass(now);
            let whole = whole(declared);
            let others = watch.left_to_others(whole);
            limit.leave(others, whole.div_ceil(declared.amplification()), now);
        }
        self.note_change();
    }
}

/// What others will have used of a window when it ends, if they go on as before. Too early in a window that
/// says nothing; of windows that do not end all at once, neither does the reset.
fn by_the_end(others: u64, window: Duration, resets_in: Option<Duration>) -> u64 {
    let passed = window.saturating_sub(resets_in.unwrap_or_default());
    if resets_in.is_none() || passed < window / 4 {
        return others;
    }
    let all = u128::from(others) * window.as_nanos() / passed.as_nanos().max(1);
    u64::try_from(all).unwrap_or(u64::MAX)
}

impl Metered {
    /// Leaves units to others, and spreads calls over what is left.
    fn leave(&mut self, units: u64, whole: u64, now: Time) {
        if self.left != units {
            self.left = units;
            self.meter.leave(units, whole, now);
            self.respread(now);
        }
    }
}

/// How far back a call may lie that is still counted.
fn reach(limit: &Limit) -> Option<Duration> {
    /// Servers that count in whole seconds, and clocks that differ.
    const GRAIN: Duration = Duration::from_secs(1);
    let per = limit.rule().per()?;
    let back = match limit.rule() {
        Rule::Window { .. } | Rule::Calendar(_) => per,
        Rule::Bucket { capacity, step, .. } => {
            let fills = per.as_nanos() * u128::from(capacity.get()) / u128::from(limit.amount().max(1));
            Duration::from_nanos(u64::try_from(fills).unwrap_or(u64::MAX)) + *step
        }
        // A counter looks back over two windows.
        _ => per * 2,
    };
    Some(back + back / 1_000 + GRAIN.min(back) + limit.skew())
}

/// Units that the provider has when none is used.
fn whole(limit: &Limit) -> u64 {
    match limit.rule() {
        Rule::Bucket { capacity, .. } => capacity.get(),
        _ => limit.amount(),
    }
}
