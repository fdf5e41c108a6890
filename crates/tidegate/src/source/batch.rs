//! Records that are whole requests, as the batch endpoints of LLM providers take them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A record of a batch. Members that are not known here are left alone.
#[derive(Debug, Deserialize)]
pub(crate) struct Request<'r> {
    /// By this name its result is known.
    #[serde(borrow, rename = "custom_id")]
    pub(crate) _custom_id: Cow<'r, str>,
    #[serde(borrow)]
    pub(crate) method: Cow<'r, str>,
    /// A path, with a query perhaps.
    #[serde(borrow)]
    pub(crate) url: Cow<'r, str>,
    /// As it stands in the record, byte for byte.
    #[serde(borrow)]
    pub(crate) body: Option<&'r RawValue>,
}

impl<'r> Request<'r> {
    /// Reads a record; what is missing or wrong, if it is none.
    pub(crate) fn read(json: &'r str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, InputSpec, Source};

    const FIRST: &str =
        r#"{"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}"#;

    fn format(text: &str, may_be_batch: bool) -> Format {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.jsonl");
        std::fs::write(&path, text).unwrap();
        Source::open(&InputSpec { may_be_batch, ..InputSpec::new(&path) }).unwrap().format()
    }

    #[test]
    fn a_batch_is_known_by_its_first_record() {
        assert_eq!(format(FIRST, true), Format::Batch);
        assert_eq!(format(FIRST, false), Format::Jsonl);
        for other in [
            r#"{"id":1}"#,
            r#"{"custom_id":"r1","method":"POST","url":"/v1"}"#,
            r#"{"custom_id":7,"method":"POST","url":"/v1","body":{}}"#,
            "[1]",
            "{",
        ] {
            assert_eq!(format(other, true), Format::Jsonl, "{other}");
        }
    }
}
