//! `help` in the shell: shows what can be typed.

use std::ops::ControlFlow;

use clap::Args;

use crate::cli::{Session, shell};
use crate::terminal::Failure;

/// Show what can be typed here; `help COMMAND` shows more.
#[derive(Debug, Clone, Args)]
pub struct Help {
    /// The command.
    pub command: Option<String>,
}

impl Help {
    /// Prints the help of one command, or the list of all.
    pub async fn run(&self, session: &Session) -> Result<ControlFlow<()>, Failure> {
        let mut line = shell::command();
        let known = self.command.as_deref().and_then(|name| line.find_subcommand_mut(name));
        let text = match known {
            Some(command) => command.clone().no_binary_name(true).render_long_help(),
            None => line.render_help(),
        };
        session.output.line(&format!(
            "{}\n`get 1` fetches the first row of the last search. Ctrl-C ends a command, Ctrl-D leaves.",
            text.to_string().trim_end()
        ));
        Ok(ControlFlow::Continue(()))
    }
}
