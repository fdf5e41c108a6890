//! Quotas that several processes share: the contract must hold whatever happens to them, and the quota be
//! used while nothing does.

use std::fmt::Write;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use tidegate_core::{Contract, Pacing, Pool, Terms, Time, WallClock};

use crate::case::{Case, DRIFT_PPM, judge};
use crate::client::Cost;
use crate::fleet::{Fleet, Outcomes, Trouble};
use crate::network::{Count, Delay, MS, Network, SECOND};
use crate::windows;

/// Of the runs, so that they say the same each time; or from the environment.
const SEED: u64 = 20_261_125;
const SEED_VARIABLE: &str = "TIDEGATE_FLEET_SEED";

pub(crate) fn seed() -> u64 {
    std::env::var(SEED_VARIABLE).map_or(SEED, |seed| seed.parse().unwrap())
}

/// Cases that one process at a time would do, too.
pub(crate) fn cases() -> Vec<Case> {
    let groups = [
        windows::windows(),
        windows::stacked(),
        windows::counters(),
        windows::buckets(),
        windows::unknown(),
        windows::concurrency(),
        windows::costs(),
        windows::estimated(),
    ];
    let plain = |case: &Case| case.copies == 1 && !case.used_up && case.restarts.is_none();
    groups.into_iter().flatten().filter(plain).collect()
}

/// A run with everything that can happen; panics if a call is rejected. With `apart_ppm` each process has a clock of its
/// own, and so has a pool that sometimes loses its memory.
pub(crate) fn adverse(
    case: &Case,
    pacing: Pacing,
    calls: u64,
    apart_ppm: Option<i64>,
    rng: &mut Rng,
) -> Outcomes {
    let seed = rng.u64(..);
    let reserve = ["high=0%", "high=10%,normal=20%"][rng.usize(..2)].parse().unwrap();
    let terms = Terms { reserve, ..*case.contract(pacing).terms() };
    let contract = Contract::new(&case.limits, pacing, terms).unwrap();
    let network = case.network(Network::adverse(case.window, rng));
    let silence = Pool::silence(&contract, Time::ZERO).as_nanos() as u64;
    // Of a bucket that fills slowly, who dies before it has filled leaves an empty one.
    let every = [3, 10, 30][rng.usize(..3)] * SECOND.max(silence / 20);
    // All units rest for so long each time.
    let loses = |rng: &mut Rng| [0, 4][rng.usize(..2)] * (every + silence + network.timeout + 5 * SECOND);
    let trouble = Trouble {
        every,
        lost: [5, 20][rng.usize(..2)],
        delay: [5, 100, 1_500][rng.usize(..3)] * MS,
        loses: apart_ppm.map_or(0, |_| loses(rng)),
    };
    let drifts = apart_ppm.map_or(DRIFT_PPM, |ppm| [-ppm, 0, ppm]);
    let members = rng.usize(1..=6);
    let fleet = Fleet {
        contracts: &[contract],
        providers: &case.providers,
        network,
        members,
        cost: &|rng, _| (case.cost)(rng),
        drift_ppm: drifts[rng.usize(..3)],
        apart_ppm,
        trouble: Some(trouble),
        ranked: true,
        calls,
        seed,
        unix_ns: 0,
    };
    let out = fleet.run();
    assert_eq!(
        out.run.rejected, 0,
        "{case}: seed {seed}: the first by (provider, limit, time) {:?}, {pacing:?}, {members} members, {trouble:?}, {network:?}",
        out.run.first_rejection
    );
    out
}

#[test]
fn whatever_happens_the_contract_holds() {
    let mut rng = Rng::with_seed(seed());
    let (mut calls, mut buried, mut forfeits, mut exchanges) = (0, 0, 0, 0);
    for case in cases() {
        let mut met = 0;
        let runs = 12;
        for i in 0..runs {
            let pacing = [Pacing::Burst, Pacing::Even][i % 2];
            let out = adverse(&case, pacing, (case.calls / 200).clamp(150, 3_000), None, &mut rng);
            met += u64::from(out.run.met_the_limit);
            calls += out.run.sent.len() as u64;
            buried += out.buried;
            forfeits += out.forfeits;
            exchanges += out.exchanges;
        }
        assert!(met >= 6, "{case}: only {met} of {runs} runs met the limit");
    }
    println!("{calls} calls, {exchanges} exchanges, {buried} buried, {forfeits} of these came back");
    assert!(buried > 100 && forfeits > 50, "{buried} buried, {forfeits} came back");
}

