//! The `[quota]` section: limits in both their forms, and what is assumed about them.

use std::num::NonZeroU64;
use std::time::Duration;

use tidegate_core::{Limit, LimitError, Mode, Rule, Unit};

use super::values::duration;
use super::words::enforcement;
use super::{CostSpec, JobError, LimitSection, QuotaSection, StatusOrWord, StoreSpec, llm};

/// The limits, and of each how its cost is found where that is not the same for all calls.
pub(super) fn limits(quota: &QuotaSection, refunds: bool) -> Result<Vec<(Limit, CostSpec)>, JobError> {
    let short = quota
        .limits
        .iter()
        .filter(|text| !is_auto(text))
        .map(|text| Ok((text.parse()?, CostSpec::default())));
    let mut limits = short.collect::<Result<Vec<(Limit, CostSpec)>, LimitError>>()?;
    for table in &quota.limit {
        limits.push(limit(table)?);
    }
    limits.extend(llm::per_minute(quota, refunds)?);
    if let Some(concurrency) = quota.concurrency {
        let amount = NonZeroU64::new(concurrency).ok_or_else(|| {
            JobError::value(
                "quota.concurrency",
                "0 calls at a time would never send anything: expected 1 or more",
            )
        })?;
        limits.push((Limit::concurrency(amount), CostSpec::default()));
    }
    Ok(limits)
}

/// In the place of a limit: it is learnt from what the provider says.
const AUTO: &str = "auto";

fn is_auto(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case(AUTO)
}

impl QuotaSection {
    /// Whether limits are learnt, not declared.
    pub fn is_auto(&self) -> bool {
        self.limits.iter().any(|text| is_auto(text))
    }
}

/// Whether limits are learnt, if that goes with the rest: none is declared but of calls at a time, and
/// nobody shares what is learnt.
pub(super) fn learns(quota: &QuotaSection, limits: &[Limit], store: &StoreSpec) -> Result<bool, JobError> {
    if !quota.is_auto() {
        return Ok(false);
    }
    if let Some(limit) = limits.iter().find(|limit| !matches!(limit.rule(), Rule::Concurrency { .. })) {
        let message = format!("`auto` and `{limit}`: is the limit to be learnt, or is it known?");
        return Err(JobError::value("quota.limits", message).hinting(
            "leave `auto` away: a declared limit is kept by proof, and heeds headers that say less",
        ));
    }
    if !matches!(store, StoreSpec::Memory) {
        return Err(JobError::value(
            "quota.store",
            "what `auto` learns is this process's own: no store shares it",
        )
        .hinting("leave the store away, or say `memory`; with a declared limit processes share the quota"));
    }
    Ok(true)
}

/// What is taken as true about when the provider counts.
pub(super) fn mode(quota: &QuotaSection) -> Result<Mode, JobError> {
    let within = quota.counted_within.as_deref();
    match (quota.mode.as_deref(), within) {
        (None | Some("guaranteed"), None) => Ok(Mode::Guaranteed),
        (None | Some("estimated"), Some(_)) => {
            let counted_within = duration("quota.counted_within", within, Duration::ZERO)?;
            if counted_within.is_zero() {
                return Err(JobError::value(
                    "quota.counted_within",
                    "0 says that a call is counted before it arrives",
                )
                .hinting("give the longest that a request is under way to them, such as \"30ms\""));
            }
            Ok(Mode::Estimated { counted_within })
        }
        (Some("guaranteed"), Some(_)) => Err(JobError::value(
            "quota.counted_within",
            "it is an assumption, and mode = \"guaranteed\" makes none",
        )
        .hinting("say mode = \"estimated\", or leave one of the two away")),
        (Some("estimated"), None) => Err(JobError::value("quota.mode", "estimated from what?")
            .hinting("give counted_within = \"30ms\": the time from a send in which the provider counts it")),
        (Some(other), _) => {
            let message = format!("`{other}` is not a mode: expected guaranteed or estimated");
            Err(JobError::value("quota.mode", message))
        }
    }
}

