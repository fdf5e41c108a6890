//! How long something takes: a constant, or a seeded random duration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

use crate::text::{self, SpecError};

/// Slowest sample of a lognormal latency; without it a large sigma would hang a request for years.
const MAX_SAMPLE: Duration = Duration::from_secs(3600);

/// A distribution of durations.
///
/// Reads `0`, `60ms`, `uniform 0..20ms` (or just `0-20ms`) and `lognormal 60ms 0.5` (median, sigma).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Anything between the two, equally likely.
    Uniform(Duration, Duration),
    /// Log-normal, the usual shape of answer times; cut off at an hour.
    LogNormal {
        /// Half of all samples are shorter than this.
        median: Duration,
        /// Standard deviation of the logarithm: 0.5 puts the 99th percentile at 3.2 medians.
        sigma: f64,
    },
}

impl Latency {
    /// No delay at all.
    pub const ZERO: Self = Self::Constant(Duration::ZERO);

    /// Whether it never delays anything.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Draws one duration.
    pub fn sample(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Constant(duration) => duration,
            Self::Uniform(from, to) => Duration::from_nanos(rng.u64(nanos(from)..=nanos(to.max(from)))),
            Self::LogNormal { median, sigma } => {
                let seconds = median.as_secs_f64() * (sigma * standard_normal(rng)).exp();
                Duration::try_from_secs_f64(seconds).map_or(MAX_SAMPLE, |sample| sample.min(MAX_SAMPLE))
            }
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Latency {
    type Err = SpecError;

    fn from_str(input: &str) -> Result<Self, SpecError> {
        let words: Vec<&str> = input.split_whitespace().collect();
        let parsed = match words[..] {
            ["uniform", range] => uniform(range),
            ["lognormal", median, sigma] => log_normal(median, sigma),
            ["uniform" | "lognormal", ..] => Err("wrong number of words".to_owned()),
            [word] if word.contains("..") || word.contains('-') => uniform(word),
            [word] => text::duration(word).map(Self::Constant),
            _ => Err("not a latency".to_owned()),
        };
        parsed.map_err(|problem| {
            let hint = "write `0`, `60ms`, `uniform 0..20ms` or `lognormal 60ms 0.5` (median and sigma)";
            SpecError::new("latency", input, problem, hint)
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Constant(Duration::ZERO) => f.write_str("0"),
            Self::Constant(duration) => f.write_str(&text::show(duration)),
            Self::Uniform(from, to) => write!(f, "uniform {}..{}", text::show(from), text::show(to)),
            Self::LogNormal { median, sigma } => write!(f, "lognormal {} {sigma}", text::show(median)),
        }
    }
}

fn uniform(range: &str) -> Result<Latency, String> {
    let (from, to) = range
        .split_once("..")
        .or_else(|| range.split_once('-'))
        .ok_or_else(|| format!("`{range}` is not a range like 5..20ms"))?;
    let high = text::duration(to)?;
    // In `5..20ms` the unit of the end holds for the start too.
    let low = if from.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let unit = to.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        text::duration(&format!("{from}{unit}"))?
    } else {
        text::duration(from)?
    };
    if low > high {
        return Err(format!("`{range}` ends before it starts"));
    }
    Ok(Latency::Uniform(low, high))
}

fn log_normal(median: &str, sigma: &str) -> Result<Latency, String> {
    let spread = sigma.parse::<f64>().ok().filter(|sigma| (0.0..=10.0).contains(sigma));
    let sigma = spread.ok_or_else(|| format!("sigma `{sigma}` is not a number between 0 and 10"))?;
    Ok(Latency::LogNormal { median: text::duration(median)?, sigma })
}

/// Box-Muller; one of its two values is enough here.
fn standard_normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn reads_every_form() {
        let read = |text: &str| text.parse::<Latency>().unwrap();
        assert_eq!(read("0"), Latency::ZERO);
        assert_eq!(read("60ms"), Latency::Constant(ms(60)));
        assert_eq!(read("uniform 0..20ms"), Latency::Uniform(ms(0), ms(20)));
        assert_eq!(read("5-20ms"), Latency::Uniform(ms(5), ms(20)));
        assert_eq!(read("uniform 900ms..1s"), Latency::Uniform(ms(900), ms(1000)));
        assert_eq!(read("lognormal 60ms 0.5"), Latency::LogNormal { median: ms(60), sigma: 0.5 });
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["0", "60ms", "uniform 5ms..20ms", "lognormal 60ms 0.5"] {
            assert_eq!(text.parse::<Latency>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_with_a_hint() {
        for bad in
            ["", "60", "20..5ms", "uniform", "uniform 5ms", "lognormal 60ms", "lognormal 60ms x", "gauss 1s"]
        {
            let error = bad.parse::<Latency>().unwrap_err();
            assert!(error.hint().contains("lognormal"), "{bad}: {error}");
        }
    }

    #[test]
    fn samples_follow_the_seed_and_the_shape() {
        let latency = Latency::LogNormal { median: ms(60), sigma: 0.5 };
        let draw = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..10_001).map(|_| latency.sample(&mut rng)).collect::<Vec<_>>()
        };
        let mut samples = draw(7);
        assert_eq!(samples, draw(7));
        assert_ne!(samples, draw(8));
        samples.sort_unstable();
        // Median and 99th percentile of the lognormal: 60 ms and 60·e^(0.5·2.326) = 192 ms.
        assert!((ms(58)..ms(62)).contains(&samples[5_000]), "{:?}", samples[5_000]);
        assert!((ms(175)..ms(210)).contains(&samples[9_900]), "{:?}", samples[9_900]);
    }

    #[test]
    fn uniform_stays_inside() {
        let mut rng = Rng::with_seed(1);
        let samples: Vec<_> = (0..1_000).map(|_| Latency::Uniform(ms(5), ms(7)).sample(&mut rng)).collect();
        assert!(samples.iter().all(|sample| (ms(5)..=ms(7)).contains(sample)));
        assert!(samples.iter().any(|sample| *sample > ms(6)) && samples.iter().any(|sample| *sample < ms(6)));
    }
}
