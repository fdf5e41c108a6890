//! When calls are counted and answered. All times are nanoseconds on the client's clock.

use fastrand::Rng;
use tidegate_sim::Latency;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// What a clock shows at `now` that runs so many millionths faster.
pub(crate) fn drifted(now: u64, drift_ppm: i64) -> u64 {
    let drift = i128::from(now) * i128::from(drift_ppm) / 1_000_000;
    u64::try_from(i128::from(now) + drift).expect("time is positive")
}

/// What lies between client and provider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    pub(crate) delay: Delay,
    pub(crate) count: Count,
    /// From head to last byte.
    pub(crate) body: Latency,
    pub(crate) faults: Faults,
    /// The client gives a call up after this.
    pub(crate) timeout: u64,
    pub(crate) stall: Option<Stall>,
    /// The provider counts so soon after the grant.
    pub(crate) counts_within: Option<u64>,
}

/// From grant to response head.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delay {
    /// Log-normal, 60 ms with σ = 0.5, and up to 20 ms of jitter.
    Real,
    Uniform(u64, u64),
    /// Falls from `most` to nothing over each period: what is sent later is answered earlier.
    Sawtooth {
        period: u64,
        most: u64,
    },
}

/// When the provider counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    AtSend,
    AtAnswer,
    Anywhere,
    /// Late for what is sent in the first half of a period, early in the second: what squeezes the
    /// most calls together.
    Squeeze {
        period: u64,
    },
    /// All at the same moment, once in a period, if they are under way by then.
    Converge {
        period: u64,
    },
}

/// One call in so many, 0 for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) not_sent: u64,
    pub(crate) unknown: u64,
    /// The answer does not come in time; the call may be counted any time until it is given up.
    pub(crate) silent: u64,
}

/// A provider that takes long to count.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stall {
    /// It does nothing between the two times, and then everything at once.
    Freeze { from: u64, until: u64 },
    /// From then on each call waits so long before it is counted.
    Queue { from: u64, wait: u64 },
}

/// The way of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trip {
    /// Never, if it was not sent.
    pub(crate) counted: Option<u64>,
    pub(crate) head: u64,
    pub(crate) end: u64,
    pub(crate) fate: Fate,
}

/// What the client sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    NotSent,
    /// A reset, at `end`.
    Unknown,
    /// Given up at `end`.
    TimedOut,
}

impl Network {
    pub(crate) fn real() -> Self {
        Self {
            delay: Delay::Real,
            count: Count::Anywhere,
            body: Latency::ZERO,
            faults: Faults::default(),
            timeout: 30 * SECOND,
            stall: None,
            counts_within: None,
        }
    }

    /// One that means ill, for limits over `window`.
    pub(crate) fn adverse(window: u64, rng: &mut Rng) -> Self {
        // Answers of a small part of the window, and of more than a whole one.
        let most = (window / [50, 8, 3, 1][rng.usize(..4)] * rng.u64(50..200) / 100).clamp(MS, 20 * SECOND);
        let period = window * [1, 1, 2, 3][rng.usize(..4)] / [1, 2, 2, 3][rng.usize(..4)];
        let period = period.max(2);
        let delay = match rng.u64(..4) {
            0 => Delay::Sawtooth { period, most },
            1 => Delay::Uniform(most, most),
            2 => Delay::Uniform(0, most),
            _ => Delay::Uniform(most / 2, most),
        };
        let count = match rng.u64(..7) {
            0 => Count::AtSend,
            1 | 2 => Count::AtAnswer,
            3 => Count::Anywhere,
            4 => Count::Converge { period },
            _ => Count::Squeeze { period },
        };
        let faults = match rng.u64(..3) {
            0 => Faults { not_sent: 7, unknown: 11, silent: 500 },
            1 => Faults { not_sent: 50, unknown: 50, silent: 50 },
            _ => Faults::default(),
        };
        Self { delay, count, faults, timeout: 2 * most + MS, ..Self::real() }
    }

    pub(crate) fn trip(&self, sent: u64, rng: &mut Rng) -> Trip {
        let delay = match self.delay {
            Delay::Real => {
                let jitter = rng.u64(..=20 * MS);
                LOG_NORMAL.sample(rng).as_nanos() as u64 + jitter
            }
            Delay::Uniform(least, most) => rng.u64(least..=most),
            Delay::Sawtooth { period, most } => {
                (u128::from(most) * u128::from(period - sent % period) / u128::from(period)) as u64
            }
        };
        let fate = self.faults.draw(rng);
        let delay = match fate {
            Fate::TimedOut => self.timeout,
            _ => delay.min(self.timeout - 1),
        };
        let head = sent + delay;
        let mut counted = match self.count {
            Count::Squeeze { period } if sent % period >= period / 2 => sent,
            Count::AtAnswer | Count::Squeeze { .. } => head,
            Count::AtSend => sent,
            Count::Anywhere => rng.u64(sent..=head),
            Count::Converge { period } => head.min(sent.next_multiple_of(period)),
        };
        if let Some(within) = self.counts_within {
            counted = counted.min(sent + within);
        }
        match fate {
            Fate::NotSent => Trip { counted: None, head, end: head, fate },
            Fate::Unknown | Fate::TimedOut => Trip { counted: Some(counted), head, end: head, fate },
            Fate::Answered => self.stalled(sent, Trip { counted: Some(counted), head, end: head, fate }, rng),
        }
    }

    /// The answer that comes if the provider has not stalled, and if it has.
    fn stalled(&self, sent: u64, trip: Trip, rng: &mut Rng) -> Trip {
        let Trip { counted: Some(counted), head, .. } = trip else { return trip };
        let back = head - counted;
        let counted = match self.stall {
            Some(Stall::Freeze { from, until }) if (from..until).contains(&counted) => until,
            Some(Stall::Queue { from, wait }) if sent >= from => sent + wait,
            _ => counted,
        };
        let head = counted + back;
        if head >= sent + self.timeout {
            let end = sent + self.timeout;
            return Trip { counted: Some(counted), head: end, end, fate: Fate::TimedOut };
        }
        let body = if self.body.is_zero() { 0 } else { self.body.sample(rng).as_nanos() as u64 };
        Trip { counted: Some(counted), head, end: head + body, fate: Fate::Answered }
    }
}

impl Faults {
    fn draw(self, rng: &mut Rng) -> Fate {
        let mut one_in = |many: u64| many > 0 && rng.u64(..many) == 0;
        if one_in(self.not_sent) {
            Fate::NotSent
        } else if one_in(self.unknown) {
            Fate::Unknown
        } else if one_in(self.silent) {
            Fate::TimedOut
        } else {
            Fate::Answered
        }
    }
}

const LOG_NORMAL: Latency = Latency::LogNormal { median: std::time::Duration::from_millis(60), sigma: 0.5 };
