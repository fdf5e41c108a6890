//! `tidegate verify`: what the log of a run says of its limits.

use std::fmt::Write;

use tidegate::verify::{Call, Checked, Findings, LogFacts, Verdict, Worst, verify};

use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::fleet::not_collected;
use crate::printer::{Printer, count};

/// More logs than that are told of together.
const MOST: usize = 8;

pub(crate) fn command(printer: Printer, args: &VerifyArgs) -> anyhow::Result<Exit> {
    let findings = match verify(&args.outputs) {
        Ok(findings) => findings,
        Err(error) => {
            let parts = args.outputs.iter().find_map(|output| not_collected(output));
            let hint = parts.or_else(|| error.hint());
            printer.error(&error.into());
            if let Some(hint) = hint {
                printer.hint(&hint);
            }
            return Ok(Exit::Usage);
        }
    };
    if args.json {
        printer.data(serde_json::to_string_pretty(&findings)?)?;
    } else {
        report(&findings).into_iter().try_for_each(|line| printer.data(line))?;
    }
    Ok(if findings.ok { Exit::Success } else { Exit::Failures })
}

/// What people read.
fn report(findings: &Findings) -> Vec<String> {
    let mut lines = Vec::new();
    if !findings.checks.is_empty() {
        lines.extend(table(findings));
        lines.push(String::new());
    }
    match &findings.logs[..] {
        logs if logs.len() > MOST => lines.push(facts(&sum(logs), true)),
        logs => lines.extend(logs.iter().map(|log| facts(log, logs.len() > 1))),
    }
    for log in &findings.logs {
        lines.extend(log.first_missing.map(|missing| {
            let (row, number) = (missing.row, missing.number);
            format!("INCOMPLETE: attempt {number} of row {row} is missing; {} are in all", count(log.missing))
        }));
    }
    lines.extend(findings.notes.iter().map(|note| format!("note: {note}")));
    lines.push(conclusion(findings));
    lines
}

/// What is to be said of many logs, in one line.
fn sum(logs: &[LogFacts]) -> LogFacts {
    let mut sum =
        LogFacts { path: format!("{} logs", count(logs.len() as u64)).into(), ..LogFacts::default() };
    for log in logs {
        sum.runs += log.runs;
        sum.attempts += log.attempts;
        sum.not_sent += log.not_sent;
        sum.killed += log.killed;
        sum.never_over += log.never_over;
    }
    sum
}

/// A line for each limit.
fn table(findings: &Findings) -> Vec<String> {
    let head = ["limit", "allows", "worst", "", "window"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head)
        .chain(findings.checks.iter().map(|check| {
            let name = match &check.way {
                Some(way) => format!("{} ({way})", check.limit),
                None => check.limit.clone(),
            };
            let at_most = if check.at_most { "≤ " } else { "" };
            let (worst, verdict) = match check.verdict {
                Verdict::Within => (format!("{at_most}{}", count(check.worst)), "ok"),
                Verdict::Above => (format!("{at_most}{}", count(check.worst)), "ABOVE"),
                Verdict::NotChecked => ("?".to_owned(), "?"),
            };
            [name, count(check.allows), worst, verdict.to_owned(), place(check, findings.logs.len() > 1)]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let lines = rows.iter().map(|[name, allows, worst, verdict, window]| {
        let [a, b, c, d] = widths;
        format!("{name:<a$}  {allows:>b$}  {worst:>c$}  {verdict:<d$}  {window}").trim_end().to_owned()
    });
    lines.collect()
}

/// Where the worst window is.
fn place(check: &Checked, several: bool) -> String {
    let Some(window) = &check.window else { return check.why_not.clone().unwrap_or_default() };
    let Worst { start, length_us, since_run_us, run, log, partition, first, last, .. } = window;
    let mut text = match length_us {
        0 => format!("at {start}"),
        length => format!("{} s from {start}", seconds(*length)),
    };
    let _ = match since_run_us {
        0.. => write!(text, ", {} s into run {run}", seconds(*since_run_us)),
        before => write!(text, ", {} s before run {run}", seconds(-before)),
    };
    if several {
        let _ = write!(text, " of {}", log.display());
    }
    let _ = match first {
        Some(first) if first != last => write!(text, ": {} to {}", call(*first), call(*last)),
        _ => write!(text, ": {}", call(*last)),
    };
    if check.partitions > 1 || !partition.is_empty() {
        let name = if partition.is_empty() { "without a name" } else { partition };
        let (above, all) = (count(check.partitions_above), count(check.partitions));
        let _ = write!(text, "; partition {name}");
        if check.partitions_above > 0 {
            let _ = write!(text, ", {above} of {all} are above");
        }
    }
    text
}

fn call(Call { row, attempt }: Call) -> String {
    if attempt == 1 { format!("row {row}") } else { format!("row {row}, attempt {attempt}") }
}

fn facts(log: &LogFacts, several: bool) -> String {
    let mut text = if several { format!("{}: ", log.path.display()) } else { String::new() };
    let runs = if log.runs == 1 { "run" } else { "runs" };
    let _ = write!(text, "{} attempts in {} {runs}", count(log.attempts), count(log.runs));
    for (calls, what) in [
        (log.not_sent, "never left and do not count"),
        (log.killed, "were under way when a run was killed"),
        (log.never_over, "have no end in the log, so they count on"),
    ] {
        if calls > 0 {
            let _ = write!(text, "; {} {what}", count(calls));
        }
    }
    text
}

fn conclusion(findings: &Findings) -> String {
    let of = |verdict| findings.checks.iter().filter(|check| check.verdict == verdict).count();
    let all = findings.checks.len();
    let unchecked = match of(Verdict::NotChecked) {
        0 => String::new(),
        n => format!(" ({n} not checked)"),
    };
    match of(Verdict::Above) {
        _ if all == 0 => "no limit was declared: there is nothing to exceed".to_owned(),
        0 if findings.ok => format!("no limit can have been exceeded{unchecked}"),
        0 => format!(
            "no limit can have been exceeded by what is in the log, but it is not complete{unchecked}"
        ),
        n => format!("{n} of {all} can have been exceeded{unchecked}"),
    }
}

/// Microseconds as seconds, to the last digit that says anything.
fn seconds(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros.unsigned_abs() % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
