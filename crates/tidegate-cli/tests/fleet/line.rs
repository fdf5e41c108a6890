//! A line between processes and a server: a network that goes silent, refuses, or leads to another server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::server::Server;
use crate::world::now;

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// It comes when the line is open again, as if the network had sent it again all the while; nobody is told.
    Silent,
    /// Connections end, and new ones are reset.
    Refused,
}

/// A port of this machine that leads somewhere else.
pub(crate) struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    way: Way,
    target: Target,
    open: Vec<Stream>,
    /// When something was said to the target.
    said: Vec<f64>,
}

#[derive(Clone)]
enum Target {
    Socket(String),
    Port(String),
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Line {
    /// To a server.
    pub(crate) fn to(server: &Server) -> Self {
        Self::new(socket(server))
    }

    /// To what listens at this URL.
    pub(crate) fn to_url(url: &str) -> Self {
        Self::new(Target::Port(url.strip_prefix("http://").unwrap().to_owned()))
    }

    fn new(target: Target) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { way: Way::Open, target, open: Vec::new(), said: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let this = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&this);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// As the address of a store.
    pub(crate) fn store(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// As that of a provider.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn turn(&self, way: Way) {
        let mut state = self.shared.state.lock().unwrap();
        state.way = way;
        if way == Way::Refused {
            state.open.drain(..).for_each(|stream| stream.end());
        }
        self.shared.changed.notify_all();
    }

    /// New connections lead to another server.
    pub(crate) fn lead_to(&self, server: &Server) {
        self.shared.state.lock().unwrap().target = socket(server);
    }

    /// When something was said through it from then on, by the clock of this machine.
    pub(crate) fn said_after(&self, from: f64) -> Vec<f64> {
        let state = self.shared.state.lock().unwrap();
        state.said.iter().copied().filter(|at| *at >= from).collect()
    }
}

fn socket(server: &Server) -> Target {
    Target::Socket(server.url().strip_prefix("unix://").unwrap().to_owned())
}

impl Shared {
    /// Waits while nothing comes through; what has become of the line.
    fn way(&self) -> Way {
        let state = self.state.lock().unwrap();
        self.changed.wait_while(state, |state| state.way == Way::Silent).unwrap().way
    }

    fn serve(self: Arc<Self>, client: TcpStream) {
        if self.way() == Way::Refused {
            // Who closes with something unread resets.
            let _ = client.peek(&mut [0]);
            return;
        }
        let target = self.state.lock().unwrap().target.clone();
        let Ok(server) = target.connect() else { return };
        client.set_nodelay(true).unwrap();
        let client = Stream::Tcp(client);
        self.state.lock().unwrap().open.extend([client.again(), server.again()]);
        let (this, from, to) = (Arc::clone(&self), server.again(), client.again());
        thread::spawn(move || this.pump(from, to, false));
        self.pump(client, server, true);
    }

    fn pump(&self, mut from: Stream, mut to: Stream, is_said: bool) {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if self.way() == Way::Refused {
                break;
            }
            if is_said {
                self.state.lock().unwrap().said.push(now());
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        self.way();
        from.end();
        to.end();
    }
}

impl Target {
    fn connect(&self) -> std::io::Result<Stream> {
        match self {
            Self::Socket(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Port(address) => TcpStream::connect(address).map(Stream::Tcp),
        }
    }
}

impl Stream {
    fn again(&self) -> Self {
        match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
        }
    }

    fn end(&self) {
        // It may have ended by itself.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
