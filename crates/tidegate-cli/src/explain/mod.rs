//! Limits in plain words: what they compile to, which rate they allow, what is given up, and what
//! all of it rests on.

mod assumptions;
mod ways;
mod words;

use std::path::Path;
use std::time::Duration;

use tidegate::job::{Job, JobError, JobFile};
use tidegate::llm::Provider;
use tidegate::retry::Human;
use tidegate_core::{Contract, Limit, Meter, Mode, Terms, WallClock};

use self::assumptions::assumptions;
use self::ways::ways_back;
use self::words::{allowed, kept_by};
use crate::args::ExplainArgs;
use crate::exit::Exit;
use crate::printer::{Printer, count, rate};
use crate::run::{assume, set};

/// Where limits are learnt.
pub(crate) const LEARNT: &str = "auto: learnt from the provider's headers, with one call a second until they tell; \
     nothing is declared, so nothing is proved, and no other process shares what is learnt";

pub(crate) fn command(printer: Printer, args: &ExplainArgs) -> anyhow::Result<Exit> {
    let job = Job::from_file(job_file(args)?)?;
    // Any wall clock will do: nothing is sent.
    let wall = Some(WallClock::new(0, Duration::ZERO));
    let terms = Terms { mode: job.mode, latency: job.latency, wall, ..Terms::default() };
    let contract = Contract::new(&job.limits, job.pacing, terms).map_err(JobError::from)?;
    if let Some(provider) = job.provider {
        printer.data(format_args!("For {}", provider_in_words(provider)))?;
    }
    if job.learns {
        printer.data(LEARNT)?;
        if job.limits.is_empty() {
            return Ok(Exit::Success);
        }
    }
    for line in explain(&contract, job.http.call_timeout, args.rows) {
        printer.data(line)?;
    }
    Ok(Exit::Success)
}

/// The quota that the arguments describe, in a job that lacks nothing else.
fn job_file(args: &ExplainArgs) -> Result<JobFile, JobError> {
    let (files, limits): (Vec<&String>, Vec<&String>) =
        args.limits.iter().partition(|text| Path::new(text).extension().is_some_and(|ext| ext == "toml"));
    let mut file = match files[..] {
        [] => JobFile::default(),
        [path] => JobFile::read(Path::new(path))?,
        [_, second, ..] => {
            return Err(JobError::Value {
                field: "explain",
                message: format!("one job at a time: expected limits beside it, not {second}"),
                hint: None,
            });
        }
    };
    file.quota.limits.extend(limits.into_iter().cloned());
    set(&mut file.quota.concurrency, args.concurrency);
    set(&mut file.quota.latency, args.latency.clone());
    set(&mut file.request.timeout, args.timeout.clone());
    assume(&mut file.quota, args.counted_within.clone());
    // Rows and requests are not looked at, but a job has to have them.
    file.input.path.get_or_insert_with(|| "-".into());
    file.request.url.get_or_insert_with(|| "http://localhost/".to_owned());
    Ok(file)
}

/// A preset, and where it comes from.
pub(crate) fn provider_in_words(provider: &Provider) -> String {
    let Provider { name, base, key: (header, _), key_env, enforces, source, noted, .. } = provider;
    format!("{name}: {base}, {header} from {key_env} · {enforces} ({source}, {noted})")
}

/// What people are told before a run.
pub(crate) enum Line {
    /// What a limit compiles to.
    Limit(String),
    /// How to get back what it gives up.
    Hint(String),
    /// Which of several limits is the narrowest, and the rate that it allows.
    Binds(String),
    /// What is assumed beyond the proof.
    Note(String),
}

/// The short form: a line for each limit, the best hint for each, and which one binds.
pub(crate) fn summary(contract: &Contract) -> Vec<Line> {
    let latency = contract.terms().latency;
    let mut lines = Vec::new();
    for (limit, meter) in contract.limits() {
        let provable = limit.provable_rate(meter, latency);
        let (kept_by, allowed) = (kept_by(limit, meter), allowed(limit, meter, provable));
        lines.push(Line::Limit(match meter {
            Meter::Epoch(_) => format!("{limit} → {kept_by} → {allowed}"),
            _ => format!("{limit} → {kept_by} → {allowed} provable at {} answers", Human(latency)),
        }));
        let way = ways_back(limit, meter, contract).into_iter().next();
        lines.extend(way.map(|way| Line::Hint(way.for_a_run())));
    }
    lines.extend(binds(contract).map(Line::Binds));
    if let Mode::Estimated { counted_within } = contract.terms().mode {
        let within = Human(counted_within);
        lines.push(Line::Note(format!(
            "estimated: this holds only if each call is counted within {within} of its send"
        )));
    }
    lines
}

