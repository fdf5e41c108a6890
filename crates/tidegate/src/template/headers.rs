//! Header templates.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::RequestSpec;
use super::error::{Place, Problem, RenderError, TemplateError};
use super::reference::{RowView, Style};
use super::scope::Scope;
use super::text::Text;

/// Headers whose values are secrets whatever they are made of. Lower case.
const CREDENTIALS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "api-key",
    "apikey",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-goog-api-key",
];
/// Headers that belong to the connection; a request must not contradict it. Lower case.
const MANAGED: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Splits `Name: value`, as `-H` has it.
///
/// # Errors
///
/// If there is no colon, or no header name before it. The text is not repeated: it may be a secret.
pub fn parse_header(text: &str) -> Result<(String, String), TemplateError> {
    let (name, value) = text.split_once(':').ok_or_else(|| Problem::HeaderSyntax.at(&Place::Headers))?;
    let name = name.trim();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(Problem::HeaderSyntax.at(&Place::Headers));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Whether this header's value is a secret whatever it is made of.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.contains(&name.as_str())
}

/// Compiled headers: those that never change, ready to be sent, and the others.
#[derive(Debug)]
pub(super) struct Headers {
    constant: HeaderMap,
    per_row: Vec<PerRow>,
}

#[derive(Debug)]
struct PerRow {
    name: HeaderName,
    value: Text,
    sensitive: bool,
}

impl Headers {
    /// `content_type` is the body's own, used where the request names none.
    pub(super) fn compile(
        spec: &RequestSpec,
        content_type: Option<&'static str>,
        scope: &mut Scope<'_>,
    ) -> Result<Self, TemplateError> {
        let mut headers = Self { constant: HeaderMap::new(), per_row: Vec::new() };
        for (name, value) in &spec.headers {
            headers.add(name, value, scope)?;
        }
        if let Some(variable) = &spec.bearer_env {
            if headers.has(&AUTHORIZATION) {
                return Err(Problem::TwoCredentials.at(&Place::Bearer));
            }
            let value = scope.env(variable, &Place::Bearer)?;
            let value = header_value(format!("Bearer {value}"), true);
            headers
                .constant
                .insert(AUTHORIZATION, value.ok_or_else(|| Problem::HeaderValue.at(&Place::Bearer))?);
        }
        if !headers.has(&USER_AGENT) {
            let agent = spec.user_agent.as_deref().unwrap_or(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
            let value = header_value(agent.to_owned(), false);
            let value =
                value.ok_or_else(|| Problem::HeaderValue.at(&Place::Header(USER_AGENT.to_string())))?;
            headers.constant.insert(USER_AGENT, value);
        }
        if let Some(content_type) = content_type
            && !headers.has(&CONTENT_TYPE)
        {
            headers.constant.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(headers)
    }

    pub(super) fn render(&self, view: &RowView<'_>) -> Result<HeaderMap, RenderError> {
        let mut headers = self.constant.clone();
        for header in &self.per_row {
            let value = header.value.render(view)?.into_owned();
            let value = header_value(value, header.sensitive);
            let value = value.ok_or_else(|| RenderError::HeaderValue { header: header.name.clone() })?;
            headers.append(&header.name, value);
        }
        Ok(headers)
    }

    fn add(&mut self, name: &str, value: &str, scope: &mut Scope<'_>) -> Result<(), TemplateError> {
        let place = Place::Header(name.to_owned());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Problem::HeaderName.at(&place))?;
        if MANAGED.contains(&name.as_str()) {
            return Err(Problem::ManagedHeader.at(&place));
        }
        let secrets_before = scope.secrets.len();
        let text = Text::compile(value, Style::Scalar, scope, &place)?;
        let sensitive = is_credential(&name) || scope.secrets.len() > secrets_before;
        match text {
            Text::Constant(text) => {
                if is_credential(&name) {
                    scope.secrets.extend(credentials(&name, &text));
                }
                let value = header_value(text, sensitive).ok_or_else(|| Problem::HeaderValue.at(&place))?;
                self.constant.append(name, value);
            }
            value @ (Text::Pieces { .. } | Text::Jinja(_)) => {
                self.per_row.push(PerRow { name, value, sensitive });
            }
        }
        Ok(())
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.constant.contains_key(name) || self.per_row.iter().any(|header| header.name == name)
    }
}

fn header_value(text: String, sensitive: bool) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).ok()?;
    value.set_sensitive(sensitive);
    Some(value)
}

/// The secret parts of a credential header's value: the token without its scheme, a cookie's values.
fn credentials<'a>(name: &HeaderName, value: &'a str) -> Vec<String> {
    let bare = |pair: &'a str| pair.split_once('=').map_or(pair, |(_, value)| value).trim();
    let parts: Vec<&str> = match name.as_str() {
        "cookie" => value.split(';').map(bare).collect(),
        "authorization" | "proxy-authorization" => {
            vec![value.split_once(' ').map_or(value, |(_, token)| token).trim()]
        }
        _ => vec![value],
    };
    parts.into_iter().map(str::to_owned).collect()
}
