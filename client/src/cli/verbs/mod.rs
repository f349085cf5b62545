//! The verbs. Each has one file with its clap arguments and the code that runs it.
//!
//! The list at the end of this file is the only one. To add a verb, write a file with a `clap::Args` type that has a
//! method `run`, and add one line to the list. The command line, the shell, its completion and its help follow from the
//! list.

use std::ops::ControlFlow;

use clap::Subcommand;

use super::Session;
use crate::terminal::{Exit, Failure};

/// Declares the modules of the verbs, and one enum each for the verbs of the command line and of the shell.
macro_rules! verbs {
    (
        both: $($both_file:ident::$Both:ident),+;
        command_line: $($line_file:ident::$Line:ident),+;
        shell: $($shell_file:ident::$Shell:ident),+;
    ) => {
        $(pub(super) mod $both_file;)+
        $(mod $line_file;)+
        $(mod $shell_file;)+

        /// A verb of both the command line and the shell.
        #[derive(Debug, Clone, Subcommand)]
        pub enum Verb {
            $($Both($both_file::$Both),)+
        }

        impl Verb {
            async fn run(&self, session: &Session) -> Result<(), Failure> {
                match self {
                    $(Self::$Both(verb) => verb.run(session).await,)+
                }
            }
        }

        /// A verb of the command line.
        #[derive(Debug, Clone, Subcommand)]
        pub enum CommandLineVerb {
            $($Line($line_file::$Line),)+
            #[command(flatten)]
            Both(Verb),
        }

        impl CommandLineVerb {
            /// Runs the verb until it ends or is interrupted. Verbs of the command line alone handle signals
            /// themselves.
            pub async fn run(&self, session: &Session) -> Result<(), Failure> {
                match self {
                    $(Self::$Line(verb) => verb.run(session).await,)+
                    Self::Both(verb) => tokio::select! {
                        result = verb.run(session) => result,
                        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
                    },
                }
            }
        }

        /// A verb of the shell.
        #[derive(Debug, Clone, Subcommand)]
        pub enum ShellVerb {
            #[command(flatten)]
            Both(Verb),
            $($Shell($shell_file::$Shell),)+
        }

        impl ShellVerb {
            /// Runs the verb. Returns whether the shell continues.
            pub async fn run(&self, session: &Session) -> Result<ControlFlow<()>, Failure> {
                match self {
                    Self::Both(verb) => verb.run(session).await.map(|()| ControlFlow::Continue(())),
                    $(Self::$Shell(verb) => verb.run(session).await,)+
                }
            }
        }
    };
}

verbs! {
    both:
        search::Search,
        get::Get,
        exists::Exists,
        list::List,
        update::Update,
        append::Append,
        rm::Rm,
        lease::Lease,
        attr::Attr,
        txn::Txn,
        info::Info,
        peers::Peers,
        status::Status,
        why::Why;
    command_line:
        serve::Serve;
    shell:
        help::Help,
        quit::Quit;
}
