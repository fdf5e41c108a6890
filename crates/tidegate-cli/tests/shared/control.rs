//! Quotas that are looked at and changed while jobs run.

use std::fmt::Write as _;

use crate::world::{Worker, World, now, sleep};

/// What acts within a second has this long, on a machine that is busy.
const SOON: f64 = 3.0;
const QUOTA: &str = "crm";

/// A provider that allows more than any of these tests declares.
fn generous() -> World {
    World::new(&["--limit", "rolling 1000/s", "--service", "20ms"])
}

fn start<'w>(world: &'w World, flags: &[&str]) -> Worker<'w> {
    let mut worker = world.worker("rows", 20_000, &[flags, &["--quota", QUOTA, "-q"]].concat());
    worker.start();
    world.wait_for(20);
    worker
}

#[test]
fn other_limits_act_on_running_jobs_within_a_second() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "40/s"]);
    sleep(1.5);
    let ((faster, slower), arrivals) = world.watch(|| {
        sleep(1.0);
        world.quota(&["set", QUOTA, "--rate", "200/s"]);
        let faster = now();
        sleep(SOON);
        world.quota(&["set", QUOTA, "--rate", "20/s"]);
        let slower = now();
        sleep(SOON + 1.0);
        (faster, slower)
    });
    worker.assert_runs();
    let up = arrivals.first_with(faster, |rate| rate > 120.0) - faster;
    let down = arrivals.first_with(slower, |rate| rate < 40.0) - slower;
    println!("from 40 to 200/s within {up:.2} s, to 20/s within {down:.2} s");
    assert!(up < SOON && down < SOON);
    worker.signal("INT");
    worker.ends_with(130);
}

#[test]
fn a_pause_acts_on_running_jobs_within_a_second_and_so_does_its_end() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "100/s"]);
    let ((paused, resumed), arrivals) = world.watch(|| {
        sleep(1.0);
        world.quota(&["pause", QUOTA]);
        let paused = now();
        sleep(SOON + 1.0);
        world.quota(&["resume", QUOTA]);
        let resumed = now();
        sleep(SOON);
        (paused, resumed)
    });
    worker.assert_runs();
    let silent = arrivals.last_before(resumed) - paused;
    let again = arrivals.first_after(resumed) - resumed;
    println!("silent within {silent:.2} s of the pause, at work within {again:.2} s of its end");
    assert!(silent < SOON && again < SOON);
    assert!(arrivals.rate(resumed + again, resumed + SOON) < 120.0, "a blast after the pause");
    worker.signal("INT");
    worker.ends_with(130);
}

/// One that has an end needs nobody to end it.
#[test]
fn a_pause_for_some_time_ends_by_itself() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "100/s"]);
    let (paused, arrivals) = world.watch(|| {
        sleep(0.5);
        world.quota(&["pause", QUOTA, "--for", "3s"]);
        let paused = now();
        sleep(3.0 + SOON);
        paused
    });
    let (silent, again) =
        (arrivals.last_before(paused + 2.9) - paused, arrivals.first_after(paused + 2.9) - paused);
    println!("paused for 3 s: silent within {silent:.2} s, at work after {again:.2} s");
    assert!(silent < 2.9 && (2.9..3.0 + SOON).contains(&again));
    worker.signal("INT");
    worker.ends_with(130);
}

