//! The interactive shell of `raftshare serve`, which runs the verbs of the command line one at a time.
//!
//! Invariant: the reading thread does nothing else. It reads the next line only after the command has ended, so results
//! and the prompt never mix. Ctrl-C ends the running command, Ctrl-D the shell.

mod line;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser};
use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Editor, ExternalPrinter};
use tokio::sync::mpsc;

use self::line::LineHelper;
use super::session::Session;
use super::verbs::ShellVerb;
use crate::terminal::{Exit, Failure, print_failure};

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, name = "", disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    verb: ShellVerb,
}

/// The clap definition of a line.
pub(super) fn command() -> clap::Command {
    Line::command()
}

/// The prompt, which shows whether the index can be reached.
#[derive(Debug, Clone, Default)]
pub struct Prompt(Arc<AtomicBool>);

impl Prompt {
    /// Records whether the index can be reached.
    pub fn set_connected(&self, connected: bool) {
        self.0.store(connected, Ordering::Relaxed);
    }

    fn text(&self) -> &'static str {
        if self.0.load(Ordering::Relaxed) { "raftshare ●> " } else { "raftshare ○> " }
    }
}

/// Prints lines above the prompt.
#[derive(Clone)]
pub struct Printer(Arc<Mutex<Option<Box<dyn ExternalPrinter + Send>>>>);

impl Printer {
    /// Prints a line above the prompt, or on the standard error if there is no prompt.
    pub fn print(&self, line: &str) {
        let printed = self.0.lock().as_mut().is_some_and(|printer| printer.print(format!("{line}\n")).is_ok());
        if !printed {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
        }
    }
}

/// What the reading thread sends.
enum Typed {
    Line(String),
    End,
}

/// A shell whose thread is reading the first line.
pub struct Shell {
    typed: mpsc::Receiver<Typed>,
    /// Tells the thread to read the next line.
    next: std::sync::mpsc::Sender<()>,
    printer: Printer,
    _terminal: Terminal,
}

impl Shell {
    /// Starts the reading thread.
    #[expect(clippy::disallowed_methods, reason = "one message for each line that is typed")]
    pub fn start(session: &Session, prompt: &Prompt) -> Result<Self, Failure> {
        let unusable = |error: ReadlineError| Failure::from(std::io::Error::other(error));
        let terminal = Terminal::remember();
        let mut editor: Editor<LineHelper, MemHistory> =
            Editor::with_history(rustyline::Config::default(), MemHistory::new()).map_err(unusable)?;
        editor.set_helper(Some(LineHelper::new(session.clone(), &command())));
        let printer = editor.create_external_printer().ok().filter(|_| std::io::stdin().is_terminal());
        let printer = printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter + Send>);
        let (say, typed) = mpsc::channel(1);
        let (next, go_on) = std::sync::mpsc::channel();
        let prompt = prompt.clone();
        std::thread::Builder::new().name("shell".into()).spawn(move || read_lines(editor, &prompt, &say, &go_on))?;
        Ok(Self { typed, next, printer: Printer(Arc::new(Mutex::new(printer))), _terminal: terminal })
    }

    /// Prints while the prompt is shown.
    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Runs what is typed until the user leaves. If the standard input is empty from the start, it never ends, because
    /// that is how a peer is started in the background.
    pub async fn run(mut self, session: &Session) {
        let mut any = false;
        while let Some(Typed::Line(line)) = self.typed.recv().await {
            any = true;
            if !run_line(session, &line).await {
                return;
            }
            if self.next.send(()).is_err() {
                break;
            }
        }
        if !any && !std::io::stdin().is_terminal() {
            std::future::pending::<()>().await;
        }
    }
}

fn read_lines(
    mut editor: Editor<LineHelper, MemHistory>,
    prompt: &Prompt,
    say: &mpsc::Sender<Typed>,
    go_on: &std::sync::mpsc::Receiver<()>,
) {
    loop {
        let typed = match editor.readline(prompt.text()) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line); // the history is only a convenience
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => continue,
            Err(_) => Typed::End,
        };
        let ended = matches!(typed, Typed::End);
        if say.blocking_send(typed).is_err() || ended || go_on.recv().is_err() {
            return;
        }
    }
}

/// Runs one line. Returns false if the user wants to leave.
async fn run_line(session: &Session, text: &str) -> bool {
    let output = session.output;
    let words = match line::split(text) {
        Ok(words) => line::resolve_rows(&command(), words, |number| session.row(number)),
        Err(problem) => {
            output.failure(&Failure::new(Exit::Usage, problem));
            return true;
        }
    };
    if words.is_empty() {
        return true;
    }
    let verb = match Line::try_parse_from(words) {
        Ok(line) => line.verb,
        Err(error) => {
            let _ = error.print();
            return true;
        }
    };
    tokio::select! {
        result = verb.run(session) => match result {
            Ok(next) => next.is_continue(),
            Err(failure) => {
                print_failure(output, &failure);
                true
            }
        },
        _ = tokio::signal::ctrl_c() => {
            output.remark("interrupted");
            true
        }
    }
}

/// The terminal's settings. They are restored on drop, because the reading thread may be killed in the middle of a
/// line.
struct Terminal(Option<Termios>);

impl Terminal {
    fn remember() -> Self {
        Self(tcgetattr(std::io::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // If the terminal is gone, there is nothing to restore.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, settings);
        }
    }
}
