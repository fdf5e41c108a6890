//! Processes that want all they can get.

use crate::jittery::{JITTERY, formula};
use crate::world::{Worker, World};

/// Of what the formula gives.
const FLOOR: f64 = 0.97;
/// From half of it.
const UNFAIR: f64 = 0.2;

#[test]
fn two_processes_use_a_quota_up_and_share_it() {
    two("100/2s", 500);
}

#[test]
#[ignore = "a minute of waiting; ./test --long"]
fn two_processes_use_a_quota_up_and_share_it_for_long() {
    two("100/6s", 600);
}

#[test]
fn two_processes_share_a_thousand_a_second() {
    two("1000/s", 6_000);
}

/// Each has so many rows, and one quota is for both.
fn two(limit: &str, rows: usize) {
    let enforced = format!("rolling {limit}");
    let world = World::new(&[&["--limit", &enforced], &JITTERY[..]].concat());
    let mut workers = ["one", "two"].map(|name| world.worker(name, rows, &["--rate", limit, "-q"]));
    for worker in &mut workers {
        worker.start();
    }
    for worker in &mut workers {
        worker.ends_with(0);
    }

    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 2 * rows as u64, "{stats}");
    assert_eq!(stats["served_twice"], 0, "{stats}");
    let sends = workers.each_ref().map(Worker::sends);
    let mut all = sends.concat();
    all.sort_by(f64::total_cmp);
    let (from, to) = (all[all.len() / 10], all[all.len() * 9 / 10]);
    let between = |sends: &[f64]| sends.iter().filter(|at| (from..to).contains(*at)).count() as f64;
    let (both, each) = (between(&all), sends.each_ref().map(|sends| between(sends)));
    let (rate, formula) = (both / (to - from), formula(limit));
    let shares = each.map(|sent| sent / both);
    println!(
        "{limit}, two processes: {rate:.2}/s for {:.1} s is {:.4} of the formula's {formula:.2}/s; shares {:.3} and {:.3}; worst window {}",
        to - from,
        rate / formula,
        shares[0],
        shares[1],
        stats["worst_window"]["accepted"]
    );
    assert!(rate >= FLOOR * formula, "{limit}: {rate:.2}/s of {formula:.2}/s");
    for share in shares {
        assert!((share / 0.5 - 1.0).abs() <= UNFAIR, "{limit}: {shares:?}");
    }
}
