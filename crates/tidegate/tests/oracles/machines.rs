//! Quotas that processes of many machines share, by way of a server: each with a clock of its own, a server that
//! forgets, a thousand of them.

use fastrand::Rng;
use tidegate_core::Pacing;

use crate::case::Case;
use crate::client::Cost;
use crate::fleet::{Fleet, Outcomes, Trouble};
use crate::network::{Delay, MS, Network, SECOND};
use crate::shared::{adverse, cases, seed};

/// What is assumed of clocks is that each is off from the provider's by less than 200 parts in a million: so these, and
/// the provider's, are off by half of that from ours.
const APART_PPM: i64 = 99;

#[test]
fn clocks_and_a_server_that_forgets_change_nothing() {
    let mut rng = Rng::with_seed(seed());
    let (mut calls, mut buried, mut forfeits, mut losses) = (0, 0, 0, 0);
    for case in cases() {
        let mut met = 0;
        let runs = 12;
        for i in 0..runs {
            let pacing = [Pacing::Burst, Pacing::Even][i % 2];
            let length = (case.calls / 200).clamp(150, 3_000);
            let out = adverse(&case, pacing, length, Some(APART_PPM), &mut rng);
            met += u64::from(out.run.met_the_limit);
            calls += out.run.sent.len() as u64;
            buried += out.buried;
            forfeits += out.forfeits;
            losses += out.losses;
        }
        assert!(met >= 6, "{case}: only {met} of {runs} runs met the limit");
    }
    println!("{calls} calls, {buried} buried, {forfeits} came back, memory lost {losses} times");
    assert!(buried > 100 && forfeits > 50 && losses > 100, "{buried}, {forfeits}, {losses}");
}

/// A thousand workers, and what they have of their fair share at least.
fn a_thousand(limit: &str, calls: u64, trouble: Option<Trouble>) -> (f64, f64, Outcomes) {
    let case =
        Case::new(&[limit], 0).judged(&[&format!("rolling {limit}"), &format!("fixed {limit} phase 333ms")]);
    let network =
        Network { timeout: 5 * SECOND, delay: Delay::Uniform(20 * MS, 100 * MS), ..Network::real() };
    let fleet = Fleet {
        contracts: &[case.contract(Pacing::Even)],
        providers: &case.providers,
        network,
        members: 1_000,
        cost: &|_, _| Cost { reserved: 1, actual: 1 },
        drift_ppm: APART_PPM,
        apart_ppm: Some(APART_PPM),
        trouble,
        ranked: false,
        calls,
        seed: seed(),
        unix_ns: 0,
    };
    let out = fleet.run();
    assert_eq!(out.run.rejected, 0, "{limit}: {:?}", out.run.first_rejection);
    let late = &out.senders[out.senders.len() / 5..];
    let mut each = vec![0_u64; 1_000];
    for sender in late {
        each[usize::from(*sender)] += 1;
    }
    let least = *each.iter().min().unwrap() as f64 / (late.len() as f64 / 1_000.0);
    (case.share(&out.run, Pacing::Even), least, out)
}

/// So many calls, and how much of the formula, and of a fair share, there is to be.
fn thousands(runs: &[(&str, u64, f64, f64)]) {
    for (limit, calls, floor, fair) in runs {
        let (share, least, out) = a_thousand(limit, *calls, None);
        let seconds = *out.run.sent.last().unwrap() / SECOND;
        println!(
            "{limit}, a thousand workers: {calls} calls in {seconds} s, {share:.4} of the formula; the least has {least:.3} of its share"
        );
        assert!(share >= *floor && least >= *fair, "{limit}: {share:.4}, {least:.3}");
    }
}

#[test]
fn a_thousand_workers_use_a_quota_up() {
    thousands(&[("1000/s", 20_000, 0.97, 0.0), ("100000/s", 1_000_000, 0.97, 0.5)]);
}

#[test]
#[ignore = "minutes; ./test --long"]
fn a_thousand_workers_use_a_quota_up_for_long() {
    thousands(&[
        ("100/min", 2_000, 0.97, 0.0),
        ("1000/s", 60_000, 0.97, 0.5),
        ("100000/s", 3_000_000, 0.97, 0.5),
    ]);
}

/// Each crashes, freezes, leaves or comes back about once in forty seconds, so twenty-five a second do.
fn harmed(runs: &[(&str, u64)]) {
    for (limit, calls) in runs {
        let trouble = Trouble { every: 40 * SECOND, lost: 20, delay: 1_500 * MS, loses: 30 * SECOND };
        let (share, _, out) = a_thousand(limit, *calls, Some(trouble));
        println!(
            "{limit}, a thousand workers in trouble: {calls} calls, {share:.3} of the formula, {} exchanges, {} buried, {} came back, memory lost {} times",
            out.exchanges, out.buried, out.forfeits, out.losses
        );
        assert!(out.run.met_the_limit && out.buried > 0 && out.losses > 0);
    }
}

#[test]
fn a_thousand_workers_in_trouble_keep_the_contract() {
    harmed(&[("1000/s", 20_000), ("100000/s", 2_000_000)]);
}

#[test]
#[ignore = "minutes; ./test --long"]
fn a_thousand_workers_in_trouble_keep_the_contract_for_long() {
    harmed(&[("100/min", 1_000), ("1000/s", 100_000), ("100000/s", 5_000_000)]);
}
