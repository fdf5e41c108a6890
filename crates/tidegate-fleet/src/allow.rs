//! What a worker may do for others: which hosts it calls, which environment values it gives away, where it reads and writes.
//! Whoever can write to the server could otherwise have all of that from each worker.

use std::path::{Path, PathBuf};

use tidegate::http::Origin;
use tidegate::job::Plan;

use crate::error::FleetError;
use crate::job::FleetJob;

/// What a worker's own command line allows.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    hosts: Vec<String>,
    env: Vec<String>,
    folders: Vec<PathBuf>,
    commands: bool,
    all: bool,
}

impl Allowed {
    /// All that a job says: for whoever has its file in hand, and runs it.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// These hosts (`api.example.com`, any port, or `api.example.com:8443`), environment variables and folders; and whether
    /// jobs may run commands.
    ///
    /// # Errors
    /// If a folder is not there.
    pub fn new(
        hosts: &[String],
        env: Vec<String>,
        folders: &[PathBuf],
        commands: bool,
    ) -> Result<Self, FleetError> {
        let whole = |folder: &PathBuf| folder.canonicalize().map_err(FleetError::file(folder));
        let folders = folders.iter().map(whole).collect::<Result<_, _>>()?;
        Ok(Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            env,
            folders,
            commands,
            all: false,
        })
    }

    /// Whether a job may have this environment variable.
    pub fn env(&self, name: &str) -> bool {
        self.all || self.env.iter().any(|allowed| allowed == name)
    }

    /// What can be seen in the job as it is written.
    pub(crate) fn check(&self, job: &FleetJob) -> Result<(), FleetError> {
        if self.all {
            return Ok(());
        }
        let file = job.file();
        self.folder("input", job.input())?;
        let output = job.output();
        let folder = output.parent().unwrap_or_else(|| Path::new("/"));
        self.folder("output", folder)?;
        self.folder("output", &crate::job::parts_of(output))?;
        file.request.ca.iter().try_for_each(|path| self.folder("ca", path))?;
        if let Some(proxy) = &file.request.proxy {
            self.url("proxy", proxy)?;
        }
        if file.fleet.on_complete.is_some() && !self.commands {
            return Err(not("[fleet] on_complete runs a command, and --allow-commands is not given"));
        }
        let Some(auth) = &file.auth else { return Ok(()) };
        if auth.command.is_some() && !self.commands {
            return Err(not("[auth] runs a command, and --allow-commands is not given"));
        }
        if let Some(path) = &auth.file {
            self.folder("[auth] file", path)?;
        }
        if let Some(url) = auth.oauth2.as_ref().and_then(|oauth2| oauth2.token_url.as_ref()) {
            self.url("token_url", url)?;
        }
        Ok(())
    }

    /// Where calls of the job go, as they would be sent.
    pub(crate) fn check_plan(&self, plan: &Plan) -> Result<(), FleetError> {
        if self.all {
            return Ok(());
        }
        self.url("url", &plan.template.origin().to_string())
    }

    fn url(&self, what: &str, url: &str) -> Result<(), FleetError> {
        let uri = url.parse().map_err(|_| not(&format!("{what} is no URL")))?;
        let origin = Origin::try_from(&uri).map_err(|error| not(&format!("{what}: {error}")))?;
        self.origin(what, &origin)
    }

    fn origin(&self, what: &str, origin: &Origin) -> Result<(), FleetError> {
        let host = origin.host().to_ascii_lowercase();
        let with_port = format!("{host}:{}", origin.port());
        if self.hosts.iter().any(|allowed| *allowed == host || *allowed == with_port) {
            return Ok(());
        }
        Err(not(&format!("{what} leads to {with_port} (--allow-host)")))
    }

    /// As the file system has it, without `..` and links.
    fn folder(&self, what: &str, path: &Path) -> Result<(), FleetError> {
        let real = path.canonicalize().map_err(FleetError::file(path))?;
        if self.folders.iter().any(|folder| real.starts_with(folder)) {
            return Ok(());
        }
        Err(not(&format!("{what} is {} (--allow-folder)", path.display())))
    }
}

pub(crate) fn not(why: &str) -> FleetError {
    FleetError::NotAllowed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(folder: &Path) -> Allowed {
        let hosts = vec!["API.example.com".to_owned(), "local:8443".to_owned()];
        Allowed::new(&hosts, vec!["TOKEN".to_owned()], &[folder.join("data")], false).unwrap()
    }

    #[test]
    fn hosts_are_whole_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let allowed = allowed(folder.path());
        for (url, good) in [
            ("https://api.example.com/v1", true),
            ("http://api.example.com:81/", true),
            ("https://local:8443/", true),
            ("https://local/", false),
            ("https://api.example.com.evil.example/", false),
            ("https://evil-api.example.com/", false),
            ("https://x@api.example.com/", false),
        ] {
            assert_eq!(allowed.url("url", url).is_ok(), good, "{url}");
        }
        assert!(allowed.env("TOKEN") && !allowed.env("TOKEN2") && !allowed.env("token"));
    }

    #[test]
    fn no_way_leads_out_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "data2", "data/in"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("data2"), folder.path().join("data/link")).unwrap();
        let allowed = allowed(folder.path());
        for (path, good) in [
            ("data", true),
            ("data/in", true),
            ("data2", false),
            ("data/../data2", false),
            ("data/link", false),
        ] {
            assert_eq!(allowed.folder("input", &folder.path().join(path)).is_ok(), good, "{path}");
        }
    }
}
