//! What is particular about LLM providers: tokens and their bounds, what an answer says it took, what
//! that costs, answers that come as a stream, and presets.

mod learn;
mod money;
mod prices;
mod providers;
mod purse;
mod stream;
mod tokens;
mod usage;

pub(crate) use self::learn::Learner;
pub use self::money::Money;
pub(crate) use self::prices::{Price, Prices};
pub use self::providers::{Provider, provider};
pub(crate) use self::purse::{Purse, Refused, Spent, Stake};
pub(crate) use self::stream::assembled;
pub(crate) use self::tokens::{TokenError, Tokens};
pub use self::tokens::{TokenKind, TokenSpec};
pub(crate) use self::usage::Usage;
