//! Sources of new content: an editor, a command, another file, or text to append.
//!
//! Invariant: the user edits a copy. The shared file changes only when the new version is published.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use raft_store::types::FileName;

use crate::terminal::{Exit, Failure};

/// The source of new content.
#[derive(Debug, Clone)]
pub enum Source {
    /// An editor that opens a copy.
    Editor(String),
    /// A shell command that receives the path of a copy as `$1`.
    Exec(String),
    /// Another file.
    File(PathBuf),
    /// Bytes that replace the content.
    Bytes(Vec<u8>),
    /// Bytes that are appended.
    Append(Vec<u8>),
}

impl Source {
    /// The editor from the option, or else from `$VISUAL` or `$EDITOR`.
    #[expect(clippy::disallowed_methods, reason = "EDITOR and VISUAL belong to the user, not to this program")]
    pub fn editor(option: Option<&str>) -> Result<Self, Failure> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let command = option.map(str::to_owned).or_else(|| set("VISUAL")).or_else(|| set("EDITOR"));
        command.map(Self::Editor).ok_or_else(|| {
            Failure::new(Exit::Usage, "no editor is configured")
                .hint("set one:  export EDITOR=nano        or use:  --editor CMD, --from FILE, --exec CMD")
        })
    }

    /// The file that `--from` names; `-` means the standard input.
    pub fn from_path(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") { read_stdin().map(Self::Bytes) } else { Ok(Self::File(path.to_owned())) }
    }

    /// What `append` adds: the text as a line, or the standard input unchanged.
    pub fn appended(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("-") => read_stdin().map(Self::Append),
            Some(text) if text.ends_with('\n') => Ok(Self::Append(text.as_bytes().to_vec())),
            Some(text) => Ok(Self::Append(format!("{text}\n").into_bytes())),
        }
    }

    /// Whether the new content is made from the current content.
    pub fn needs_base(&self) -> bool {
        match self {
            Self::Editor(_) | Self::Exec(_) | Self::Append(_) => true,
            Self::File(_) | Self::Bytes(_) => false,
        }
    }

    /// Makes the new content at `copy`, which already has the current content if that is needed.
    pub async fn apply(&self, copy: &Path) -> Result<(), Failure> {
        match self {
            Self::Editor(command) => run(&format!("{command} \"$1\""), copy, "the editor").await,
            Self::Exec(command) => run(command, copy, "the command").await,
            Self::File(from) => {
                let copied = std::fs::copy(from, copy);
                let what = |error| Failure::new(Exit::NotFound, format!("cannot read {}: {error}", from.display()));
                copied.map(|_| ()).map_err(what)
            }
            Self::Bytes(bytes) => Ok(std::fs::write(copy, bytes)?),
            Self::Append(bytes) => {
                use std::io::Write;
                Ok(std::fs::File::options().append(true).create(true).open(copy)?.write_all(bytes)?)
            }
        }
    }
}

/// Runs a shell command on the terminal of this process. Its standard output goes to our standard error, because our
/// standard output has only results.
async fn run(command: &str, path: &Path, what: &str) -> Result<(), Failure> {
    let mut child = tokio::process::Command::new("sh");
    child.arg("-c").arg(command).arg("sh").arg(path).kill_on_drop(true);
    if !std::io::stdout().is_terminal() {
        child.stdout(Stdio::from(std::io::stderr()));
    }
    let failed = |detail: String| {
        Failure::new(Exit::Other, format!("{what} failed ({detail}); nothing was published"))
            .hint(format!("the command was: {command}"))
    };
    let status = child.status().await.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A temporary folder with a copy to edit, removed when dropped. The copy keeps the last part of the file's name, which
/// editors go by.
#[derive(Debug)]
pub struct Workbench {
    folder: PathBuf,
    /// The copy's path.
    pub copy: PathBuf,
}

impl Workbench {
    /// Creates an empty one in `parent`. Blocking.
    pub fn new(parent: &Path, name: &FileName) -> std::io::Result<Self> {
        let folder = parent.join(format!("edit-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder)?;
        let last = name.as_str().rsplit('/').next().unwrap_or("file");
        Ok(Self { copy: folder.join(last), folder })
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        // Best effort.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
