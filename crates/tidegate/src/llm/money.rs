//! Amounts of money, in whole billionths of a thousandth: no float ever holds one.

use std::fmt;
use std::str::FromStr;

/// An amount in the currency that prices are in; a millionth of a millionth of it is the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Money(pub(crate) u64);

/// Units in 1 of the currency.
const ONE: u64 = 1_000_000_000_000;
/// Decimals that are read: a price per million tokens has whole units per token then.
const DECIMALS: usize = 6;

impl Money {
    /// Units of it for one of a million.
    pub(super) fn per_million(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Money {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount: expected one such as 25, 0.15 or 0.000375");
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(digits(whole) && digits(part)) || whole.len() + part.len() == 0 || part.len() > DECIMALS {
            return Err(wrong());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let part: u64 = format!("{part:0<12}").parse().map_err(|_| wrong())?;
        whole.checked_mul(ONE).and_then(|units| units.checked_add(part)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Money {
    /// To a millionth, rounded up: `12.50`, `0.000375`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millionths = self.0.div_ceil(1_000_000);
        let part = format!("{:06}", millionths % 1_000_000);
        let kept = part.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", millionths / 1_000_000, &part[..kept])
    }
}

impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, units, written) in [
            ("25", 25 * ONE, "25.00"),
            ("0.15", 150_000_000_000, "0.15"),
            (".5", 500_000_000_000, "0.50"),
            ("0.000375", 375_000_000, "0.000375"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!((money.0, money.to_string().as_str()), (units, written));
        }
        for bad in ["", ".", "-1", "1e3", "0.0000001", "99999999999", "1,5", "$5"] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
        assert_eq!(Money(1).to_string(), "0.000001", "rounded up");
    }
}
