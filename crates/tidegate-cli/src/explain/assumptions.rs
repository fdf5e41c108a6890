//! What a contract rests on, in plain words.

use std::time::Duration;

use tidegate::retry::Human;
use tidegate_core::{Contract, Limit, Meter, Mode, Rule};

use super::provable;

/// All that has to be true for the limits to hold.
pub(super) fn assumptions(contract: &Contract, timeout: Duration) -> Vec<String> {
    let limits: Vec<&Limit> = contract.limits().map(|(limit, _)| limit).collect();
    let mut all = vec!["they enforce what is declared, or less".to_owned()];
    all.extend(clocks(contract, &limits));
    all.push(counted(&limits));
    if let Mode::Estimated { counted_within } = contract.terms().mode {
        let within = Human(counted_within);
        all.push(format!("a call is counted within {within} of its send: your word, not proved (estimated)"));
    }
    for limit in &limits {
        if let Rule::Concurrency { linger } = limit.rule() {
            let linger = Human(*linger);
            all.push(format!("a call stops counting {linger} after the last byte of its answer, or earlier"));
        }
    }
    if limits.iter().any(|limit| matches!(limit.rule(), Rule::Calendar(_))) {
        all.push(
            "their clock is within a minute of ours; the Date of their answers tells it to a second"
                .to_owned(),
        );
    }
    all.extend(stalls(contract, timeout));
    all
}

/// Clocks matter to all but concurrency.
fn clocks(contract: &Contract, limits: &[&Limit]) -> Vec<String> {
    let clocked = || limits.iter().filter(|limit| !matches!(limit.rule(), Rule::Concurrency { .. }));
    if clocked().count() == 0 {
        return Vec::new();
    }
    let margins = contract.terms().margins;
    let drift = margins.clock_ppm;
    let mut all =
        vec![format!("their clock runs as fast as ours, within {drift} in a million, and never steps back")];
    let mut said = Vec::new();
    for limit in clocked().filter(|limit| !matches!(limit.rule(), Rule::Calendar(_))) {
        let stamps = Human(limit.granularity().unwrap_or(margins.granularity));
        let nodes = match limit.skew() {
            Duration::ZERO => "one clock decides".to_owned(),
            skew => format!("clocks that decide together agree within {}", Human(skew)),
        };
        said.push((limit, format!("time stamps are of {stamps} or finer, and {nodes}")));
    }
    match said.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => all.push(first.clone()),
        _ => all.extend(said.iter().map(|(limit, text)| format!("{limit}: {text}"))),
    }
    all
}

fn counted(limits: &[&Limit]) -> String {
    let most = limits.iter().map(|limit| limit.amplification()).max().unwrap_or(1);
    let times = match most {
        1 => "once".to_owned(),
        times => format!("at most {times} times"),
    };
    format!("each call is counted {times}, and no other job, process or machine uses the key")
}

/// What is believed of calls that are never answered.
fn stalls(contract: &Contract, timeout: Duration) -> Option<String> {
    let counted_in_time = |meter: &Meter| match meter {
        Meter::Hold(hold) => hold.assumed().is_some(),
        Meter::Pace(pace) => pace.counts_soon(),
        Meter::Epoch(_) => false,
    };
    if contract.limits().all(|(_, meter)| counted_in_time(meter)) {
        return None;
    }
    // While nothing is answered, so many calls go out before the first of them is given up.
    let in_flight = provable(contract).map_or(f64::MAX, |rate| rate * timeout.as_secs_f64());
    Some(if in_flight >= 2.0 {
        "a call that times out alone is not counted later; when many do, only probes are sent".to_owned()
    } else {
        "a call that times out is not counted later; with one at a time a stall cannot be told".to_owned()
    })
}
