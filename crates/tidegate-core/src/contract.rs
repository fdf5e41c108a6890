//! `Contract`: all that was agreed with a provider, compiled.

use std::sync::Arc;
use std::time::Duration;

use crate::limit::{Limit, LimitError, Mode, Terms};
use crate::meter::{Meter, Spread, Taken};
use crate::quota::Watch;
use crate::time::Time;

/// Limits that one quota can have. Real providers have up to six; the costs of a call are kept in
/// an array of this length.
const MAX_LIMITS: usize = 8;

/// How sends are placed in time where a limit leaves the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pacing {
    /// Evenly at the steady rate; a job never starts with a blast.
    #[default]
    Even,
    /// As early as the limits allow.
    Burst,
}

/// The limits that the same calls count against, with the terms on which they are kept, compiled to
/// meters. Any number of [`Quota`](crate::Quota)s can be made from one; clones are the same contract.
#[derive(Debug, Clone)]
pub struct Contract {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
struct Shared {
    limits: Vec<Limit>,
    /// Of each limit, as a quota begins with.
    meters: Vec<Metered>,
    pacing: Pacing,
    terms: Terms,
    costs: Costs,
    /// The limit that lets go first, of those that a rejection can be about; and how long that takes.
    shortest_hold: Option<(usize, Duration)>,
    /// Further limits are learnt from what the provider says.
    learns: bool,
    declared: Vec<Limit>,
    /// Which of those each limit at work stands for.
    declared_as: Vec<usize>,
}

/// One limit at work in a quota. There may be thousands of quotas: what they share is not in here.
#[derive(Debug, Clone)]
pub(crate) struct Metered {
    pub(crate) meter: Meter,
    pub(crate) spread: Option<Spread>,
    /// Whether the response head ends the call for this limit, else its last byte.
    pub(crate) ends_with_head: bool,
    pub(crate) refunds: bool,
    /// Units of the whole limit, of which the meter may have a share.
    pub(crate) whole: u64,
    /// Units of it that are left to others.
    pub(crate) left: u64,
    /// If the provider tells of it.
    pub(crate) watch: Option<Box<Watch>>,
}

/// What one call costs: units of each limit of a [`Contract`], by its index.
///
/// Made by [`Contract::costs`]; a limit whose cost differs from call to call has to be
/// [`set`](Self::set).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs([u64; MAX_LIMITS]);

impl Contract {
    /// Compiles `limits`. Without limits it allows everything.
    ///
    /// # Errors
    /// If a limit cannot be kept; see [`Limit::compile`].
    pub fn new(limits: &[Limit], pacing: Pacing, terms: Terms) -> Result<Self, LimitError> {
        let parts =
            limits.iter().enumerate().flat_map(|(i, limit)| limit.parts().into_iter().map(move |p| (i, p)));
        let (declared_as, parts): (Vec<usize>, Vec<Limit>) = parts.unzip();
        if parts.len() > MAX_LIMITS {
            return Err(LimitError::TooMany { count: parts.len(), most: MAX_LIMITS });
        }
        let mut costs = Costs::default();
        for (cost, limit) in costs.0.iter_mut().zip(&parts) {
            *cost = limit.cost().unwrap_or(0);
        }
        let meters =
            parts.iter().map(|limit| Metered::compile(limit, &terms)).collect::<Result<Vec<_>, _>>()?;
        let shortest_hold = shortest_hold(&parts, &meters);
        let declared = limits.to_vec();
        let shared = Shared {
            limits: parts,
            meters,
            pacing,
            terms,
            costs,
            shortest_hold,
            learns: false,
            declared,
            declared_as,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same limits, and besides them those that the provider tells of: a quota under it starts
    /// slowly, and learns. Nothing is proved of what is learnt.
    #[must_use]
    pub fn learning(self) -> Self {
        Self { shared: Arc::new(Shared { learns: true, ..(*self.shared).clone() }) }
    }

    /// Whether further limits are learnt from what the provider says.
    pub fn is_learning(&self) -> bool {
        self.shared.learns
    }

    /// The limits as they were declared.
    pub fn declared(&self) -> &[Limit] {
        &self.shared.declared
    }

    /// The limits that are kept, with their meters; an index into these is what
    /// [`Why`](crate::Why) and [`Costs`] speak of.
    pub fn limits(&self) -> impl ExactSizeIterator<Item = (&Limit, &Meter)> {
        self.shared.limits.iter().zip(self.shared.meters.iter().map(|metered| &metered.meter))
    }

    /// Which of the [`declared`](Self::declared) limits the kept one with this index stands for: one
    /// that may be enforced per second is kept as two.
    pub fn declared_as(&self, limit: usize) -> usize {
        self.shared.declared_as[limit]
    }

    /// How sends are placed.
    pub fn pacing(&self) -> Pacing {
        self.shared.pacing
    }

    /// The terms on which the limits are kept.
    pub fn terms(&self) -> &Terms {
        &self.shared.terms
    }

    /// Whether nothing beyond the proof is assumed.
    pub fn is_guaranteed(&self) -> bool {
        self.shared.terms.mode == Mode::Guaranteed
    }

    /// What each call costs by the declarations; 0 where that differs from call to call.
    pub fn costs(&self) -> &Costs {
        &self.shared.costs
    }

    /// Whether calls of such costs can ever be granted.
    ///
    /// # Errors
    /// The first limit that never allows so much at once.
    pub fn admit(&self, costs: &Costs) -> Result<(), LimitError> {
        let mut limits = self.limits().zip(costs.0);
        limits.try_for_each(|((limit, meter), cost)| limit.check(cost, meter))
    }

    /// Whether a quota under this one can go on under `other`: the same kinds of limits, in the same
    /// order, that hold for as long; only the amounts differ.
    pub fn same_shape(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.shared, &other.shared);
        let alike = |(one, other): (&Metered, &Metered)| {
            let meters = match (&one.meter, &other.meter) {
                (Meter::Hold(one), Meter::Hold(other)) => {
                    (one.hold(), one.assumed()) == (other.hold(), other.assumed())
                }
                (Meter::Pace(one), Meter::Pace(other)) => {
                    (one.lag(), one.counts_soon()) == (other.lag(), other.counts_soon())
                }
                (Meter::Epoch(one), Meter::Epoch(other)) => one.calendar() == other.calendar(),
                _ => false,
            };
            let ends = (one.ends_with_head, one.refunds) == (other.ends_with_head, other.refunds);
            meters && ends && one.spread.is_some() == other.spread.is_some()
        };
        let same_rules = ours.limits.iter().zip(&theirs.limits).all(|(one, other)| {
            let kinds = std::mem::discriminant(one.rule()) == std::mem::discriminant(other.rule());
            kinds && one.unit() == other.unit() && one.rule().per() == other.rule().per()
        });
        ours.limits.len() == theirs.limits.len()
            && ours.pacing == theirs.pacing
            && same_rules
            && ours.meters.iter().zip(&theirs.meters).all(alike)
    }

    /// The limit that lets go first after a silence, and how long that takes; neither a calendar's,
    /// which lets go at midnight, nor one of concurrency.
    #[inline]
    pub(crate) fn shortest_hold(&self) -> Option<(usize, Duration)> {
        self.shared.shortest_hold
    }

    /// The limit of this index.
    pub(crate) fn limit(&self, index: usize) -> &Limit {
        &self.shared.limits[index]
    }

    /// The limits at work, as a quota begins with.
    pub(crate) fn metered(&self) -> &[Metered] {
        &self.shared.meters
    }

    /// Meters for a quota.
    pub(crate) fn meters(&self) -> Box<[Metered]> {
        self.shared.meters.clone().into()
    }
}

fn shortest_hold(limits: &[Limit], meters: &[Metered]) -> Option<(usize, Duration)> {
    let holds = limits.iter().zip(meters).enumerate().filter_map(|(i, (limit, metered))| {
        // A small bucket is full again in no time; what it is about is its period.
        let per = limit.rule().per().filter(|_| !matches!(metered.meter, Meter::Epoch(_)))?;
        Some((i, per.max(metered.meter.silence(Duration::ZERO, Time::ZERO))))
    });
    holds.min_by_key(|(_, hold)| *hold)
}

impl Metered {
    fn compile(limit: &Limit, terms: &Terms) -> Result<Self, LimitError> {
        let meter = limit.compile(terms)?;
        let spread = limit.spread(&meter);
        let (ends_with_head, refunds) = (limit.ends_with_head(), limit.refunds());
        let whole = meter.greatest_cost();
        Ok(Self { meter, spread, ends_with_head, refunds, whole, left: 0, watch: None })
    }
}

impl Metered {
    /// Spreads sends at the rate of the share that the meter has now.
    pub(crate) fn respread(&mut self, now: Time) {
        let Some(spread) = &mut self.spread else { return };
        match &self.meter {
            Meter::Hold(hold) => {
                let window = hold.hold() + hold.assumed().unwrap_or_default();
                // Units come and go, and are not always there when their place comes: without a place to
                // spare that would cost a few of few.
                let places = hold.units() + u64::from(hold.units() < self.whole);
                let places = places.saturating_sub(self.left).max(1);
                spread.resize(places, window, now);
            }
            Meter::Pace(pace) => spread.resize(1, pace.interval(), now),
            Meter::Epoch(_) => {}
        }
    }

