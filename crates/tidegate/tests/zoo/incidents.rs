//! Rejections that the contract says cannot be, and pauses that the provider asks for.

use std::time::Duration;

use tidegate::Ended;

use crate::provider::{Foreigner, Span};
use crate::world::{World, seconds};

#[test]
fn somebody_else_on_the_key_is_noticed_and_what_they_leave_is_used() {
    for (declared, enforced, every_ms) in [
        ("100/s", "rolling 100/s", 40),
        ("100/s", "fixed 100/s phase 300ms", 40),
        ("50/s bucket 10", "bucket 50/s capacity 10", 60),
        ("100/s counter", "counter 100/s", 40),
    ] {
        for (reject_counts, pace) in [(false, "even"), (false, "burst"), (true, "even")] {
            let mut world = World::new(&[declared], &[enforced], 6_000).pace(pace).losing(0.03);
            world.provider.reject_counts = reject_counts;
            let every = Duration::from_millis(every_ms);
            world.provider.foreigner = Some(Foreigner { during: seconds(10, 40), every });
            let outcome = world.run();
            let (seen, summary) = (&outcome.seen, &outcome.report.summary);
            let told = outcome.told();
            assert!(matches!(outcome.report.ended, Ended::Finished), "{told}");
            assert_eq!((outcome.results, outcome.failures), (6_000, 0), "{told}");
            assert_eq!(seen.rejected, summary.throttled, "{told}");
            assert!(seen.rejected > 0 && seen.rejected < 300, "{told}");
            assert!(!summary.incidents.is_empty(), "{told}");
            // What is left is used in part at least, and afterwards all of it.
            assert!(seen.rate(seconds(12, 40)) > outcome.provable() * 0.4, "{told}");
            let last = outcome.seen.accepted.0.last().unwrap().0;
            outcome.assert_used(Span(Duration::from_secs(50), last.mul_f64(0.98)));
        }
    }
}

#[test]
fn after_a_long_pause_there_is_no_stampede() {
    for (declared, enforced) in [
        ("500/5s", "rolling 500/5s"),
        ("100/s counter", "counter 100/s"),
        ("50/s bucket 40", "bucket 50/s capacity 40"),
    ] {
        for pace in ["even", "burst"] {
            let mut world = World::new(&[declared], &[enforced], 4_000).pace(pace).losing(0.03);
            world.provider.closed = Some(seconds(10, 100));
            let outcome = world.assert_kept();
            let told = outcome.told();
            // What was under way when it closed, and nothing after it.
            assert!(outcome.seen.rate(seconds(11, 100)) < 0.1, "{told}");
            let provable = outcome.provable();
            // With bursts, those begin again when the calls before them are a hold old.
            for tenth in 1_000..1_007_u64 {
                let ms = |tenth| Duration::from_millis(100 * tenth);
                let rate = outcome.seen.rate(Span(ms(tenth), ms(tenth + 2)));
                assert!(rate <= provable * 1.5, "{declared} {pace}: {rate}/s at {tenth}; {told}");
            }
            outcome.assert_used(seconds(110, 120));
        }
    }
}
