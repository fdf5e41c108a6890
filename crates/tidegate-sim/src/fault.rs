//! Things that go wrong on purpose.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

use crate::text::{self, SpecError};

const HINT: &str = "write `status 503 5%`, `reset 10%`, `hang 2%`, `truncate 2%`, `html 1%`, \
    `unauthorized after 1000`, `pause after 1000 for 90s` or `stall after 1000 for 40s`";

/// What may happen to an accepted request instead of a good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answered with this status (400 to 599).
    Status(u16),
    /// The connection is reset before any byte of the answer.
    Reset,
    /// Never answered; ends when the client closes the connection.
    Hang,
    /// The answer announces more bytes than are sent, then the connection closes.
    Truncate,
    /// Status 200 with an HTML page, as a captive portal or a proxy would send.
    Html,
}

/// One way for the provider to misbehave, as a person writes it.
///
/// `status CODE SHARE`, `reset SHARE`, `hang SHARE`, `truncate SHARE` and `html SHARE` strike that share
/// of the accepted requests (`10%` or `0.1`); `unauthorized after N` answers 401 to everything once N
/// requests were accepted; `pause after N for DURATION` then answers 429 for that long; `stall after N for
/// DURATION` does nothing at all for that long once N requests have come.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum FaultSpec {
    /// Strikes each accepted request with this probability, 0 to 1.
    Chance(Fault, f64),
    /// Answers 401 to everything after so many accepted requests: a revoked key.
    UnauthorizedAfter(u64),
    /// After so many accepted requests, answers 429 with a Retry-After this long to everything until
    /// it has passed. It begins with the first request that comes too late.
    PauseAfter(u64, Duration),
    /// After so many requests, does nothing for this long: what comes is read, but neither counted nor
    /// answered until then. Requests whose client has gone by then are counted all the same. It begins with
    /// the first request that comes too late.
    StallAfter(u64, Duration),
}

/// All faults of a provider. The default has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    chances: Vec<(Fault, f64)>,
    pub(crate) unauthorized_after: Option<u64>,
    pub(crate) pause_after: Option<(u64, Duration)>,
    pub(crate) stall_after: Option<(u64, Duration)>,
}

impl Faults {
    /// Puts faults together. One request suffers at most one of them, so their shares must not exceed 100%.
    pub fn new(specs: impl IntoIterator<Item = FaultSpec>) -> Result<Self, SpecError> {
        let mut faults = Self::default();
        for spec in specs {
            let repeated = match spec {
                FaultSpec::Chance(fault, share) => {
                    faults.chances.push((fault, share));
                    false
                }
                FaultSpec::UnauthorizedAfter(n) => faults.unauthorized_after.replace(n).is_some(),
                FaultSpec::PauseAfter(n, pause) => faults.pause_after.replace((n, pause)).is_some(),
                FaultSpec::StallAfter(n, stall) => faults.stall_after.replace((n, stall)).is_some(),
            };
            if repeated {
                return Err(SpecError::new("fault", &spec.to_string(), "given twice", "give it once"));
            }
            let total: f64 = faults.chances.iter().map(|(_, share)| share).sum();
            // The range refuses NaN, too; ten times 10% may add up to a little more than 1.
            let possible = |share: f64| (0.0..1.0 + 1e-9).contains(&share);
            if !possible(total) || !faults.chances.iter().all(|(_, share)| possible(*share)) {
                let problem = "the shares of all faults are not between 0% and 100%";
                return Err(SpecError::new("fault", &spec.to_string(), problem, "lower one of them"));
            }
        }
        Ok(faults)
    }

    /// Decides the fate of one accepted request.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<Fault> {
        if self.chances.is_empty() {
            return None;
        }
        let mut dice = rng.f64();
        self.chances.iter().find_map(|(fault, share)| {
            dice -= share;
            (dice < 0.0).then_some(*fault)
        })
    }
}

