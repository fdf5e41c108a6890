//! Limits in plain words: what they compile to, which rate they allow, and what is given up.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tidegate::job::{Job, JobError, JobFile};
use tidegate::retry::{Human, parse_duration};
use tidegate_core::{Limit, Margins, Meter, Rule};

use crate::args::ExplainArgs;
use crate::exit::Exit;
use crate::printer::{Printer, count, rate};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Below this share it is not worth a word.
const WORTH_SAYING: f64 = 0.02;

pub(crate) fn command(printer: Printer, args: &ExplainArgs) -> anyhow::Result<Exit> {
    let latency = parse_duration(&args.latency).map_err(|message| JobError::Value {
        field: "--latency",
        message,
        hint: None,
    })?;
    let mut limits: Vec<Limit> = Vec::new();
    for text in &args.limits {
        if Path::new(text).extension().is_some_and(|ext| ext == "toml") {
            limits.extend(Job::from_file(JobFile::read(Path::new(text))?)?.limits);
        } else {
            limits.push(text.parse::<Limit>()?);
        }
    }
    if let Some(n) = args.concurrency {
        limits.push(format!("concurrency {n}").parse()?);
    }
    for line in explain(&limits, latency)? {
        printer.data(line)?;
    }
    if let (Some(rows), Some(rate)) = (args.rows, provable(&limits, latency)?) {
        printer.data(format!("{} rows take about {}", count(rows), time_for(rows, rate)))?;
    }
    Ok(Exit::Success)
}

/// A line of an explanation.
pub(crate) enum Line {
    /// What a limit compiles to.
    Limit(String),
    /// How to get back what it gives up.
    Hint(String),
    /// Which of several limits is the narrowest, and the rate that it allows.
    Binds { limit: String, rate: String },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(text) => f.write_str(text),
            Self::Hint(text) => write!(f, "  hint: {text}"),
            Self::Binds { limit, rate } => write!(f, "{limit} binds: {rate}"),
        }
    }
}

/// One paragraph for each limit, and which one binds.
pub(crate) fn explain(limits: &[Limit], response: Duration) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut rates = Vec::new();
    for limit in limits {
        let meter = limit.compile(Margins::default())?;
        let provable = limit.provable_rate(&meter, response);
        rates.push(provable);
        lines.push(Line::Limit(one_line(limit, &meter, provable, response)));
        if let Some(hint) = way_back(limit, provable, response) {
            lines.push(Line::Hint(hint));
        }
    }
    if let Some(binding) = (0..rates.len()).min_by(|a, b| rates[*a].total_cmp(&rates[*b]))
        && limits.len() > 1
    {
        lines.push(Line::Binds { limit: limits[binding].to_string(), rate: rate(rates[binding]) });
    }
    Ok(lines)
}

/// Limit → meter → provable rate, and what is given up.
fn one_line(limit: &Limit, meter: &Meter, provable: f64, response: Duration) -> String {
    let meter = match (limit.rule(), meter) {
        (Rule::Concurrency { linger }, _) => {
            format!("{} at a time, each until {} after its answer", count(limit.amount()), Human(linger))
        }
        (_, Meter::Hold(hold)) => {
            let unit = if hold.units() == 1 { "unit that comes" } else { "units that come" };
            format!("{} {unit} back {:.3}s after each answer", count(hold.units()), hold.hold().as_secs_f64())
        }
        (_, Meter::Pace(pace)) => {
            // A granule of the provider's clock is off the tolerance; soon after the first, the last may go, too.
            let burst = 1 + pace.tolerance().as_nanos().div_ceil(pace.interval().as_nanos().max(1));
            let every = pace.interval().as_secs_f64() * 1_000.0;
            format!(
                "one per {every:.3}ms, {burst} at once, {} in flight at most",
                count(pace.in_flight_cap())
            )
        }
    };
    let given_up = match limit.nominal_rate() {
        Some(nominal) if nominal > 0.0 => {
            let share = (1.0 - provable / nominal).max(0.0);
            format!(" of {} ({:.1}% given up)", rate(nominal), share * 100.0)
        }
        _ => String::new(),
    };
    let day = if has_longest_day(limit) { " (a day can have 25 hours)" } else { "" };
    format!("{limit} → {meter}{day} → {}{given_up} provable at {} answers", rate(provable), Human(response))
}

/// Whether the limit is one per day, week or month: these are an hour longer than they look.
fn has_longest_day(limit: &Limit) -> bool {
    let (Rule::Window { per } | Rule::Bucket { per, .. }) = limit.rule() else { return false };
    per.checked_sub(HOUR)
        .is_some_and(|days| !days.is_zero() && days.as_millis().is_multiple_of(DAY.as_millis()))
}

/// How to get back what is given up, where there is a way.
fn way_back(limit: &Limit, provable: f64, response: Duration) -> Option<String> {
    let nominal = limit.nominal_rate()?;
    if provable / nominal > 1.0 - WORTH_SAYING {
        return None;
    }
    match limit.rule() {
        Rule::Window { per } if per < Duration::from_secs(60) => {
            let per_minute = (nominal * 60.0).round() as u64;
            let minute: Limit = format!("{per_minute}/min").parse().ok()?;
            let meter = minute.compile(Margins::default()).ok()?;
            let rate = rate(minute.provable_rate(&meter, response));
            Some(format!(
                "do they mean {}/min? then it is {rate}: `--rate {per_minute}/min`",
                count(per_minute)
            ))
        }
        Rule::Bucket { .. } => Some(format!(
            "the bucket is too small for the full rate with {} answers; a larger capacity, if they allow it, or \
             faster answers get it back",
            Human(response)
        )),
        _ => None,
    }
}

/// The rate of the limit that binds; `None` without limits.
pub(crate) fn provable(limits: &[Limit], response: Duration) -> anyhow::Result<Option<f64>> {
    let mut least: Option<f64> = None;
    for limit in limits {
        let rate = limit.provable_rate(&limit.compile(Margins::default())?, response);
        least = Some(least.map_or(rate, |least| least.min(rate)));
    }
    Ok(least)
}

/// How long so many rows take at that rate.
pub(crate) fn time_for(rows: u64, rate: f64) -> Human {
    Human(Duration::try_from_secs_f64(rows as f64 / rate.max(1e-9)).unwrap_or(Duration::MAX))
}