/// The long form.
fn explain(contract: &Contract, timeout: Duration, rows: Option<u64>) -> Vec<String> {
    if contract.limits().len() == 0 {
        return vec!["no limit is declared: calls go out as fast as they are answered".to_owned()];
    }
    let latency = contract.terms().latency;
    let mut lines = vec![format!("With answers of {} on average (--latency):", Human(latency))];
    for (limit, meter) in contract.limits() {
        let provable = limit.provable_rate(meter, latency);
        lines.push(String::new());
        lines.push(format!("{limit} → {}", allowed(limit, meter, provable)));
        lines.push(labelled("kept by", &kept_by(limit, meter)));
        lines.extend(words::holds_for(limit, meter).map(|text| labelled("holds for", &text)));
        let ways = ways_back(limit, meter, contract);
        lines.extend(under("get back", ways.iter().map(ToString::to_string)));
    }
    lines.push(String::new());
    lines.extend(binds(contract).map(|text| labelled("binds", &text)));
    if let Some(rows) = rows {
        lines.push(labelled("rows", &rows_take(contract, rows)));
    }
    lines.extend(hanging(contract, timeout).map(|text| labelled("time-outs", &text)));
    let assumed = assumptions(contract, timeout).into_iter().map(|text| format!("· {text}"));
    lines.extend(under("assumed", assumed));
    lines
}

/// The rate of the limit that binds; `None` if none has a rate in calls.
pub(crate) fn provable(contract: &Contract) -> Option<f64> {
    slowest(contract, contract.terms().latency).map(|(_, rate)| rate)
}

/// How long so many rows take, if that is known.
pub(crate) fn time_of(contract: &Contract, rows: u64) -> Option<Human> {
    let at_the_rate = provable(contract).map(|rate| time_for(rows, rate).0);
    let periods = contract.limits().filter_map(|(limit, meter)| match meter {
        // What a day has no room for is left to the next.
        Meter::Epoch(epoch) => {
            let days = rows.saturating_sub(1).saturating_mul(limit.cost()?) / epoch.units();
            Some(limit.rule().per()?.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)))
        }
        _ => None,
    });
    at_the_rate.into_iter().chain(periods).max().map(Human)
}

/// How long so many rows take at that rate.
pub(crate) fn time_for(rows: u64, rate: f64) -> Human {
    Human(Duration::try_from_secs_f64(rows as f64 / rate.max(1e-9)).unwrap_or(Duration::MAX))
}

fn rows_take(contract: &Contract, rows: u64) -> String {
    let known = contract.limits().all(|(limit, _)| limit.cost().is_some());
    let about = if known { "about" } else { "at least" };
    match time_of(contract, rows) {
        Some(time) => format!("{} take {about} {time}", count(rows)),
        None => format!("how long {} take depends on what each costs", count(rows)),
    }
}

/// The limit that allows the fewest calls per second if answers take `response` on average.
fn slowest(contract: &Contract, response: Duration) -> Option<(&Limit, f64)> {
    let steady = contract.limits().filter(|(_, meter)| !matches!(meter, Meter::Epoch(_)));
    let known = steady.filter(|(limit, _)| limit.cost().is_some());
    let rates = known.map(|(limit, meter)| (limit, limit.provable_rate(meter, response)));
    rates.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Which of several limits binds, and when another does: where calls differ in cost, and when a
/// calendar's period is used up.
fn binds(contract: &Contract) -> Option<String> {
    if contract.limits().len() < 2 {
        return None;
    }
    let latency = contract.terms().latency;
    let (least, calls) = slowest(contract, latency)?;
    let others = contract.limits().filter_map(|(limit, meter)| binds_when(limit, meter, calls, latency));
    let all: Vec<String> = [format!("{least}: {}", rate(calls))].into_iter().chain(others).collect();
    Some(all.join("; "))
}

/// When a limit binds that has no rate in calls.
fn binds_when(limit: &Limit, meter: &Meter, calls: f64, latency: Duration) -> Option<String> {
    Some(match (meter, limit.cost()) {
        (Meter::Epoch(epoch), Some(cost)) => format!("{limit} after {} calls", count(epoch.units() / cost)),
        (Meter::Epoch(epoch), None) => format!("{limit} after {} {}", count(epoch.units()), limit.unit()),
        (_, Some(_)) => return None,
        (meter, None) => {
            let units = (limit.provable_rate(meter, latency) / calls).round() as u64;
            format!("{limit} where calls cost more than {} {}", count(units), limit.unit())
        }
    })
}

/// What calls cost that are never answered: their units rest until they are given up.
fn hanging(contract: &Contract, timeout: Duration) -> Option<String> {
    const SHARE: f64 = 0.02;
    const NOTICEABLE: f64 = 0.99;
    let latency = contract.terms().latency;
    let (_, usual) = slowest(contract, latency)?;
    let with = |timeout: Duration| slowest(contract, latency + timeout.mul_f64(SHARE)).map(|(_, rate)| rate);
    let slowed = with(timeout)?;
    let case = format!("2% of the calls hanging for {}", Human(timeout));
    if slowed > usual * NOTICEABLE {
        return Some(format!("{case}: no loss"));
    }
    let text = format!("{case}: {} instead of {}", rate(slowed), rate(usual));
    // A time-out that is near to what answers take would give up those that are merely slow.
    let shorter = Duration::from_secs((timeout / 6).as_secs().max(1));
    match with(shorter) {
        Some(better) if shorter >= latency * 10 => {
            Some(format!("{text} (with --timeout {}: {})", Human(shorter), rate(better)))
        }
        _ => Some(text),
    }
}

fn labelled(label: &str, text: &str) -> String {
    format!("  {label:<11}{text}")
}

/// A label in front of the first of several lines.
fn under(label: &'static str, texts: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    texts.enumerate().map(move |(i, text)| labelled(if i == 0 { label } else { "" }, &text))
}
