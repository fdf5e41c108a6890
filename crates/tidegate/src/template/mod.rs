//! From a row to the request made for it, by templates that are compiled and checked once, before
//! anything is sent.
//!
//! `{column}` in a URL is that column, percent-encoded; `{{ … }}` is a minijinja expression with
//! the variables `row`, `line`, `index` and `env`. Bare references (`{{ row.id }}`), the common case,
//! never reach minijinja: they are resolved when they are compiled.
//!
//! What is guaranteed about every [`Call`]:
//!
//! - It goes to the template's literal [`Origin`]; no row can choose where a secret is sent.
//! - A value stays inside its path segment, query value, header value or JSON string.
//! - It costs bounded time and memory.

mod batch;
mod body;
mod encode;
mod error;
mod filters;
mod headers;
mod jinja;
mod key;
mod names;
mod reference;
mod scope;
mod secrets;
mod success;
mod text;
mod url;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

use self::body::Body;
use self::headers::Headers;
use self::reference::RowView;
use self::scope::Scope;
use self::url::UrlTemplate;
use crate::Row;

pub(crate) use self::encode::push_form;
pub use self::error::{Place, Problem, RenderError, TemplateError};
pub use self::headers::parse_header;
pub use self::key::KeyTemplate;
pub use self::secrets::Secrets;
pub use self::success::SuccessRule;
pub use self::url::Origin;
pub use self::value::ValueTemplate;

/// Bytes that one template may render to.
const MAX_LEAF: usize = 4 << 20;
/// Bytes that one body may have.
const MAX_BODY: usize = 16 << 20;
/// Bytes of a body that a preview shows.
const MAX_PREVIEW: usize = 4096;

/// A request as the user wrote it.
///
/// `Debug` shows no header values.
#[derive(Clone, Default)]
pub struct RequestSpec {
    /// GET without a body and POST with one, unless given.
    pub method: Option<String>,
    /// An absolute `http` or `https` URL with `{column}` and `{{ expression }}` in path and query.
    pub url: String,
    /// Names and value templates.
    pub headers: Vec<(String, String)>,
    /// Parameters appended to the URL's own: names, and values with the placeholders of URLs.
    pub query: Vec<(String, String)>,
    /// What is sent.
    pub body: BodySpec,
    /// The environment variable whose value is sent as `Authorization: Bearer …`.
    pub bearer_env: Option<String>,
    /// `tidegate/<version>` unless given, here or as a header.
    pub user_agent: Option<String>,
    /// One call carries many rows: of a JSON body, each list of one element that uses the row gets an element
    /// for each; everywhere else stands `rows` instead of `row`.
    pub many_rows: bool,
}

/// A body as the user wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum BodySpec {
    /// No body.
    #[default]
    None,
    /// One template.
    Text(String),
    /// A JSON value with templates in its strings. A string that is exactly one `{{ expression }}`
    /// becomes that expression's value, its type kept; a bare reference to a JSONL member is passed
    /// through byte for byte.
    Json(serde_json::Value),
    /// Names and value templates.
    Form(Vec<(String, String)>),
    /// Method, path and body are the row's own, as batches have them; the URL is what they are relative to.
    Batch,
}

/// What is known of the input before it is read.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What its rows are.
    pub kind: InputKind,
    /// The header of a CSV or TSV file; `None` if it is not known, or there is none.
    pub columns: Option<&'a [String]>,
}

/// What the rows of an input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Lines of a plain list: [`Record::Line`](crate::Record::Line).
    Lines,
    /// CSV or TSV: [`Record::Fields`](crate::Record::Fields).
    Fields,
    /// JSONL: [`Record::Json`](crate::Record::Json).
    Json,
}

/// The request made for one row. `Debug` shows no values: they may be secrets.
#[derive(Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Absolute.
    pub uri: Uri,
    /// Without those that the connection sets (`Host`, `Content-Length`); secrets are marked
    /// sensitive.
    pub headers: HeaderMap,
    /// Empty if there is none.
    pub body: Bytes,
}

/// A compiled request: turns rows into calls.
pub struct Template {
    method: Method,
    url: UrlTemplate,
    headers: Headers,
    body: Body,
    /// Rows say themselves what is called.
    is_batch: bool,
    many_rows: bool,
    secrets: Secrets,
    identity: String,
}

impl Template {
    /// Compiles and checks a request; `env` looks up environment variables.
    ///
    /// # Errors
    ///
    /// If any row-independent part of the request is wrong. Nothing has been sent by then.
    pub fn compile(
        spec: &RequestSpec,
        input: Input<'_>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TemplateError> {
        let mut scope = Scope::new(input, &env).of_many_rows(spec.many_rows);
        let compiled = Self::compile_parts(spec, &mut scope);
        let secrets = Secrets::new(scope.secrets);
        let (method, url, headers, body) = compiled.map_err(|error| redact(error, &secrets))?;
        let identity = identity(spec, &method);
        let is_batch = spec.body == BodySpec::Batch;
        let many_rows = spec.many_rows;
        Ok(Self { method, url, headers, body, is_batch, many_rows, secrets, identity })
    }

