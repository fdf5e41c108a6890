//! Every target over its corpus, and over mutations of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use tidegate_fuzz::{Check, Mutator, TARGETS};

/// Mutations of a target in `./test`; all together they take a few seconds.
const MANY: u64 = 10_000;
/// Of those that work hardest for each: `rows` opens an input twelve times, `template` meets every
/// limit there is.
const FEW: u64 = 2_000;
/// Of what is looked at for every answer, and costs little.
const VERY_MANY: u64 = 100_000;
/// So many times more in `./test --long`.
const LONG: u64 = 100;

#[test]
fn headers() {
    run("headers", 1);
}

#[test]
fn job_file() {
    run("job_file", 1);
}

#[test]
fn limit() {
    run("limit", 1);
}

#[test]
fn retry_after() {
    run("retry_after", 1);
}

#[test]
fn rows() {
    run("rows", 1);
}

#[test]
fn sim_spec() {
    run("sim_spec", 1);
}

#[test]
fn template() {
    run("template", 1);
}

#[test]
#[ignore = "minutes; ./test --long"]
fn all_targets_for_long() {
    for (name, ..) in TARGETS.into_iter().filter(|(name, ..)| *name != "headers") {
        run(name, LONG);
    }
}

#[test]
#[ignore = "ten million inputs; ./test --long"]
fn headers_for_long() {
    run("headers", LONG);
}

/// A target that nobody runs finds nothing.
#[test]
fn every_target_has_a_corpus_and_a_door_for_cargo_fuzz() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("fuzz_targets"), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no bin {name}");
    }
}

/// The same seed makes the same input, another seed another one.
#[test]
fn mutations_can_be_repeated() {
    let corpus = [b"one seed".to_vec(), b"another".to_vec()];
    let input = |seed| Mutator::new(seed, &corpus, &["word"]).input();
    let inputs: BTreeSet<_> = (0..1_000).map(input).collect();
    assert!(inputs.len() > 500, "only {} different inputs", inputs.len());
    assert!((0..1_000).all(|seed| inputs.contains(&input(seed))));
}

fn run(name: &str, times: u64) {
    let (_, check, words) = TARGETS.into_iter().find(|(target, ..)| *target == name).unwrap();
    let files = corpus(name);
    for (path, bytes) in &files {
        try_one(check, bytes, &path.display().to_string());
    }
    let known: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
    let rounds = match name {
        "rows" | "template" => FEW,
        "headers" => VERY_MANY,
        _ => MANY,
    };
    for seed in 0..rounds * times {
        let input = Mutator::new(seed, &known, words).input();
        try_one(check, &input, &format!("{name}, seed {seed}"));
    }
}

fn try_one(check: Check, input: &[u8], what: &str) {
    let result = panic::catch_unwind(|| check(input));
    assert!(result.is_ok(), "{what}: see above; the input is b\"{}\"", input.escape_ascii());
}

/// Files and contents of a target's corpus, in a stable order.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("corpus").join(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{name} has a corpus of {} files", paths.len());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}
