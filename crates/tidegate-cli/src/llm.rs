//! Tokens and money in words.

use std::fmt::Write as _;

use tidegate::report::{Cost, TokenUse};
use tidegate_core::{Contract, Costs};

use crate::printer::{count, rate};

/// Rows that a dry run looks at where costs differ.
pub(crate) const SAMPLE: usize = 1_000;

/// What the first rows would reserve.
#[derive(Default)]
pub(crate) struct Average {
    rows: u64,
    costs: Vec<Costs>,
}

impl Average {
    pub(crate) fn add(&mut self, costs: Option<Costs>) {
        self.rows += 1;
        self.costs.extend(costs);
    }

    /// The limit that binds of those of which costs differ: calls per second, and in words.
    pub(crate) fn binds(&self, contract: &Contract) -> Option<(f64, String)> {
        let latency = contract.terms().latency;
        let calls = u64::try_from(self.costs.len()).ok().filter(|calls| *calls > 0)?;
        let differ = contract.limits().enumerate().filter(|(_, (limit, _))| limit.cost().is_none());
        let rates = differ.map(|(i, (limit, meter))| {
            let each = self.costs.iter().map(|costs| costs.of(i)).sum::<u64>().div_ceil(calls).max(1);
            let per_second = limit.provable_rate(meter, latency) / each as f64;
            let (unit, rows) = (limit.unit(), count(self.rows));
            let text = format!(
                "{limit}: {} {unit} reserved for each call, on average of {rows} rows → {}",
                count(each),
                rate(per_second)
            );
            (per_second, text)
        });
        rates.min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// What answers took, and how much more was reserved for them.
pub(crate) fn tokens(tokens: &TokenUse) -> String {
    let cached = match tokens.cached_input {
        0 => String::new(),
        cached => format!(" ({} from a cache)", count(cached)),
    };
    let mut text =
        format!("{} of prompts{cached} · {} of answers", count(tokens.input), count(tokens.output));
    if tokens.used > 0 && tokens.reserved > 0 {
        // In tenths: 4.0 times as much.
        let tenths = (tokens.reserved * 10).div_ceil(tokens.used);
        let _ = write!(text, " · reserved {}.{} × what calls took", tenths / 10, tenths % 10);
    }
    text
}

/// What a job has cost, and how well that is known.
pub(crate) fn cost(cost: &Cost) -> String {
    let mut text = cost.spent.to_string();
    if cost.at_most > tidegate::llm::Money::default() {
        let _ = write!(text, " at most, {} of it for calls whose answers do not say", cost.at_most);
    }
    if cost.unpriced > 0 {
        let _ = write!(text, " · {} calls without a price", count(cost.unpriced));
    }
    text
}
