//! The job as it was written, kept beside its output: so that failures can be sent again, and a person
//! can see later what was done. Nothing secret is kept.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{JobError, JobFile, StoreSpec, state, write_private};
use crate::sink::SinkError;

const FILE: &str = "job-file.json";

/// What a job's folder says of how it was run last.
#[derive(Serialize, Deserialize)]
pub struct KeptJob {
    /// The job, without what is withheld.
    pub file: JobFile,
    /// Its JSON body: TOML, in whose terms a job file is read, has no `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<serde_json::Value>,
    /// Headers whose values were written out, and may be secret: they must be given again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

/// Values may hold what should not be printed.
impl fmt::Debug for KeptJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptJob").field("file", &self.file).finish_non_exhaustive()
    }
}

impl KeptJob {
    /// What may be kept of `file`.
    pub fn of(file: &JobFile) -> Self {
        let mut file = file.clone();
        let json = file.request.json.take();
        // Whoever reads it may stand in another folder.
        let absolute = |path: &mut PathBuf| *path = std::path::absolute(&*path).unwrap_or(path.clone());
        file.input.path.iter_mut().filter(|path| **path != Path::new("-")).for_each(absolute);
        file.output.path.iter_mut().chain(&mut file.request.ca).for_each(absolute);
        file.quota.store = file.quota.store.as_deref().and_then(StoreSpec::without_login);
        let mut withheld = Vec::new();
        file.request.headers.0.retain(|(name, value)| {
            let kept = value.contains("{{") || !Self::may_be_secret(name);
            if !kept {
                withheld.push(name.clone());
            }
            kept
        });
        Self { file, json, withheld }
    }

    /// Reads what the job with this folder has kept.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn read(state: &Path) -> Result<Self, JobError> {
        let path = state.join(FILE);
        let read = |source| JobError::Sink(SinkError::Read { path: path.clone(), source });
        let text = fs::read(&path).map_err(read)?;
        let kept: Self = serde_json::from_slice(&text)
            .map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(kept.whole())
    }

    /// With its body in its place, as it is when it has been deserialized by others than [`read`](Self::read).
    #[must_use]
    pub fn whole(mut self) -> Self {
        if let Some(json) = self.json.take() {
            self.file.request.json = Some(json);
        }
        self
    }

    /// Whether what has this name usually has a secret for its value.
    pub fn may_be_secret(name: &str) -> bool {
        const WORDS: [&str; 8] =
            ["auth", "cookie", "key", "token", "secret", "passw", "signature", "credential"];
        let name = name.to_ascii_lowercase();
        WORDS.iter().any(|word| name.contains(word))
    }

    /// Keeps it in the folder of a job.
    pub(crate) fn store(&self, state: &Path) -> Result<(), SinkError> {
        write_private(&state.join(FILE), state::json(self).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Pairs;

    #[test]
    fn what_may_be_secret_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = JobFile::default();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        file.request.headers = Pairs(vec![
            header("Authorization", "Bearer abc123"),
            header("X-Api-Key", "{{ env.KEY }}"),
            header("Accept", "text/plain"),
        ]);
        file.quota.store = Some("redis://:pass123@cache/1".to_owned());
        file.request.json = Some(serde_json::json!({ "a": null, "b": "{{ line }}" }));
        KeptJob::of(&file).store(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!text.contains("abc123") && !text.contains("pass123"), "{text}");
        let kept = KeptJob::read(folder.path()).unwrap();
        assert_eq!(kept.withheld, ["Authorization"]);
        assert_eq!(kept.file.request.headers.0.len(), 2);
        assert_eq!(kept.file.request.json, file.request.json);
    }
}
