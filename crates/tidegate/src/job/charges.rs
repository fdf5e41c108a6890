//! What each call costs, and which quota it counts against.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use tidegate_core::{Contract, Costs, LimitError, Meter};

use super::{Job, JobError};
use crate::json;
use crate::llm::{Learner, TokenError, TokenKind, TokenSpec, Tokens, Usage};
use crate::row::Row;
use crate::template::{Call, Input, Place, RenderError, ValueTemplate};

/// How a limit's cost is found for each row, where it is not the same for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostSpec {
    /// A template that says what to reserve.
    pub reserve: Option<String>,
    /// JSON Pointer to what the call has cost, in its answer.
    pub actual: Option<String>,
    /// Its calls' bodies say it: what is counted is tokens.
    pub tokens: Option<TokenKind>,
}

/// Costs and partitions of rows.
#[derive(Debug)]
pub(crate) struct Charges {
    contract: Contract,
    by_row: Vec<(usize, ValueTemplate)>,
    by_answer: Vec<(usize, Vec<String>)>,
    by_tokens: Vec<TokenLimit>,
    tokens: TokenSpec,
    /// Bounds are wanted whether or not a limit counts tokens.
    always_bounds: bool,
    partition: Option<ValueTemplate>,
}

/// A limit of tokens.
#[derive(Debug)]
struct TokenLimit {
    limit: usize,
    kind: TokenKind,
    /// What answers took so far, if less than the bound is to be reserved.
    learner: Option<Mutex<Learner>>,
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
    #[error(transparent)]
    Tokens(#[from] TokenError),
    #[error(
        "what it costs is not known: there is no price of the model `{model}`; hint: add [prices.\"{model}\"], or \
         [prices.\"*\"] for all others"
    )]
    NoPrice { model: String },
    #[error("its partition has more than {MAX_PARTITION} bytes")]
    LongPartition,
}

/// Longest name of a partition, in bytes.
const MAX_PARTITION: usize = 1_024;

impl Charges {
    /// Compiles what `specs` say of the contract's declared limits.
    pub(super) fn compile(contract: Contract, job: &Job, input: Input<'_>) -> Result<Self, JobError> {
        let (mut by_row, mut by_answer, mut by_tokens) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (limit, _)) in contract.limits().enumerate() {
            let spec = job.costs.get(contract.declared_as(i));
            // Where calls are those of an LLM, a limit of tokens says enough by its unit.
            let by_unit = || TokenKind::of_unit(&limit.unit().to_string()).filter(|_| job.speaks_tokens);
            let kind = spec.and_then(|spec| spec.tokens).or_else(by_unit);
            match (spec.and_then(|spec| spec.reserve.as_ref()), limit.cost(), kind) {
                (Some(reserve), ..) => {
                    by_row.push((i, ValueTemplate::compile(reserve, &Place::Cost, input)?));
                }
                (None, Some(_), _) => {}
                (None, None, Some(kind)) => {
                    let learner = job.tokens.learn.then(Mutex::default);
                    by_tokens.push(TokenLimit { limit: i, kind, learner });
                }
                (None, None, None) => {
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
        let partition = job.partition.as_deref();
        let partition =
            partition.map(|text| ValueTemplate::compile(text, &Place::Partition, input)).transpose()?;
        let (tokens, always_bounds) = (job.tokens.clone(), job.max_cost.is_some());
        Ok(Self { contract, by_row, by_answer, by_tokens, tokens, always_bounds, partition })
    }

    /// What the call of these rows is to reserve, and the most tokens that it takes where that matters.
    pub(crate) fn costs(&self, rows: &[&Row], call: &Call) -> Result<(Costs, Tokens), ChargeError> {
        let mut costs = *self.contract.costs();
        let mut most = Tokens::default();
        if self.always_bounds || !self.by_tokens.is_empty() {
            most = self.tokens.bound(call.uri.path(), &call.body)?;
        }
        for TokenLimit { limit, kind, learner } in &self.by_tokens {
            let bound = kind.of(most);
            let reserved = learner.as_ref().map(|learner| lock(learner).reserve(bound));
            costs.set(*limit, reserved.unwrap_or(bound));
        }
        for (limit, template) in &self.by_row {
            let mut sum = 0_u64;
            for row in rows {
                let text = template.render(row)?;
                let units = whole_units(&text).ok_or_else(|| {
                    let unit = self.contract.limits().nth(*limit).map(|(limit, _)| limit.unit().to_string());
                    ChargeError::NotANumber { text: shortened(&text), unit: unit.unwrap_or_default() }
                })?;
                sum = sum.saturating_add(units);
            }
            costs.set(*limit, sum);
        }
        if !self.by_row.is_empty() || !self.by_tokens.is_empty() {
            self.contract.admit(&costs)?;
        }
        Ok((costs, most))
    }

    /// The quota that the row's call counts against; empty if there is one for all.
    pub(crate) fn partition<'a, 'r: 'a>(&'a self, row: &'r Row) -> Result<Cow<'a, str>, ChargeError> {
        let Some(template) = &self.partition else { return Ok(Cow::Borrowed("")) };
        let name = template.render(row)?;
        if name.len() > MAX_PARTITION { Err(ChargeError::LongPartition) } else { Ok(name) }
    }

    /// How many of the rows, one at least, count against the quota of the first.
    pub(crate) fn alike<'r>(&self, mut rows: impl ExactSizeIterator<Item = &'r Row>) -> usize {
        let all = rows.len();
        let Some(template) = &self.partition else { return all };
        let name = |row: &Row| template.render(row).map(Cow::into_owned).ok();
        let first = rows.next().map(name);
        1 + rows.take_while(|row| Some(name(row)) == first).count()
    }

    /// Whether rows count against different quotas.
    pub(crate) fn is_partitioned(&self) -> bool {
        self.partition.is_some()
    }

    /// What a call has cost by its answer, where the answer says so; `None` if that changes nothing.
    pub(crate) fn actual(
        &self,
        reserved: Costs,
        most: Tokens,
        body: &[u8],
        usage: Option<&Usage>,
    ) -> Option<Costs> {
        let mut actual = reserved;
        for TokenLimit { limit, kind, learner } in &self.by_tokens {
            let Some(units) = usage.map(|usage| usage.of(*kind)) else { break };
            actual.set(*limit, units);
            if let Some(learner) = learner {
                lock(learner).note(units, kind.of(most));
            }
        }
        for (limit, tokens) in &self.by_answer {
            let body = std::str::from_utf8(body).ok()?;
            if let Some(units) = json::pointer(body, tokens).and_then(whole_units) {
                actual.set(*limit, units);
            }
        }
        (actual != reserved).then_some(actual)
    }

    /// The limit of tokens that people are told of, by its index.
    pub(crate) fn token_limit(&self) -> Option<usize> {
        self.by_tokens.first().map(|limit| limit.limit)
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

fn lock(learner: &Mutex<Learner>) -> std::sync::MutexGuard<'_, Learner> {
    learner.lock().unwrap_or_else(PoisonError::into_inner)
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
