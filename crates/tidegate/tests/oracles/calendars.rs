//! Calendars: boundaries at which clocks change, and a provider's clock that is not quite known.

use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use tidegate_core::{Contract, Pacing, Terms, WallClock};

use crate::case::{Case, judge};
use crate::client::{Restarts, World};
use crate::network::{Network, SECOND};

/// A calendar's limit from shortly before a boundary on.
#[derive(Debug, Clone, Copy)]
struct Year {
    limit: &'static str,
    provider: &'static str,
    from: &'static str,
    /// The boundary that begins the last of the periods.
    last: &'static str,
    periods: u64,
}

/// Over the days of 23 and of 25 hours, in Berlin and in Los Angeles; weeks and months around them.
const YEARS: [Year; 8] = [
    Year::new("500/day Europe/Berlin", "calendar 500/day zone Europe/Berlin", 4)
        .over("2026-03-28T22:30:00Z", "2026-03-30T22:00:00Z"),
    Year::new("500/day Europe/Berlin", "calendar 500/day zone Europe/Berlin", 4)
        .over("2026-10-24T21:30:00Z", "2026-10-26T23:00:00Z"),
    Year::new("300/day America/Los_Angeles", "calendar 300/day zone America/Los_Angeles", 4)
        .over("2026-03-08T07:30:00Z", "2026-03-10T07:00:00Z"),
    Year::new("300/day America/Los_Angeles", "calendar 300/day zone America/Los_Angeles", 4)
        .over("2026-11-01T06:30:00Z", "2026-11-03T08:00:00Z"),
    Year::new("900/week Europe/Berlin", "calendar 900/week zone Europe/Berlin", 3)
        .over("2026-10-18T21:50:00Z", "2026-10-25T23:00:00Z"),
    Year::new("900/week America/Los_Angeles", "calendar 900/week zone America/Los_Angeles", 3)
        .over("2026-03-02T07:50:00Z", "2026-03-09T07:00:00Z"),
    Year::new("2000/month Europe/Berlin", "calendar 2k/month zone Europe/Berlin", 3)
        .over("2026-02-28T22:50:00Z", "2026-03-31T22:00:00Z"),
    Year::new("2000/month America/Los_Angeles", "calendar 2k/month zone America/Los_Angeles", 3)
        .over("2026-11-01T06:50:00Z", "2026-12-01T08:00:00Z"),
];

/// How well the provider's clock is known.
#[derive(Debug, Clone, Copy)]
struct Knowledge {
    skew: Duration,
    /// How far off we are, within that.
    wrong_by: i64,
    reads_dates: bool,
}

const MINUTE: i64 = 60 * SECOND.cast_signed();
const KNOWLEDGE: [Knowledge; 5] = [
    Knowledge { skew: Duration::from_millis(500), wrong_by: 0, reads_dates: false },
    Knowledge { skew: Duration::from_secs(60), wrong_by: MINUTE, reads_dates: false },
    Knowledge { skew: Duration::from_secs(60), wrong_by: -MINUTE, reads_dates: false },
    Knowledge { skew: Duration::from_secs(60), wrong_by: MINUTE, reads_dates: true },
    Knowledge { skew: Duration::from_secs(60), wrong_by: -MINUTE, reads_dates: true },
];

/// Runs all of it so many times; returns the number of calls.
pub(crate) fn run(seed: u64, times: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let mut calls = 0;
    for _ in 0..times {
        for year in YEARS {
            for knowledge in KNOWLEDGE {
                calls += year.is_used_to_the_last_unit(knowledge, rng.u64(..));
                for how in HOWS {
                    calls += year.is_kept(knowledge, how, &mut rng);
                }
            }
        }
    }
    calls
}

/// What keeps calls flowing across boundaries.
#[derive(Debug, Clone, Copy)]
struct How {
    pace: &'static str,
    restarts: Option<Restarts>,
}

const HOWS: [How; 3] = [
    How { pace: "50/10min", restarts: None },
    How { pace: "40/h", restarts: None },
    How {
        pace: "50/10min",
        restarts: Some(Restarts { every: 311 * SECOND, contract: the_next_processes_contract }),
    },
];

impl Year {
    const fn new(limit: &'static str, provider: &'static str, periods: u64) -> Self {
        Self { limit, provider, from: "", last: "", periods }
    }

    const fn over(self, from: &'static str, last: &'static str) -> Self {
        Self { from, last, ..self }
    }

    fn is_used_to_the_last_unit(self, knowledge: Knowledge, seed: u64) -> u64 {
        let case = self.case(&[], knowledge, 0);
        let calls = case.limits[0].amount() * self.periods;
        let run = case.play(Network::real(), Pacing::Burst, 0, calls, seed);
        // All of the last period's calls go right after the boundary.
        let ended = unix(self.from) + run.sent.last().copied().unwrap_or(0).cast_signed();
        let days = (unix(self.last) - unix(self.from)) / (86_400 * SECOND.cast_signed());
        let drift = if knowledge.reads_dates { 40 * days } else { 18 * days };
        let late = ended - unix(self.last) - 2 * knowledge.skew.as_nanos() as i64;
        assert!(
            late < (20 + drift) * SECOND.cast_signed(),
            "{case}, {knowledge:?}: seed {seed}: {late} ns late"
        );
        calls
    }

    fn is_kept(self, knowledge: Knowledge, how: How, rng: &mut Rng) -> u64 {
        // Whatever happens to be under way at the boundary.
        let early = rng.i64(0..10 * MINUTE);
        let case = self.case(&[how.pace], knowledge, early);
        let calls = 3 * case.limits[0].amount();
        let seed = rng.u64(..);
        let pacing = [Pacing::Even, Pacing::Burst][rng.usize(..2)];
        let contract = case.contract(pacing);
        let network = Network::adverse(90 * SECOND, rng);
        let world = World {
            contract: &contract,
            providers: &case.providers,
            network,
            cost: case.cost,
            copies: 1,
            // What a process learns of the clock it does not learn of its drift.
            drift_ppm: if how.restarts.is_some() { 0 } else { [-199, 199][rng.usize(..2)] },
            restarts: how.restarts,
            unix_ns: case.unix_ns,
            tells_dates: case.tells_dates,
            used_up: false,
            calls,
            seed,
        };
        let run = world.run();
        let first = run.first_rejection;
        assert_eq!(
            run.rejected, 0,
            "{case}, {knowledge:?}, {how:?}: seed {seed}: {first:?} over {network:?}"
        );
        assert!(run.met_the_limit, "{case}: seed {seed}");
        calls
    }

    fn case(self, others: &[&str], knowledge: Knowledge, early: i64) -> Case {
        let from = unix(self.from) - early;
        let limits = [&[self.limit], others].concat();
        let wall = WallClock::new(from + knowledge.wrong_by, knowledge.skew);
        let terms = Terms { wall: Some(wall), ..Terms::default() };
        let providers = vec![judge(&[self.provider]).starting_at(from)];
        let tells_dates = knowledge.reads_dates;
        Case { terms, providers, unix_ns: from, tells_dates, ..Case::new(&limits, 0) }
    }
}

fn the_next_processes_contract(old: &Contract, now: u64) -> Contract {
    let later = |unix: i64| unix + now.cast_signed();
    let wall = old.terms().wall.map(|w| WallClock { earliest: later(w.earliest), latest: later(w.latest) });
    Contract::new(old.declared(), old.pacing(), Terms { wall, ..*old.terms() }).unwrap()
}

fn unix(text: &str) -> i64 {
    i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
}
