//! The names that belong to one output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Results, failures and state of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPaths {
    /// What the user named: `out.jsonl`.
    pub results: PathBuf,
    /// Beside it: `out.failed.jsonl`.
    pub failures: PathBuf,
    /// Beside it: the folder `out.tidegate`.
    pub state: PathBuf,
}

impl OutputPaths {
    /// `x.jsonl` has `x.failed.jsonl` and `x.tidegate/`; a plain `x` has `x.failed` and `x.tidegate/`.
    pub fn for_output(results: &Path) -> Self {
        let stem = results.file_stem().unwrap_or_default();
        let with = |suffix: &str| {
            let mut name = OsString::from(stem);
            name.push(suffix);
            name
        };
        let mut failed = with(".failed");
        if let Some(extension) = results.extension() {
            failed.push(".");
            failed.push(extension);
        }
        Self {
            results: results.to_owned(),
            failures: results.with_file_name(failed),
            state: results.with_file_name(with(".tidegate")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_the_output() {
        for (results, failures, state) in [
            ("out.jsonl", "out.failed.jsonl", "out.tidegate"),
            ("a/b.2026.csv", "a/b.2026.failed.csv", "a/b.2026.tidegate"),
            ("/tmp/x", "/tmp/x.failed", "/tmp/x.tidegate"),
            (".hidden", ".hidden.failed", ".hidden.tidegate"),
        ] {
            let paths = OutputPaths::for_output(Path::new(results));
            assert_eq!(paths.failures, Path::new(failures));
            assert_eq!(paths.state, Path::new(state));
        }
    }
}
