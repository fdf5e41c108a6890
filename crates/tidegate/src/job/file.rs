//! The job file: what a job is, as people write it. The command line's flags fill the same form.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A job as it is written, nothing checked but its form. Every field is optional here; what is
/// missing or wrong together is said by [`Job::from_file`](super::Job::from_file).
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
#[derive(Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
    /// A JSON body; templates live in its strings, and a date becomes one.
    #[serde(deserialize_with = "json")]
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
    /// Adds an idempotency key to each call: `true`, or the name of its header.
    pub idempotency_key: Option<FlagOrWord>,
}

/// `[quota]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSection {
    /// Default: the URL's host.
    pub name: Option<String>,
    /// `sqlite`, `sqlite:FOLDER` or `memory`.
    pub store: Option<String>,
    /// `guaranteed` or `estimated`.
    pub mode: Option<String>,
    /// Assumed time from a send to the provider's count, for `estimated`.
    #[serde(deserialize_with = "duration")]
    pub counted_within: Option<String>,
    /// How long answers are expected to take; default 100ms.
    #[serde(deserialize_with = "duration")]
    pub latency: Option<String>,
    /// Limits in their short form.
    pub limits: Vec<String>,
    /// Limits as tables.
    pub limit: Vec<LimitSection>,
    /// Calls at the same time that the provider allows.
    pub concurrency: Option<u64>,
    /// `even` or `burst`.
    pub pace: Option<String>,
    /// `{column}` or a template: rows with different values count against different quotas.
    pub partition: Option<String>,
    /// Connections at most.
    pub connections: Option<usize>,
}

/// `[[quota.limit]]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
    /// `window`, `counter`, `bucket`, `calendar`, `concurrency` or `unknown`.
    pub enforced: Option<String>,
    /// What a bucket holds.
    pub capacity: Option<u64>,
    /// A bucket refills in steps of this time.
    pub step: Option<String>,
    /// The time zone of a calendar.
    pub zone: Option<String>,
    /// Whether the provider may enforce it per second as well.
    pub also_per_second: bool,
    /// Whether the provider gives back what a call was charged above its actual cost.
    pub refund: bool,
    /// How often each call may be sent on its way.
    pub amplification: Option<u64>,
    /// Granularity of the provider's time stamps; default 1ms.
    #[serde(deserialize_with = "duration")]
    pub granularity: Option<String>,
    /// How far the clocks of the provider's nodes differ; default 0.
    #[serde(deserialize_with = "duration")]
    pub skew: Option<String>,
    /// Units that one call costs: a number, or a template that says the most it can cost.
    pub cost: Option<StatusOrWord>,
    /// JSON Pointer to what the call has cost, in its answer.
    pub actual: Option<String>,
    /// How long after its answer a call still counts towards concurrency.
    #[serde(deserialize_with = "duration")]
    pub linger: Option<String>,
}

/// `[retry]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Attempts per row; default 5.
    pub attempts: Option<u32>,
    /// Default `1s..60s`.
    pub backoff: Option<String>,
    /// Statuses, and `network`.
    pub on: Option<Vec<StatusOrWord>>,
    /// `resend`, `hold`, `probe` or `method`.
    pub unknown: Option<String>,
    /// How the provider is asked whether a call was done, for `unknown = "probe"`.
    pub probe: Option<ProbeSection>,
    /// Default 1h.
    #[serde(deserialize_with = "duration")]
    pub max_elapsed: Option<String>,
    /// Default 1h.
    #[serde(deserialize_with = "duration")]
    pub max_pause: Option<String>,
}

/// `[retry.probe]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSection {
    /// The URL's template, of the same origin as the request's.
    pub url: Option<String>,
    /// Default GET.
    pub method: Option<String>,
    /// Statuses that say that the row was done; the answer is its result. Default `["2xx"]`.
    pub done: Option<Vec<StatusOrWord>>,
    /// Statuses that say that it was not; it is sent again. Default `[404]`.
    pub missing: Option<Vec<StatusOrWord>>,
}

/// `[output]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
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
    /// `completion`, or `input`: at the end results are put in the order of the input.
    pub order: Option<String>,
    /// Time for calls in flight when the job is interrupted; default 20s.
    #[serde(deserialize_with = "duration")]
    pub drain: Option<String>,
}

/// `true`, `false` or a word, as in `idempotency_key = "X-Request-Id"`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum FlagOrWord {
    /// Yes or no.
    Flag(bool),
    /// A word.
    Word(String),
}

/// A number or a word, as in `on = [503, "network"]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
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
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string such as \"30s\", or a number of seconds")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None) // TOML has no such value; a job that was kept does
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
            Ok(Some(seconds.to_string()))
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Self::Value, E> {
            Ok(Some(seconds.to_string()))
        }
    }
    deserializer.deserialize_any(DurationVisitor)
}

/// A JSON value; what only TOML has becomes a string (dates) or is refused (`inf`, `nan`).
fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    fn convert(value: toml::Value) -> Result<serde_json::Value, &'static str> {
        Ok(match value {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => serde_json::Number::from_f64(number)
                .ok_or("JSON has no inf and no nan: expected a number that is finite")?
                .into(),
            toml::Value::Boolean(flag) => flag.into(),
            toml::Value::Datetime(date) => date.to_string().into(),
            toml::Value::Array(items) => items.into_iter().map(convert).collect::<Result<_, _>>()?,
            toml::Value::Table(members) => {
                let convert = |(name, member)| convert(member).map(|member| (name, member));
                serde_json::Value::Object(members.into_iter().map(convert).collect::<Result<_, _>>()?)
            }
        })
    }
    let value = Option::<toml::Value>::deserialize(deserializer)?;
    value.map(convert).transpose().map_err(de::Error::custom)
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

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
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

    #[test]
    fn json_has_neither_dates_nor_infinity() {
        let json = |value: &str| {
            let job: Result<JobFile, _> = toml::from_str(&format!("[request]\njson = {value}\n"));
            job.map(|job| job.request.json.unwrap_or_default().to_string()).map_err(|error| error.to_string())
        };
        let value = "{ b = 1979-05-27, a = [1, 2.5, true, 07:32:00, {}], c = \"{{ row.a }}\" }";
        let expected = r#"{"b":"1979-05-27","a":[1,2.5,true,"07:32:00",{}],"c":"{{ row.a }}"}"#;
        assert_eq!(json(value).as_deref(), Ok(expected));
        for value in ["inf", "{ a = [nan] }"] {
            let error = json(value).unwrap_err();
            assert!(error.contains("line 2") && error.contains("JSON has no inf and no nan"), "{error}");
        }
    }
}
