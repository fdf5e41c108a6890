//! From a limit to the meter that keeps it.

use std::time::Duration;

use super::{Limit, LimitError, Rule};
use crate::meter::{Epoch, Hold, Meter, Pace, Spread, WallClock};
use crate::pool::Reserve;
use crate::time::nanos;

/// What could differ between the provider's clock and ours, and is added to every hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// Greatest difference in rate between two clocks, in parts per million.
    pub clock_ppm: u32,
    /// Granularity of the provider's timestamps, unless a limit says otherwise.
    pub granularity: Duration,
}

impl Default for Margins {
    /// 200 ppm, twice what ordinary quartz drifts; timestamps in whole milliseconds.
    fn default() -> Self {
        Self { clock_ppm: 200, granularity: Duration::from_millis(1) }
    }
}

/// What is taken as true about when the server counts a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Some time between grant and answer, as bad as can be.
    #[default]
    Guaranteed,
    /// Within this time after the grant, and before the answer: "my provider counts on arrival".
    Estimated {
        /// From the grant to the count, at most.
        counted_within: Duration,
    },
}

/// What limits are compiled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How far clocks may differ.
    pub margins: Margins,
    /// When the server counts.
    pub mode: Mode,
    /// How long answers are expected to take. Nothing is unsafe if they take longer; but sliding
    /// counters and small buckets divide what there is between calls in flight and the rate, and
    /// need to know.
    pub latency: Duration,
    /// What is known of the provider's wall clock; calendar limits cannot do without.
    pub wall: Option<WallClock>,
    /// What is kept for calls of a higher priority, where several processes share the quota.
    pub reserve: Reserve,
}

impl Default for Terms {
    /// Guaranteed, with the default [`Margins`], answers of 100 ms, and no calendar.
    fn default() -> Self {
        Self {
            margins: Margins::default(),
            mode: Mode::Guaranteed,
            latency: Duration::from_millis(100),
            wall: None,
            reserve: Reserve::NONE,
        }
    }
}

/// How late timers are taken to fire.
const TIMER_LATENESS: Duration = Duration::from_millis(5);
/// What calls in flight may take more than expected before a sliding counter slows down: a seventh.
const IN_FLIGHT_HEADROOM: u128 = 7;

impl Limit {
    /// The meter that keeps this limit.
    ///
    /// # Errors
    /// If the cost of each call is declared, and is more than the meter can ever grant; if it is a
    /// calendar's and there is no wall clock; if amplification leaves nothing.
    pub fn compile(&self, terms: &Terms) -> Result<Meter, LimitError> {
        let amount = self.amount() / self.amplification;
        if amount == 0 {
            let times = self.amplification.get();
            return Err(LimitError::AmplifiedAway { limit: self.to_string(), times });
        }
        let meter = match &self.rule {
            Rule::Window { per } => self.compile_window(amount, *per, terms),
            Rule::Counter { per } | Rule::Unknown { per } => self.compile_counter(amount, *per, terms),
            Rule::Bucket { per, capacity, step } => {
                let capacity = capacity.get() / self.amplification;
                if capacity == 0 {
                    let times = self.amplification.get();
                    return Err(LimitError::AmplifiedAway { limit: self.to_string(), times });
                }
                self.compile_bucket(amount, *per, capacity, *step, terms)
            }
            Rule::Concurrency { linger } => Meter::Hold(Hold::new(amount, drifted(*linger, terms.margins))),
            Rule::Calendar(calendar) => {
                let wall = terms.wall.ok_or_else(|| LimitError::NoWallClock { limit: self.to_string() })?;
                Meter::Epoch(Epoch::new(amount, calendar.clone(), wall))
            }
        };
        self.check(self.cost().unwrap_or(0), &meter)?;
        Ok(meter)
    }

    /// Refuses a cost that the meter can never grant.
    pub(crate) fn check(&self, cost: u64, meter: &Meter) -> Result<(), LimitError> {
        let greatest = meter.greatest_cost();
        if cost <= greatest {
            return Ok(());
        }
        Err(LimitError::CostTooLarge { limit: self.to_string(), unit: self.unit.clone(), cost, greatest })
    }

