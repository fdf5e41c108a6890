//! Texts with `{{ … }}` in them: header values, bodies, strings in JSON bodies.

use std::borrow::Cow;
use std::sync::Arc;

use super::MAX_LEAF;
use super::error::{Place, RenderError, TemplateError};
use super::jinja::{Compiled, Jinja, Mode};
use super::reference::{Reference, RowView, Style};
use super::scope::Scope;

/// A compiled text.
#[derive(Debug)]
pub(super) enum Text {
    /// The same for every row.
    Constant(String),
    /// Literals and bare references only.
    Pieces { pieces: Vec<Piece>, style: Style, place: Arc<str> },
    /// Anything else.
    Jinja(Box<Jinja>),
}

#[derive(Debug)]
pub(super) enum Piece {
    Literal(String),
    Value(Reference),
}

/// One `{{ expression }}`, compiled.
#[derive(Debug)]
pub(super) enum Expression {
    Constant(String),
    Value(Reference),
    Jinja(Box<Jinja>),
}

impl Text {
    pub(super) fn compile(
        source: &str,
        style: Style,
        scope: &mut Scope<'_>,
        place: &Place,
    ) -> Result<Self, TemplateError> {
        let Some(tokens) = bare_tokens(source) else {
            return Ok(match Jinja::compile(source, Mode::Text(style), scope, place)? {
                Compiled::Constant(text) => Self::Constant(text),
                Compiled::PerRow(jinja) => Self::Jinja(jinja),
            });
        };
        let mut pieces = Vec::new();
        for token in tokens {
            match token {
                Token::Literal(text) => push_literal(&mut pieces, text),
                Token::Bare(bare) => match bare.resolve(scope, place)? {
                    Resolved::Constant(text) => push_literal(&mut pieces, &text),
                    Resolved::Value(reference) => pieces.push(Piece::Value(reference)),
                },
            }
        }
        Ok(match pieces.as_slice() {
            [] => Self::Constant(String::new()),
            [Piece::Literal(text)] => Self::Constant(text.clone()),
            _ => Self::Pieces { pieces, style, place: place.to_string().into() },
        })
    }

    pub(super) fn render<'a, 'r: 'a>(&'a self, view: &RowView<'r>) -> Result<Cow<'a, str>, RenderError> {
        match self {
            Self::Constant(text) => Ok(text.into()),
            Self::Pieces { pieces, style, place } => {
                if let [Piece::Value(reference)] = pieces.as_slice() {
                    return reference.text(view, *style);
                }
                let mut out = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => out.push_str(text),
                        Piece::Value(reference) => out.push_str(&reference.text(view, *style)?),
                    }
                    if out.len() > MAX_LEAF {
                        return Err(RenderError::TooLarge { place: Arc::clone(place), limit: MAX_LEAF });
                    }
                }
                Ok(out.into())
            }
            Self::Jinja(jinja) => jinja.render(view.context()).map(Cow::Owned),
        }
    }
}

impl Expression {
    /// Compiles what stands between `{{` and `}}`.
    pub(super) fn compile(
        source: &str,
        mode: Mode,
        scope: &mut Scope<'_>,
        place: &Place,
    ) -> Result<Self, TemplateError> {
        if let Some(bare) = Bare::parse(source) {
            return Ok(match bare.resolve(scope, place)? {
                Resolved::Constant(text) if mode == Mode::Json => Self::Constant(json_string(&text)),
                Resolved::Constant(text) => Self::Constant(text),
                Resolved::Value(reference) => Self::Value(reference),
            });
        }
        Ok(match Jinja::compile(&format!("{{{{{source}}}}}"), mode, scope, place)? {
            Compiled::Constant(text) => Self::Constant(text),
            Compiled::PerRow(jinja) => Self::Jinja(jinja),
        })
    }
}

/// `text` as JSON.
pub(super) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The expression in `source` if that is exactly one `{{ expression }}`.
pub(super) fn single_expression(source: &str) -> Option<&str> {
    let inner = source.strip_prefix("{{")?;
    let end = expression_end(inner)?;
    (end + 2 == inner.len()).then(|| &inner[..end])
}

