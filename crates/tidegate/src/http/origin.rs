//! Where calls go: the origin, and the proxy on the way.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::SetupError;

/// Scheme, host and port: all that a connection depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
    authority: Authority,
}

impl Origin {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, written or implied.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether calls are encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and port as they belong in `Host` and `:authority`: no default port.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl TryFrom<&Uri> for Origin {
    type Error = SetupError;

    fn try_from(uri: &Uri) -> Result<Self, SetupError> {
        let authority = uri.authority().ok_or(SetupError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(SetupError::Userinfo);
        }
        let scheme = uri.scheme().ok_or(SetupError::NoHost)?.clone();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            other => return Err(SetupError::Scheme { scheme: other.to_owned() }),
        };
        let host = bare_host(authority.host()).ok_or(SetupError::NoHost)?;
        let port = authority.port_u16().unwrap_or(default_port);
        let authority = if port == default_port { authority.host() } else { authority.as_str() };
        let authority = authority.to_ascii_lowercase().parse().map_err(|_| SetupError::NoHost)?;
        Ok(Self { scheme, host, port, authority })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// An HTTP proxy: `http` calls are handed to it, `https` calls tunnel through it.
///
/// Its password shows up neither in errors nor in `Debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization`, if the URL had a user.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl FromStr for Proxy {
    type Err = SetupError;

    /// Reads `[http://][USER[:PASSWORD]@]HOST:PORT`, user and password percent-encoded.
    fn from_str(text: &str) -> Result<Self, SetupError> {
        let refuse = |reason| SetupError::Proxy { reason };
        let uri: Uri = text.parse().map_err(|_| refuse("it is not a URL"))?;
        if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP) {
            return Err(refuse("only proxies that speak plain HTTP are supported"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        let host = bare_host(authority.host()).ok_or_else(|| refuse("it has no host"))?;
        let port = authority.port_u16().ok_or_else(|| refuse("it has no port"))?;
        let authorization = authority.as_str().rsplit_once('@').map(|(user, _)| basic(user)).transpose()?;
        Ok(Self { host, port, authorization })
    }
}

fn basic(userinfo: &str) -> Result<HeaderValue, SetupError> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut credentials: Vec<u8> = percent_decode_str(user).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        .map_err(|_| SetupError::Proxy { reason: "its user and password cannot be sent" })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The host in lower case and without the brackets of an IPv6 address; none if it is empty.
fn bare_host(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty()).then(|| bare.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<Origin, SetupError> {
        Origin::try_from(&url.parse::<Uri>().unwrap())
    }

    #[test]
    fn origins_are_normalised() {
        for (url, host, port, shown) in [
            ("http://A.example/x?y", "a.example", 80, "http://a.example"),
            ("https://a.example:443/", "a.example", 443, "https://a.example"),
            ("https://a.example:8443", "a.example", 8443, "https://a.example:8443"),
            ("http://[::1]:81/", "::1", 81, "http://[::1]:81"),
            ("https://[2001:db8::1]/", "2001:db8::1", 443, "https://[2001:db8::1]"),
        ] {
            let origin = origin(url).unwrap();
            assert_eq!((origin.host(), origin.port()), (host, port), "{url}");
            assert_eq!(origin.to_string(), shown);
        }
        assert_eq!(origin("http://a:80/1").unwrap(), origin("http://A/2").unwrap());
    }

    #[test]
    fn other_urls_are_refused() {
        assert!(matches!(origin("/users").unwrap_err(), SetupError::NoHost));
        assert!(matches!(origin("ftp://a/").unwrap_err(), SetupError::Scheme { scheme } if scheme == "ftp"));
        let error = origin("https://me:s3cret@a/").unwrap_err();
        assert!(matches!(error, SetupError::Userinfo) && !format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn proxies_are_read_and_keep_their_password() {
        let proxy: Proxy = "http://me:p%40ss@proxy.example:3128".parse().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 3128));
        assert_eq!(proxy.authorization().unwrap(), "Basic bWU6cEBzcw==");
        let shown = format!("{proxy:?}");
        assert!(!shown.contains("bWU6") && !shown.contains("ss@"), "{shown}");

        assert_eq!("localhost:8080".parse::<Proxy>().unwrap().authorization(), None);
        for wrong in ["https://p:1", "socks5://p:1", "http://p", "http://me:s3cret@:x", ""] {
            let error = wrong.parse::<Proxy>().unwrap_err();
            assert!(matches!(error, SetupError::Proxy { .. }) && error.hint().is_some(), "{wrong}");
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