    /// Units come back a window after the answer: `Hold(N, W)`.
    fn compile_window(&self, amount: u64, per: Duration, terms: &Terms) -> Meter {
        let hold = Hold::new(amount, self.widen(per, terms));
        match terms.mode {
            Mode::Estimated { counted_within } => Meter::Hold(hold.counted_within(Some(counted_within))),
            Mode::Guaranteed => Meter::Hold(hold.keeping_probes()),
        }
    }

    /// A bucket admits what [`Pace`] proves; `Hold(B, B/ρ)` in its stead holds at most ⌈L·ρ/B⌉·B ≤
    /// ρL + B in any interval L. Whichever is faster at the expected latency: `Pace`, but for buckets
    /// that have room for a few calls only, or that refill in large steps.
    fn compile_bucket(
        &self,
        amount: u64,
        per: Duration,
        capacity: u64,
        step: Duration,
        terms: &Terms,
    ) -> Meter {
        let lag = self.widen(step, terms);
        let pace = Pace::new(amount, drifted(per, terms.margins), capacity, lag);
        if let Mode::Estimated { counted_within } = terms.mode {
            let pace = pace.clone().counted_within(counted_within);
            if pace.room() >= 2 * self.cost().unwrap_or(1) {
                return Meter::Pace(pace);
            }
        }
        // All the calls that fit: a unit that no call can use would only lengthen the hold.
        let cost = self.cost().unwrap_or(1).min(capacity);
        let units = capacity - capacity % cost;
        let refill = (u128::from(nanos(per)) * u128::from(units)).div_ceil(u128::from(amount));
        let refill = match step.as_nanos() {
            0 => refill,
            step => refill.div_ceil(step) * step,
        };
        let refill = Duration::from_nanos(u64::try_from(refill).unwrap_or(u64::MAX));
        let hold = Meter::Hold(Hold::new(units, self.widen(refill, terms)).keeping_probes());
        let pace = Meter::Pace(pace);
        let rate = |meter| self.provable_rate(meter, terms.latency);
        if rate(&hold) >= rate(&pace) { hold } else { pace }
    }

    /// A sliding counter keeps `prev·(1 − f) + cur ≤ N`. With at most ρL + X counts in any interval L,
    /// `prev + cur ≤ ρW(1 + f) + X` and `cur ≤ ρWf + X`, so
    /// `prev·(1 − f) + cur = (1 − f)(prev + cur) + f·cur ≤ ρW((1 − f)(1 + f) + f²) + X = ρW + X`.
    /// With ρ = (N − X) / W that is N. `Pace` with a capacity of X is what keeps to ρL + X.
    ///
    /// The same keeps any window of W (which holds ρW + X = N at most), and a bucket of that rate if
    /// it has room for X: the safest choice where enforcement is not known.
    fn compile_counter(&self, amount: u64, per: Duration, terms: &Terms) -> Meter {
        let cost = self.cost().unwrap_or(1).min(amount);
        // Nodes whose clocks differ, and coarse ones, see a window that is so much longer.
        let window = self.widen(per, terms);
        let in_flight = match terms.mode {
            Mode::Estimated { counted_within } => counted_within,
            Mode::Guaranteed => terms.latency,
        };
        let covered = (in_flight + in_flight / IN_FLIGHT_HEADROOM as u32 + TIMER_LATENESS).as_nanos();
        let in_flight = (u128::from(amount) * covered).div_ceil(window.as_nanos());
        // Room for what is in flight, and for one call that waits its turn.
        let room = u64::try_from(in_flight).unwrap_or(u64::MAX).saturating_add(cost);
        // Where calls differ, a heavy one has to fit as well.
        let room = if self.cost().is_none() { room.max(amount / 4) } else { room };
        let room = room.min(amount / 2).max(cost.min(amount - 1)).max(1);
        if room < cost || room == amount {
            // All of it in any two windows: then whatever fades has faded.
            return Meter::Hold(Hold::new(amount, window.saturating_mul(2)).keeping_probes());
        }
        let pace = Pace::new(amount - room, window, room, Duration::ZERO);
        match terms.mode {
            Mode::Estimated { counted_within } => {
                let soon = pace.clone().counted_within(counted_within);
                Meter::Pace(if soon.capacity() >= cost { soon } else { pace })
            }
            Mode::Guaranteed => Meter::Pace(pace),
        }
    }

