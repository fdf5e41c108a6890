//! URL templates: a literal origin, then path and query with percent-encoded values in them.

use std::fmt;

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};

use super::encode::{changes_path, push_data, push_typed};
use super::error::{Place, Problem, RenderError, TemplateError};
use super::jinja::{Jinja, Mode};
use super::reference::{Reference, RowView, Style};
use super::scope::Scope;
use super::text::{Expression, expression_end};

/// Bytes of path and query; what `http::Uri` can hold.
const MAX_URL: usize = 65_534;
/// Room that a rendered value is expected to need.
const VALUE_ROOM: usize = 24;

/// Where all calls of a job go. Literal in the template, so that no row can choose it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// In lower case; an IPv6 address in brackets.
    pub host: String,
    /// The scheme's own where the URL gives none.
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// A compiled URL.
#[derive(Debug)]
pub(super) struct UrlTemplate {
    pub(super) origin: Origin,
    authority: Authority,
    target: Target,
    /// Bytes that a rendered path and query usually has.
    room: usize,
}

#[derive(Debug)]
enum Target {
    Constant(PathAndQuery),
    PerRow(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    /// As it is sent.
    Literal(String),
    Value(Reference),
    Jinja(Box<Jinja>),
    /// A path segment with values in it ends here and must not change the path.
    SegmentEnd,
}

impl UrlTemplate {
    /// Compiles `url`, with `query` appended to its own parameters.
    pub(super) fn compile(
        url: &str,
        query: &[(String, String)],
        scope: &mut Scope<'_>,
    ) -> Result<Self, TemplateError> {
        let (origin, authority, rest) = split_origin(url).map_err(|problem| problem.at(&Place::Url))?;
        let tokens = without_fragment(tokens(rest, url.len() - rest.len(), &Place::Url)?)?;

        let mut builder = Builder::default();
        builder.path_and_query(&tokens, scope)?;
        for (name, value) in query {
            builder.parameter(name, value, scope)?;
        }

        let pieces = builder.pieces;
        let room = pieces
            .iter()
            .map(|piece| if let Piece::Literal(text) = piece { text.len() } else { VALUE_ROOM })
            .sum();
        let mut url = Self { origin, authority, target: Target::PerRow(pieces), room };
        url.fold_constant()?;
        Ok(url)
    }

    /// The absolute URI for one row.
    pub(super) fn render(&self, view: &RowView<'_>) -> Result<Uri, RenderError> {
        let target = match &self.target {
            Target::Constant(target) => target.clone(),
            Target::PerRow(pieces) => self.target(pieces, Some(view))?,
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.origin.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|_| RenderError::Url)
    }

    fn fold_constant(&mut self) -> Result<(), TemplateError> {
        let Target::PerRow(pieces) = &self.target else { return Ok(()) };
        let constant = pieces.iter().all(|piece| matches!(piece, Piece::Literal(_) | Piece::SegmentEnd));
        // With a stand-in for every value, a template whose literal parts are no URL is found now.
        let target = self.target(pieces, None).map_err(|error| Problem::Constant(error).at(&Place::Url))?;
        if constant {
            self.target = Target::Constant(target);
        }
        Ok(())
    }

