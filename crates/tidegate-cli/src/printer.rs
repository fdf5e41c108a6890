//! The one place that writes to the terminal. stdout is for data, stderr for people.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};

use tidegate::job::JobError;
use tidegate_core::LimitError;
use tidegate_fleet::FleetError;
use tidegate_quota::store::StoreError;
use tidegate_sim::SpecError;

/// Writes for people, coloured if they look at a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    colour: bool,
    terminal: bool,
}

impl Printer {
    /// Looks at stderr and `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour, terminal }
    }

    /// Whether a person is looking, so that a line may be redrawn.
    pub(crate) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// A line on stderr.
    #[expect(clippy::unused_self, reason = "whoever writes for people has been given the printer")]
    pub(crate) fn line(self, text: impl Display) {
        // A closed stderr is no reason to lose rows.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A line on stderr with its first word set off.
    pub(crate) fn labelled(self, label: &str, text: impl Display) {
        let (on, off) = self.style("1");
        self.line(format_args!("{on}{label:<8}{off}{text}"));
    }

    /// What went wrong, and what to do.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let (on, off) = self.style("1;31");
        // Every error names its cause in its own words; the chain would say it twice.
        self.line(format_args!("{on}error:{off} {error}"));
        if let Some(hint) = hint_of(error) {
            self.hint(&hint);
        }
    }

    /// What to do.
    pub(crate) fn hint(self, hint: &str) {
        let (on, off) = self.style("1;36");
        self.line(format_args!("{on}hint:{off} {hint}"));
    }

    /// What to know.
    pub(crate) fn note(self, text: impl Display) {
        let (on, off) = self.style("1;33");
        self.line(format_args!("{on}note:{off} {text}"));
    }

    /// Data on stdout, as a line.
    pub(crate) fn data(self, text: impl Display) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Data on stdout, as it is.
    #[expect(clippy::unused_self, reason = "whoever writes to stdout has been given the printer")]
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn style(self, code: &str) -> (String, &'static str) {
        if self.colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") }
    }
}

/// An error of the command line's own, and what to do about it.
#[derive(Debug)]
pub(crate) struct Hinting {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Display for Hinting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinting {}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    if let Some(job) = error.downcast_ref::<JobError>() {
        return job.hint();
    }
    if let Some(store) = error.downcast_ref::<StoreError>() {
        return Some(store.hint().into_owned());
    }
    if let Some(fleet) = error.downcast_ref::<FleetError>() {
        return fleet.hint();
    }
    if let Some(hinting) = error.downcast_ref::<Hinting>() {
        return Some(hinting.hint.clone());
    }
    if let Some(limit) = error.downcast_ref::<LimitError>() {
        return Some(limit.hint().into_owned());
    }
    error.downcast_ref::<SpecError>().map(|spec| spec.hint().to_owned())
}

/// Whether stdout was closed by its reader, as in `tidegate explain … | head -1`.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A count with its thousands set apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate for people: `927/s`, `1.7/s`, or `5/min` where that says more.
pub(crate) fn rate(per_second: f64) -> String {
    // What is a little less than one stays in its unit: 1.0/min, not 59.9/h.
    const ONE: f64 = 0.95;
    if per_second >= 100.0 || per_second == 0.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else if per_second >= ONE {
        format!("{per_second:.1}/s")
    } else if per_second * 60.0 >= ONE {
        format!("{:.1}/min", per_second * 60.0)
    } else if per_second * 3_600.0 >= ONE {
        format!("{:.1}/h", per_second * 3_600.0)
    } else {
        format!("{:.1}/day", per_second * 86_400.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [rate(927.4), rate(16.66), rate(0.0), rate(0.5), rate(0.001), rate(0.000_1)],
            ["927/s", "16.7/s", "0/s", "30.0/min", "3.6/h", "8.6/day"]
        );
    }
}
