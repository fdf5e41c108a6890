//! nginx, started for one test: its own configuration, ports and files.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::time::Duration;

use tempfile::TempDir;

use super::chars;

/// What `limit_req` enforces.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) per_second: u32,
    pub(crate) burst: Burst,
}

#[derive(Clone, Copy)]
pub(crate) enum Burst {
    None,
    Delayed(u32),
    NoDelay(u32),
}

/// A line of the access log.
pub(crate) struct Call {
    /// When it was answered, in seconds.
    pub(crate) at_s: f64,
    pub(crate) status: u16,
}

pub(crate) struct Nginx {
    dir: TempDir,
    address: SocketAddr,
    process: Child,
    _machine: MutexGuard<'static, ()>,
}

impl Nginx {
    pub(crate) fn start(rule: Rule) -> Self {
        let machine = crate::whole_machine();
        let upstream = chars::serve();
        // A free port may be taken by someone else before nginx binds it.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("nginx.conf"), config(rule, address, upstream)).unwrap();
            let mut process = spawn(dir.path());
            if listens(&mut process, address) {
                return Self { dir, address, process, _machine: machine };
            }
            let log = std::fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
            assert!(log.contains("Address already in use"), "nginx does not start:\n{log}");
        }
        panic!("no free port in five attempts");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops it and reads what it saw, in the order of its answers.
    pub(crate) fn stop(mut self) -> Vec<Call> {
        // Asked, not killed: the last line of the log has been written then.
        let quit = command(self.dir.path()).args(["-s", "quit"]).status().unwrap();
        assert!(quit.success() && self.process.wait().unwrap().success(), "nginx failed");
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        let calls = log.lines().map(|line| {
            let (at, status) = line.split_once(' ').unwrap();
            Call { at_s: at.parse().unwrap(), status: status.parse().unwrap() }
        });
        calls.collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Does nothing after `stop`; a failed test must not leave it running.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Paths are relative to the prefix that it is started with.
fn config(rule: Rule, address: SocketAddr, upstream: SocketAddr) -> String {
    let per_second = rule.per_second;
    let burst = match rule.burst {
        Burst::None => String::new(),
        Burst::Delayed(calls) => format!(" burst={calls}"),
        Burst::NoDelay(calls) => format!(" burst={calls} nodelay"),
    };
    format!(
        "daemon off;
        master_process off;
        pid nginx.pid;
        error_log error.log warn;
        events {{ worker_connections 1024; }}
        http {{
            log_format calls '$msec $status';
            access_log access.log calls;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            limit_req_zone $server_name zone=calls:1m rate={per_second}r/s;
            limit_req_status 429;
            upstream chars {{ server {upstream}; keepalive 64; }}
            server {{
                listen {address};
                server_name all;  # the key of the zone: one limit for every client
                location /char/ {{
                    limit_req zone=calls{burst};
                    proxy_pass http://chars;
                    proxy_http_version 1.1;
                    proxy_set_header Connection '';
                }}
            }}
        }}\n"
    )
}

fn command(dir: &Path) -> Command {
    // Debian keeps it where only root's PATH leads.
    let debian = Path::new("/usr/sbin/nginx");
    let mut command = Command::new(if debian.exists() { debian } else { Path::new("nginx") });
    command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "error.log"]);
    command
}

fn spawn(dir: &Path) -> Child {
    let started = command(dir).stderr(Stdio::null()).spawn();
    started.unwrap_or_else(|e| panic!("nginx: {e}\nhint: ./test installs it (Debian: nginx)"))
}

/// Waits until it listens; `false` if it gave up.
#[expect(clippy::disallowed_methods, reason = "waits for another process to start")]
fn listens(process: &mut Child, address: SocketAddr) -> bool {
    for _ in 0..1_000 {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nginx runs, but does not listen on {address}");
}
