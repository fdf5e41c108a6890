//! Limits per day, by the provider's calendar and its wall clock, which is years from ours.

use std::time::Duration;

use jiff::Timestamp;
use tidegate::Ended;

use crate::provider::{Faults, Span};
use crate::world::World;

const DAY: usize = 2_000;

fn world(began: &str, rows: usize) -> World {
    let mut world = World::new(
        &["2000/day Europe/Berlin", "100/s"],
        &["calendar 2000/day zone Europe/Berlin", "rolling 100/s"],
        rows,
    );
    let began: Timestamp = began.parse().unwrap();
    world.provider.wall = Some(began.as_nanosecond() as i64);
    world.provider.service = "lognormal 300ms 0.5".parse().unwrap();
    world.job.retry.max_pause = Some("48h".to_owned());
    world.deadline = Duration::from_secs(3 * 86_400);
    world
}

#[test]
fn days_are_as_long_as_the_calendar_says() {
    // Half an hour before a day of 25 hours, and one of 23.
    for (began, hours) in [("2031-10-25T21:30:00Z", 25), ("2032-03-27T22:30:00Z", 23)] {
        let mut world = world(began, 2 * DAY + 500);
        world.provider.faults = Faults { unavailable: 0.01, refused: 0.05, ..Faults::default() };
        let outcome = world.assert_kept();
        let minute = |minutes: u64| Duration::from_secs(60 * minutes);
        let days = [minute(0), minute(30), minute(30 + 60 * hours), minute(60 * 72)];
        let calls = |from, to| {
            let Span(from, to) = Span(from, to);
            outcome.seen.accepted.0.iter().filter(|(at, _)| Span(from, to).has(*at)).count()
        };
        // What is sent within seconds of midnight counts for both days.
        assert!(calls(days[0], days[1]) >= DAY - 20, "{}", outcome.told());
        assert!(calls(days[1], days[2]) >= DAY - 20, "{}", outcome.told());
        assert!(calls(days[2], days[3]) >= 500, "{}", outcome.told());
        // Soon after midnight it goes on.
        let soon = Duration::from_secs(60);
        assert!(calls(days[1], days[1] + soon) >= DAY - 20, "{}", outcome.told());
        assert!(calls(days[2], days[2] + soon) >= 500, "{}", outcome.told());
    }
}

#[test]
fn midnight_in_the_midst_of_calls() {
    // By then half of the first day's calls have been made.
    for began in ["2031-10-25T21:59:50Z", "2031-10-25T21:59:51.3Z", "2031-10-25T21:59:58.999Z"] {
        let outcome = world(began, DAY + 500).assert_kept();
        assert_eq!(outcome.failures, 0);
    }
}

#[test]
fn a_day_that_is_used_up_parks_the_job() {
    let mut world = world("2031-10-25T12:00:00Z", DAY + 500);
    world.job.retry.max_pause = None;
    let outcome = world.run();
    let Ended::Stopped(why) = &outcome.report.ended else { panic!("{}", outcome.told()) };
    assert!(why.contains("2000/day Europe/Berlin is used up: it is back in"), "{why}");
    assert_eq!((outcome.results, outcome.seen.rejected), (DAY as u64, 0));
}