/// A process that was buried while copies of its first report were under way still: one of them took its
/// place, and it went on with what was others'.
#[test]
fn a_late_copy_of_a_join_raises_nobody() {
    let case = cases().into_iter().find(|case| case.to_string() == "20/s unknown").unwrap();
    for drift_ppm in DRIFT_PPM {
        let network = Network {
            delay: Delay::Uniform(13_300_000, 26_600_000),
            count: Count::AtSend,
            timeout: 54_200_000,
            ..Network::real()
        };
        let fleet = Fleet {
            contracts: &[case.contract(Pacing::Burst)],
            providers: &case.providers,
            network,
            members: 5,
            cost: &|rng, _| (case.cost)(rng),
            drift_ppm,
            apart_ppm: None,
            trouble: Some(Trouble { every: 10 * SECOND, lost: 5, delay: 1_500 * MS, loses: 0 }),
            ranked: false,
            calls: 1_500,
            seed: 17_527_608_275_704_024_776,
            unix_ns: 0,
        };
        let out = fleet.run();
        assert!(out.run.met_the_limit && out.forfeits > 0);
        assert_eq!(out.run.rejected, 0, "{drift_ppm} ppm: {:?}", out.run.first_rejection);
    }
}

/// What several processes get while nothing happens to them.
fn together(case: &Case, members: usize, pacing: Pacing, calls: u64) -> (f64, Vec<f64>, Outcomes) {
    let contract = case.contract(pacing);
    let network = case.network(Network::real());
    let cost = |rng: &mut Rng, _: usize| (case.cost)(rng);
    let fleet = Fleet {
        contracts: &[contract],
        providers: &case.providers,
        network,
        members,
        cost: &cost,
        drift_ppm: 0,
        apart_ppm: None,
        trouble: None,
        ranked: false,
        calls,
        seed: seed(),
        unix_ns: 0,
    };
    let out = fleet.run();
    assert_eq!(out.run.rejected, 0, "{case}: {:?}", out.run.first_rejection);
    let late = &out.senders[out.senders.len() / 5..];
    let each = |place: usize| late.iter().filter(|&&sender| usize::from(sender) == place).count();
    let fair = late.len() as f64 / members as f64;
    let shares = (0..members).map(|place| each(place) as f64 / fair).collect();
    (case.share(&out.run, pacing), shares, out)
}

