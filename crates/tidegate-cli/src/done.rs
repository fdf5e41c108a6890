//! What a run did, at its end.

use tidegate::report::Summary;

use crate::llm;
use crate::printer::{Printer, count, rate};

/// For the end of a line that counts rows.
pub(crate) fn of_unknown_outcome(rows: u64) -> String {
    if rows == 0 { String::new() } else { format!(" · {} of unknown outcome", count(rows)) }
}

pub(crate) fn print(printer: Printer, summary: &Summary) {
    let say = |label: &str, text: String| printer.labelled(label, text);
    say(
        "rows",
        format!(
            "{} · {} results · {} failures{}",
            count(summary.rows),
            count(summary.ok),
            count(summary.failed),
            of_unknown_outcome(summary.unknown)
        ),
    );
    let causes: Vec<String> =
        summary.retried_by_cause.iter().map(|(cause, n)| format!("{} × {cause}", count(*n))).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
    say(
        "calls",
        format!(
            "{} · {} answered 429 · {} retried{causes} · {} in flight at most",
            count(summary.attempts),
            count(summary.throttled),
            count(summary.retried),
            count(summary.peak_in_flight)
        ),
    );
    let ideal =
        summary.ideal_s.map(|ideal| format!(" · {ideal:.1}s for the limit alone")).unwrap_or_default();
    let steady = match (summary.steady_rate_per_s, summary.utilisation) {
        (Some(steady), Some(share)) => {
            format!(" · steady {}, {:.1}% of the limit", rate(steady), share * 100.0)
        }
        (Some(steady), None) => format!(" · steady {}", rate(steady)),
        _ => String::new(),
    };
    say("time", format!("{:.1}s{ideal}{steady}", summary.wall_s));
    for limit in &summary.limits {
        if let Some(worst) = limit.worst_window {
            say(
                "window",
                format!("{}: at most {} of {} in any window", limit.limit, count(worst), count(limit.allows)),
            );
        }
    }
    if let Some(tokens) = &summary.tokens {
        say("tokens", llm::tokens(tokens));
    }
    if let Some(cost) = &summary.cost {
        say("cost", llm::cost(cost));
    }
    let latency = summary.latency_ms;
    say(
        "latency",
        format!(
            "mean {} ms · median {} · p95 {} · p99 {}",
            latency.mean, latency.p50, latency.p95, latency.p99
        ),
    );
    notes(printer, summary);
}

/// What was unexpected.
fn notes(printer: Printer, summary: &Summary) {
    if let Some(first) = summary.incidents.first() {
        printer.note(format_args!(
            "the provider rejected what {} allows: the limit is declared too high, or somebody else uses it ({} times; then {}% of it was used)",
            first.limit,
            summary.incidents.len(),
            summary.incidents.iter().map(|incident| incident.left_percent).min().unwrap_or(100)
        ));
    }
    for others in &summary.others {
        printer.note(format_args!(
            "others use the key as well: up to {} of {} in {}, by the provider's headers; what they used was left to them",
            count(others.most),
            count(others.of),
            others.limit
        ));
    }
    if let Some(learnt) = summary.learnt.as_ref().filter(|learnt| !learnt.limits.is_empty()) {
        let limits: Vec<String> =
            learnt.limits.iter().map(|learnt| format!("--rate '{}'", learnt.limit)).collect();
        printer.hint(&format!("declare it: {} keeps it by proof", limits.join(" ")));
    }
    for told in &summary.told {
        printer.note(format_args!(
            "the provider says {} where {} was declared; --rate would say so",
            count(told.told),
            told.limit
        ));
    }
    for ignored in &summary.ignored_headers {
        printer.note(format_args!(
            "the header {} made no sense ({}) and was not obeyed, {} times",
            ignored.field,
            ignored.why,
            count(ignored.times)
        ));
    }
    if summary.unknown > 0 {
        printer.note(format_args!(
            "whether {} rows were done is unknown: they are in the .unknown file; `tidegate retry OUT --only unknown` sends them again",
            count(summary.unknown)
        ));
    }
    if summary.resumed_after_kill {
        printer.note("the run before was killed; of its calls in flight those were sent again that may be");
    }
}
