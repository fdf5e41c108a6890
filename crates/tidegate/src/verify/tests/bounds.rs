//! Where numbers are bounds: they err on the side of more, and say so.

use fastrand::Rng;

use super::script::S;
use crate::verify::any::AnyWindow;
use crate::verify::counter::Counter;
use crate::verify::rule::{Counted, Edge, Sight};
use crate::verify::stepped::SteppedBucket;

fn calls(seed: u64, count: i64, every: i64) -> Vec<Counted> {
    let mut rng = Rng::with_seed(seed);
    let call = |i: i64| {
        let over = i * every + rng.i64(1..50_000);
        let edge = Edge { row: i as u64, ..Edge::default() };
        Counted { sent: i * every, over, wall: (0, 0), units: 1, edge }
    };
    (0..count).map(call).collect()
}

#[test]
fn more_answers_than_are_remembered_one_by_one() {
    let per = S.cast_signed();
    let (mut exact, mut rounded) = (AnyWindow::new(per), AnyWindow::new(per).remembering(500));
    for call in calls(1, 50_000, 100) {
        let [exact, rounded] = [&mut exact, &mut rounded].map(|rule| rule.call(&call, true).unwrap());
        // In steps of a 500th of the window: about twenty calls.
        assert!((exact.value..=exact.value + 50).contains(&rounded.value), "{exact:?} {rounded:?}");
        assert!(!exact.at_most && (rounded.at_most || call.edge.row < 1_500));
    }
}

#[test]
fn a_counter_without_patience_says_above_sooner() {
    // A thousand a second, of which fifty are under way.
    let reads = |amount: u64, patient: bool| -> Vec<Sight> {
        let counter = Counter::new(amount, S.cast_signed());
        let mut counter = if patient { counter } else { counter.impatient() };
        calls(2, 10_000, 1_000).iter().map(|call| counter.call(call, true).unwrap()).collect()
    };
    let most = |sights: &[Sight]| sights.iter().map(|sight| sight.value / i128::from(S)).max().unwrap();
    // With room, nobody has to look closely.
    for patient in [true, false] {
        let sights = reads(1_200, patient);
        assert!((1_020..1_200).contains(&most(&sights)) && sights.iter().all(|sight| sight.at_most));
    }
    let exact = reads(900, true);
    assert!(exact.iter().any(|sight| !sight.at_most) && (1_020..1_060).contains(&most(&exact)));
    let bound = reads(900, false);
    assert!(bound.iter().all(|sight| sight.at_most) && most(&bound) >= most(&exact));
}

#[test]
fn a_bucket_of_steps_without_patience_says_above_sooner() {
    // A thousand a second, in steps of 300 ms; two fifths of the bucket are what a step brings.
    let holds = |patient: bool| -> Vec<Sight> {
        let bucket = SteppedBucket::new(1_000, S.cast_signed(), 350, 300_000);
        let mut bucket = if patient { bucket } else { bucket.impatient() };
        calls(3, 10_000, 1_010).iter().map(|call| bucket.call(call, true).unwrap()).collect()
    };
    let most = |sights: &[Sight]| sights.iter().map(|sight| sight.value).max().unwrap() / i128::from(S);
    let (exact, bound) = (holds(true), holds(false));
    for (exact, bound) in exact.iter().zip(&bound) {
        assert!(exact.value <= bound.value && (bound.at_most || exact == bound), "{exact:?} {bound:?}");
    }
    assert!((300..=350).contains(&most(&exact)), "{}", most(&exact));
    assert!(exact.iter().any(|sight| !sight.at_most) && bound.iter().any(|sight| sight.at_most));
}
