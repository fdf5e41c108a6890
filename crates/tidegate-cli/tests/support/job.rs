//! A job of many users, from its list of ids to its results.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::provider::Provider;

/// What `run` is given, and a folder for what comes of it.
pub(crate) struct Job {
    folder: TempDir,
    input: &'static str,
    /// On the provider.
    path: &'static str,
}

impl Job {
    /// So many users, one id a line.
    pub(crate) fn new(rows: u64) -> Self {
        let mut ids = String::new();
        for i in 0..rows {
            writeln!(ids, "u{i}").unwrap();
        }
        Self::of(&[("ids.txt", &ids)], "/v1/users/{line}")
    }

    /// These files, of which `run` is given the first; its calls go to `path`.
    pub(crate) fn of(files: &[(&'static str, &str)], path: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, input: files[0].0, path }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, provider: &Provider, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .current_dir(&self.folder)
            .env("TIDEGATE_STATE_DIR", self.path(".state"))
            .args(["run", self.input, "-o", "out.jsonl"])
            .args(["--url", &format!("{}{}", provider.url, self.path)])
            .args(arguments);
        command
    }

    /// Runs it to its end, which must have one of these codes; what it said.
    pub(crate) fn run(&self, provider: &Provider, arguments: &[&str], codes: &[i32]) -> String {
        let Output { status, stderr, .. } = self.command(provider, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.code().is_some_and(|code| codes.contains(&code)), "{status}: {said}");
        said
    }

    pub(crate) fn summary(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out.tidegate/summary.json")).unwrap()).unwrap()
    }

    /// The lines of its failures; each row ends exactly once, with its own answer.
    pub(crate) fn check_rows(&self, rows: u64) -> Vec<Value> {
        let mut seen = HashSet::new();
        for line in lines(&self.path("out.jsonl")) {
            let index = line["index"].as_u64().unwrap();
            if self.path.starts_with("/v1/users/") {
                assert_eq!(line["body"]["id"], format!("u{index}"), "an answer on another row");
            }
            assert!(seen.insert(index), "row {index} twice");
        }
        let failures = lines(&self.path("out.failed.jsonl"));
        for line in &failures {
            assert!(line["error"]["kind"].is_string(), "{line}");
            assert!(seen.insert(line["index"].as_u64().unwrap()), "{line} twice");
        }
        assert_eq!(seen.len() as u64, rows);
        failures
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
