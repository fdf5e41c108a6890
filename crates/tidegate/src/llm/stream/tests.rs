use serde_json::json;

use super::*;

const ASKED: &[u8] = br#"{"model":"m","stream":true}"#;

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream; charset=utf-8"))])
}

fn assemble(text: &str) -> Result<Value, CallError> {
    let body = assembled(ASKED, &headers(), Bytes::copy_from_slice(text.as_bytes()))?;
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn events(events: &[Value]) -> String {
    let events: Vec<String> = events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect();
    events.concat()
}

fn chunk(choices: &Value) -> Value {
    json!({ "id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices })
}

fn chat() -> String {
    let delta = |index: u64, delta: Value| json!([{ "index": index, "delta": delta, "finish_reason": null }]);
    let call = |piece: Value| delta(1, json!({ "tool_calls": [piece] }));
    let mut usage = chunk(&json!([]));
    usage["usage"] = json!({ "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 });
    events(&[
        chunk(&delta(0, json!({ "role": "assistant", "content": "", "refusal": null }))),
        chunk(&delta(0, json!({ "content": "Ti" }))),
        chunk(&delta(1, json!({ "role": "assistant", "content": null }))),
        chunk(&call(
            json!({ "index": 0, "id": "t", "type": "function", "function": { "name": "f", "arguments": "" } }),
        )),
        chunk(&call(json!({ "index": 0, "function": { "arguments": "{\"a\":" } }))),
        chunk(&delta(0, json!({ "content": "de" }))),
        chunk(&call(json!({ "index": 0, "function": { "arguments": "1}" } }))),
        chunk(&json!([{ "index": 0, "delta": {}, "logprobs": { "content": [1] }, "finish_reason": "stop" }])),
        chunk(&json!([{ "index": 1, "delta": {}, "finish_reason": "tool_calls" }])),
        usage,
    ]) + "data: [DONE]\n\n"
}

#[test]
fn chunks_become_a_completion() {
    let whole = assemble(&chat()).unwrap();
    let call =
        json!({ "id": "t", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } });
    let expected = json!({
        "id": "c1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [
            {
                "index": 0,
                "message": { "role": "assistant", "content": "Tide", "refusal": null },
                "logprobs": { "content": [1] },
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": { "role": "assistant", "content": null, "tool_calls": [call] },
                "finish_reason": "tool_calls",
            },
        ],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 },
    });
    assert_eq!(whole, expected);
}

fn message() -> String {
    let block =
        |index: u64, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    events(&[
        json!({ "type": "message_start", "message": {
            "id": "m1", "type": "message", "role": "assistant", "model": "c", "content": [],
            "stop_reason": null, "usage": { "input_tokens": 9, "output_tokens": 1 },
        } }),
        json!({ "type": "ping" }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        block(0, json!({ "type": "text_delta", "text": "Ebb " })),
        block(0, json!({ "type": "text_delta", "text": "and flow" })),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "tool_use", "id": "t", "name": "f", "input": {} } }),
        block(1, json!({ "type": "input_json_delta", "partial_json": "{\"a\"" })),
        block(1, json!({ "type": "input_json_delta", "partial_json": ": 1}" })),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null }, "usage": { "output_tokens": 12 } }),
        json!({ "type": "message_stop" }),
    ])
}

#[test]
fn events_become_a_message() {
    let whole = assemble(&message()).unwrap();
    let expected = json!([
        { "type": "text", "text": "Ebb and flow" },
        { "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } },
    ]);
    assert_eq!(whole["content"], expected);
    assert_eq!(whole["usage"], json!({ "input_tokens": 9, "output_tokens": 12 }));
    assert_eq!((&whole["stop_reason"], &whole["id"]), (&json!("tool_use"), &json!("m1")));
}

#[test]
fn a_stream_that_is_cut_anywhere_is_no_answer() {
    for (stream, end) in
        [(chat(), "data: [DONE]".len()), (message(), "data: {\"type\":\"message_stop\"}".len())]
    {
        let first = stream.find("\n\n").unwrap() + 2;
        let last = stream.len() - 2 - end;
        for cut in (first..=last).filter(|cut| stream.is_char_boundary(*cut)) {
            let error = assemble(&stream[..cut]).unwrap_err();
            assert!(matches!(error.fault, CallFault::Truncated), "{cut}: {error}");
        }
        // And in any form of line ends.
        let whole = assemble(&stream).unwrap();
        assert_eq!(assemble(&stream.replace('\n', "\r\n")).unwrap(), whole);
        assert_eq!(assemble(&stream.replace('\n', "\r")).unwrap(), whole);
    }
}

#[test]
fn an_error_within_a_stream_ends_it() {
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    let stream = message().replacen("event: x\ndata: {\"type\":\"ping\"}", &format!("data: {error}"), 1);
    assert!(assemble(&stream).unwrap_err().to_string().contains("Overloaded"));
}

#[test]
fn the_last_event_of_a_response_has_all_of_it() {
    let made = events(&[json!({ "type": "response.created" })]);
    let done = events(&[json!({ "type": "response.completed", "response": { "id": "r", "usage": null } })]);
    assert_eq!(assemble(&format!("{made}{done}")).unwrap()["id"], "r");
    assert!(assemble(&made).is_err());
}

#[test]
fn what_nobody_asked_for_stays_as_it_is() {
    let stream = Bytes::from(chat());
    let same = assembled(br#"{"stream":false}"#, &headers(), stream.clone()).unwrap();
    assert_eq!(same, stream);
    assert_eq!(assembled(ASKED, &HeaderMap::new(), stream.clone()).unwrap(), stream);
    let other = Bytes::from_static(b"data: hello\n\n");
    assert_eq!(assembled(ASKED, &headers(), other.clone()).unwrap(), other);
}
