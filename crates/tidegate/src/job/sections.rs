//! Sections of a job file that few jobs have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidegate_core::Reserve;

use super::JobError;

/// `[auth]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// A shell command that prints the key.
    pub command: Option<String>,
    /// A file with the key.
    pub file: Option<PathBuf>,
    /// A token endpoint.
    pub oauth2: Option<OAuth2Section>,
    /// The header that the key is sent in; default `Authorization`.
    pub header: Option<String>,
    /// What stands before it there; default `Bearer` in `Authorization`, else nothing.
    pub scheme: Option<String>,
}

/// `[auth] oauth2 = { … }`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2Section {
    /// The token endpoint.
    pub token_url: Option<String>,
    /// The client.
    pub client_id: Option<String>,
    /// Environment variable with its secret.
    pub client_secret_env: Option<String>,
    /// Environment variable with a refresh token.
    pub refresh_token_env: Option<String>,
    /// Scopes, separated by spaces.
    pub scope: Option<String>,
}

/// `[fleet]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetSection {
    /// A shell command that is run once, when the job's last shard is done, by the worker that did it.
    pub on_complete: Option<String>,
}

impl FleetSection {
    pub(super) fn is_empty(&self) -> bool {
        self.on_complete.is_none()
    }
}

/// `reserve = "p99"`, `reserve = { high = "5%" }`, or both with `tokens = "p99"` in the table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum ReserveSection {
    /// Of tokens, for each call.
    Tokens(String),
    /// Of the limits, for calls of a priority and of those above it.
    Table(BTreeMap<String, String>),
}

impl ReserveSection {
    /// As it is said on a command line: `p99`, or `high=5%,tokens=p99`.
    pub fn parse(text: &str) -> Self {
        if !text.contains('=') {
            return Self::Tokens(text.to_owned());
        }
        let pairs = text.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self::Table(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// Of tokens, for each call.
    pub(super) fn tokens(&self) -> Option<&str> {
        match self {
            Self::Tokens(word) => Some(word),
            Self::Table(table) => table.get("tokens").map(String::as_str),
        }
    }

    /// What is kept for calls of a higher priority.
    pub(super) fn kept(&self) -> Result<Reserve, JobError> {
        let Self::Table(table) = self else { return Ok(Reserve::NONE) };
        let kept = table.iter().filter(|(name, _)| *name != "tokens");
        let text = kept.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        if text.is_empty() {
            return Ok(Reserve::NONE);
        }
        text.parse().map_err(|message: String| {
            JobError::value("quota.reserve", message).hinting(
                "reserve = { high = \"5%\" }; what is reserved of tokens is tokens = \"p99\" in there",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_of_tokens_or_of_limits_or_of_both() {
        let of =
            |text: &str| toml::from_str::<BTreeMap<String, ReserveSection>>(text).unwrap()["reserve"].clone();
        let both = of(r#"reserve = { high = "5%", tokens = "p99" }"#);
        assert_eq!(both, ReserveSection::parse("high=5%, tokens=p99"));
        assert_eq!((both.tokens(), both.kept().unwrap().to_string().as_str()), (Some("p99"), "high=5%"));
        let tokens = of(r#"reserve = "p99""#);
        assert_eq!((tokens.tokens(), tokens.kept().unwrap()), (Some("p99"), Reserve::NONE));
    }
}
