//! The names that belong to one output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::log::OutputFile;

/// Results, failures and state of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPaths {
    /// What the user named: `out.jsonl`.
    pub results: PathBuf,
    /// Beside it: `out.failed.jsonl`.
    pub failures: PathBuf,
    /// Beside it: `out.unknown.jsonl`, rows of which nobody knows whether they were done.
    pub unknown: PathBuf,
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
        let beside = |word: &str| {
            let mut name = with(word);
            if let Some(extension) = results.extension() {
                name.push(".");
                name.push(extension);
            }
            results.with_file_name(name)
        };
        Self {
            results: results.to_owned(),
            failures: beside(".failed"),
            unknown: beside(".unknown"),
            state: results.with_file_name(with(".tidegate")),
        }
    }

    /// The output that `path` belongs to: that output itself, one of the files beside it, or its folder.
    pub fn around(path: &Path) -> Option<Self> {
        let own = Self::for_output(path);
        if own.state.is_dir() && own.state != path {
            return Some(own);
        }
        let name = path.file_name()?.to_str()?;
        let stem = match name.strip_suffix(".tidegate") {
            Some(stem) => stem.to_owned(),
            None => [".failed", ".unknown"].iter().find_map(|word| {
                let (stem, rest) = name.rsplit_once(word)?;
                (rest.is_empty() || rest.starts_with('.')).then(|| stem.to_owned())
            })?,
        };
        let state = path.with_file_name(format!("{stem}.tidegate"));
        // The folder does not say how the output's name ended; its job does.
        let output = super::output_of(&state)?;
        Some(Self::for_output(&state.with_file_name(output)))
    }

    /// Where the lines of a kind go.
    pub fn of(&self, file: OutputFile) -> &Path {
        match file {
            OutputFile::Results => &self.results,
            OutputFile::Failed => &self.failures,
            OutputFile::Unknown => &self.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_known_by_all_that_belongs_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("out.tidegate")).unwrap();
        std::fs::write(at("out.tidegate/job.json"), r#"{"output":"out.csv"}"#).unwrap();
        for name in ["out.csv", "out.failed.csv", "out.unknown.csv", "out.tidegate"] {
            assert_eq!(OutputPaths::around(&at(name)).unwrap().results, at("out.csv"), "{name}");
        }
        assert_eq!(OutputPaths::around(&at("other.csv")), None);
    }

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
