//! What a quota is, in a form that a store keeps.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::{
    Contract, Limit, LimitError, Margins, Mode, Pacing, Reserve, Rule, Terms, Unit, WallClock,
};

/// The limits of a quota, and the terms that shape what they compile to.
///
/// How a job paces itself is its own affair, and not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    limits: Vec<Declared>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted_within: Option<Duration>,
    latency: Duration,
    clock_ppm: u32,
    granularity: Duration,
    #[serde(default, skip_serializing_if = "no_reserve")]
    reserve: Reserve,
}

/// A limit: its text, and what the text does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Declared {
    limit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "is_false")]
    refunds: bool,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    amplification: NonZeroU64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granularity: Option<Duration>,
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    skew: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linger: Option<Duration>,
}

impl Definition {
    /// Limits, and the terms on which they are kept.
    pub fn new(limits: &[Limit], terms: &Terms) -> Self {
        Self {
            limits: limits.iter().map(Declared::new).collect(),
            counted_within: match terms.mode {
                Mode::Guaranteed => None,
                Mode::Estimated { counted_within } => Some(counted_within),
            },
            latency: terms.latency,
            clock_ppm: terms.margins.clock_ppm,
            granularity: terms.margins.granularity,
            reserve: terms.reserve,
        }
    }

    /// What is kept for calls of a higher priority.
    pub fn reserve(&self) -> Reserve {
        self.reserve
    }

    /// The same, but for what is kept.
    #[must_use]
    pub fn with_reserve(self, reserve: Reserve) -> Self {
        Self { reserve, ..self }
    }

    /// Other limits on the same terms. What the text of a limit does not say (cost, margins) stays as it
    /// is for the limit in its place, if that counts the same.
    #[must_use]
    pub fn with_limits(&self, limits: &[Limit]) -> Self {
        let before = self.limits().unwrap_or_default();
        let limits = limits.iter().enumerate().map(|(i, limit)| {
            let new = Declared::new(limit);
            let is_bare = new == Declared::bare(new.limit.clone());
            match before.get(i).filter(|old| is_bare && old.unit() == limit.unit()) {
                Some(_) => Declared { limit: new.limit, ..self.limits[i].clone() },
                None => new,
            }
        });
        Self { limits: limits.collect(), ..self.clone() }
    }

    /// Those of a contract.
    pub fn of(contract: &Contract) -> Self {
        Self::new(contract.declared(), contract.terms())
    }

    /// The limits.
    ///
    /// # Errors
    /// If a later release wrote one that this one does not know.
    pub fn limits(&self) -> Result<Vec<Limit>, LimitError> {
        self.limits.iter().map(Declared::limit).collect()
    }

    /// The terms, with what is known of the wall clock.
    pub fn terms(&self, wall: Option<WallClock>) -> Terms {
        let counted_within = self.counted_within;
        Terms {
            margins: Margins { clock_ppm: self.clock_ppm, granularity: self.granularity },
            mode: counted_within
                .map_or(Mode::Guaranteed, |counted_within| Mode::Estimated { counted_within }),
            latency: self.latency,
            wall,
            reserve: self.reserve,
        }
    }

    /// What it compiles to.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn contract(&self, pacing: Pacing, wall: Option<WallClock>) -> Result<Contract, LimitError> {
        Contract::new(&self.limits()?, pacing, self.terms(wall))
    }

    /// Whether a job that says this can share a quota that is `other`. The latency is a guess, about
    /// which nobody has to agree; nor has a job to say what is kept for others.
    pub fn agrees(&self, other: &Self) -> bool {
        let reserve = if self.reserve.is_none() { other.reserve } else { self.reserve };
        Self { reserve, ..self.clone() } == Self { latency: self.latency, ..other.clone() }
    }

    /// Whether one of the limits follows a calendar.
    pub(crate) fn follows_calendar(&self) -> bool {
        let calendar = |limit: Limit| matches!(limit.rule(), Rule::Calendar(_));
        self.limits.iter().any(|declared| declared.limit().is_ok_and(calendar))
    }

    /// As it would be written for `quota set`.
    pub(crate) fn as_flags(&self) -> String {
        let flags = self.limits.iter().map(|declared| match declared.limit.strip_prefix("concurrency ") {
            Some(most) => format!("--concurrency {most}"),
            None if declared.limit.contains(' ') => format!("--rate '{}'", declared.limit),
            None => format!("--rate {}", declared.limit),
        });
        let reserve = (!self.reserve.is_none()).then(|| format!("--reserve {}", self.reserve));
        flags.chain(reserve).collect::<Vec<_>>().join(" ")
    }
}

