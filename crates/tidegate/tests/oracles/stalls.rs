//! Providers that count nothing for 40 s, while the client gives up after 30.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::Pacing;

use crate::case::Case;
use crate::client::Run;
use crate::network::{Network, SECOND, Stall};

const UNCOUNTED: u64 = 40 * SECOND;

#[test]
fn a_provider_that_freezes_and_then_counts_all_at_once() {
    each(|case, pacing, rng| {
        let from = 20 * SECOND + rng.u64(..10 * SECOND);
        let stall = Stall::Freeze { from, until: from + UNCOUNTED };
        let run = play(case, pacing, stall, 2_000, rng);
        // It is back at work soon after the provider is.
        let sent_by = |time| run.sent.iter().filter(|sent| **sent < time).count();
        let (thawed, later) = (from + UNCOUNTED, from + UNCOUNTED + 45 * SECOND + case.window);
        assert!(sent_by(later) > sent_by(thawed) + 20, "{case}, {pacing:?}: from {from}: {rng:?}");
        run.timed_out
    });
}

#[test]
fn a_provider_that_counts_each_call_so_long_after_it_was_sent() {
    each(|case, pacing, rng| {
        let from = 20 * SECOND + rng.u64(..10 * SECOND);
        let later = play(case, pacing, Stall::Queue { from, wait: UNCOUNTED }, 1_000, rng);
        let at_once = play(case, pacing, Stall::Queue { from: 0, wait: UNCOUNTED }, 300, rng);
        later.timed_out + at_once.timed_out
    });
}

fn each(mut test: impl FnMut(&Case, Pacing, &mut Rng) -> u64) {
    let mut rng = Rng::with_seed(40);
    let everyone = |rate: &str| {
        Case::new(&[rate], 0)
            .judged(&[
                &format!("rolling {rate}"),
                &format!("rolling {rate} closed"),
                &format!("fixed {rate} aligned"),
            ])
            .at_phases("fixed", rate, 7)
    };
    let cases = [
        everyone("100/6s"),
        everyone("20/s"),
        everyone("300/min"),
        Case::new(&["100/6s counter"], 0).at_phases("counter", "100/6s", 7),
        Case::new(&["50/s bucket 10"], 0).judged(&["bucket 50/s capacity 10", "gcra 50/s capacity 10"]),
        Case::new(&["20/s bucket 40"], 0).judged(&["bucket 20/s capacity 40", "gcra 20/s capacity 40"]),
    ];
    for case in cases {
        let mut timed_out = 0;
        for pacing in [Pacing::Even, Pacing::Burst] {
            for _ in 0..10 {
                timed_out += test(&case, pacing, &mut rng);
            }
        }
        assert!(timed_out > 0, "{case}");
    }
}

fn play(case: &Case, pacing: Pacing, stall: Stall, calls: u64, rng: &mut Rng) -> Run {
    let network = Network { stall: Some(stall), ..Network::real() };
    case.play(network, pacing, 0, calls, rng.u64(..))
}

#[test]
fn a_longer_freeze_costs_no_ten_minutes() {
    let freeze = Stall::Freeze { from: 20 * SECOND, until: 140 * SECOND };
    let case = Case::new(&["100/6s"], 0).judged(&["rolling 100/6s"]);
    for pacing in [Pacing::Even, Pacing::Burst] {
        let run = play(&case, pacing, freeze, 3_000, &mut Rng::with_seed(1));
        let back = run.sent.windows(2).find(|pair| pair[1] > 140 * SECOND).expect("it goes on")[1];
        let back = Duration::from_nanos(back - 140 * SECOND);
        assert!(back < Duration::from_secs(100), "{pacing:?}: {back:?}");
    }
}
