//! What people write who know these things by other names.

use std::borrow::Cow;

/// Ways to enforce a limit, by the words of documentation and other tools.
const ENFORCED: &[(&[&str], &str)] = &[
    (
        &["gcra", "leaky", "leaky bucket", "token", "token bucket", "burst"],
        "a token bucket, leaky bucket or GCRA is a bucket: `50/s bucket 10`, or enforced = \"bucket\" and its capacity",
    ),
    (
        &["sliding", "sliding window", "rolling", "rolling window", "sliding log", "moving", "moving window"],
        "`100/min` holds for windows that slide; where the last window's count is weighed into this one's, it is a \
         counter: `100/min counter`",
    ),
    (
        &["fixed", "fixed window", "tumbling", "tumbling window"],
        "`100/min` holds for fixed windows at any phase; enforced = \"window\" says the same",
    ),
    (
        &["sliding counter", "sliding window counter", "approximate"],
        "write `100/min counter`, or enforced = \"counter\"",
    ),
    (&["concurrent", "parallel", "in flight"], "write `concurrency 20`, or enforced = \"concurrency\""),
    (
        &["daily", "weekly", "monthly", "midnight", "tz", "timezone"],
        "what begins anew at midnight names its zone: `10k/day UTC`, or enforced = \"calendar\" and zone = \"UTC\"",
    ),
    (&["unsure", "auto"], "write `100/min unknown`, or enforced = \"unknown\""),
];

/// Keys of other tools, and what they are called here.
const KEYS: &[(&[&str], &str)] = &[
    (&["tz", "timezone", "time_zone"], "zone"),
    (&["burst", "size", "bucket", "burst_size"], "capacity"),
    (&["interval", "period", "window", "duration"], "per"),
    (&["requests", "max", "count", "quantity", "max_requests"], "amount"),
    (&["type", "kind", "algorithm", "strategy", "enforcement"], "enforced"),
    (&["refill", "refill_interval", "tick"], "step"),
    (&["weight", "weights", "points"], "cost"),
    (&["refunds", "refunded"], "refund"),
    (&["resolution", "precision"], "granularity"),
];

/// Whether `word` says how a limit is enforced; else what is wrong with it, and a hint.
pub(super) fn enforcement(word: &str) -> Result<(), (String, Cow<'static, str>)> {
    const KNOWN: &str = "window, counter, bucket, calendar, concurrency or unknown";
    if KNOWN.split([',', ' ']).any(|known| !known.is_empty() && known != "or" && known == word) {
        return Ok(());
    }
    let message = format!("`{word}` is not a way to enforce a limit: expected {KNOWN}");
    let plain = word.to_ascii_lowercase().replace(['_', '-'], " ");
    let known = ENFORCED.iter().find(|(others, _)| others.contains(&plain.as_str()));
    Err((message, known.map_or("if nobody says, it is \"unknown\"".into(), |(_, hint)| (*hint).into())))
}

/// The right words for a limit in its short form that was not understood.
pub(super) fn short_form(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase().replace(['_', '-'], " ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    let hit = |phrase: &&str| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        words.windows(phrase.len()).any(|window| window == phrase)
    };
    // The longest phrase says most: a sliding counter is not what a sliding window is.
    let known = ENFORCED.iter().flat_map(|(others, hint)| others.iter().map(move |other| (other, *hint)));
    known.filter(|(other, _)| hit(other)).max_by_key(|(other, _)| other.len()).map(|(_, hint)| hint)
}

/// The right word for a key that the job file does not know, from what the parser said.
pub(super) fn key(message: &str) -> Option<String> {
    let unknown = message.split("unknown field `").nth(1)?.split('`').next()?;
    let (_, right) = KEYS.iter().find(|(others, _)| others.contains(&unknown))?;
    message.contains(&format!("`{right}`")).then(|| format!("`{unknown}` is called `{right}` here"))
}
