//! The job file: what a job is, as people write it. The command line's flags fill the same form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::sections::{AuthSection, FleetSection, ReserveSection};

/// A job as it is written, nothing checked but its form. Every field is optional here; what is
/// missing or wrong together is said by [`Job::from_file`](super::Job::from_file).
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobFile {
    /// Where rows come from.
    pub input: InputSection,
    /// The call made for each.
    pub request: RequestSection,
    /// Where a key comes from that may expire.
    pub auth: Option<AuthSection>,
    /// What the provider allows.
    pub quota: QuotaSection,
    /// What is sent again.
    pub retry: RetrySection,
    /// Where results go.
    pub output: OutputSection,
    /// What the workers of a fleet do with it beyond that.
    #[serde(skip_serializing_if = "FleetSection::is_empty")]
    pub fleet: FleetSection,
    /// What a million tokens cost, by model; `*` for all others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, PriceSection>,
}

/// `[input]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSection {
    /// File, or `-` for stdin.
    pub path: Option<PathBuf>,
    /// `lines`, `csv`, `tsv`, `jsonl`, `batch`; guessed from the name.
    pub format: Option<String>,
    /// Column that identifies a row.
    pub key: Option<String>,
}

/// `[request]`
#[derive(Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSection {
    /// Whose API it is, by its name among the presets.
    pub provider: Option<String>,
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
    /// Rows that one call carries.
    pub batch: Option<u64>,
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
    /// Headers in which the provider tells of its limits, where they are not known.
    pub headers: Vec<HeadersSection>,
    /// Calls a minute that the provider allows.
    pub rpm: Option<u64>,
    /// Tokens a minute, of prompts and answers together.
    pub tpm: Option<u64>,
    /// Tokens of prompts a minute.
    pub itpm: Option<u64>,
    /// Tokens of answers a minute.
    pub otpm: Option<u64>,
    /// Whether the provider counts the tokens that a call took, not those that it could have taken; by
    /// default as the provider's preset says, else no.
    pub refund: Option<bool>,
    /// What is reserved of tokens for a call, and of the limits for calls of a higher priority.
    pub reserve: Option<ReserveSection>,
    /// `high`, `normal` or `low`: whom of those that share the quota the job comes before.
    pub priority: Option<String>,
    /// The most tokens of an answer whose call sets no limit.
    pub max_output_tokens: Option<u64>,
    /// The most tokens that one image, audio or file takes.
    pub media_tokens: Option<u64>,
    /// What the job may cost, all its runs together.
    #[serde(deserialize_with = "amount")]
    pub max_cost: Option<String>,
    /// Calls at the same time that the provider allows.
    pub concurrency: Option<u64>,
    /// `even` or `burst`.
    pub pace: Option<String>,
    /// `{column}` or a template: rows with different values count against different quotas.
    pub partition: Option<String>,
    /// Connections at most.
    pub connections: Option<usize>,
}

/// `[prices.MODEL]`: for a million tokens.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceSection {
    /// Of a prompt.
    #[serde(deserialize_with = "amount")]
    pub input: Option<String>,
    /// Of an answer.
    #[serde(deserialize_with = "amount")]
    pub output: Option<String>,
    /// Of a prompt, read from a cache; default: as `input`.
    #[serde(deserialize_with = "amount")]
    pub cached_input: Option<String>,
    /// Of a prompt, written to a cache; default: as `input`.
    #[serde(deserialize_with = "amount")]
    pub cache_write: Option<String>,
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

/// `[[quota.headers]]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersSection {
    /// The name of the limit that they tell of; default: its unit.
    pub resource: Option<String>,
    /// `requests`, or what else is counted.
    pub unit: Option<String>,
    /// The header that says how much is allowed.
    pub limit: Option<String>,
    /// How much is left.
    pub remaining: Option<String>,
    /// How much is used.
    pub used: Option<String>,
    /// When there is more.
    pub reset: Option<String>,
    /// How long to be silent.
    pub retry_after: Option<String>,
    /// How times are written: `auto`, `delta`, `delta_ms`, `epoch`, `epoch_ms`, `iso` or `go`.
    pub format: Option<String>,
    /// The time over which the limit counts.
    #[serde(deserialize_with = "duration")]
    pub window: Option<String>,
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
    /// Wait however long the provider asks, instead.
    pub wait: bool,
    /// Retries for each hundred rows that are sent for the first time; default `20%`.
    pub budget: Option<String>,
    /// What answers mean, where neither status nor headers say it.
    pub sign: Vec<SignSection>,
}

/// `[[retry.sign]]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignSection {
    /// Of answers with these statuses; of all without.
    pub status: Vec<u16>,
    /// JSON Pointer into the body.
    pub at: Option<String>,
    /// What stands there: one of these words.
    pub is: Vec<String>,
    /// `wait`, `cap`, `stop`, `retry` or `fail`.
    pub means: Option<String>,
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
    /// `jsonl`, `csv` or `batch`; guessed from the name.
    pub format: Option<String>,
    /// `name=/json/pointer`, for CSV.
    pub select: Vec<String>,
    /// Statuses that are results.
    pub accept: Option<Vec<StatusOrWord>>,
    /// `{{ expression }}` over `status` and `body`: which answers with an accepted status are results.
    pub success: Option<String>,
    /// Where the answer to a call of many rows has something for each: `whole`, or a JSON Pointer to a list or an
    /// object.
    pub split: Option<String>,
    /// JSON Pointer to the key of its row in each element of that list; without it they are in order.
    pub split_key: Option<String>,
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
    deserializer.deserialize_any(TextOrNumber("a string such as \"30s\", or a number of seconds"))
}

/// The text of an amount of money.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(TextOrNumber("an amount such as \"0.15\""))
}

/// A text, or a number as it is written shortest; says what was expected.
struct TextOrNumber(&'static str);

impl Visitor<'_> for TextOrNumber {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None) // TOML has no such value; a job that was kept does
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }
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
#[path = "file_tests.rs"]
mod tests;
