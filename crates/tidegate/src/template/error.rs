//! What can be wrong with a template (before anything is sent) and with one row (while it runs).
//!
//! No message and no `Debug` output here holds a header value, an environment value or a row's
//! value: those may be secrets.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use crate::RowFault;

/// Columns named in a message before it is cut off.
const COLUMNS_SHOWN: usize = 20;

/// A request that cannot be compiled. Nothing has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
#[non_exhaustive]
pub struct TemplateError {
    /// Which part of the request.
    pub place: Place,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The HTTP method.
    Method,
    /// The URL template.
    Url,
    /// A query parameter, by name.
    Query(String),
    /// A header, by name.
    Header(String),
    /// A header that has no readable name.
    Headers,
    /// A text body, or a string of a JSON body by its JSON Pointer.
    Body(String),
    /// A form field, by name.
    Form(String),
    /// The environment variable that holds the bearer token.
    Bearer,
    /// The key column.
    Key,
    /// What a call costs.
    Cost,
    /// The partition that a call counts against.
    Partition,
}

/// What is wrong with a part of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The input has no such column.
    #[error("unknown column `{name}`; the input has {}", List(columns))]
    UnknownColumn {
        /// The name in the template.
        name: String,
        /// What the input has.
        columns: Vec<String>,
        /// The column that was probably meant.
        similar: Option<String>,
    },
    /// The header of the input has this name more than once.
    #[error("column `{name}` occurs more than once in the input's header")]
    AmbiguousColumn {
        /// The name in the template.
        name: String,
    },
    /// A member of a value that is a plain string.
    #[error("column `{name}` is a string and has no members")]
    NestedColumn {
        /// The column.
        name: String,
    },
    /// A minijinja variable that does not exist.
    #[error("unknown variable `{name}`; there are `row`, `line`, `index` and `env`")]
    UnknownVariable {
        /// The name in the template.
        name: String,
    },
    /// One row, where a call carries many.
    #[error("a call carries many rows here, and this names one")]
    ManyRows,
    /// A call that carries many rows, and names none.
    #[error("calls are to carry many rows, and nothing in them uses `rows`, or a row in a list")]
    RowsUnused,
    /// `line` for an input that is not a plain list.
    #[error("`line` exists for plain lists only")]
    NoLine,
    /// An environment variable without a value.
    #[error("environment variable {name} is not set, or empty")]
    EnvUnset {
        /// Its name.
        name: String,
    },
    /// An environment variable with a line break at its end.
    #[error("environment variable {name} ends with a newline")]
    EnvNewline {
        /// Its name.
        name: String,
    },
    /// `env` used in a way that leaves open which variable is meant.
    #[error("`env` must be used as `env.NAME`, so that a row cannot choose which variable is sent")]
    EnvWhole,
    /// Not a minijinja template, or one without a row in it that fails.
    #[error("{message}")]
    Expression {
        /// minijinja's message, secrets masked.
        message: String,
    },
    /// A part without a row in it that no request can have.
    #[error("{0}")]
    Constant(RenderError),

    /// A URL that does not start with a scheme.
    #[error("expected a URL that starts with http:// or https://")]
    NoScheme,
    /// A scheme other than `http` and `https`.
    #[error("expected http or https, found `{found}`")]
    Scheme {
        /// What stands before `://`.
        found: String,
    },
    /// A URL without a host.
    #[error("expected a host after `://`")]
    NoHost,
    /// A host or port that cannot be.
    #[error("the host or port is not valid")]
    Host,
    /// `user:password@` in the URL.
    #[error("a user name or password in the URL is not accepted")]
    Userinfo,
    /// A placeholder in scheme, host or port.
    #[error("scheme, host and port must be literal: a row must not choose where a secret is sent")]
    OriginPlaceholder,
    /// A placeholder after `#`, which is never sent.
    #[error("a placeholder after `#` would never be sent")]
    FragmentPlaceholder,
    /// A brace that belongs to no placeholder.
    #[error("expected `{{column}}` or `{{{{ expression }}}}`, found a single brace at byte {at}")]
    Brace {
        /// 0-based offset in the URL or query value.
        at: usize,
    },
    /// A character that cannot stand in a URL.
    #[error("character {found:?} cannot stand in a URL")]
    UrlCharacter {
        /// The character.
        found: char,
    },

    /// Not `Name: value`.
    #[error("expected `Name: value`")]
    HeaderSyntax,
    /// Not a header name.
    #[error("not a valid header name")]
    HeaderName,
    /// A header value with control characters.
    #[error("the value holds a control character or a line break")]
    HeaderValue,
    /// A header that the HTTP client sets itself.
    #[error("this header is set by the connection, not by a request")]
    ManagedHeader,
    /// Both a bearer variable and an `Authorization` header.
    #[error("there is an `Authorization` header as well")]
    TwoCredentials,
    /// Not an HTTP method that can be used here.
    #[error("not a usable HTTP method")]
    Method,
}

