//! What runs on the server.

use redis::Script;

const SERVER: &str = include_str!("lua/server.lua");
/// Each uses what stands in those before it.
const POOL: [&str; 5] = [
    include_str!("lua/part.lua"),
    include_str!("lua/member.lua"),
    include_str!("lua/pool.lua"),
    include_str!("lua/fair.lua"),
    include_str!("lua/visit.lua"),
];
const EXCHANGE: &str = include_str!("lua/exchange.lua");
const LOAD: &str = include_str!("lua/load.lua");
const COMMIT: &str = include_str!("lua/commit.lua");

/// What the scripts take for the time.
const SERVERS_TIME: &str = "local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]";

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) exchange: Text,
    pub(super) load: Text,
    pub(super) commit: Text,
}

/// A script in Lua, and the hash that a server knows it by.
#[derive(Debug)]
pub struct Text {
    pub(super) text: String,
    pub(super) hash: String,
}

impl Text {
    /// The script of these parts, one after the other.
    pub fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let hash = Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self::with(SERVER)
    }

    /// Scripts that take their last argument for the time.
    pub(super) fn simulated() -> Self {
        Self::with(&SERVER.replace(SERVERS_TIME, "return tonumber(ARGV[#ARGV])"))
    }

    fn with(server: &str) -> Self {
        Self {
            exchange: Text::new(&[server, &POOL.concat(), EXCHANGE]),
            load: Text::new(&[server, LOAD]),
            commit: Text::new(&[server, COMMIT]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_simulated_ones_are_told_the_time() {
        let (real, simulated) = (Scripts::new(), Scripts::simulated());
        for (real, simulated) in [(real.exchange, simulated.exchange), (real.load, simulated.load)] {
            assert!(real.text.contains("'TIME'") && !real.text.contains("ARGV[#ARGV]"));
            assert!(simulated.text.contains("ARGV[#ARGV]") && !simulated.text.contains("'TIME'"));
        }
    }
}