/// Where the `}}` is that ends an expression; `source` starts after its `{{`.
pub(super) fn expression_end(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut bytes = source.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => drop(bytes.next()),
            (Some(open), _) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if source.as_bytes().get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

enum Token<'a> {
    Literal(&'a str),
    Bare(Bare),
}

/// Splits a text whose expressions are all bare references; `None` sends it to minijinja.
fn bare_tokens(source: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let (literal, tag) = rest.split_at(at);
        let inner = tag.strip_prefix("{{")?;
        let end = expression_end(inner)?;
        tokens.push(Token::Literal(literal));
        tokens.push(Token::Bare(Bare::parse(&inner[..end])?));
        rest = &inner[end + 2..];
    }
    tokens.push(Token::Literal(rest));
    Some(tokens)
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Literal(last)) => last.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_owned())),
    }
}

/// A variable with nothing done to it: `line`, `index`, `row.a["b"]`, `env.NAME`.
struct Bare {
    root: String,
    path: Vec<String>,
}

enum Resolved {
    Constant(String),
    Value(Reference),
}

impl Bare {
    fn parse(source: &str) -> Option<Self> {
        let (root, mut rest) = identifier(source.trim())?;
        let mut path = Vec::new();
        while !rest.is_empty() {
            let (name, after) = if let Some(attribute) = rest.strip_prefix('.') {
                identifier(attribute)?
            } else {
                let quoted = rest.strip_prefix('[')?;
                let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
                let (name, after) = quoted[1..].split_once(quote)?;
                (name, after.strip_prefix(']')?)
            };
            if name.contains('\\') {
                return None;
            }
            path.push(name.to_owned());
            rest = after;
        }
        let known = match root {
            "row" => true,
            "line" | "index" => path.is_empty(),
            "env" => path.len() == 1,
            _ => false,
        };
        known.then(|| Self { root: root.to_owned(), path })
    }

    fn resolve(self, scope: &mut Scope<'_>, place: &Place) -> Result<Resolved, TemplateError> {
        let reference = match (self.root.as_str(), self.path.as_slice()) {
            ("env", [name]) => return scope.env(name, place).map(Resolved::Constant),
            ("line", _) => scope.line(),
            ("index", _) => scope.index(),
            (_, path) => scope.path(path),
        };
        reference.map(Resolved::Value).map_err(|problem| problem.at(place))
    }
}

fn identifier(source: &str) -> Option<(&str, &str)> {
    let end = source.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(source.len());
    let starts_well = source.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well.then(|| source.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_an_expression() {
        assert_eq!(expression_end(" row.a }} tail"), Some(7));
        assert_eq!(expression_end(r#" "}}" ~ '\'}}' }}"#), Some(15));
        assert_eq!(expression_end(r#" {"a": {}}.a }}"#), Some(13));
        assert_eq!(expression_end("row.a }"), None);
    }

    #[test]
    fn tells_bare_references_from_expressions() {
        for (source, path) in
            [(" row ", &[][..]), ("row.a.b", &["a", "b"]), (r#"row["a b"]['c']"#, &["a b", "c"])]
        {
            let bare = Bare::parse(source).expect(source);
            assert_eq!(bare.root, "row");
            assert_eq!(bare.path, path);
        }
        for source in
            ["", "row|upper", "row.a ~ 'x'", "row[0]", "row.1", "env", "env.a.b", "other", "- row", "line.a"]
        {
            assert!(Bare::parse(source).is_none(), "{source}");
        }
    }

    #[test]
    fn recognises_a_single_expression() {
        assert_eq!(single_expression("{{ row.a }}"), Some(" row.a "));
        for source in ["{{ a }}{{ b }}", " {{ a }}", "{{ a }} ", "a", "{{ a }"] {
            assert_eq!(single_expression(source), None, "{source}");
        }
    }
}
