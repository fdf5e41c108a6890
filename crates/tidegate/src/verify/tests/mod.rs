mod bounds;
mod broken;
mod doctored;
mod mutants;
mod naive;
mod parts;
mod runs;
mod script;
mod speed;
mod zoo;

use std::fs;
use std::path::Path;

/// A judge that shared code with the accused would share its errors.
#[test]
fn nothing_is_shared_with_the_limiter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verify");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let sources: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    assert!(sources.len() > 10, "{sources:?}");
    for path in sources {
        let text = fs::read_to_string(path).unwrap();
        for word in ["tidegate_core", "tidegate_quota", "::engine", "::report", "::job", "f64", "f32"] {
            assert!(!text.contains(word), "{}: `{word}` does not belong here", path.display());
        }
    }
}
