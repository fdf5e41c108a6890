//! Days of the provider's calendar, which are not those of this machine: its clock is months away.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::job::Job;
use crate::provider::Provider;

/// The long day ends and the short one does; in both, what a day allows is sent before midnight
/// and after it. The same where calls go on all through midnight.
#[test]
fn days_end_with_the_providers_midnight() {
    // A year that lies behind each machine's clock, and one that lies ahead.
    let (short, long) = ("2025-03-30T23:59:45+02:00", "2037-10-25T23:59:45+01:00");
    thread::scope(|scope| {
        for clock in [short, long] {
            scope.spawn(|| two_days(clock, "300/day Europe/Berlin", "100/s", 450));
            scope.spawn(|| two_days(clock, "350/day Europe/Berlin", "20/s", 450));
        }
    });
}

fn two_days(clock: &str, declared: &str, rate: &str, rows: u64) {
    let provider = provider(clock, declared);
    let job = Job::new(rows);
    job.run(&provider, &["--rate", declared, "--rate", rate], &[0]);
    let stats = provider.stats();
    job.check_rows(rows);
    assert_eq!(stats["rejected"], 0, "{clock}, {rate}: {stats}");
    assert_eq!(stats["accepted"], rows, "{clock}, {rate}");
}

/// A job does not sit through the rest of a day: it says so, and carries on when it is told to.
#[test]
fn a_day_that_is_used_up_parks_the_job() {
    let provider = provider("2037-10-25T12:00:00+01:00", "50/day Europe/Berlin");
    let said = parks(&provider, &Job::new(80), "50/day Europe/Berlin");
    assert!(said.contains("50/day Europe/Berlin is used up: it is back in 12h"), "{said}");
    assert!(said.contains("more than max_pause = 1h"), "{said}");
}

/// What is used up stays so: the next run sends what the day still allows, and that is next to nothing.
#[test]
fn a_parked_job_does_not_begin_the_day_anew() {
    #[expect(clippy::disallowed_methods, reason = "a midnight that is far away, whenever this runs")]
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let zone = if seconds % 86_400 < 43_200 { "UTC" } else { "Etc/GMT+12" };
    let limit = format!("calendar 50/day zone {zone}");
    let provider = Provider::start(&["--limit", &limit, "--service", "lognormal 60ms 0.5"]);
    let job = Job::new(80);
    for _ in 0..2 {
        parks(&provider, &job, &format!("50/day {zone}"));
    }
    assert_eq!(provider.stats()["accepted"], 50);
}

/// The job stops because of the day, and not for a rejection; what it said.
fn parks(provider: &Provider, job: &Job, declared: &str) -> String {
    let said = job.run(provider, &["--rate", declared, "--rate", "50/s"], &[3]);
    let stats = provider.stats();
    assert_eq!(stats["rejected"], 0, "{said}{stats}");
    // The last may have had its permit and not left when the job was stopped.
    assert!((49..=50).contains(&stats["accepted"].as_u64().unwrap()), "{stats}");
    assert_eq!(job.summary()["ok"], stats["accepted"]);
    assert!(said.contains("is used up: it is back in"), "{said}");
    said
}

fn provider(clock: &str, declared: &str) -> Provider {
    let (amount, zone) = declared.split_once(' ').unwrap();
    let limit = format!("calendar {amount} zone {zone}");
    Provider::start(&["--limit", &limit, "--clock", clock, "--service", "lognormal 60ms 0.5"])
}
