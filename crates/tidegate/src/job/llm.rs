//! What a job says of tokens and money.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use tidegate_core::{Limit, Unit};

use super::{CostSpec, JobError, PriceSection, QuotaSection};
use crate::llm::{Money, Price, Prices, TokenKind, TokenSpec};

const MINUTE: Duration = Duration::from_secs(60);

/// Limits per minute, as LLM providers give them.
pub(super) fn per_minute(quota: &QuotaSection, refunds: bool) -> Result<Vec<(Limit, CostSpec)>, JobError> {
    let refunds = quota.refund.unwrap_or(refunds);
    let mut limits = Vec::new();
    for (field, amount, kind) in [
        ("quota.rpm", quota.rpm, None),
        ("quota.tpm", quota.tpm, Some(TokenKind::Total)),
        ("quota.itpm", quota.itpm, Some(TokenKind::Input)),
        ("quota.otpm", quota.otpm, Some(TokenKind::Output)),
    ] {
        let Some(amount) = amount else { continue };
        let amount = NonZeroU64::new(amount).ok_or_else(|| {
            JobError::value(field, "0 a minute would never send anything: expected 1 or more")
        })?;
        let mut limit = Limit::window(amount, MINUTE);
        if let Some(kind) = kind {
            limit = limit.counting(Unit::Named(kind.unit().into()));
            if refunds {
                limit = limit.refunding();
            }
        }
        limits.push((limit, CostSpec { tokens: kind, ..CostSpec::default() }));
    }
    Ok(limits)
}

/// What is declared of tokens beyond what bodies say.
pub(super) fn token_spec(quota: &QuotaSection) -> Result<TokenSpec, JobError> {
    let learn = match quota.reserve.as_ref().and_then(|reserve| reserve.tokens()) {
        None | Some("bound") => false,
        Some("p99") => true,
        Some(other) => {
            let message = format!("`{other}` is nothing that can be reserved: expected bound or p99");
            return Err(JobError::value("quota.reserve", message));
        }
    };
    Ok(TokenSpec { max_output: quota.max_output_tokens, media: quota.media_tokens, learn })
}

/// Prices by model.
pub(super) fn prices(sections: &BTreeMap<String, PriceSection>) -> Result<Prices, JobError> {
    let of = |(model, section): (&String, &PriceSection)| {
        let needed = |field: &str| {
            JobError::value("prices", format!("`{model}` has no `{field}`"))
                .hinting("for a million tokens: input = \"0.15\" and output = \"0.60\"")
        };
        let input = money("prices.input", section.input.as_deref())?.ok_or_else(|| needed("input"))?;
        let price = Price {
            input,
            // What embeds has no answers to pay for.
            output: money("prices.output", section.output.as_deref())?.ok_or_else(|| needed("output"))?,
            cached: money("prices.cached_input", section.cached_input.as_deref())?.unwrap_or(input),
            written: money("prices.cache_write", section.cache_write.as_deref())?.unwrap_or(input),
        };
        Ok((model.clone(), price))
    };
    sections.iter().map(of).collect::<Result<_, _>>().map(Prices)
}

/// What the job may cost.
pub(super) fn max_cost(quota: &QuotaSection, prices: &Prices) -> Result<Option<Money>, JobError> {
    let most = money("quota.max_cost", quota.max_cost.as_deref())?;
    if most.is_some() && prices.is_empty() {
        return Err(JobError::value("quota.max_cost", "nobody knows what a call costs: the job has no prices")
            .hinting("add [prices.\"MODEL\"] with input = \"0.15\" and output = \"0.60\" (for a million tokens) to the job file"));
    }
    Ok(most)
}

fn money(field: &'static str, text: Option<&str>) -> Result<Option<Money>, JobError> {
    text.map(|text| text.parse().map_err(|message: String| JobError::value(field, message))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_per_minute_count_what_they_say() {
        let quota =
            QuotaSection { rpm: Some(10), tpm: Some(2_000), otpm: Some(300), ..QuotaSection::default() };
        let limits = per_minute(&quota, true).unwrap();
        let said: Vec<String> = limits.iter().map(|(limit, _)| limit.to_string()).collect();
        assert_eq!(said, ["10/min", "2000 tokens/min", "300 output_tokens/min"]);
        let refunds: Vec<bool> = limits.iter().map(|(limit, _)| limit.refunds()).collect();
        assert_eq!(refunds, [false, true, true]);
        let none = QuotaSection { itpm: Some(0), ..QuotaSection::default() };
        assert!(per_minute(&none, false).is_err());
    }

    #[test]
    fn prices_are_whole_or_refused() {
        let section = |input: &str, output: Option<&str>| PriceSection {
            input: Some(input.to_owned()),
            output: output.map(str::to_owned),
            ..PriceSection::default()
        };
        let read = |section| prices(&BTreeMap::from([("m".to_owned(), section)]));
        let price = read(section("3", Some("15"))).unwrap().0["m"];
        assert_eq!(price.cached, price.input);
        assert!(read(section("3", None)).unwrap_err().hint().is_some());
        assert!(read(section("3 EUR", Some("15"))).is_err());
        let quota = QuotaSection { max_cost: Some("5".to_owned()), ..QuotaSection::default() };
        assert!(max_cost(&quota, &Prices::default()).is_err());
    }
}