    fn target(&self, pieces: &[Piece], view: Option<&RowView<'_>>) -> Result<PathAndQuery, RenderError> {
        let mut out = String::with_capacity(self.room);
        for piece in pieces {
            match (piece, view) {
                (Piece::Literal(text), _) => out.push_str(text),
                (Piece::Value(reference), Some(view)) => {
                    push_data(&reference.text(view, Style::Scalar)?, &mut out);
                }
                (Piece::Jinja(jinja), Some(view)) => push_data(&jinja.render(view.context())?, &mut out),
                (Piece::Value(_) | Piece::Jinja(_), None) => out.push('x'),
                (Piece::SegmentEnd, _) => {
                    // Slashes in values are encoded: the last one is the template's.
                    let start = memchr::memrchr(b'/', out.as_bytes()).map_or(0, |at| at + 1);
                    if changes_path(&out[start..]) {
                        return Err(RenderError::PathSegment);
                    }
                }
            }
        }
        if out.len() > MAX_URL {
            return Err(RenderError::UrlTooLong { len: out.len(), limit: MAX_URL });
        }
        PathAndQuery::from_maybe_shared(Bytes::from(out)).map_err(|_| RenderError::Url)
    }
}

/// Scheme, host and port, and what follows them.
fn split_origin(url: &str) -> Result<(Origin, Authority, &str), Problem> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| if url.starts_with('{') { Problem::OriginPlaceholder } else { Problem::NoScheme })?;
    if scheme.contains(['{', '}']) {
        return Err(Problem::OriginPlaceholder);
    }
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        found if !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(Problem::Scheme { found: found.to_owned() });
        }
        _ => return Err(Problem::NoScheme),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.contains(['{', '}']) {
        return Err(Problem::OriginPlaceholder);
    }
    if authority.contains('@') {
        return Err(Problem::Userinfo);
    }
    let lower = authority.to_ascii_lowercase();
    let authority: Authority = match lower.as_str() {
        "" => return Err(Problem::NoHost),
        name => name.parse().map_err(|_| Problem::Host)?,
    };
    if authority.host().is_empty() {
        return Err(Problem::NoHost);
    }
    let port = match authority.port() {
        // `host:` and `host:0` are accepted by the parser, but nobody listens there.
        _ if lower.ends_with(':') => return Err(Problem::Host),
        Some(port) if port.as_u16() == 0 => return Err(Problem::Host),
        Some(port) => port.as_u16(),
        None if lower.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']')) => {
            return Err(Problem::Host);
        }
        None if scheme == Scheme::HTTPS => 443,
        None => 80,
    };
    let origin = Origin { scheme, host: authority.host().to_owned(), port };
    Ok((origin, authority, rest))
}

/// A part of the syntax that URLs and query values share.
#[derive(Debug, Clone, Copy)]
enum Token<'a> {
    Literal(&'a str),
    /// `{column}`
    Column(&'a str),
    /// `{{ expression }}`
    Expression(&'a str),
}

/// Splits `source`, which starts `offset` bytes into what the user wrote.
fn tokens<'a>(source: &'a str, offset: usize, place: &Place) -> Result<Vec<Token<'a>>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(brace) = rest.find(['{', '}']) {
        let problem = || Problem::Brace { at: offset + source.len() - rest.len() + brace }.at(place);
        let (literal, tag) = rest.split_at(brace);
        tokens.push(Token::Literal(literal));
        if let Some(inner) = tag.strip_prefix("{{") {
            let end = expression_end(inner).ok_or_else(problem)?;
            tokens.push(Token::Expression(&inner[..end]));
            rest = &inner[end + 2..];
        } else {
            let inner = tag.strip_prefix('{').ok_or_else(problem)?;
            let (name, after) = inner.split_once('}').ok_or_else(problem)?;
            // `{% if %}`, `{# … #}` and `{"json": 1}` are no columns.
            if name.is_empty() || name.starts_with(['%', '#']) || name.contains(['{', '"']) {
                return Err(problem());
            }
            tokens.push(Token::Column(name));
            rest = after;
        }
    }
    tokens.push(Token::Literal(rest));
    Ok(tokens)
}

