//! Processes that follow one another: what one has used still counts, and no more than that.

use crate::world::{World, now};

/// What is due may come so much later on a busy machine.
const LATE: f64 = 1.5;

/// Half of the window is used by one process, the other half is there for the next at once; and the
/// first half when it comes back, not later.
#[test]
fn what_a_process_has_left_is_there_for_the_next() {
    let world = World::new(&["--limit", "rolling 100/4s", "--service", "20ms"]);
    let burst = ["--rate", "100/4s", "--pace", "burst", "-q"];
    let (times, arrivals) = world.watch(|| {
        let mut first = world.worker("first", 50, &burst);
        let began = now();
        first.start().ends_with(0);
        let ended = now();
        let mut second = world.worker("second", 100, &burst);
        second.start().ends_with(0);
        (began, ended, now())
    });
    let stats = world.check_contract();
    let (began, ended, over) = times;
    let at_once = arrivals.first_with(ended, |rate| rate * 0.5 > 10.0) - ended;
    let all = over - ended;
    println!(
        "the first took {:.2} s, the second began after {at_once:.2} s and took {all:.2} s; worst window {}",
        ended - began,
        stats["worst_window"]["accepted"]
    );
    assert_eq!(stats["worst_window"]["accepted"], 100, "the window was not used up: {stats}");
    assert!(at_once < LATE, "{at_once}");
    // The last of its calls waits for the last of the others' to be forgotten.
    assert!(all < 4.0 + LATE, "{all}");
}

/// A process that has used up all: the next waits for that, says so, and waits no longer.
#[test]
fn what_a_process_has_used_is_waited_for() {
    let world = World::new(&["--limit", "rolling 50/4s", "--service", "20ms"]);
    let burst = ["--rate", "50/4s", "--pace", "burst"];
    let mut first = world.worker("first", 50, &burst);
    first.start().ends_with(0);
    let ended = now();
    let mut second = world.worker("second", 50, &burst);
    second.start().ends_with(0);
    let took = now() - ended;
    println!("the second ended after {took:.2} s\n{}", second.words());
    world.check_contract();
    // No silence without a word.
    let words = second.words();
    assert!(words.contains("before still counts, so nothing is sent for "), "{words}");
    assert!((3.0..4.0 + LATE).contains(&took), "{took}");
}

/// Interrupted in the middle of a window and started again at once, it goes on in the same window: to
/// its last call, and not beyond.
#[test]
fn a_burst_goes_on_in_the_window_of_the_run_before() {
    let world = World::new(&["--limit", "rolling 100/3s", "--service", "20ms"]);
    let mut worker = world.worker("rows", 400, &["--rate", "100/3s", "--pace", "burst", "-q"]);
    let start = now();
    for served in [40, 150, 260] {
        worker.start();
        world.wait_for(served);
        worker.signal("INT");
        worker.ends_with(130);
    }
    worker.start().ends_with(0);
    let (took, stats) = (now() - start, world.check_contract());
    // Three windows have to pass; each start may find that units have just gone by.
    println!("400 calls in four runs: {took:.2} s; worst window {}", stats["worst_window"]["accepted"]);
    assert_eq!(stats["worst_window"]["accepted"], 100, "the window was not used up: {stats}");
    assert_eq!(stats["accepted"], 400, "{stats}");
    assert!(took < 9.2 + 3.0 * LATE, "{took}");
    assert_eq!(worker.sends().len(), 400);
}

/// Killed, and started again at once: nothing is known of its last calls but that they were over when
/// its death was seen.
#[test]
fn a_kill_is_waited_for_by_the_same_job() {
    let world = World::new(&["--limit", "rolling 100/3s", "--service", "20ms"]);
    let mut worker = world.worker("rows", 300, &["--rate", "100/3s", "--pace", "burst", "-q"]);
    let start = now();
    for served in [70, 150] {
        worker.start();
        world.wait_for(served);
        worker.kill();
    }
    worker.start().ends_with(0);
    let stats = world.check_contract();
    println!("300 calls, killed twice: {:.2} s; {}", now() - start, stats["worst_window"]);
    let again = stats["accepted"].as_u64().unwrap() - 300;
    assert!(again <= 200 && worker.sends().len() == 300, "{again} calls were made twice");
    assert!(worker.summary()["resumed_after_kill"].as_bool().unwrap());
}

/// An idle quota costs a new process nothing: many short ones, one after the other, as a cron job or a
/// shell script would start them.
#[test]
fn short_runs_one_after_the_other_lose_little() {
    const RUNS: usize = 12;
    let world = World::new(&["--limit", "rolling 1000/s"]);
    let start = now();
    for i in 0..RUNS {
        world.worker(&format!("run-{i}"), 20, &["--rate", "1000/s", "-q"]).start().ends_with(0);
    }
    let each = (now() - start) / RUNS as f64;
    println!("a run of 20 calls takes {each:.3} s");
    world.check_contract();
    assert!(each < 1.0, "{each}");
}