impl Declared {
    fn bare(limit: String) -> Self {
        Self {
            limit,
            cost: None,
            refunds: false,
            amplification: NonZeroU64::MIN,
            granularity: None,
            skew: Duration::ZERO,
            linger: None,
        }
    }

    fn new(limit: &Limit) -> Self {
        let own_cost = match limit.unit() {
            // One request costs one request, unless somebody says otherwise.
            Unit::Requests => limit.cost().filter(|cost| *cost != 1),
            _ => limit.cost(),
        };
        Self {
            limit: limit.to_string(),
            cost: own_cost.and_then(NonZeroU64::new),
            refunds: limit.refunds(),
            amplification: NonZeroU64::new(limit.amplification()).unwrap_or(NonZeroU64::MIN),
            granularity: limit.granularity(),
            skew: limit.skew(),
            linger: match limit.rule() {
                Rule::Concurrency { linger } if *linger != Limit::DEFAULT_LINGER => Some(*linger),
                _ => None,
            },
        }
    }

    fn limit(&self) -> Result<Limit, LimitError> {
        let mut limit = self.limit.parse::<Limit>()?.amplified(self.amplification).with_skew(self.skew);
        if let Some(cost) = self.cost {
            limit = limit.with_cost(cost);
        }
        if self.refunds {
            limit = limit.refunding();
        }
        if let Some(granularity) = self.granularity {
            limit = limit.with_granularity(granularity);
        }
        if let Some(linger) = self.linger {
            limit = limit.with_linger(linger);
        }
        Ok(limit)
    }
}

impl fmt::Display for Definition {
    /// For people: the limits, and what else is not as usual.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.limits.is_empty() {
            f.write_str("without limits")?;
        }
        for (i, declared) in self.limits.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, declared.limit)?;
            if let Some(cost) = declared.cost {
                write!(f, " (cost {cost})")?;
            }
            if declared.refunds {
                f.write_str(" (refunds)")?;
            }
            if declared.amplification.get() > 1 {
                write!(f, " (amplification {})", declared.amplification)?;
            }
            if let Some(granularity) = declared.granularity {
                write!(f, " (granularity {granularity:?})")?;
            }
            if !declared.skew.is_zero() {
                write!(f, " (skew {:?})", declared.skew)?;
            }
            if let Some(linger) = declared.linger {
                write!(f, " (linger {linger:?})")?;
            }
        }
        if let Some(within) = self.counted_within {
            write!(f, ", estimated: counted within {within:?}")?;
        }
        if self.reserve.is_none() { Ok(()) } else { write!(f, ", reserve {}", self.reserve) }
    }
}

fn one() -> NonZeroU64 {
    NonZeroU64::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn no_reserve(reserve: &Reserve) -> bool {
    reserve.is_none()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_one(n: &NonZeroU64) -> bool {
    n.get() == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(yes: &bool) -> bool {
    !yes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_survives_its_form_in_the_store() {
        let ms = Duration::from_millis;
        let two = NonZeroU64::new(2).unwrap();
        let limits = [
            "100/6s".parse::<Limit>().unwrap().amplified(two).with_skew(ms(20)),
            "2M tokens/min".parse::<Limit>().unwrap().with_cost(two).refunding(),
            "500 tokens/min bucket 70 step 250ms".parse().unwrap(),
            "10/week Europe/Berlin".parse::<Limit>().unwrap().with_granularity(ms(1_000)),
            "6000/min also per second".parse().unwrap(),
            Limit::concurrency(two).with_linger(ms(40)),
        ];
        let mode = Mode::Estimated { counted_within: ms(30) };
        let reserve = "high=5%".parse().unwrap();
        let terms = Terms { mode, latency: ms(70), reserve, ..Terms::default() };
        let definition = Definition::new(&limits, &terms);
        let text = serde_json::to_string(&definition).unwrap();
        let back: Definition = serde_json::from_str(&text).unwrap();
        assert_eq!(back, definition);
        assert_eq!(back.limits().unwrap(), limits);
        assert_eq!(back.terms(None), terms);
        let slower = Definition { latency: ms(900), ..definition.clone() };
        assert!(slower.agrees(&definition));
        assert!(definition.clone().with_reserve(Reserve::NONE).agrees(&definition));
        assert!(!definition.agrees(&definition.clone().with_reserve(Reserve::NONE)));
        assert!(!Definition { counted_within: None, ..definition.clone() }.agrees(&definition));
    }
}
