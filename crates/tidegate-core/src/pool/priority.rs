//! `Priority`: who comes first among those who share a quota; `Reserve`: what is kept for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much the calls of a member matter. Higher ones have what they want before lower ones have anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others; somebody waits for it.
    High,
    /// What nobody says anything about.
    #[default]
    Normal,
    /// What is left.
    Low,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its place in [`ALL`](Self::ALL).
    pub fn rank(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        ["high", "normal", "low"][self.rank()]
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|priority| priority.word() == text.trim());
        known.ok_or_else(|| format!("`{text}` is no priority: it is high, normal or low"))
    }
}

/// Part of each limit, in per cent, that lower priorities leave unused, so that a call of a higher one need not wait
/// until they give something back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reserve {
    /// What only high priority may use.
    #[serde(default, skip_serializing_if = "is_none")]
    high: u8,
    /// What besides that only normal and high priority may use.
    #[serde(default, skip_serializing_if = "is_none")]
    normal: u8,
}

impl Reserve {
    /// Nothing is kept.
    pub const NONE: Self = Self { high: 0, normal: 0 };

    /// So many per cent more for `priority`, and all above it.
    ///
    /// # Errors
    /// What is wrong, in words: nothing would be left for others, or there is nobody to leave it to.
    pub fn with(mut self, priority: Priority, percent: u8) -> Result<Self, String> {
        match priority {
            Priority::High => self.high = percent,
            Priority::Normal => self.normal = percent,
            Priority::Low => return Err("nothing can be reserved for low: it is what is left".to_owned()),
        }
        if u32::from(self.high) + u32::from(self.normal) >= 100 {
            return Err("a reserve of 100% or more leaves nothing for lower priorities".to_owned());
        }
        Ok(self)
    }

    /// Whether nothing is kept.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Units of `whole` that `priority` and those below it leave to higher ones; rounded up, but not all.
    pub fn kept_from(self, priority: Priority, whole: u64) -> u64 {
        let percent = match priority {
            Priority::High => 0,
            Priority::Normal => self.high,
            Priority::Low => self.high + self.normal,
        };
        let kept = (u128::from(whole) * u128::from(percent)).div_ceil(100);
        u64::try_from(kept).unwrap_or(u64::MAX).min(whole.saturating_sub(1))
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [(Priority::High, self.high), (Priority::Normal, self.normal)];
        for (i, (priority, percent)) in said.into_iter().filter(|(_, percent)| *percent > 0).enumerate() {
            write!(f, "{}{priority}={percent}%", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Reserve {
    type Err = String;

    /// From `high=5%`, or `high=5%,normal=10%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut reserve = Self::NONE;
        for part in text.split(',') {
            let wrong =
                || format!("`{part}` is no reserve: expected a priority and a percentage, as in high=5%");
            let (priority, percent) = part.split_once('=').ok_or_else(wrong)?;
            let percent = percent.trim().strip_suffix('%').and_then(|percent| percent.trim().parse().ok());
            reserve = reserve.with(priority.parse()?, percent.ok_or_else(wrong)?)?;
        }
        Ok(reserve)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_none(percent: &u8) -> bool {
    *percent == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_read_as_it_is_written() {
        let reserve: Reserve = "high=5%, normal = 10 %".parse().unwrap();
        assert_eq!(reserve.to_string(), "high=5%,normal=10%");
        assert_eq!(reserve.to_string().parse(), Ok(reserve));
        for wrong in
            ["high", "high=5", "high=x%", "low=5%", "urgent=5%", "high=300%", "high=60%,normal=40%", ""]
        {
            assert!(wrong.parse::<Reserve>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_rounded_up_but_never_all() {
        let reserve: Reserve = "high=5%,normal=10%".parse().unwrap();
        let kept = |whole| Priority::ALL.map(|priority| reserve.kept_from(priority, whole));
        assert_eq!(kept(100), [0, 5, 15]);
        assert_eq!(kept(10), [0, 1, 2]);
        assert_eq!(kept(1), [0, 0, 0]);
        assert_eq!(kept(u64::MAX)[0], 0);
    }
}
