//! Sections of a job file that few jobs have.

use std::path::PathBuf;

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
