//! `chat.completion.chunk`s, as `OpenAI` and those that are compatible stream them.

use serde_json::{Map, Value, json};

use super::append;

/// Choices at most: `n` is at most 128 where it is documented.
const MAX_CHOICES: u64 = 1_024;
/// Tool calls of a choice at most.
const MAX_CALLS: u64 = 1_024;

/// A completion that is being put together.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// Members beside the choices: the last that was said of each.
    around: Map<String, Value>,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    message: Map<String, Value>,
    calls: Vec<Value>,
    /// `finish_reason` and others beside the message.
    around: Map<String, Value>,
}

impl Chat {
    /// Takes a chunk; false if it is none.
    pub(super) fn take(&mut self, chunk: Value) -> bool {
        let Value::Object(members) = chunk else { return false };
        if !members.contains_key("choices") {
            return false;
        }
        for (name, value) in members {
            match (name.as_str(), value) {
                ("choices", Value::Array(choices)) => {
                    self.choices_of(choices);
                }
                (_, Value::Null) => {}
                (_, value) => drop(self.around.insert(name, value)),
            }
        }
        true
    }

    fn choices_of(&mut self, chunk: Vec<Value>) {
        for choice in chunk {
            self.choice(choice);
        }
    }

    fn choice(&mut self, chunk: Value) {
        let index = chunk.get("index").and_then(Value::as_u64).unwrap_or(0);
        let Value::Object(members) = chunk else { return };
        let Some(choice) = at(&mut self.choices, index, MAX_CHOICES) else { return };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("delta", Value::Object(delta)) => choice.delta(delta),
                ("logprobs", Value::Object(lists)) => choice.logprobs(lists),
                ("index", _) | (_, Value::Null) => {}
                (_, value) => drop(choice.around.insert(name, value)),
            }
        }
    }

    /// The completion; `None` if nothing came.
    pub(super) fn whole(self) -> Option<Value> {
        let mut whole = self.around;
        if whole.is_empty() {
            return None;
        }
        whole.insert("object".to_owned(), json!("chat.completion"));
        let choices = self.choices.into_iter().enumerate().map(|(index, choice)| choice.whole(index));
        whole.insert("choices".to_owned(), choices.collect());
        Some(Value::Object(whole))
    }
}

impl Choice {
    fn delta(&mut self, delta: Map<String, Value>) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls {
                        self.call(call);
                    }
                }
                ("role", value) => drop(self.message.insert(name, value)),
                ("function_call", Value::Object(call)) => {
                    merge(self.message.entry(name).or_insert_with(|| json!({})), call);
                }
                (_, value) => append(self.message.entry(name).or_insert(Value::Null), &value),
            }
        }
    }

    fn call(&mut self, piece: Value) {
        let index = piece.get("index").and_then(Value::as_u64).unwrap_or(0);
        let Value::Object(mut piece) = piece else { return };
        piece.remove("index");
        if let Some(call) = at(&mut self.calls, index, MAX_CALLS) {
            merge(call, piece);
        }
    }

    fn logprobs(&mut self, lists: Map<String, Value>) {
        let so_far = self.around.entry("logprobs").or_insert_with(|| json!({}));
        for (name, value) in lists {
            match (&mut so_far[name.as_str()], value) {
                (Value::Array(list), Value::Array(more)) => list.extend(more),
                (_, Value::Null) => {}
                (so_far, value) => *so_far = value,
            }
        }
    }

    fn whole(mut self, index: usize) -> Value {
        self.message.entry("role").or_insert_with(|| json!("assistant"));
        self.message.entry("content").or_insert(Value::Null);
        if !self.calls.is_empty() {
            self.message.insert("tool_calls".to_owned(), self.calls.into());
        }
        let mut whole = Map::from_iter([("index".to_owned(), index.into())]);
        whole.insert("message".to_owned(), self.message.into());
        whole.extend(self.around);
        Value::Object(whole)
    }
}

/// Adds the pieces of a call: its name and arguments come bit by bit, all else once.
fn merge(call: &mut Value, pieces: Map<String, Value>) {
    if call.is_null() {
        *call = json!({});
    }
    for (name, piece) in pieces {
        match piece {
            Value::Object(pieces) => merge(&mut call[name.as_str()], pieces),
            Value::Null => {}
            piece if matches!(name.as_str(), "arguments" | "input") => {
                append(&mut call[name.as_str()], &piece);
            }
            piece => call[name.as_str()] = piece,
        }
    }
}

/// The item at `index`, those before it made up.
fn at<T: Default>(items: &mut Vec<T>, index: u64, most: u64) -> Option<&mut T> {
    let index = usize::try_from(index).ok().filter(|_| index < most)?;
    if items.len() <= index {
        items.resize_with(index + 1, T::default);
    }
    items.get_mut(index)
}