    fn compile_parts(
        spec: &RequestSpec,
        scope: &mut Scope<'_>,
    ) -> Result<(Method, UrlTemplate, Headers, Body), TemplateError> {
        let method = method(spec)?;
        let url = UrlTemplate::compile(&spec.url, &spec.query, scope)?;
        let headers = Headers::compile(spec, body::content_type(&spec.body), scope)?;
        let body = Body::compile(&spec.body, scope)?;
        if spec.many_rows && !scope.uses_rows {
            return Err(Problem::RowsUnused.at(&Place::Body(String::new())));
        }
        Ok((method, url, headers, body))
    }

    /// The call for one row.
    ///
    /// # Errors
    ///
    /// If this row has no call; others may.
    pub fn render(&self, row: &Row) -> Result<Call, RenderError> {
        self.render_all(&[row])
    }

    /// The one call for all of `rows`, if calls carry many; else that for the first.
    ///
    /// # Errors
    ///
    /// If there is none because of one of them, or because they are too many.
    pub fn render_all(&self, rows: &[&Row]) -> Result<Call, RenderError> {
        let view = if self.many_rows { RowView::of_many(rows)? } else { RowView::new(rows[0])? };
        self.render_parts(&view).map_err(|error| match error {
            RenderError::Expression { place, message } => {
                RenderError::Expression { place, message: self.secrets.redact(&message).into_owned() }
            }
            other => other,
        })
    }

    fn render_parts(&self, view: &RowView<'_>) -> Result<Call, RenderError> {
        if self.is_batch {
            return batch::call(view.record, &self.url.render(view)?, self.headers.render(view)?);
        }
        Ok(Call {
            method: self.method.clone(),
            uri: self.url.render(view)?,
            headers: self.headers.render(view)?,
            body: self.body.render(view)?,
        })
    }

    /// Where all calls go.
    pub fn origin(&self) -> &Origin {
        &self.url.origin
    }

    /// The method of all calls.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What of the request belongs to a job's identity: method, URL and body as they were written;
    /// neither header nor environment values. Canonical, and without secrets of the environment.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Every environment value that a template uses, and the literal values of credential headers.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A call for people to read: request line, headers and the start of the body, secrets masked
    /// and control characters escaped.
    pub fn preview(&self, call: &Call) -> String {
        let mut out = format!("{} {}\n", call.method, self.secrets.redact(&call.uri.to_string()));
        for (name, value) in &call.headers {
            let shown = String::from_utf8_lossy(value.as_bytes());
            let mut shown = self.secrets.redact(&shown);
            if headers::is_credential(name) && !shown.contains(secrets::MASK) {
                shown = secrets::MASK.into();
            }
            let _ = writeln!(out, "{name}: {}", printable(&shown));
        }
        if !call.body.is_empty() {
            // Masked before it is cut, or else half a secret could stand at the end.
            let body = String::from_utf8_lossy(&call.body);
            let body = self.secrets.redact(&body);
            let end = (0..=MAX_PREVIEW.min(body.len())).rev().find(|&at| body.is_char_boundary(at));
            let shown = &body[..end.unwrap_or(0)];
            let _ = write!(out, "\n{}", printable(shown));
            if shown.len() < body.len() {
                let _ = write!(out, "… ({} bytes in all)", call.body.len());
            }
            out.push('\n');
        }
        out
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("method", &self.method)
            .field("origin", &self.url.origin)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("host", &self.uri.host())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("RequestSpec")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &names)
            .field("query", &self.query)
            .field("body", &self.body)
            .field("bearer_env", &self.bearer_env)
            .finish_non_exhaustive()
    }
}

fn method(spec: &RequestSpec) -> Result<Method, TemplateError> {
    let Some(name) = &spec.method else {
        return Ok(if spec.body == BodySpec::None { Method::GET } else { Method::POST });
    };
    // Methods are case-sensitive, but all that exist are in capitals.
    let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes());
    method.ok().filter(|method| *method != Method::CONNECT).ok_or_else(|| Problem::Method.at(&Place::Method))
}

fn identity(spec: &RequestSpec, method: &Method) -> String {
    let body = match &spec.body {
        BodySpec::None => serde_json::Value::Null,
        BodySpec::Text(text) => serde_json::json!({ "text": text }),
        BodySpec::Json(json) => serde_json::json!({ "json": json }),
        BodySpec::Form(form) => serde_json::json!({ "form": form }),
        BodySpec::Batch => serde_json::json!("batch"),
    };
    let mut parts =
        vec![method.as_str().into(), spec.url.clone().into(), serde_json::json!(spec.query), body];
    // How many there are in a call makes no difference to their results.
    parts.extend(spec.many_rows.then(|| "many rows".into()));
    serde_json::Value::Array(parts).to_string()
}

/// A constant template's message may repeat what it was given.
fn redact(mut error: TemplateError, secrets: &Secrets) -> TemplateError {
    if let Problem::Expression { message } = &mut error.problem {
        *message = secrets.redact(message).into_owned();
    }
    error
}

/// Control characters escaped, so that a row cannot write to somebody's terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