/// Why there is no request for one row. The row ends as one explained failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The row itself could not be read.
    #[error(transparent)]
    Unreadable(#[from] RowFault),
    /// The row has no such column or member.
    #[error("the row has no `{name}`")]
    Missing {
        /// As the template says it.
        name: Arc<str>,
    },
    /// The member is null where text is needed.
    #[error("`{name}` is null, expected a string, number or boolean")]
    Null {
        /// As the template says it.
        name: Arc<str>,
    },
    /// The member is an object or array where text is needed.
    #[error("`{name}` is an object or array, expected a string, number or boolean")]
    NotScalar {
        /// As the template says it.
        name: Arc<str>,
    },
    /// The member is a JSON string that is not text (a lone surrogate).
    #[error("`{name}` is not valid Unicode")]
    NotText {
        /// As the template says it.
        name: Arc<str>,
    },
    /// The row is to be a request of a batch, and is none.
    #[error("it is not a request of a batch: {why}")]
    NotARequest {
        /// What is missing or wrong.
        why: String,
    },
    /// A value would change the path of the URL.
    #[error("a path segment of the URL would be empty, or lead to another path by `.` or `..`")]
    PathSegment,
    /// The URL is too long.
    #[error("the URL has {len} bytes, more than the limit of {limit}")]
    UrlTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The URL is not valid (defence in depth: values are encoded).
    #[error("the URL is not valid")]
    Url,
    /// A header value with control characters.
    #[error("the value of header `{header}` holds a control character or a line break")]
    HeaderValue {
        /// The header.
        header: HeaderName,
    },
    /// One rendered value is too large.
    #[error("{place} has more than {limit} bytes")]
    TooLarge {
        /// Which part of the request.
        place: Arc<str>,
        /// The limit in bytes.
        limit: usize,
    },
    /// A minijinja expression failed.
    #[error("{place}: {message}")]
    Expression {
        /// Which part of the request.
        place: Arc<str>,
        /// minijinja's message, secrets masked.
        message: String,
    },
}

impl TemplateError {
    /// What to do about it, for a `hint:` line.
    pub fn hint(&self) -> Option<String> {
        let fixed = match &self.problem {
            Problem::UnknownColumn { similar: Some(name), .. } => {
                return Some(format!("did you mean `{name}`?"));
            }
            Problem::UnknownVariable { name } => {
                return Some(format!(
                    "a column is `{{{{ row.{name} }}}}`, a variable of yours `{{{{ env.{name} }}}}`"
                ));
            }
            Problem::EnvUnset { name } => return Some(format!("export {name}=…")),
            Problem::EnvNewline { name } => {
                return Some(format!("set it with export {name}=\"$(cat FILE)\""));
            }
            Problem::ManyRows => {
                "with `batch`, write a list of one element, which is sent for each row: json = { ids = [\"{{ row.id }}\"] }; \
                 or use all rows at once: {{ rows | map(attribute='id') | join(',') }}"
            }
            Problem::RowsUnused => {
                "write a list of one element, which is sent for each row: json = { ids = [\"{{ row.id }}\"] }"
            }
            Problem::NoLine => "a column called line is `{{ row.line }}`",
            Problem::EnvWhole => "write the name out: `{{ env.TOKEN }}`",
            Problem::NoScheme => "write the whole URL, such as https://api.example.com/v1/users/{id}",
            Problem::NoHost | Problem::Host => {
                "a URL looks like https://api.example.com:8443/path; non-ASCII names as xn--…"
            }
            Problem::Userinfo => "send credentials in a header: -H 'Authorization: Basic {{ env.BASIC }}'",
            Problem::OriginPlaceholder => {
                "write the host out, with a `/` after it; one job talks to one host"
            }
            Problem::FragmentPlaceholder => "remove the `#`, or write %23 if it is meant to be sent",
            Problem::Brace { .. } => "a brace that is meant to be sent is written %7B or %7D",
            Problem::UrlCharacter { .. } => "write it percent-encoded, a space as %20",
            Problem::HeaderSyntax => "for example -H 'Accept: application/json'",
            Problem::ManagedHeader => "leave it out; host and length follow from the URL and the body",
            Problem::TwoCredentials => "keep one of the two",
            _ => return None,
        };
        Some(fixed.to_owned())
    }
}

impl Problem {
    /// This problem, found in `place`.
    pub(super) fn at(self, place: &Place) -> TemplateError {
        TemplateError { place: place.clone(), problem: self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("method"),
            Self::Url => f.write_str("url"),
            Self::Query(name) => write!(f, "query parameter `{name}`"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Headers => f.write_str("header"),
            Self::Body(pointer) if pointer.is_empty() => f.write_str("body"),
            Self::Body(pointer) => write!(f, "body at {pointer}"),
            Self::Form(name) => write!(f, "form field `{name}`"),
            Self::Bearer => f.write_str("bearer token"),
            Self::Key => f.write_str("key"),
            Self::Cost => f.write_str("cost"),
            Self::Partition => f.write_str("partition"),
        }
    }
}

/// A list of columns that stays readable when there are hundreds.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no columns");
        }
        for (i, name) in self.0.iter().take(COLUMNS_SHOWN).enumerate() {
            write!(f, "{}`{name}`", if i > 0 { ", " } else { "" })?;
        }
        match self.0.len().saturating_sub(COLUMNS_SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