    /// The even spacing above this limit's meter. None for concurrency, where answers set the pace,
    /// and none for calendars: a day's quota says nothing about seconds.
    pub(crate) fn spread(&self, meter: &Meter) -> Option<Spread> {
        match (&self.rule, meter) {
            (Rule::Concurrency { .. }, _) | (_, Meter::Epoch(_)) => None,
            (_, Meter::Hold(hold)) => {
                // Over all the time that a unit is away, as far as that is known beforehand: else
                // units would run out for `assumed` in each round, and its last calls be the densest.
                Some(Spread::new(hold.units(), hold.hold() + hold.assumed().unwrap_or_default()))
            }
            (_, Meter::Pace(pace)) => Some(Spread::new(1, pace.interval())),
        }
    }

    /// Calls per second that the limit can be proved to allow if answers take `response` on
    /// average (and the most expensive call costs what is declared, else 1):
    ///
    /// - `Hold`: N / (hold + R), no more than what may be in flight / R; or N / (hold + counted within) where that is assumed;
    /// - `Pace`: min(ρ, X / (R + 1/ρ)), where X is what can be in flight or accruing;
    /// - `Epoch`: N / period.
    ///
    /// For reports only; no decision rests on it.
    pub fn provable_rate(&self, meter: &Meter, response: Duration) -> f64 {
        let cost = self.cost().unwrap_or(1);
        let calls = |units: u64| (units / cost) as f64;
        let in_flight = |assumed: Option<Duration>| assumed.unwrap_or(response).as_secs_f64();
        match meter {
            Meter::Hold(hold) => {
                let rate = calls(hold.units()) / (hold.hold().as_secs_f64() + in_flight(hold.assumed()));
                let flying = calls(hold.most_in_flight(cost)).max(1.0);
                if hold.assumed().is_some() { rate } else { rate.min(flying / in_flight(None).max(1e-9)) }
            }
            Meter::Pace(pace) => {
                let rate = 1.0 / pace.interval().as_secs_f64() / cost as f64;
                if pace.counts_soon() {
                    return rate;
                }
                // A call as large as the bucket waits until it is full.
                let calls = calls(pace.room());
                if calls < 1.0 {
                    return cost as f64
                        / pace.capacity() as f64
                        / (pace.silence().as_secs_f64() + in_flight(None));
                }
                let response = in_flight(None);
                let flying = (pace.most_in_flight(cost) / cost).max(1) as f64;
                rate.min(calls / (response + 1.0 / rate)).min(flying / response.max(1e-9))
            }
            Meter::Epoch(epoch) => {
                calls(epoch.units()) / self.rule.per().unwrap_or(Duration::MAX).as_secs_f64()
            }
        }
    }

    fn grain(&self, terms: &Terms) -> Duration {
        self.granularity.unwrap_or(terms.margins.granularity)
    }

    /// A length of the provider's time, by coarse clocks that differ, as the longest it can be on ours.
    fn widen(&self, per: Duration, terms: &Terms) -> Duration {
        let longest = drifted(per + self.grain(terms) + self.skew, terms.margins);
        // Without any margin it would not be longer than a window that is closed on both sides.
        longest.max(per + Duration::from_nanos(1))
    }
}

/// As long as `per` can be on our clock.
fn drifted(per: Duration, margins: Margins) -> Duration {
    let drift = per.as_nanos() * u128::from(margins.clock_ppm) / 1_000_000;
    per + Duration::from_nanos(u64::try_from(drift).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
