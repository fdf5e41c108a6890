//! `--select name=/json/pointer`: one value of each answer as a column.

use std::borrow::Cow;
use std::str::FromStr;

use crate::json;

/// A column of a CSV output and where its value stands in a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    name: String,
    tokens: Vec<String>,
}

/// A text that does not select anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not select a value: {why}")]
pub struct SelectError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl SelectError {
    /// What the user can do about it, for a `hint:` line.
    pub fn hint(&self) -> &'static str {
        "write NAME=/path/to/value, for example city=/address/city or first=/items/0/id"
    }
}

impl Select {
    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A string's content, other values as JSON text on one line; `None` when there is no such
    /// value or it is `null`, because CSV has no word for either.
    pub(super) fn value<'a>(&self, body: &'a str) -> Option<Cow<'a, str>> {
        let text = json::pointer(body, &self.tokens)?;
        match text.as_bytes().first()? {
            b'n' => None,
            b'"' => json::string(text).map(Cow::Owned),
            _ if text.contains(['\n', '\r']) => {
                let mut line = Vec::with_capacity(text.len());
                json::write_one_line(text.as_bytes(), &mut line);
                String::from_utf8(line).ok().map(Cow::Owned)
            }
            _ => Some(Cow::Borrowed(text)),
        }
    }
}

impl FromStr for Select {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        let wrong = |why| SelectError { text: text.to_owned(), why };
        let (name, path) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
        if name.trim().is_empty() {
            return Err(wrong("there is no name before `=`"));
        }
        if !path.starts_with('/') {
            return Err(wrong("the path must begin with `/`"));
        }
        let tokens = json::pointer_tokens(path)
            .ok_or_else(|| wrong("in a path `~` is written `~0`, and `/` in a name `~1`"))?;
        Ok(Self { name: name.to_owned(), tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_kind() {
        let body = "{\"s\":\"a\\nb\",\"n\":1.50,\"o\":{\n \"k\": [1]},\"z\":null,\"a/b~\":true}";
        let value = |text: &str| text.parse::<Select>().unwrap().value(body).map(Cow::into_owned);
        assert_eq!(value("x=/s").as_deref(), Some("a\nb"));
        assert_eq!(value("x=/n").as_deref(), Some("1.50"));
        assert_eq!(value("x=/o").as_deref(), Some("{\"k\":[1]}"));
        assert_eq!(value("x=/o/k/0").as_deref(), Some("1"));
        assert_eq!(value("x=/a~1b~0").as_deref(), Some("true"));
        assert_eq!(value("x=/z"), None);
        assert_eq!(value("x=/missing"), None);
    }

    #[test]
    fn bad_texts_say_why() {
        for (text, why) in [
            ("city", "there is no `=`"),
            ("=/city", "there is no name before `=`"),
            ("city=address", "the path must begin with `/`"),
            ("city=", "the path must begin with `/`"),
            ("city=/a~2", "in a path `~` is written `~0`, and `/` in a name `~1`"),
            ("city=/a~", "in a path `~` is written `~0`, and `/` in a name `~1`"),
        ] {
            assert_eq!(text.parse::<Select>().unwrap_err().why, why, "{text}");
        }
    }
}
