//! Tidy: rules about the repository itself that no compiler checks.
//!
//! They read what is tracked by git, so a stray file of somebody's own work never fails them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate may depend on the workspace's crates that stand to the right of it, and on no others.
const ARROWS: [(&str, &[&str]); 7] = [
    ("tidegate-core", &[]),
    ("tidegate-quota", &["tidegate-core"]),
    ("tidegate", &["tidegate-quota", "tidegate-core"]),
    // The sim judges the limiter. Shared code would hide shared bugs.
    ("tidegate-sim", &[]),
    ("tidegate-fuzz", &["tidegate", "tidegate-core", "tidegate-sim"]),
    ("tidegate-fleet", &["tidegate", "tidegate-quota", "tidegate-core"]),
    ("tidegate-cli", &["tidegate-fleet", "tidegate", "tidegate-quota", "tidegate-core", "tidegate-sim"]),
];

const MAX_LINES: usize = 500;
const MAX_LINES_OF_TESTS: usize = 700;

// ---- the picture ----

#[test]
fn arrows_only_point_down() {
    for (name, manifest) in manifests() {
        let allowed = ARROWS.iter().find(|(of, _)| *of == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name}: give it a place in ARROWS"));
        let used = ["dependencies", "build-dependencies", "dev-dependencies"]
            .into_iter()
            // Tests may look at the whole house, save for those of the bottom and of the judge.
            .filter(|table| *table != "dev-dependencies" || allowed.is_empty())
            .flat_map(|table| keys(&manifest, table));
        for dependency in used.filter(|d| d.starts_with("tidegate")) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn core_names_no_clock_socket_file_or_async() {
    let outside = "Instant SystemTime async await tokio env fs io net process thread";
    let outside: Vec<&str> = outside.split(' ').collect();
    for (path, text) in sources("crates/tidegate-core/src/") {
        no_words(&path, &text, &outside);
    }
}

#[test]
fn no_floats_in_accounting() {
    let accounting = ["crates/tidegate-core/src/meter/", "crates/tidegate-core/src/quota/"];
    for (path, text) in accounting.into_iter().flat_map(sources) {
        no_words(&path, &text, &["f32", "f64"]);
    }
}

// ---- the house rules ----

#[test]
fn files_are_short() {
    for (path, text) in sources("crates/") {
        let tests = path.contains("/tests/") || path.ends_with("tests.rs");
        let most = if tests { MAX_LINES_OF_TESTS } else { MAX_LINES };
        let lines = text.lines().count();
        assert!(lines <= most, "{path} has {lines} lines, more than {most}: split it");
    }
}

#[test]
fn lints_are_set_in_one_place_and_unsafe_is_forbidden() {
    let lints = table(&root_manifest(), &["workspace", "lints", "rust"]);
    assert_eq!(lints.get("unsafe_code").and_then(toml::Value::as_str), Some("forbid"));
    for (name, manifest) in manifests() {
        let shared = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(shared, Some(true), "{name}: `[lints] workspace = true` is missing");
    }
}

#[test]
fn every_exception_to_a_lint_has_its_reason() {
    for (path, text) in sources("crates/") {
        let bare = bare_exception(&text);
        assert!(bare.is_none(), "{path}: {} needs `reason = \"…\"`", bare.unwrap_or_default());
    }
}

#[test]
fn no_path_of_somebodys_machine() {
    for (path, text) in texts(|path| !path.ends_with("tests/tidy.rs")) {
        for place in ["/home/", "/root/", "/Users/"] {
            let line = text.lines().position(|line| line.contains(place));
            assert!(line.is_none(), "{path}:{}: names a path on one machine", line.unwrap_or(0) + 1);
        }
    }
}

// ---- the papers ----

#[test]
fn the_changelog_knows_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, text) in texts(|path| path == "CHANGELOG.md") {
        let mut entries = text.lines().filter_map(|line| line.strip_prefix("## "));
        let known = entries.any(|entry| entry.trim_start_matches('[').starts_with(version));
        assert!(known, "{path} has no `## {version}`");
    }
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture_page() {
    let root = root_manifest();
    let dependencies = table(&root, &["workspace", "dependencies"]);
    for (path, text) in texts(|path| path == "ARCHITECTURE.md") {
        for name in dependencies.keys().filter(|name| !name.starts_with("tidegate")) {
            let row = text.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
            assert!(row, "{path}: no table has a row for `{name}`");
        }
    }
}

/// Commands, options and defaults in the README, in `docs/` and in `examples/` are the binary's.
#[test]
fn the_papers_match_the_binary() {
    let help = Help::read();
    let papers = |path: &str| {
        let page = path == "README.md" || path.starts_with("docs/") || path.starts_with("examples/");
        page && Path::new(path).extension().is_some_and(|e| e == "md")
    };
    for (path, text) in texts(papers) {
        let text = text.replace("\\\n", " ");
        let mut fenced = false;
        let mut wrong: Vec<String> = Vec::new();
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            wrong.extend(help.disagreements(line, fenced));
        }
        assert!(wrong.is_empty(), "{path}:\n{}", wrong.join("\n"));
    }
}

