//! Days, weeks and months as people in a zone live them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::model::{Judge, Rejection, Verdict};

const HOUR: u64 = 3_600 * 1_000_000_000;

fn judge(limit: &str, from: &str) -> Judge {
    let from: Timestamp = from.parse().unwrap();
    let unix_ns = i64::try_from(from.as_nanosecond()).unwrap();
    Judge::new(&[limit.parse().unwrap()], false).starting_at(unix_ns)
}

fn retry_at(judge: &mut Judge, now: u64) -> u64 {
    let mut verdict = judge.arrive(now);
    while verdict == Verdict::Accept {
        verdict = judge.arrive(now);
    }
    let Verdict::Reject(Rejection { retry_at, .. }) = verdict else { unreachable!() };
    retry_at.expect("calendars know when")
}

#[test]
fn a_day_in_autumn_has_25_hours() {
    let mut judge = judge("calendar 3/day zone Europe/Berlin", "2026-10-25T00:00:00+02:00");
    assert_eq!(retry_at(&mut judge, 0), 25 * HOUR);
    assert_eq!(retry_at(&mut judge, 25 * HOUR - 1), 25 * HOUR);
    assert_eq!(retry_at(&mut judge, 25 * HOUR), 49 * HOUR);
}

#[test]
fn a_day_in_spring_has_23_hours() {
    let mut judge = judge("calendar 3/day zone America/New_York", "2026-03-08T12:00:00-04:00");
    assert_eq!(retry_at(&mut judge, 0), 12 * HOUR);
    let mut judge = self::judge("calendar 3/day zone America/New_York", "2026-03-08T00:00:00-05:00");
    assert_eq!(retry_at(&mut judge, 0), 23 * HOUR);
}

#[test]
fn a_day_without_midnight_begins_at_one() {
    // Clocks in Beirut leap from 24:00 to 01:00.
    let mut judge = judge("calendar 1/day zone Asia/Beirut", "2024-03-30T12:00:00+02:00");
    assert_eq!(retry_at(&mut judge, 0), 12 * HOUR);
    assert_eq!(retry_at(&mut judge, 12 * HOUR), 35 * HOUR);
}

#[test]
fn weeks_begin_on_monday() {
    // A Sunday evening in UTC, a Monday already in Auckland.
    let mut utc = judge("calendar 1/week zone UTC", "2026-06-07T20:00:00Z");
    assert_eq!(retry_at(&mut utc, 0), 4 * HOUR);
    let mut auckland = judge("calendar 1/week zone Pacific/Auckland", "2026-06-07T20:00:00Z");
    assert_eq!(retry_at(&mut auckland, 0), (7 * 24 - 8) * HOUR);
}

#[test]
fn months_are_as_long_as_they_are() {
    let mut judge = judge("calendar 1/month zone UTC", "2028-02-01T00:00:00Z");
    assert_eq!(retry_at(&mut judge, HOUR), 29 * 24 * HOUR);
    assert_eq!(retry_at(&mut judge, 29 * 24 * HOUR), (29 + 31) * 24 * HOUR);
}

proptest! {
    #[test]
    fn counts_by_the_date(
        start in 1_700_000_000_i64..1_900_000_000,
        gaps in prop::collection::vec(0_u64..90, 1..60),
        (zone, per) in (0_usize..4, 0_usize..3),
    ) {
        let zone = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Beirut"][zone];
        let per = ["day", "week", "month"][per];
        let limit = format!("calendar 2/{per} zone {zone}").parse().unwrap();
        let mut judge = Judge::new(&[limit], false).starting_at(start * 1_000_000_000);
        let tz = TimeZone::get(zone).unwrap();
        let (mut hours, mut counted) = (0, Vec::new());
        for gap in gaps {
            hours += gap;
            let date = Timestamp::from_second(start + 3_600 * hours.cast_signed()).unwrap().to_zoned(tz.clone()).date();
            let period = match per {
                "day" => (date.year(), date.day_of_year()),
                "week" => (date.iso_week_date().year(), i16::from(date.iso_week_date().week())),
                _ => (date.year(), i16::from(date.month())),
            };
            let admits = counted.iter().filter(|of| **of == period).count() < 2;
            prop_assert_eq!(judge.arrive(hours * HOUR) == Verdict::Accept, admits, "{}", date);
            if admits {
                counted.push(period);
            }
        }
    }
}
