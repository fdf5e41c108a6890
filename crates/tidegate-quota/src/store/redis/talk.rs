//! What is said in an exchange, as text: see `lua/exchange.lua`.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate_core::{
    Allotment, Contract, Meter, Pacing, Part, Priority, Report, Reserve, Returns, Rule, Time,
};

use super::frame::{self, Frame, NEVER, micros};
use super::image::Words;
use crate::store::{Definition, StoreError};

/// Calendars are known so far ahead; a day is the shortest period.
const AHEAD: Duration = Duration::from_secs(86_400);

/// A definition in the words of the script.
#[derive(Debug)]
pub(super) struct Spelled {
    pub(super) version: u64,
    pub(super) limits: String,
}

impl Spelled {
    /// The limits of a definition, at the time that the server's clock shows.
    pub(super) fn new(
        quota: &str,
        definition: &Definition,
        version: u64,
        now: u64,
    ) -> Result<Self, StoreError> {
        Self::within(Frame::around(now), quota, definition, version, now)
    }

    pub(super) fn within(
        frame: Frame,
        quota: &str,
        definition: &Definition,
        version: u64,
        now: u64,
    ) -> Result<Self, StoreError> {
        let contract = contract(quota, definition, frame)?;
        let mut limits = String::new();
        for (limit, meter) in contract.limits() {
            // The text of a limit has 10^12 at most, and Lua counts to 2^53.
            spell(&mut limits, limit.rule(), meter, contract.terms().reserve, frame, frame.time(now));
        }
        Ok(Self { version, limits })
    }
}

/// What a definition compiles to by the server's clock.
pub(super) fn contract(quota: &str, definition: &Definition, frame: Frame) -> Result<Contract, StoreError> {
    /// How far the server's clock may be from the provider's.
    const CLOCK_SKEW: Duration = Duration::from_secs(60);
    let wall = tidegate_core::WallClock::new(frame.unix(), CLOCK_SKEW);
    let contract = definition.contract(Pacing::Burst, Some(wall));
    contract.map_err(|source| StoreError::Limit { quota: quota.to_owned(), source })
}

fn spell(text: &mut String, rule: &Rule, meter: &Meter, reserve: Reserve, frame: Frame, now: Time) {
    let units = meter.greatest_cost();
    let kept = |priority| reserve.kept_from(priority, units);
    let (whole, normal, low) = (units, kept(Priority::Normal), kept(Priority::Low));
    let _ = match meter.returns(now - Duration::from_secs(3_000), now + AHEAD) {
        Returns::After(hold) => {
            let concurrency = u8::from(matches!(rule, Rule::Concurrency { .. }));
            write!(text, "H {whole} {normal} {low} {} {concurrency};", micros(hold))
        }
        Returns::Bucket { silence, lag } => {
            write!(text, "P {whole} {normal} {low} {} {};", micros(silence), micros(lag))
        }
        Returns::Steps(steps) => {
            let mut words = Words::new(frame);
            for units in [whole, normal, low] {
                words.number(units);
            }
            words.number(steps.len() as u64);
            for (counted_by, end) in steps {
                // The one rounded down, the other up.
                words.number(frame.micros(counted_by).saturating_sub(1));
                words.number(frame.micros(end));
            }
            write!(text, "E {};", words.text)
        }
    }; // a String takes everything
}

/// A report that is written at `written`.
pub(super) fn report(report: &Report, written: Time) -> String {
    let mut words = Words::new(Frame::around(0));
    words.number(report.seq);
    words.number(report.priority.rank() as u64);
    words.number(report.granted);
    // Sums of it have to be exact, too.
    words.number(micros(report.timeout).min(NEVER / 16));
    words.number(frame::left(report.paused_until, written));
    words.number(report.ceded.len() as u64);
    for part in &report.ceded {
        words.number(part.units);
        words.number(part.dated.len() as u64);
        for (at, units) in &part.dated {
            words.number(frame::left(*at, written));
            words.number(*units);
        }
    }
    words.number(report.demand.len() as u64);
    for demand in &report.demand {
        words.number(demand.units);
        words.number(demand.need);
    }
    words.text
}

/// An allotment, from an answer that came at `heard` to a request of `written`; `None` if it is not understood.
pub(super) fn allotment(text: &str, written: Time, heard: Time) -> Option<Allotment> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse::<u64>().ok());
    let mut number = || words.next()?;
    let until = frame::lease_end(number()?, written);
    let paused_until = frame::date(number()?, heard);
    let resumes = number()?;
    let (mut parts, mut targets) = (Vec::new(), Vec::new());
    for _ in 0..number()? {
        targets.push(number()?);
        let mut part = Part { units: number()?, dated: Vec::new() };
        for _ in 0..number()? {
            let left = number()?;
            part.dated.push((frame::date(left, heard), number()?));
        }
        parts.push(part);
    }
    Some(Allotment { until, parts, targets, paused_until, resumes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: Time = Time::from_millis(70_000);
    const HEARD: Time = Time::from_millis(70_900);

    /// The script ran at some time in between.
    #[test]
    fn leases_count_from_the_question_and_dates_from_the_answer() {
        let allotment = allotment("3000000 10000000 4 1 9 5 1 2000000 3", WRITTEN, HEARD).unwrap();
        assert!(allotment.until < WRITTEN + Duration::from_secs(3));
        assert!(allotment.until > WRITTEN + Duration::from_millis(2_990));
        let date = allotment.parts[0].dated[0].0;
        assert!(
            date > HEARD + Duration::from_secs(2) && date < HEARD + Duration::from_millis(2_010),
            "{date}"
        );
        assert!(allotment.paused_until > HEARD + Duration::from_secs(10));
        assert_eq!((allotment.resumes, allotment.targets[0], allotment.parts[0].units), (4, 9, 5));
    }

    #[test]
    fn a_report_says_what_is_left() {
        let date = WRITTEN + Duration::from_secs(2);
        let report = Report {
            seq: 3,
            ceded: vec![Part { units: 7, dated: vec![(WRITTEN - Duration::from_secs(1), 1), (date, 2)] }],
            timeout: Duration::from_secs(1),
            paused_until: WRITTEN + Duration::from_secs(4),
            ..Report::default()
        };
        assert_eq!(super::report(&report, WRITTEN), "3 1 0 1000000 4002001 1 7 2 0 1 2001001 2 0");
    }
}