// ---- what the binary says ----

/// The help of each subcommand.
struct Help(BTreeMap<String, String>);

impl Help {
    fn read() -> Self {
        let commands = Self::ask(&["--help"]);
        let help = |name: String| {
            let mut help = Self::ask(&[&name, "--help"]);
            // What a command's own commands say counts as said by it.
            for command in Self::commands(&help.clone()) {
                help.push_str(&Self::ask(&[&name, &command, "--help"]));
            }
            (name, help)
        };
        Self(Self::commands(&commands).into_iter().map(help).collect())
    }

    /// The commands that a help lists.
    fn commands(help: &str) -> Vec<String> {
        let Some(commands) = help.split("Commands:").nth(1) else { return Vec::new() };
        let lines = commands.lines().skip(1).take_while(|line| !line.trim().is_empty());
        // Names stand two spaces in; a wrapped description stands further.
        let lines = lines.filter(|line| !line.starts_with("   "));
        let names = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        names.map(str::to_owned).collect()
    }

    fn ask(args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(args).output().unwrap();
        assert!(output.status.success(), "tidegate {}: {output:?}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a line of a page, in a block of code or in prose, says that the binary does not.
    fn disagreements(&self, line: &str, fenced: bool) -> Vec<String> {
        let mut wrong = self.in_command_line(line, fenced);
        let spans: Vec<&str> = line.split('`').collect();
        for (i, span) in spans.iter().enumerate().skip(1).step_by(2) {
            let Some(flag) = span.split([' ', '=']).next().and_then(flag) else { continue };
            let Some(help) = self.0.values().find(|help| has_flag(help, flag)) else {
                wrong.push(format!("no command has `{flag}`"));
                continue;
            };
            // `--flag` … default `value`
            if let (Some(between), Some(value)) = (spans.get(i + 1), spans.get(i + 2))
                && between.trim_end().ends_with("default")
                && default_of(help, flag) != Some(value)
            {
                wrong.push(format!("`{flag}` does not have the default `{value}`"));
            }
        }
        wrong
    }

    fn in_command_line(&self, line: &str, fenced: bool) -> Vec<String> {
        let words = line.split_whitespace().map(|word| word.trim_matches(['`', '(', ')', ',', '.']));
        let mut words = words.skip_while(|word| !matches!(*word, "tidegate" | "cargo"));
        if words.next() == Some("cargo") {
            words.find(|word| *word == "--");
        }
        let words: Vec<&str> =
            words.take_while(|w| !matches!(*w, "|" | "&&" | ";" | "#" | "&" | ">")).collect();
        let Some(command) = words.first() else { return Vec::new() };
        let Some(help) = self.0.get(*command) else {
            // In prose any word may follow "tidegate", in comments too; a command line starts with it.
            let is_command = fenced
                && line.trim_start_matches(['$', ' ']).starts_with("tidegate ")
                && command.chars().all(|c| c.is_ascii_lowercase());
            return if is_command { vec![format!("no command `{command}`")] } else { Vec::new() };
        };
        let flags = words.iter().filter_map(|word| flag(word.split('=').next().unwrap_or_default()));
        let unknown = flags.filter(|flag| !has_flag(help, flag));
        unknown.map(|flag| format!("`tidegate {command}` has no `{flag}`")).collect()
    }
}

fn flag(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--")?;
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (plain && !name.is_empty()).then_some(word)
}

fn has_flag(help: &str, flag: &str) -> bool {
    flag == "--help" || help.split([' ', ',', '\n', '[', ']', '=', '.']).any(|word| word == flag)
}

fn default_of<'h>(help: &'h str, flag: &str) -> Option<&'h str> {
    let from = help.lines().skip_while(|line| !(line.trim_start().starts_with('-') && has_flag(line, flag)));
    // It may stand lines below the flag, but not below the next one.
    let own = from.enumerate().take_while(|(i, line)| *i == 0 || !line.trim_start().starts_with('-'));
    own.map(|(_, line)| line).find_map(|line| line.split("[default: ").nth(1)?.split(']').next())
}

