//! Credentials that expire: where a job gets them from while it runs. Nothing of them reaches the disk.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::http::{Connector, Options, Origin};
use crate::template::{Secrets, push_form};

/// A command, or a server of tokens, that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// Bytes of a token, or of what tells of one.
const MOST: u64 = 64 << 10;

/// Where the key is found, and in which header it is sent.
#[derive(Debug, Clone)]
pub struct AuthSpec {
    /// Where it comes from.
    pub source: TokenSource,
    /// The header that it is sent in; default `Authorization`.
    pub header: HeaderName,
    /// What stands before it there; default `Bearer`.
    pub scheme: String,
}

/// Where a key comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// What a shell command prints: the key alone, or JSON with `access_token` and perhaps `expires_in`.
    Command(String),
    /// A file that somebody else keeps fresh; the same two forms.
    File(PathBuf),
    /// A token endpoint (RFC 6749).
    OAuth2(Box<OAuth2>),
}

/// The grant of client credentials (RFC 6749, section 4.4), or of a refresh token (section 6).
#[derive(Clone)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Uri,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// A refresh token.
    pub refresh_token: Option<Secret>,
    /// Scopes, separated by spaces.
    pub scope: Option<String>,
    /// How to connect.
    pub http: Options,
}

/// A value from the environment.
#[derive(Clone)]
pub struct Secret {
    /// The variable.
    pub name: String,
    value: String,
}

impl Secret {
    /// The value of this variable, when it is looked up.
    pub fn of(name: String) -> Self {
        Self { name, value: String::new() }
    }
}

impl std::fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuth2").field("token_url", &self.token_url).finish_non_exhaustive()
    }
}

/// A key as it is sent.
#[derive(Clone)]
pub(crate) struct Token {
    /// The header's value.
    pub(crate) value: HeaderValue,
    pub(crate) secrets: Secrets,
    /// For how long it is good, if that is known.
    pub(crate) expires_in: Option<Duration>,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<f64>,
}

impl AuthSpec {
    /// Looks the environment's values up; the name of one that is not set is an error.
    pub(crate) fn resolve(&mut self, env: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let TokenSource::OAuth2(oauth2) = &mut self.source else { return Ok(()) };
        for secret in [&mut oauth2.client_secret, &mut oauth2.refresh_token].into_iter().flatten() {
            secret.value = env(&secret.name).ok_or_else(|| secret.name.clone())?;
        }
        Ok(())
    }

    /// A key.
    ///
    /// # Errors
    /// Why there is none, for people; nothing secret stands in it.
    pub(crate) async fn fetch(&self) -> Result<Token, String> {
        let text = match &self.source {
            TokenSource::Command(command) => run(command).await?,
            TokenSource::File(path) => {
                let read = |error| format!("cannot read the key from {}: {error}", path.display());
                let file = tokio::fs::File::open(path).await.map_err(read)?;
                let mut text = String::new();
                file.take(MOST).read_to_string(&mut text).await.map_err(read)?;
                text
            }
            TokenSource::OAuth2(oauth2) => return self.token(&oauth2.ask().await?, true),
        };
        self.token(&text, false)
    }

    fn token(&self, text: &str, is_json: bool) -> Result<Token, String> {
        let text = text.trim();
        let answer = match serde_json::from_str::<Answer>(text) {
            Ok(answer) => answer,
            Err(_) if is_json || text.starts_with('{') => {
                return Err("the answer with the key has no `access_token`".to_owned());
            }
            Err(_) => Answer { access_token: text.to_owned(), expires_in: None },
        };
        let key = answer.access_token.trim();
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        let text = if self.scheme.is_empty() { key.to_owned() } else { format!("{} {key}", self.scheme) };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| "the key holds characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        let expires_in = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Token { value, secrets: Secrets::new([key.to_owned()]), expires_in })
    }
}

/// What a shell command prints.
async fn run(command: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the command for the key cannot be run: {error}");
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut text = String::new();
    let reading = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MOST).read_to_string(&mut text).await?;
        }
        child.wait().await
    };
    match timeout(LONGEST, reading).await {
        Err(_elapsed) => Err(format!("the command for the key took longer than {} s", LONGEST.as_secs())),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(status)) if !status.success() => Err(format!("the command for the key failed: {status}")),
        Ok(Ok(_)) => Ok(text),
    }
}

impl OAuth2 {
    async fn ask(&self) -> Result<String, String> {
        let failed = |error: String| format!("no key from {}: {error}", self.token_url);
        let origin = Origin::try_from(&self.token_url).map_err(|error| failed(error.to_string()))?;
        let options = Options { call_timeout: LONGEST, max_body: 1 << 20, ..self.http.clone() };
        let connector = Connector::new(origin, options).map_err(|error| failed(error.to_string()))?;
        let mut connection = connector.connect().await.map_err(|error| failed(error.to_string()))?;
        let head = connection.send(self.request()).await.map_err(|error| failed(error.to_string()))?;
        let body = connection.body().await.map_err(|error| failed(error.to_string()))?;
        if !head.status.is_success() {
            return Err(failed(format!("answered {}", head.status)));
        }
        String::from_utf8(body.to_vec()).map_err(|_| failed("the answer is not UTF-8".to_owned()))
    }

    fn request(&self) -> Request<Bytes> {
        let mut form = String::new();
        let mut pair = |name: &str, value: &str| {
            form.push_str(if form.is_empty() { "" } else { "&" });
            form.push_str(name);
            form.push('=');
            push_form(value, &mut form);
        };
        match &self.refresh_token {
            Some(token) => {
                pair("grant_type", "refresh_token");
                pair("refresh_token", &token.value);
            }
            None => pair("grant_type", "client_credentials"),
        }
        pair("client_id", &self.client_id);
        self.client_secret.iter().for_each(|secret| pair("client_secret", &secret.value));
        self.scope.iter().for_each(|scope| pair("scope", scope));
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.token_url.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }
}

impl AuthSpec {
    /// A source with the usual header.
    pub fn bearer(source: TokenSource) -> Self {
        Self { source, header: AUTHORIZATION, scheme: "Bearer".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<Duration>), String> {
        let spec = AuthSpec::bearer(TokenSource::File("key".into()));
        let token = spec.token(text, false)?;
        assert!(token.value.is_sensitive());
        Ok((token.value.to_str().unwrap().to_owned(), token.expires_in))
    }

    #[test]
    fn keys_in_both_forms() {
        assert_eq!(read("abc\n"), Ok(("Bearer abc".to_owned(), None)));
        let json = r#"{"access_token":"abc","token_type":"bearer","expires_in":3600}"#;
        assert_eq!(read(json), Ok(("Bearer abc".to_owned(), Some(Duration::from_secs(3600)))));
        for bad in ["", " \n", "{}", r#"{"token":"abc"}"#, "a\nb"] {
            let error = read(bad).unwrap_err();
            assert!(!error.contains("abc"), "{error}");
        }
    }

    #[tokio::test]
    async fn commands_print_keys() {
        let key = |command: &str| {
            let spec = AuthSpec::bearer(TokenSource::Command(command.to_owned()));
            async move { spec.fetch().await.map(|token| token.value) }
        };
        assert_eq!(key("echo abc").await.unwrap(), "Bearer abc");
        assert!(key("echo abc; exit 3").await.unwrap_err().contains("exit status: 3"));
    }
}
