//! The consistency of a command's reads (R1, R2).

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::session::Session;
use super::values::staleness;
use crate::cluster::{Consistency, IndexClient, ReadOptions};
use crate::terminal::variables;

/// How fresh the answer of the index has to be.
#[derive(Debug, Clone, Copy, Args)]
pub struct Reading {
    /// How consistent the answer must be; `auto` accepts a follower's answer if the leader is silent, and says so.
    #[arg(long, value_enum, env = variables::CONSISTENCY, default_value = "auto")]
    pub consistency: Level,
    /// Refuse an answer that is older than this.
    #[arg(long, value_name = "DURATION", value_parser = staleness)]
    pub max_staleness: Option<Duration>,
}

/// How consistent a read must be (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The leader's answer if it comes at once, otherwise a follower's.
    Auto,
    /// The leader's answer.
    Leader,
    /// The leader's answer, confirmed by a majority.
    Linearizable,
    /// Any node's answer.
    Stale,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        match level {
            Level::Auto => Self::Auto,
            Level::Leader => Self::Leader,
            Level::Linearizable => Self::Linearizable,
            Level::Stale => Self::Stale,
        }
    }
}

impl Reading {
    /// The session's client, reading as the options say.
    pub fn client(&self, session: &Session) -> IndexClient {
        let (consistency, max_staleness) = (self.consistency.into(), self.max_staleness);
        session.client.with_reading(ReadOptions { consistency, max_staleness, ..ReadOptions::default() })
    }
}
