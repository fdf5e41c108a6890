//! What tokens cost, by model.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Money, Tokens, Usage};

/// The price of all models that have none of their own.
const ANY: &str = "*";

/// Prices by model; none costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prices(pub(crate) BTreeMap<String, Price>);

/// What a model's tokens cost, for a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) input: Money,
    pub(crate) output: Money,
    /// Read from a cache.
    pub(crate) cached: Money,
    /// Written to a cache.
    pub(crate) written: Money,
}

impl Prices {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The price of the model that a body asks for; its name, if there is none.
    pub(crate) fn of(&self, body: &[u8]) -> Result<Price, String> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(default)]
            model: String,
        }
        let model = serde_json::from_slice(body).map(|Asked { model }| model).unwrap_or_default();
        let price = self.0.get(&model).or_else(|| self.0.get(ANY));
        price.copied().ok_or(model)
    }
}

impl Price {
    /// What a call has cost.
    pub(crate) fn of(&self, usage: &Usage) -> Money {
        let plain = usage.input.saturating_sub(usage.cached).saturating_sub(usage.written);
        let parts = [
            (plain, self.input),
            (usage.cached, self.cached),
            (usage.written, self.written),
            // What a total counts besides is paid for like an answer.
            (usage.total.saturating_sub(usage.input).max(usage.output), self.output),
        ];
        sum(parts)
    }

    /// What a call of such tokens costs at most.
    pub(crate) fn most(&self, tokens: Tokens) -> Money {
        sum([(tokens.input, self.input.max(self.cached).max(self.written)), (tokens.output, self.output)])
    }
}

fn sum(parts: impl IntoIterator<Item = (u64, Money)>) -> Money {
    parts.into_iter().fold(Money::default(), |sum, (tokens, price)| {
        sum.plus(Money(tokens.saturating_mul(price.per_million())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price() -> Price {
        let money = |text: &str| text.parse().unwrap();
        Price { input: money("3"), output: money("15"), cached: money("0.3"), written: money("3.75") }
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage { input: 1_000_000, cached: 200_000, written: 100_000, output: 10_000, total: 0 };
        // 0.7 × 3 + 0.2 × 0.3 + 0.1 × 3.75 + 0.01 × 15
        assert_eq!(price().of(&usage).to_string(), "2.685");
        let most = price().most(Tokens { input: 1_000_000, output: 10_000 });
        assert_eq!(most.to_string(), "3.90");
    }

    #[test]
    fn a_model_without_a_price_is_named() {
        let mut prices = Prices(BTreeMap::from([("a".to_owned(), price())]));
        assert_eq!(prices.of(br#"{"model":"a"}"#), Ok(price()));
        assert_eq!(prices.of(br#"{"model":"b"}"#), Err("b".to_owned()));
        prices.0.insert(ANY.to_owned(), price());
        assert_eq!(prices.of(br#"{"model":"b"}"#), Ok(price()));
    }
}