#[test]
fn the_quota_is_used_and_fairly() {
    println!("| limits | pacing | 1 | 2 | 4 | least fair |\n| --- | --- | --- | --- | --- | --- |");
    let all = cases();
    let named = |limits: &str| all.iter().find(|case| case.to_string() == limits).cloned();
    let mut calls_in_all = 0;
    for (limits, calls, floor) in [
        ("1000/s", 60_000, 0.98),
        ("100/6s", 10_000, 0.98),
        ("100000/min", 600_000, 0.98),
        ("10/min", 1_000, 0.9),
        ("1000/s bucket 1000", 60_000, 0.98),
        ("5000/s bucket 20000", 200_000, 0.98),
        ("1000/s counter", 60_000, 0.98),
        ("concurrency 20", 60_000, 0.98),
        ("20000 tokens/s", 60_000, 0.98),
    ] {
        let case = named(limits).unwrap_or_else(|| {
            panic!("no {limits} in {:?}", all.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        for pacing in [Pacing::Even, Pacing::Burst] {
            let mut line = format!("| {limits} | {pacing:?} |");
            let mut least = 1.0f64;
            let mut low = Vec::new();
            for members in [1, 2, 4] {
                let (share, fair, out) = together(&case, members, pacing, calls);
                calls_in_all += calls;
                let _ = write!(line, " {share:.4} |");
                least = fair.iter().fold(least, |least, fair| least.min(*fair));
                if share < floor || fair.iter().any(|fair| !(0.8..1.2).contains(fair)) {
                    low.push((members, share, fair));
                }
                assert!(out.run.met_the_limit || pacing == Pacing::Even, "{limits}: never met");
            }
            println!("{line} {least:.3} |");
            assert!(low.is_empty(), "{limits}: {low:?}");
        }
    }
    println!("{calls_in_all} calls");
}

/// Calls of 600 units beside calls of 5, of 1,000 in 2 s: more than a fair share of four.
#[test]
fn a_call_that_is_heavier_than_a_fair_share_gets_its_turn() {
    let mut rng = Rng::with_seed(seed());
    for limit in ["1000 tokens/2s", "1000 tokens/2s bucket 1000"] {
        let rate = limit
            .strip_suffix(" bucket 1000")
            .map_or_else(|| format!("rolling {limit}"), |rate| format!("bucket {rate} capacity 1000"));
        let case = Case::new(&[limit], 0).judged(&[&rate]);
        for trouble in [None, Some(Trouble { every: 20 * SECOND, lost: 10, delay: 50 * MS, loses: 0 })] {
            let contract = case.contract(Pacing::Burst);
            let cost = |rng: &mut Rng, place: usize| {
                let cost = if place == 0 { rng.u64(500..=600) } else { rng.u64(1..=9) };
                Cost { reserved: cost, actual: cost }
            };
            let fleet = Fleet {
                contracts: &[contract],
                providers: &case.providers,
                network: Network::real(),
                members: 4,
                cost: &cost,
                drift_ppm: 0,
                apart_ppm: None,
                trouble,
                ranked: false,
                calls: 10_000,
                seed: rng.u64(..),
                unix_ns: 0,
            };
            let out = fleet.run();
            let heavy: usize = out.senders.iter().map(|sender| usize::from(*sender == 0)).sum();
            let used = out.run.reserved as f64 / (*out.run.sent.last().unwrap() as f64 / 1e9) / 500.0;
            let able = out.first_was_able / SECOND;
            println!(
                "{limit}: {heavy} heavy calls in {able} s, {used:.3} of the limit, trouble: {}",
                trouble.is_some()
            );
            assert_eq!(out.run.rejected, 0, "{limit}: {:?}", out.run.first_rejection);
            // One in six seconds, as measured, if nothing happens. A death lets units rest for longer than
            // a turn: seventeen, in the worst of 77 runs.
            let (each, floor) = if trouble.is_some() { (30, 0.0) } else { (7, 0.65) };
            assert!(
                heavy as u64 * each >= able && (able > 30 || trouble.is_some()),
                "{limit}: {heavy} heavy in {able} s"
            );
            assert!(used > floor, "{limit}: {used:.3} of the limit");
        }
    }
}

/// Over midnight, by members who know the provider's clock more or less well.
#[test]
fn midnight_is_the_same_for_all() {
    let mut rng = Rng::with_seed(seed());
    let mut exhausted = 0;
    for run in 0..24 {
        let midnight = "2026-10-24T22:00:00Z".parse::<Timestamp>().unwrap().as_nanosecond();
        let midnight = i64::try_from(midnight).unwrap();
        let from = midnight - rng.i64(1..25 * 60) * SECOND.cast_signed();
        let case = Case::new(&["60/day Europe/Berlin", "30/10min"], 0);
        let contract = |(wrong_by, skew): (i64, u64)| {
            let wall = WallClock::new(from + wrong_by * SECOND.cast_signed(), Duration::from_secs(skew));
            Contract::new(&case.limits, Pacing::Burst, Terms { wall: Some(wall), ..case.terms }).unwrap()
        };
        let contracts = [(0, 1), (60, 60), (-60, 60), (1, 2)].map(contract);
        let fleet = Fleet {
            contracts: &contracts,
            providers: &[judge(&["calendar 60/day zone Europe/Berlin", "rolling 30/10min"]).starting_at(from)],
            network: Network::adverse(90 * SECOND, &mut rng),
            members: 1 + run % 4,
            cost: &|_, _| Cost { reserved: 1, actual: 1 },
            drift_ppm: [-199, 0, 199][run % 3],
            apart_ppm: None,
            trouble: (run % 2 == 0).then_some(Trouble {
                every: 3_000 * SECOND,
                lost: 10,
                delay: 100 * MS,
                loses: 0,
            }),
            ranked: true,
            // More than a day has, though one in seven that are granted may not be sent.
            calls: 100,
            seed: rng.u64(..),
            unix_ns: from,
        };
        let out = fleet.run();
        assert_eq!(out.run.rejected, 0, "run {run}: {:?}", out.run.first_rejection);
        exhausted += u64::from(out.run.sent.last().unwrap().cast_signed() > midnight - from);
    }
    assert_eq!(exhausted, 24);
}
