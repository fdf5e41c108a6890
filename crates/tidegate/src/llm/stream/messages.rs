//! Anthropic's events of a message.

use serde_json::{Map, Value};

use super::append;

/// A message that is being put together.
#[derive(Debug, Default)]
pub(super) struct Messages {
    message: Option<Map<String, Value>>,
    content: Vec<Value>,
    /// The input of a tool comes as pieces of JSON.
    input: String,
}

impl Messages {
    /// Takes an event; false if it is none of a message.
    pub(super) fn take(&mut self, kind: &str, mut event: Value) -> bool {
        let mut member = |name: &str| event.get_mut(name).map(Value::take);
        match kind {
            "message_start" => {
                if let Some(Value::Object(message)) = member("message") {
                    self.message = Some(message);
                }
            }
            "content_block_start" => {
                self.input.clear();
                self.content.extend(member("content_block"));
            }
            "content_block_delta" => {
                if let Some(delta) = member("delta") {
                    self.delta(&delta);
                }
            }
            "content_block_stop" => self.end_block(),
            "message_delta" => {
                let parts = [member("delta"), member("usage")];
                self.end(parts);
            }
            "ping" => {}
            _ => return false,
        }
        true
    }

    fn delta(&mut self, delta: &Value) {
        let Some(block) = self.content.last_mut() else { return };
        for (name, piece) in delta.as_object().into_iter().flatten() {
            match name.as_str() {
                "type" => {}
                "partial_json" => self.input.push_str(piece.as_str().unwrap_or_default()),
                "citation" => match &mut block["citations"] {
                    Value::Array(citations) => citations.push(piece.clone()),
                    citations => *citations = Value::Array(vec![piece.clone()]),
                },
                // text, thinking, signature
                name => append(&mut block[name], piece),
            }
        }
    }

    fn end_block(&mut self) {
        if let (Some(block), Ok(input)) =
            (self.content.last_mut(), serde_json::from_str::<Value>(&self.input))
        {
            block["input"] = input;
        }
        self.input.clear();
    }

    /// Why it ended, and what it took: of each count the last is right.
    fn end(&mut self, [delta, usage]: [Option<Value>; 2]) {
        let Some(message) = &mut self.message else { return };
        if let Some(Value::Object(delta)) = delta {
            message.extend(delta);
        }
        if let Some(Value::Object(usage)) = usage {
            let said = usage.into_iter().filter(|(_, count)| !count.is_null());
            match message.get_mut("usage") {
                Some(Value::Object(so_far)) => so_far.extend(said),
                _ => drop(message.insert("usage".to_owned(), said.collect::<Map<_, _>>().into())),
            }
        }
    }

    /// The message; `None` if it never began.
    pub(super) fn whole(self) -> Option<Value> {
        let mut message = self.message?;
        message.insert("content".to_owned(), self.content.into());
        Some(Value::Object(message))
    }
}