    /// Whether it is assumed, not seen, when the server counts a call.
    pub(crate) fn is_assumed(&self) -> bool {
        match &self.meter {
            Meter::Hold(hold) => hold.assumed().is_some(),
            Meter::Pace(pace) => pace.counts_soon(),
            Meter::Epoch(_) => false,
        }
    }
}

impl Metered {
    /// A call is over, and has cost what was reserved for it.
    #[inline]
    pub(crate) fn answered(&mut self, taken: Taken, now: Time) {
        self.meter.answered(taken, taken.cost, now);
        if let Some(watch) = &mut self.watch {
            watch.over(taken, taken.cost, now);
        }
    }

    /// A call is over, and may have cost something else than was reserved for it.
    pub(crate) fn correct(&mut self, taken: Taken, cost: u64, now: Time) {
        // More than a whole limit is all of it: no answer may block it for ever.
        let cost = cost.min(taken.cost.saturating_add(self.whole));
        self.meter.answered(taken, cost, now);
        if let Some(watch) = &mut self.watch {
            watch.over(taken, cost, now);
        }
        if let Some(spread) = &mut self.spread {
            spread.correct(taken.cost, cost);
        }
    }
}

impl Costs {
    /// Units of the limit with this index.
    pub fn of(&self, limit: usize) -> u64 {
        self.0.get(limit).copied().unwrap_or(0)
    }

    /// Those of all limits, in their order; more than there are limits.
    #[inline]
    pub(crate) fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    /// Sets the units of the limit with this index; nothing happens if there is none.
    pub fn set(&mut self, limit: usize, units: u64) {
        if let Some(cost) = self.0.get_mut(limit) {
            *cost = units;
        }
    }
}