/// A `[[quota.limit]]` table.
fn limit(table: &LimitSection) -> Result<(Limit, CostSpec), JobError> {
    let mut limit = rule(table)?;
    let mut costs = CostSpec { actual: table.actual.clone(), ..CostSpec::default() };
    match &table.cost {
        None => {}
        Some(StatusOrWord::Number(cost)) => {
            let cost = NonZeroU64::new(*cost)
                .ok_or_else(|| JobError::value("quota.limit.cost", "a call costs at least 1 unit"))?;
            limit = limit.with_cost(cost);
        }
        Some(StatusOrWord::Word(template)) => costs.reserve = Some(template.clone()),
    }
    let concurrency = matches!(limit.rule(), Rule::Concurrency { .. });
    if table.also_per_second {
        if concurrency {
            return Err(JobError::value("quota.limit.also_per_second", "calls at a time have no rate")
                .hinting("leave it away, or declare the rate as a limit of its own"));
        }
        limit = limit.also_per_second();
    }
    if table.refund {
        if *limit.unit() == Unit::Requests {
            return Err(JobError::value("quota.limit.refund", "a request costs what it costs").hinting(
                "a refund needs a `unit` of which a call may use less than was reserved, such as \"tokens\"",
            ));
        }
        limit = limit.refunding();
    }
    if let Some(times) = table.amplification {
        limit = limit.amplified(NonZeroU64::new(times).ok_or_else(|| {
            JobError::value("quota.limit.amplification", "a call arrives at least once: expected 1 or more")
                .hinting("2 if a gateway between may send each call twice")
        })?);
    }
    Ok((with_clocks(limit, table)?, costs))
}

/// What is particular about the clocks that the limit is kept by.
fn with_clocks(mut limit: Limit, table: &LimitSection) -> Result<Limit, JobError> {
    let clockless = match limit.rule() {
        Rule::Concurrency { .. } => Some("calls at a time are counted without a clock"),
        Rule::Calendar(_) => Some("by the calendar each boundary has room for a clock that is seconds off"),
        _ => None,
    };
    let given = [("quota.limit.granularity", &table.granularity), ("quota.limit.skew", &table.skew)];
    if let (Some(why), Some((field, _))) = (clockless, given.iter().find(|(_, value)| value.is_some())) {
        return Err(JobError::value(field, why).hinting("leave it away"));
    }
    if let Some(text) = table.granularity.as_deref() {
        limit = limit.with_granularity(duration("quota.limit.granularity", Some(text), Duration::ZERO)?);
    }
    limit = limit.with_skew(duration("quota.limit.skew", table.skew.as_deref(), Duration::ZERO)?);
    if let Some(text) = table.linger.as_deref() {
        if !matches!(limit.rule(), Rule::Concurrency { .. }) {
            return Err(JobError::value(
                "quota.limit.linger",
                "only calls at a time linger after their answer",
            )
            .hinting("for enforced = \"concurrency\"; what a window counted it does not forget"));
        }
        limit = limit.with_linger(duration("quota.limit.linger", Some(text), Limit::DEFAULT_LINGER)?);
    }
    Ok(limit)
}

/// Amount, unit and enforcement, by way of the short form that says the same.
fn rule(table: &LimitSection) -> Result<Limit, JobError> {
    let enforced = table.enforced.as_deref();
    let text = match (&table.rate, table.amount) {
        (Some(rate), None) => {
            let fields = [("per", table.per.is_some()), ("unit", table.unit.is_some())];
            if let Some((field, _)) = fields.into_iter().find(|(_, given)| *given) {
                let message = format!("`rate` and `{field}` say the same");
                return Err(JobError::value("quota.limit.rate", message)
                    .hinting("write rate = \"40k tokens/min\", or `amount`, `per` and `unit`"));
            }
            let limit: Limit = rate.parse()?;
            if !matches!(limit.rule(), Rule::Window { .. }) || limit.to_string().ends_with("also per second")
            {
                return as_the_rate_says(rate, limit, table);
            }
            if enforced == Some("concurrency") {
                let message = format!("`{rate}` is a rate, not a number of calls at a time");
                return Err(JobError::value("quota.limit.enforced", message).hinting(
                    "amount = 20 and enforced = \"concurrency\"; two tables are two limits, and both hold",
                ));
            }
            rate.clone()
        }
        (None, Some(amount)) if enforced == Some("concurrency") => {
            if table.per.is_some() || table.unit.is_some() {
                return Err(JobError::value(
                    "quota.limit.enforced",
                    "calls at a time have no `per` and no `unit`",
                )
                .hinting("amount = 20 and enforced = \"concurrency\" say it all"));
            }
            format!("concurrency {amount}")
        }
        (None, Some(amount)) => {
            let per = table.per.as_deref().ok_or_else(|| {
                JobError::value("quota.limit", "a limit with an `amount` needs `per`").hinting(
                    "in which time, such as per = \"min\"; or enforced = \"concurrency\" for calls at a time",
                )
            })?;
            format!("{amount} {}/{per}", table.unit.as_deref().unwrap_or("requests"))
        }
        _ => {
            return Err(JobError::value("quota.limit", "expected either `rate`, or `amount` and `per`")
                .hinting("rate = \"1000/s\"; or amount = 1000 and per = \"s\""));
        }
    };
    Ok(format!("{text}{}", suffix(table)?).parse()?)
}