/// A fragment is never sent: it is dropped, unless that would drop a placeholder.
fn without_fragment(mut tokens: Vec<Token<'_>>) -> Result<Vec<Token<'_>>, TemplateError> {
    let fragment = tokens.iter().enumerate().find_map(|(i, token)| match token {
        Token::Literal(text) => text.split_once('#').map(|(kept, _)| (i, Token::Literal(kept))),
        Token::Column(_) | Token::Expression(_) => None,
    });
    let Some((at, kept)) = fragment else { return Ok(tokens) };
    let dropped = tokens.split_off(at);
    if dropped.len() > 1 {
        return Err(Problem::FragmentPlaceholder.at(&Place::Url));
    }
    tokens.push(kept);
    Ok(tokens)
}

/// Collects the pieces of path and query.
#[derive(Default)]
struct Builder {
    pieces: Vec<Piece>,
    in_query: bool,
    /// The current path segment has values in it.
    checked: bool,
    /// What the last literal ends with decides how a parameter is joined on.
    needs_separator: bool,
}

impl Builder {
    fn path_and_query(&mut self, tokens: &[Token<'_>], scope: &mut Scope<'_>) -> Result<(), TemplateError> {
        let starts_with_slash = matches!(tokens.first(), Some(Token::Literal(text)) if text.starts_with('/'));
        if !starts_with_slash {
            self.literal("/");
        }
        for token in tokens {
            match *token {
                Token::Literal(text) => self.typed(text)?,
                Token::Column(_) | Token::Expression(_) => {
                    self.value(*token, scope, &Place::Url)?;
                    self.checked = !self.in_query;
                }
            }
        }
        self.end_segment();
        Ok(())
    }

    /// A literal part of the URL as the user typed it.
    fn typed(&mut self, text: &str) -> Result<(), TemplateError> {
        if let Some(found) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(Problem::UrlCharacter { found }.at(&Place::Url));
        }
        let mut rest = text;
        while !self.in_query {
            let Some(at) = rest.find(['/', '?']) else { break };
            let (segment, after) = rest.split_at(at);
            self.encoded(segment);
            self.end_segment();
            self.in_query = after.starts_with('?');
            self.encoded(&after[..1]);
            rest = &after[1..];
        }
        self.encoded(rest);
        self.needs_separator = !text.ends_with(['?', '&']) && (self.needs_separator || !text.is_empty());
        Ok(())
    }

    /// A parameter given apart from the URL: all of it is data.
    fn parameter(&mut self, name: &str, value: &str, scope: &mut Scope<'_>) -> Result<(), TemplateError> {
        let place = Place::Query(name.to_owned());
        let tokens = tokens(value, 0, &place)?;
        if !self.in_query {
            self.literal("?");
            self.in_query = true;
        } else if self.needs_separator {
            self.literal("&");
        }
        self.needs_separator = true;
        self.data(name);
        self.literal("=");
        for token in tokens {
            match token {
                Token::Literal(text) => self.data(text),
                Token::Column(_) | Token::Expression(_) => self.value(token, scope, &place)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, token: Token<'_>, scope: &mut Scope<'_>, place: &Place) -> Result<(), TemplateError> {
        let expression = match token {
            Token::Literal(text) => Expression::Constant(text.to_owned()),
            Token::Column(name) => {
                Expression::Value(scope.column(name).map_err(|problem| problem.at(place))?)
            }
            Token::Expression(source) => {
                Expression::compile(source, Mode::Text(Style::Scalar), scope, place)?
            }
        };
        match expression {
            Expression::Constant(text) => self.data(&text),
            Expression::Value(reference) => self.pieces.push(Piece::Value(reference)),
            Expression::Jinja(jinja) => self.pieces.push(Piece::Jinja(jinja)),
        }
        self.needs_separator = true;
        Ok(())
    }

    fn end_segment(&mut self) {
        if std::mem::take(&mut self.checked) {
            self.pieces.push(Piece::SegmentEnd);
        }
    }

    fn encoded(&mut self, typed: &str) {
        let mut encoded = String::new();
        push_typed(typed, &mut encoded);
        self.literal(&encoded);
    }

    fn data(&mut self, text: &str) {
        let mut encoded = String::new();
        push_data(text, &mut encoded);
        self.literal(&encoded);
    }

    fn literal(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Literal(text.to_owned())),
        }
    }
}