// ---- what is tracked ----

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Tracked text files, by path from the root.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut git = Command::new("git");
    let output = git.args(["ls-files", "-z"]).current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {output:?}");
    let paths = String::from_utf8(output.stdout).unwrap();
    let paths = paths.split('\0').filter(|path| !path.is_empty() && wanted(path));
    // Deleted and not yet committed, or not text: nothing to read.
    paths
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

fn sources(under: &str) -> Vec<(String, String)> {
    let found =
        texts(|path| path.starts_with(under) && Path::new(path).extension().is_some_and(|e| e == "rs"));
    assert!(!found.is_empty(), "nothing under {under}: has it moved?");
    found
}

fn root_manifest() -> toml::Table {
    std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap()
}

/// The manifest of each crate, by the crate's name.
fn manifests() -> BTreeMap<String, toml::Table> {
    let found = texts(|path| path.starts_with("crates/") && path.ends_with("/Cargo.toml"));
    let manifests = found.into_iter().map(|(_, text)| {
        let manifest: toml::Table = text.parse().unwrap();
        (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest)
    });
    let manifests: BTreeMap<_, _> = manifests.collect();
    assert!(manifests.len() >= ARROWS.len(), "crates are missing: {:?}", manifests.keys());
    manifests
}

fn table(manifest: &toml::Table, path: &[&str]) -> toml::Table {
    let (first, rest) = path.split_first().expect("a path");
    let value = rest.iter().fold(&manifest[*first], |value, key| &value[*key]);
    value.as_table().cloned().unwrap()
}

fn keys(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let table = manifest.get(table).and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

/// Fails if the code, not its comments, has one of the words.
fn no_words(path: &str, text: &str, forbidden: &[&str]) {
    for (i, line) in text.lines().enumerate() {
        let word = first_word_of(line, forbidden);
        assert!(word.is_none(), "{path}:{}: `{}` does not belong here", i + 1, word.unwrap_or_default());
    }
}

fn first_word_of<'l>(line: &'l str, forbidden: &[&str]) -> Option<&'l str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.find(|word| forbidden.contains(word))
}

/// The first `allow` or `expect` attribute that gives no reason.
fn bare_exception(text: &str) -> Option<String> {
    let starts = text.match_indices("[allow(").chain(text.match_indices("[expect("));
    let attributes = starts.filter(|(at, _)| text[..*at].trim_end_matches('!').ends_with('#'));
    let attributes = attributes.map(|(at, _)| text[at..].split(")]").next().unwrap_or_default());
    attributes.map(|attribute| format!("{attribute})]")).find(|attribute| !attribute.contains("reason = "))
}

// ---- these rules can fail ----

#[test]
fn disagreements_between_papers_and_binary_are_found() {
    let run = "      --rate <R>  How fast [aliases: --limit]\n      --drain <T>  [default: 20s]\n";
    let sim = "      --listen <ADDR>  Where\n";
    let help = Help(BTreeMap::from([("run".to_owned(), run.to_owned()), ("sim".to_owned(), sim.to_owned())]));
    for right in [
        "tidegate run users.csv --rate 1000/s | jq --slurp .",
        "cargo run --release -- run x --limit 5/s # --not a flag",
        "`--drain 20s` waits; `--drain`, default `20s`",
        "# The word tidegate is no command, nor is tidegate-core",
    ] {
        assert_eq!(help.disagreements(right, true), Vec::<String>::new(), "{right}");
    }
    assert_eq!(help.disagreements("tidegate makes one call", false), Vec::<String>::new());
    for wrong in [
        "tidegate run users.csv --rat 1000/s",
        "$ tidegate status out.jsonl",
        "cargo run --release -- run x --listen 127.0.0.1:0",
        "`--parallel 5`",
        "how long it waits: `--drain`, default `30s`",
    ] {
        assert_eq!(help.disagreements(wrong, true).len(), 1, "{wrong}");
    }
}

#[test]
fn forbidden_words_and_bare_exceptions_are_found() {
    assert_eq!(first_word_of("use std::time::Instant;", &["Instant"]), Some("Instant"));
    assert_eq!(first_word_of("let instant = 1; // Instant", &["Instant"]), None);
    // Spelled apart, or this file would fail its own rule.
    let hash = "#";
    assert!(bare_exception(&format!("{hash}[allow(dead_code)]")).is_some());
    assert!(bare_exception(&format!("{hash}!{}(\n  dead_code\n)]\n", "[expect")).is_some());
    assert!(bare_exception(&format!("{hash}[expect(dead_code, reason = \"later\")]")).is_none());
}