/// What the short form says behind the period, from the fields for it.
fn suffix(table: &LimitSection) -> Result<String, JobError> {
    let enforced = match (table.enforced.as_deref(), table.capacity, table.zone.as_deref()) {
        (Some(enforced), ..) => enforced,
        (None, Some(_), None) => "bucket",
        (None, None, Some(_)) => "calendar",
        (None, None, None) => "window",
        (None, Some(_), Some(_)) => {
            return Err(JobError::value("quota.limit", "a bucket has no calendar, and a calendar no bucket")
                .hinting("give either `capacity` or `zone`; two tables are two limits, and both hold"));
        }
    };
    enforcement(enforced)
        .map_err(|(message, hint)| JobError::value("quota.limit.enforced", message).hinting(hint))?;
    let stray = |field: &'static str, name: &str, of: &str| {
        Err(JobError::value(field, format!("`{name}` does not go with enforced = \"{enforced}\""))
            .hinting(format!("it belongs to enforced = \"{of}\"")))
    };
    if table.capacity.is_some() && enforced != "bucket" {
        return stray("quota.limit.capacity", "capacity", "bucket");
    }
    if table.step.is_some() && enforced != "bucket" {
        return stray("quota.limit.step", "step", "bucket");
    }
    if table.zone.is_some() && enforced != "calendar" {
        return stray("quota.limit.zone", "zone", "calendar");
    }
    Ok(match (enforced, table.capacity, table.zone.as_deref()) {
        ("bucket", Some(capacity), _) => {
            let step = table.step.as_ref().map(|step| format!(" step {step}")).unwrap_or_default();
            format!(" bucket {capacity}{step}")
        }
        ("bucket", None, _) => {
            return Err(JobError::value("quota.limit", "a bucket needs its `capacity`")
                .hinting("what it holds when it is full, such as capacity = 10; nginx: its burst + 1"));
        }
        // What the short form takes for a zone; it says so if there is none of that name.
        ("calendar", _, Some(zone)) if zone.eq_ignore_ascii_case("utc") || zone.contains('/') => {
            format!(" {zone}")
        }
        ("calendar", _, Some(zone)) => {
            return Err(JobError::value("quota.limit.zone", format!("`{zone}` is not a time zone")).hinting(
                "write \"UTC\", or a place such as \"Europe/Berlin\": it knows when clocks change",
            ));
        }
        ("calendar", _, None) => {
            return Err(JobError::value("quota.limit", "a calendar needs its `zone`")
                .hinting("where their day begins, such as zone = \"UTC\" or \"America/Los_Angeles\""));
        }
        ("counter" | "unknown", ..) => format!(" {enforced}"),
        _ => String::new(),
    })
}

/// A `rate` such as `50/s bucket 10`: the table must not say it otherwise.
fn as_the_rate_says(rate: &str, limit: Limit, table: &LimitSection) -> Result<Limit, JobError> {
    let says = match limit.rule() {
        Rule::Counter { .. } => "counter",
        Rule::Bucket { .. } => "bucket",
        Rule::Unknown { .. } => "unknown",
        Rule::Calendar(_) => "calendar",
        Rule::Concurrency { .. } => "concurrency",
        _ => "window",
    };
    let fields = [
        ("enforced", table.enforced.as_deref().is_some_and(|enforced| enforced != says)),
        ("capacity", table.capacity.is_some()),
        ("step", table.step.is_some()),
        ("zone", table.zone.is_some()),
    ];
    match fields.into_iter().find(|(_, given)| *given) {
        None => Ok(limit),
        Some((field, _)) => {
            let message = format!("`{rate}` says how it is enforced, and so does `{field}`");
            Err(JobError::value("quota.limit.rate", message).hinting(
                "say it in one place: rate = \"50/s\" and capacity = 10, or rate = \"50/s bucket 10\"",
            ))
        }
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
