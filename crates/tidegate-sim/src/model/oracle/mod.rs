//! One limit each. Callers keep the provider's time from going backwards; where several nodes stamp, their
//! clocks differ by at most the skew.

mod bucket;
mod calendar;
mod concurrency;
mod fixed;
mod gcra;
mod rolling;
mod windows;

use fastrand::Rng;

use super::judge::{Settlement, Standing};
use super::spec::{LimitSpec, Nodes, Rule, Unit, WindowStart};
use bucket::Bucket;
use calendar::Calendar;
use concurrency::Concurrency;
use fixed::{Aligned, Fixed};
use gcra::Gcra;
use rolling::Rolling;
use windows::{Counter, Windows};

/// When a limit has room; the longer the wait, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Free {
    Now,
    /// Unknown: when a request in service ends. A known wait says more.
    AfterFinish,
    At(u64),
    /// It never allows that much.
    Never,
}

/// What an oracle has to know of the world besides its limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Setting {
    pub(super) seed: u64,
    /// Unix time, in nanoseconds, at the provider's time 0.
    pub(super) unix_ns: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Oracle {
    spec: LimitSpec,
    state: State,
    clocks: Option<Clocks>,
    /// When the request that is being judged arrived, by the clock of the node that it came to.
    pub(super) stamp: u64,
    /// How far that clock is ahead.
    ahead: u64,
}

/// What each kind of limit must answer. `at` is a node's time; all of a limit's costs are in its own unit.
trait Enforce {
    /// When there is room for so much, if nothing else comes; no time in it lies before `at`.
    fn free(&mut self, at: u64, cost: u64) -> Free;

    /// Takes one request into account. For an accepted one, `free` has just answered `Now`.
    fn count(&mut self, at: u64, cost: u64);

    /// Puts the actual cost in the place of the reserved one.
    fn settle(&mut self, now: u64, settlement: Settlement);

    fn standing(&mut self, at: u64) -> Standing;
}

#[derive(Debug, Clone)]
enum State {
    Fixed(Fixed),
    Aligned(Aligned),
    Rolling(Rolling),
    Bucket(Bucket),
    Gcra(Gcra),
    Counter(Counter),
    Calendar(Calendar),
    Concurrency(Concurrency),
}

/// The clocks of nodes that share a store.
#[derive(Debug, Clone)]
struct Clocks {
    nodes: Nodes,
    rng: Rng,
}

impl Oracle {
    pub(super) fn new(spec: &LimitSpec, setting: Setting) -> Self {
        let skew = spec.nodes.map_or(0, |nodes| nodes.skew.as_nanos() as u64);
        let state = match spec.rule {
            Rule::Fixed { rate, start: WindowStart::Phase(phase) } => {
                State::Fixed(Fixed::new(rate.amount(), Windows::new(rate, phase)))
            }
            Rule::Fixed { rate, start: WindowStart::Aligned } => State::Aligned(Aligned::new(rate)),
            Rule::Rolling { rate, closed, granule } => {
                State::Rolling(Rolling::new(rate, closed, granule, skew).refunding(spec.refund))
            }
            Rule::Bucket { rate, capacity, empty, step } => {
                State::Bucket(Bucket::new(rate, capacity, empty, step))
            }
            Rule::Gcra { rate, capacity } => State::Gcra(Gcra::new(rate, capacity)),
            Rule::Counter { rate, phase } => {
                State::Counter(Counter::new(rate.amount(), Windows::new(rate, phase)))
            }
            Rule::Concurrency { amount, late } => State::Concurrency(Concurrency::new(amount, late)),
            Rule::Calendar { amount, per, ref zone } => {
                State::Calendar(Calendar::new(amount, per, zone.clone(), setting.unix_ns))
            }
        };
        let clocks = spec.nodes.map(|nodes| Clocks { nodes, rng: Rng::with_seed(setting.seed) });
        Self { spec: spec.clone(), state, clocks, stamp: 0, ahead: 0 }
    }

    pub(super) fn unit(&self) -> Unit {
        self.spec.unit
    }

    /// A request comes to one of the nodes.
    pub(super) fn arrive(&mut self, now: u64, cost: u64) -> Free {
        self.ahead = self.clocks.as_mut().map_or(0, Clocks::draw);
        self.stamp = now + self.ahead;
        self.free(cost)
    }

    /// When there will be room for another one like the one that has just arrived.
    pub(super) fn free(&mut self, cost: u64) -> Free {
        let (at, cost) = (self.stamp, self.cost(cost));
        match self.state.timed() {
            // The other nodes' clocks may show that time earlier or later; this one knows only its own.
            Ok(timed) => match timed.free(at, cost) {
                Free::At(time) => Free::At(time - self.ahead),
                free => free,
            },
            Err(concurrency) => concurrency.free(at),
        }
    }

    pub(super) fn count(&mut self, cost: u64) {
        let (at, cost) = (self.stamp, self.cost(cost));
        match self.state.timed() {
            Ok(timed) => timed.count(at, cost),
            Err(concurrency) => concurrency.count(),
        }
    }

    pub(super) fn count_rejected(&mut self, cost: u64) {
        let (at, cost) = (self.stamp, self.cost(cost));
        // It was never in service.
        if let Ok(timed) = self.state.timed() {
            timed.count(at, cost);
        }
    }

    pub(super) fn finish(&mut self, now: u64) {
        if let State::Concurrency(concurrency) = &mut self.state {
            concurrency.finish(now);
        }
    }

    pub(super) fn settle(&mut self, now: u64, settlement: Settlement) {
        if self.spec.refund
            && self.spec.unit == Unit::Tokens
            && let Ok(timed) = self.state.timed()
        {
            timed.settle(now, settlement);
        }
    }

    pub(super) fn reset(&mut self, setting: Setting) {
        match &mut self.state {
            State::Concurrency(concurrency) => concurrency.reset(),
            _ => *self = Self::new(&self.spec, setting),
        }
    }

    pub(super) fn standing(&mut self, now: u64) -> Option<Standing> {
        let timed = self.state.timed().ok()?;
        let standing = timed.standing(now + self.ahead);
        Some(Standing { reset_at: standing.reset_at - self.ahead, ..standing })
    }

    fn cost(&self, cost: u64) -> u64 {
        match self.spec.unit {
            Unit::Requests => 1,
            Unit::Tokens => cost,
        }
    }
}

impl State {
    /// Those that depend on time, or concurrency, which depends on ends.
    fn timed(&mut self) -> Result<&mut dyn Enforce, &mut Concurrency> {
        Ok(match self {
            Self::Fixed(fixed) => fixed,
            Self::Aligned(aligned) => aligned,
            Self::Rolling(rolling) => rolling,
            Self::Bucket(bucket) => bucket,
            Self::Gcra(gcra) => gcra,
            Self::Counter(counter) => counter,
            Self::Calendar(calendar) => calendar,
            Self::Concurrency(concurrency) => return Err(concurrency),
        })
    }
}

impl Clocks {
    /// How far the clock of the next request's node is ahead: evenly spread, the slowest 0, the fastest all
    /// of the skew.
    fn draw(&mut self) -> u64 {
        let node = self.rng.u64(..self.nodes.count);
        let steps = (self.nodes.count - 1).max(1);
        (self.nodes.skew.as_nanos() * u128::from(node) / u128::from(steps)) as u64
    }
}

/// Takes the reserved cost from a sum and adds the actual one.
fn replace(sum: u64, Settlement { reserved, actual, .. }: Settlement) -> u64 {
    sum.saturating_sub(reserved).saturating_add(actual)
}