/// What it says must be what two processes of one quota and a person see.
#[test]
fn who_uses_a_quota_is_seen() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "100/s"]);
    let mut other = world.worker("others", 20_000, &["--rate", "100/s", "--quota", QUOTA, "-q"]);
    other.start();
    let start = now();
    let shares = loop {
        let shares = world.shares(QUOTA);
        if shares.len() == 2 && shares.iter().all(|(_, units)| (40..=60).contains(units)) {
            break shares;
        }
        assert!(now() - start < 10.0, "never shared: {shares:?}");
        sleep(0.1);
    };
    println!("shared as {shares:?} after {:.1} s", now() - start);
    let line = world.quota(&["list"]).stdout;
    assert_eq!(line, "crm\t100/s\t2 processes\n");
    let page = world.quota(&["show", QUOTA]).stdout;
    assert!(page.contains("(run rows.txt -o rows.jsonl) · "), "{page}");
    assert!(page.contains("from     by `run rows.txt -o rows.jsonl` (process "), "{page}");

    let refused = world.tidegate(["quota", "forget", QUOTA]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("in use by 2 processes"), "{refused}");

    for worker in [&mut worker, &mut other] {
        worker.signal("TERM");
        worker.ends_with(143);
    }
    assert_eq!(world.quota(&["list"]).stdout, "crm\t100/s\tnobody uses it\n");
    world.quota(&["forget", QUOTA]);
    assert_eq!(world.quota(&["list"]).stdout, "");
}

/// Whoever has a quota forgotten while jobs run has said so; they go on, each for itself.
#[test]
fn what_is_forgotten_by_force_is_begun_anew() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "100/s"]);
    world.quota(&["forget", QUOTA, "--force"]);
    let before = world.stat("accepted");
    let start = now();
    while world.stat("accepted") < before + 150 {
        worker.assert_runs();
        assert!(now() - start < 15.0, "it has stood still");
        sleep(0.05);
    }
    println!("150 more calls after {:.1} s", now() - start);
    assert_eq!(world.quota(&["list"]).stdout, "crm\t100/s\t1 process\n");
    worker.signal("INT");
    worker.ends_with(130);
}

/// Limits of which calls would cost something else cannot be followed: the job stops, and says so.
#[test]
fn limits_of_another_unit_end_running_jobs() {
    let world = generous();
    let mut worker = start(&world, &["--rate", "100/s"]);
    world.quota(&["set", QUOTA, "--rate", "100/s", "--rate", "1000 tokens/s"]);
    worker.ends_with(3);
    let words = worker.words();
    assert!(words.contains("quota `crm` was changed to") && words.contains("hint: "), "{words}");
}

/// Two processes, one quota for each of many shops.
#[test]
fn partitions_are_shared_as_well() {
    const SHOPS: usize = 12;
    const ROWS: usize = 480;
    let world = World::new(&["--limit", "rolling 10/2s", "--per", "x-shop", "--service", "20ms"]);
    let mut workers: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let mut rows = "id,shop\n".to_owned();
            for i in 0..ROWS {
                writeln!(rows, "{name}-{i},shop-{}", i * 7 % SHOPS).unwrap();
            }
            world.write(&format!("{name}.csv"), &rows);
            let job = format!(
                r#"
                [input]
                path = "{name}.csv"
                [request]
                url = "{}/v1/users/{{id}}"
                headers = {{ X-Shop = "{{{{ row.shop }}}}" }}
                [quota]
                name = "shops"
                limits = ["10/2s"]
                partition = "{{shop}}"
                [output]
                path = "{name}.jsonl"
                "#,
                world.provider.url
            );
            world.write(&format!("{name}.toml"), &job);
            world.job(name, &["-q"])
        })
        .collect();
    let start = now();
    for worker in &mut workers {
        worker.start();
    }
    world.wait_for(2 * SHOPS as u64 * 10);
    let page = world.quota(&["show", "shops"]).stdout;
    assert!(page.contains(&format!("{SHOPS} partitions, each with all of the limits")), "{page}");
    assert_eq!(page.matches("process  ").count(), 2, "{page}");
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let stats = world.check_contract();
    let rows = (2 * ROWS) as f64;
    assert_eq!(stats["accepted"], rows as u64, "{stats}");
    let took = now() - start;
    // The first ten of each shop need no wait.
    let least = (rows / SHOPS as f64 - 10.0) / 10.0 * 2.02;
    println!("{rows} rows of {SHOPS} shops by two processes: {took:.1} s, {least:.1} s at the least");
    assert!(took < 1.25 * least + 2.0, "{took} s");
    for worker in &workers {
        assert_eq!(worker.sends().len(), ROWS);
    }
}
