//! What each call costs, and which quota it counts against.

use std::borrow::Cow;

use tidegate_core::{Contract, Costs, LimitError, Meter};

use super::JobError;
use crate::json;
use crate::row::Row;
use crate::template::{Input, Place, RenderError, ValueTemplate};

/// How a limit's cost is found for each row, where it is not the same for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostSpec {
    /// A template that says what to reserve.
    pub reserve: Option<String>,
    /// JSON Pointer to what the call has cost, in its answer.
    pub actual: Option<String>,
}

/// Costs and partitions of rows.
#[derive(Debug)]
pub(crate) struct Charges {
    contract: Contract,
    by_row: Vec<(usize, ValueTemplate)>,
    by_answer: Vec<(usize, Vec<String>)>,
    partition: Option<ValueTemplate>,
}

/// A row of which the cost cannot be said, or is more than a limit ever allows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChargeError {
    #[error(transparent)]
    Template(#[from] RenderError),
    #[error("its cost is `{text}`: expected a number of {unit} that is not negative")]
    NotANumber { text: String, unit: String },
    #[error("{0}; hint: {hint}", hint = .0.hint())]
    Limit(#[from] LimitError),
    #[error("its partition has more than {MAX_PARTITION} bytes")]
    LongPartition,
}

/// Longest name of a partition, in bytes.
const MAX_PARTITION: usize = 1_024;

impl Charges {
    /// Compiles what `specs` say of the contract's declared limits.
    pub(super) fn compile(
        contract: Contract,
        specs: &[CostSpec],
        partition: Option<&str>,
        input: Input<'_>,
    ) -> Result<Self, JobError> {
        let (mut by_row, mut by_answer) = (Vec::new(), Vec::new());
        for (i, (limit, _)) in contract.limits().enumerate() {
            let spec = specs.get(contract.declared_as(i));
            match (spec.and_then(|spec| spec.reserve.as_ref()), limit.cost()) {
                (Some(reserve), _) => {
                    by_row.push((i, ValueTemplate::compile(reserve, &Place::Cost, input)?));
                }
                (None, Some(_)) => {}
                (None, None) => {
                    let (limit, unit) = (limit.to_string(), limit.unit().clone());
                    return Err(LimitError::CostUnknown { limit, unit }.into());
                }
            }
            if let Some(pointer) = spec.and_then(|spec| spec.actual.as_ref()) {
                let tokens = json::pointer_tokens(pointer).ok_or_else(|| {
                    let message = format!(
                        "`{pointer}` is not a JSON pointer: expected one such as /usage/total_tokens"
                    );
                    JobError::value("quota.limit.actual", message)
                })?;
                by_answer.push((i, tokens));
            }
        }
        let partition =
            partition.map(|text| ValueTemplate::compile(text, &Place::Partition, input)).transpose()?;
        Ok(Self { contract, by_row, by_answer, partition })
    }

    /// What the row's call costs at most.
    pub(crate) fn costs(&self, row: &Row) -> Result<Costs, ChargeError> {
        let mut costs = *self.contract.costs();
        for (limit, template) in &self.by_row {
            let text = template.render(row)?;
            let units = whole_units(&text).ok_or_else(|| {
                let unit = self.contract.limits().nth(*limit).map(|(limit, _)| limit.unit().to_string());
                ChargeError::NotANumber { text: shortened(&text), unit: unit.unwrap_or_default() }
            })?;
            costs.set(*limit, units);
        }
        if !self.by_row.is_empty() {
            self.contract.admit(&costs)?;
        }
        Ok(costs)
    }

    /// The quota that the row's call counts against; empty if there is one for all.
    pub(crate) fn partition<'a, 'r: 'a>(&'a self, row: &'r Row) -> Result<Cow<'a, str>, ChargeError> {
        let Some(template) = &self.partition else { return Ok(Cow::Borrowed("")) };
        let name = template.render(row)?;
        if name.len() > MAX_PARTITION { Err(ChargeError::LongPartition) } else { Ok(name) }
    }

    /// Whether rows count against different quotas.
    pub(crate) fn is_partitioned(&self) -> bool {
        self.partition.is_some()
    }

    /// What a call has cost by its answer, where the answer says so; `None` if that changes nothing.
    pub(crate) fn actual(&self, reserved: Costs, body: &[u8]) -> Option<Costs> {
        if self.by_answer.is_empty() {
            return None;
        }
        let body = std::str::from_utf8(body).ok()?;
        let mut actual = reserved;
        for (limit, tokens) in &self.by_answer {
            if let Some(units) = json::pointer(body, tokens).and_then(whole_units) {
                actual.set(*limit, units);
            }
        }
        (actual != reserved).then_some(actual)
    }

    /// The limit of a calendar that a call would wait for until then, if it is one.
    pub(crate) fn calendar(&self, limit: usize) -> Option<String> {
        let (limit, meter) = self.contract.limits().nth(limit)?;
        matches!(meter, Meter::Epoch(_)).then(|| limit.to_string())
    }

    /// Whether the provider's wall clock matters.
    pub(crate) fn follows_calendar(&self) -> bool {
        self.contract.limits().any(|(_, meter)| matches!(meter, Meter::Epoch(_)))
    }
}

/// Units as people and templates write them: a number, rounded up to a whole one.
fn whole_units(text: &str) -> Option<u64> {
    let text = text.trim().trim_matches('"');
    if let Ok(units) = text.parse::<u64>() {
        return Some(units);
    }
    let number: f64 = text.parse().ok()?;
    (0.0..=1e15).contains(&number).then(|| number.ceil() as u64)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}