impl FromStr for FaultSpec {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        let words: Vec<&str> = input.split_whitespace().collect();
        let chance = |fault, share| text::probability(share).map(|share| Self::Chance(fault, share));
        match words[..] {
            ["status", code, share] => status(code).and_then(|status| chance(status, share)),
            ["reset", share] => chance(Fault::Reset, share),
            ["hang", share] => chance(Fault::Hang, share),
            ["truncate", share] => chance(Fault::Truncate, share),
            ["html", share] => chance(Fault::Html, share),
            ["unauthorized", "after", count] => text::amount(count).map(Self::UnauthorizedAfter),
            ["pause", "after", count, "for", pause] => text::amount(count)
                .and_then(|count| text::duration(pause).map(|pause| Self::PauseAfter(count, pause))),
            ["stall", "after", count, "for", stall] => text::amount(count)
                .and_then(|count| text::duration(stall).map(|stall| Self::StallAfter(count, stall))),
            _ => Err("not a fault".to_owned()),
        }
        .map_err(|problem| SpecError::new("fault", input, problem, HINT))
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chance(fault, share) => {
                match fault {
                    Fault::Status(code) => write!(f, "status {code}"),
                    Fault::Reset => f.write_str("reset"),
                    Fault::Hang => f.write_str("hang"),
                    Fault::Truncate => f.write_str("truncate"),
                    Fault::Html => f.write_str("html"),
                }?;
                write!(f, " {share}")
            }
            Self::UnauthorizedAfter(count) => write!(f, "unauthorized after {}", text::show_amount(*count)),
            Self::PauseAfter(count, pause) => {
                write!(f, "pause after {} for {}", text::show_amount(*count), text::show(*pause))
            }
            Self::StallAfter(count, stall) => {
                write!(f, "stall after {} for {}", text::show_amount(*count), text::show(*stall))
            }
        }
    }
}

fn status(code: &str) -> Result<Fault, String> {
    code.parse()
        .ok()
        .filter(|code| (400..=599).contains(code))
        .map(Fault::Status)
        .ok_or_else(|| format!("`{code}` is not an error status between 400 and 599"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(specs: &[&str]) -> Result<Faults, SpecError> {
        Faults::new(specs.iter().map(|spec| spec.parse().unwrap()))
    }

    #[test]
    fn prints_what_it_reads() {
        for text in [
            "status 503 0.05",
            "reset 0.1",
            "hang 0.02",
            "truncate 0.02",
            "html 0.01",
            "unauthorized after 1000",
            "pause after 1000 for 90s",
            "stall after 100 for 40s",
        ] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        assert_eq!("reset 10%".parse(), Ok(FaultSpec::Chance(Fault::Reset, 0.1)));
    }

    #[test]
    fn refuses_with_a_hint() {
        for bad in ["", "reset", "reset 101%", "status 200 1%", "status 5%", "pause after 5", "explode 1%"] {
            let error = bad.parse::<FaultSpec>().unwrap_err();
            assert!(error.hint().contains("reset 10%"), "{bad}");
        }
    }

    #[test]
    fn shares_are_bounded_and_single_faults_single() {
        assert!(faults(&["reset 50%", "hang 50%"]).is_ok());
        assert!(faults(&["reset 60%", "hang 50%"]).is_err());
        assert!(faults(&["pause after 1 for 1s", "pause after 2 for 1s"]).is_err());
        assert!(Faults::new([FaultSpec::Chance(Fault::Reset, f64::NAN)]).is_err());
        assert!(Faults::new([FaultSpec::Chance(Fault::Reset, -0.5)]).is_err());
    }

    #[test]
    fn draws_match_the_shares_and_the_seed() {
        let faults = faults(&["reset 10%", "status 503 5%"]).unwrap();
        let draw = || {
            let mut rng = Rng::with_seed(3);
            (0..10_000).map(|_| faults.draw(&mut rng)).collect::<Vec<_>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        let count = |fault| drawn.iter().filter(|drawn| **drawn == fault).count();
        assert!((900..1_100).contains(&count(Some(Fault::Reset))));
        assert!((400..600).contains(&count(Some(Fault::Status(503)))));
    }

    #[test]
    fn certain_faults_always_strike() {
        let (mut rng, faults) = (Rng::with_seed(1), faults(&["hang 100%"]).unwrap());
        assert!((0..1_000).all(|_| faults.draw(&mut rng) == Some(Fault::Hang)));
    }
}
