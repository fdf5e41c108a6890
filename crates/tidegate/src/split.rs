//! The answer to a call that carries many rows: whose part is which?

use crate::json;

/// Where an answer has something for each row of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// Every row gets the whole answer.
    Whole,
    /// In a list or an object.
    At {
        /// The tokens of a JSON Pointer; none if it is the answer itself.
        pointer: Box<[String]>,
        /// Where an element has the key of its row, as tokens; without it a list is in the order of the rows.
        key: Option<Box<[String]>>,
    },
}

impl Split {
    /// Reads `whole`, or a JSON Pointer to a list or an object (empty: the answer itself), and the pointer to
    /// the key in each element.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(at: &str, key: Option<&str>) -> Result<Self, String> {
        let tokens = |pointer: &str| match pointer {
            "" => Some(Box::default()),
            pointer => json::pointer_tokens(pointer).map(Vec::into_boxed_slice),
        };
        let not_a_pointer =
            |text: &str| format!("`{text}` is not a JSON pointer: expected one such as /results");
        match (at, key) {
            ("whole", None) => Ok(Self::Whole),
            ("whole", Some(_)) => Err("the whole answer has no key of a row".to_owned()),
            _ => Ok(Self::At {
                pointer: tokens(at).ok_or_else(|| not_a_pointer(at))?,
                key: key.map(|key| tokens(key).ok_or_else(|| not_a_pointer(key))).transpose()?,
            }),
        }
    }

    /// Whether parts are found by the keys of rows, where a list says which is which.
    pub fn needs_keys(&self) -> bool {
        matches!(self, Self::At { key: Some(_), .. })
    }

    /// The part of each row, given the rows' keys in the order of the call; `None` for a row that the answer
    /// says nothing about.
    ///
    /// # Errors
    /// Why the answer cannot be divided.
    pub(crate) fn parts<'a>(
        &self,
        answer: &'a str,
        keys: &[Option<&str>],
    ) -> Result<Vec<Option<&'a str>>, String> {
        let Self::At { pointer, key } = self else { return Ok(vec![Some(answer); keys.len()]) };
        let place = || match &**pointer {
            [] => "the answer".to_owned(),
            tokens => format!("/{} in the answer", tokens.join("/")),
        };
        let found = json::pointer(answer, pointer).ok_or_else(|| format!("there is no {}", place()))?;
        let by_key = |of: Vec<(String, &'a str)>| {
            let of: std::collections::HashMap<String, &'a str> = of.into_iter().collect();
            keys.iter().map(|key| key.and_then(|key| of.get(key).copied())).collect()
        };
        if let Some(elements) = json::elements(found) {
            let Some(key) = key else {
                if elements.len() != keys.len() {
                    let (found, rows) = (elements.len(), keys.len());
                    return Err(format!(
                        "{} has {found} element{} for {rows} row{}",
                        place(),
                        if found == 1 { "" } else { "s" },
                        if rows == 1 { "" } else { "s" }
                    ));
                }
                return Ok(elements.into_iter().map(Some).collect());
            };
            let with_key = |element: &&'a str| {
                let value = json::pointer(element, key)?;
                Some((json::string(value).unwrap_or_else(|| value.to_owned()), *element))
            };
            return Ok(by_key(elements.iter().filter_map(with_key).collect()));
        }
        let members = json::members(found).ok_or_else(|| format!("{} is no list and no object", place()))?;
        if keys.iter().any(Option::is_none) {
            return Err(format!("{} is an object, and rows have no key to be found by", place()));
        }
        Ok(by_key(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(
        at: &str,
        key: Option<&str>,
        answer: &'a str,
        keys: &[&str],
    ) -> Result<Vec<Option<&'a str>>, String> {
        let keys: Vec<Option<&str>> = keys.iter().map(|key| (!key.is_empty()).then_some(*key)).collect();
        Split::parse(at, key)?.parts(answer, &keys)
    }

    #[test]
    fn a_list_in_order_has_one_element_for_each() {
        let answer = r#"{"r": [ {"a":1.50}, null, "x" ]}"#;
        assert_eq!(
            parts("/r", None, answer, &["", "", ""]).unwrap(),
            [Some(r#"{"a":1.50}"#), Some("null"), Some("\"x\"")]
        );
        assert_eq!(parts("", None, "[1]", &[""]).unwrap(), [Some("1")]);
        let error = parts("/r", None, answer, &["", ""]).unwrap_err();
        assert_eq!(error, "/r in the answer has 3 elements for 2 rows");
        for (at, answer) in [("/r", "{}"), ("/r", "[]"), ("", "1"), ("", "no json"), ("", "[1")] {
            assert!(parts(at, None, answer, &[""]).is_err(), "{at} {answer}");
        }
    }

    #[test]
    fn by_their_keys_parts_are_found_in_any_order() {
        let answer = r#"[{"id":7,"v":"b"},{"id":"a b","v":"a"},{"v":"nobody's"}]"#;
        assert_eq!(
            parts("", Some("/id"), answer, &["a b", "7", "8"]).unwrap(),
            [Some(r#"{"id":"a b","v":"a"}"#), Some(r#"{"id":7,"v":"b"}"#), None]
        );
        let object = r#"{"data":{"7":[1],"a b":[2]}}"#;
        assert_eq!(
            parts("/data", None, object, &["a b", "8", "7"]).unwrap(),
            [Some("[2]"), None, Some("[1]")]
        );
        assert!(parts("/data", None, object, &["", "7"]).is_err());
    }

    #[test]
    fn the_whole_answer_is_everybodys() {
        assert_eq!(parts("whole", None, "anything", &["", ""]).unwrap(), [Some("anything"); 2]);
        for (at, key) in [("whole", Some("/id")), ("results", None), ("/a", Some("id")), ("/~2", None)] {
            assert!(Split::parse(at, key).is_err(), "{at} {key:?}");
        }
    }
}
