//! Times in outputs: RFC 3339, UTC, milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// Formats times; rows of the same second share the work of the calendar.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    /// `2026-11-22T05:00:00`
    text: String,
}

impl Stamp {
    /// Appends `2026-11-22T05:00:00.123Z`. Times before 1970 are taken as 1970.
    pub(super) fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            let time = i64::try_from(second).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
            self.text = time.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.second = Some(second);
        }
        let ms = since.subsec_millis();
        let digit = |n: u32| b'0' + (n % 10) as u8;
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(&[b'.', digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn milliseconds_and_calendar() {
        let mut stamp = Stamp::default();
        let mut text = |ms: u64| {
            let mut out = Vec::new();
            stamp.write(UNIX_EPOCH + Duration::from_millis(ms), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_795_323_600_123), "2026-11-22T05:00:00.123Z");
        assert_eq!(text(1_795_323_600_009), "2026-11-22T05:00:00.009Z");
        assert_eq!(text(1_795_323_599_999), "2026-11-22T04:59:59.999Z");
        assert_eq!(text(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(text(u64::MAX), "9999-12-30T22:00:00.615Z", "clamped, not a panic");
    }
}
