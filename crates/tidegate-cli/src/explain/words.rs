//! Limits and meters in words.

use std::time::Duration;

use tidegate::retry::Human;
use tidegate_core::{Limit, Meter, Period, Rule, Unit};

use crate::printer::{count, rate};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A rate in calls, or in what the limit counts where calls differ.
pub(super) fn rate_of(limit: &Limit, per_second: f64) -> String {
    match (limit.cost(), limit.unit()) {
        (None, unit) => rate(per_second).replacen('/', &format!(" {unit}/"), 1),
        (Some(_), _) => rate(per_second),
    }
}

/// The provable rate, of how much, and which share of that is given up.
pub(super) fn allowed(limit: &Limit, meter: &Meter, provable: f64) -> String {
    if let Meter::Epoch(epoch) = meter {
        let unit =
            if *limit.unit() == Unit::Requests { "calls".to_owned() } else { limit.unit().to_string() };
        return format!("{} {unit} a {}", count(epoch.units()), period(limit));
    }
    let rate = rate_of(limit, provable);
    let Some(nominal) = limit.nominal_rate().filter(|nominal| *nominal > 0.0) else { return rate };
    let share = (1.0 - provable / nominal).max(0.0) * 100.0;
    format!("{rate} of {} ({share:.1}% given up)", rate_of(limit, nominal))
}

/// What the meter does.
pub(super) fn kept_by(limit: &Limit, meter: &Meter) -> String {
    let units = |n: u64| match (limit.unit(), n) {
        (Unit::Requests, 1) => "1 permit that comes".to_owned(),
        (Unit::Requests, _) => format!("{} permits that come", count(n)),
        (unit, _) => format!("{} {unit} that come", count(n)),
    };
    let times = match limit.amplification() {
        1 => String::new(),
        times => format!(" (each may arrive {times} times)"),
    };
    let meter = match (limit.rule(), meter) {
        (Rule::Concurrency { linger }, _) => {
            format!("{} at a time, each until {} after its answer", count(limit.amount()), Human(*linger))
        }
        (_, Meter::Hold(hold)) => {
            let day = if is_of_days(limit) { " (a day can have 25 hours)" } else { "" };
            let (units, length) = (units(hold.units()), span(hold.hold()));
            match hold.assumed() {
                Some(within) => {
                    format!("{units} back {length} after each count, {} after the send{day}", Human(within))
                }
                None => format!("{units} back {length} after each answer{day}"),
            }
        }
        (_, Meter::Pace(pace)) => {
            let unit = match limit.unit() {
                Unit::Requests => String::new(),
                unit => format!(" {unit}"),
            };
            let saved_up = if pace.counts_soon() { "saved up" } else { "in flight or saved up" };
            format!(
                "one{unit} per {}, {}{unit} {saved_up} at most",
                span(pace.interval()),
                count(pace.capacity())
            )
        }
        (Rule::Calendar(calendar), Meter::Epoch(_)) => {
            let zone = calendar.zone.iana_name().unwrap_or("UTC");
            format!("a count for each {} in {zone}; calls near midnight count for both", period(limit))
        }
        (_, Meter::Epoch(_)) => "a count for each period".to_owned(),
    };
    meter + &times
}

/// What a limit is kept for of which nobody knows how it is enforced.
pub(super) fn holds_for(limit: &Limit, meter: &Meter) -> Option<String> {
    let Rule::Unknown { per } = limit.rule() else { return None };
    let room = match meter {
        Meter::Pace(pace) => pace.capacity(),
        meter => meter.greatest_cost(),
    };
    Some(format!(
        "any window of {}, any sliding counter, a bucket with room for {} or more",
        Human(*per),
        count(room)
    ))
}

/// Whether the limit is one per day, week or month in any zone: these are an hour longer than they
/// look.
pub(super) fn is_of_days(limit: &Limit) -> bool {
    let (Rule::Window { per } | Rule::Counter { per } | Rule::Unknown { per }) = limit.rule() else {
        return false;
    };
    per.checked_sub(HOUR)
        .is_some_and(|days| !days.is_zero() && days.as_millis().is_multiple_of(DAY.as_millis()))
}

fn period(limit: &Limit) -> &'static str {
    let Rule::Calendar(calendar) = limit.rule() else { return "period" };
    match calendar.period {
        Period::Day => "day",
        Period::Week => "week",
        Period::Month => "month",
    }
}

/// A length with what its margins add.
fn span(length: Duration) -> String {
    match length.as_secs_f64() {
        s if s < 0.001 => format!("{:.1}µs", s * 1e6),
        s if s < 1.0 => format!("{:.3}ms", s * 1e3),
        s if s < 100.0 => format!("{s:.3}s"),
        _ => Human(length).to_string(),
    }
}
