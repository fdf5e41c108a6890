//! The job file: what a job is, as people write it. The command line's flags fill the same form.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A job as it is written, nothing checked but its form. Every field is optional here; what is
/// missing or wrong together is said by [`Job::from_file`](super::Job::from_file).
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobFile {
    /// Where rows come from.
    pub input: InputSection,
    /// The call made for each.
    pub request: RequestSection,
    /// What the provider allows.
    pub quota: QuotaSection,
    /// What is sent again.
    pub retry: RetrySection,
    /// Where results go.
    pub output: OutputSection,
}

/// `[input]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSection {
    /// File, or `-` for stdin.
    pub path: Option<PathBuf>,
    /// `lines`, `csv`, `tsv`, `jsonl`; guessed from the name.
    pub format: Option<String>,
    /// Column that identifies a row.
    pub key: Option<String>,
}

/// `[request]`
#[derive(Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSection {
    /// GET, or POST with a body.
    pub method: Option<String>,
    /// The URL's template.
    pub url: Option<String>,
    /// Header templates.
    pub headers: Pairs,
    /// Query parameters appended to the URL.
    pub query: Pairs,
    /// A JSON body; templates live in its strings.
    pub json: Option<serde_json::Value>,
    /// A text body.
    pub body: Option<String>,
    /// A form body.
    pub form: Option<Pairs>,
    /// Environment variable sent as `Authorization: Bearer …`.
    pub bearer_env: Option<String>,
    /// For the whole call; default 30s.
    #[serde(deserialize_with = "duration")]
    pub timeout: Option<String>,
    /// For name look-up, connection and TLS; default 10s.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Option<String>,
    /// Bytes of an answer after decompression; default 16 MiB.
    pub max_body: Option<usize>,
    /// Redirects followed per row; default 0.
    pub redirects: Option<u8>,
    /// PEM files with certificates to trust besides the system's.
    pub ca: Vec<PathBuf>,
    /// `auto`, `never` or `always`.
    pub http2: Option<String>,
    /// URL of an HTTP proxy.
    pub proxy: Option<String>,
}

/// `[quota]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSection {
    /// Default: the URL's host.
    pub name: Option<String>,
    /// `guaranteed`.
    pub mode: Option<String>,
    /// Limits in their short form.
    pub limits: Vec<String>,
    /// Limits as tables.
    pub limit: Vec<LimitSection>,
    /// Calls at the same time that the provider allows.
    pub concurrency: Option<u64>,
    /// `even` or `burst`.
    pub pace: Option<String>,
    /// Connections at most.
    pub connections: Option<usize>,
}

/// `[[quota.limit]]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSection {
    /// The short form, in place of the fields below.
    pub rate: Option<String>,
    /// How many.
    pub amount: Option<u64>,
    /// In which time: `s`, `6s`, `min`.
    pub per: Option<String>,
    /// `requests`, or what else is counted.
    pub unit: Option<String>,
    /// `window`, `bucket` or `concurrency`.
    pub enforced: Option<String>,
    /// What a bucket holds.
    pub capacity: Option<u64>,
    /// Units that one call costs.
    pub cost: Option<u64>,
    /// How long after its answer a call still counts towards concurrency.
    #[serde(deserialize_with = "duration")]
    pub linger: Option<String>,
}

/// `[retry]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Attempts per row; default 5.
    pub attempts: Option<u32>,
    /// Default `1s..60s`.
    pub backoff: Option<String>,
    /// Statuses, and `network`.
    pub on: Option<Vec<StatusOrWord>>,
    /// `resend`, `hold` or `method`.
    pub unknown: Option<String>,
    /// Default 1h.
    #[serde(deserialize_with = "duration")]
    pub max_elapsed: Option<String>,
    /// Default 1h.
    #[serde(deserialize_with = "duration")]
    pub max_pause: Option<String>,
}

/// `[output]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSection {
    /// File; stdout without one.
    pub path: Option<PathBuf>,
    /// `jsonl` or `csv`; guessed from the name.
    pub format: Option<String>,
    /// `name=/json/pointer`, for CSV.
    pub select: Vec<String>,
    /// Statuses that are results.
    pub accept: Option<Vec<StatusOrWord>>,
    /// Failures that are tolerated: a number or a percentage.
    pub max_failed: Option<StatusOrWord>,
    /// Time for calls in flight when the job is interrupted; default 20s.
    #[serde(deserialize_with = "duration")]
    pub drain: Option<String>,
}

/// A number or a word, as in `on = [503, "network"]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub enum StatusOrWord {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl fmt::Display for StatusOrWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The text of a duration; a number says seconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct DurationVisitor;
    impl Visitor<'_> for DurationVisitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string such as \"30s\", or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<String, E> {
            Ok(seconds.to_string())
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<String, E> {
            Ok(seconds.to_string())
        }
    }
    deserializer.deserialize_any(DurationVisitor).map(Some)
}

/// Names and values in the order in which they were written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    pairs.push((name, value.0));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// A string, number or boolean, as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(flag) => Ok(Self(flag.to_string())),
            _ => Err(de::Error::custom("expected a string")),
        }
    }
}

/// Values may hold what should not be printed; names may not.
impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Debug for RequestSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSection")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_strings_or_seconds() {
        let timeout = |value: &str| {
            let job: Result<JobFile, _> = toml::from_str(&format!("[request]\ntimeout = {value}\n"));
            job.map(|job| job.request.timeout.unwrap_or_default()).map_err(|error| error.to_string())
        };
        assert_eq!(timeout("\"250ms\"").as_deref(), Ok("250ms"));
        assert_eq!(timeout("30").as_deref(), Ok("30"));
        assert_eq!(timeout("1.5").as_deref(), Ok("1.5"));
        let error = timeout("true").unwrap_err();
        assert!(error.contains("expected a string such as \"30s\", or a number of seconds"), "{error}");
    }
}
