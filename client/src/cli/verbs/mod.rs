//! The verbs: one file each, with the arguments as clap reads them beside the code that runs.
//!
//! The list at the end of this file is the only one. Adding a verb takes a file with a `clap::Args` type that has
//! `run`, and one line there; the command line, the shell, its completion and its help follow from it.

use std::ops::ControlFlow;

use clap::Subcommand;

use super::Session;
use crate::terminal::{Exit, Failure};

/// Declares the modules of the verbs, an enum for each of the two places where words are typed, and how they run.
macro_rules! verbs {
    (
        both: $($both_file:ident::$Both:ident),+;
        command_line: $($line_file:ident::$Line:ident),+;
        shell: $($shell_file:ident::$Shell:ident),+;
    ) => {
        $(pub(super) mod $both_file;)+
        $(mod $line_file;)+
        $(mod $shell_file;)+

        /// A verb of the command line and of the shell alike.
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
            /// Runs it. Ctrl-C ends a verb, except those of the command line alone: they see to signals themselves.
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
            /// Runs it, and answers whether the shell goes on.
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
        list::List,
        update::Update,
        append::Append,
        rm::Rm,
        lease::Lease,
        peers::Peers,
        status::Status,
        why::Why;
    command_line:
        serve::Serve;
    shell:
        help::Help,
        quit::Quit;
}
