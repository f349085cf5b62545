//! Where the new content of a file comes from: an editor, a command, another file, or text to append.
//!
//! Invariant: the user edits a copy; the shared file changes only once the new version is published.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use raft_store::types::FileName;

use crate::terminal::{Exit, Failure};

/// Where the new content comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An editor, opened on a copy.
    Editor(String),
    /// A shell command that gets the path of a copy as `$1`.
    Exec(String),
    /// Another file.
    File(PathBuf),
    /// Bytes that replace the content.
    Bytes(Vec<u8>),
    /// Bytes that are added at the end.
    Append(Vec<u8>),
}

impl Source {
    /// The editor to open: the option, else `$VISUAL`, else `$EDITOR`.
    pub fn editor(option: Option<&str>) -> Result<Self, Failure> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let command = option.map(str::to_owned).or_else(|| set("VISUAL")).or_else(|| set("EDITOR"));
        command.map(Self::Editor).ok_or_else(|| {
            Failure::new(Exit::Usage, "no editor is set, so there is nothing to edit the file with")
                .hint("set one:  export EDITOR=nano        or use:  --editor CMD, --from FILE, --exec CMD")
        })
    }

    /// What `--from` names: a file, or the standard input.
    pub fn from_path(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") { read_stdin().map(Self::Bytes) } else { Ok(Self::File(path.to_owned())) }
    }

    /// What `append` adds: the text as a line, or the standard input as it is.
    pub fn appended(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("-") => read_stdin().map(Self::Append),
            Some(text) if text.ends_with('\n') => Ok(Self::Append(text.as_bytes().to_vec())),
            Some(text) => Ok(Self::Append(format!("{text}\n").into_bytes())),
        }
    }

    /// Whether the newest content is needed to make the new one.
    pub fn needs_base(&self) -> bool {
        match self {
            Self::Editor(_) | Self::Exec(_) | Self::Append(_) => true,
            Self::File(_) | Self::Bytes(_) => false,
        }
    }

    /// Makes the new content in the file at `copy`, which holds the base, if one is needed.
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

/// Runs a shell command with the terminal of this process; its standard output goes to our standard error, because ours
/// holds nothing but results.
async fn run(command: &str, path: &Path, what: &str) -> Result<(), Failure> {
    let mut child = tokio::process::Command::new("sh");
    child.arg("-c").arg(command).arg("sh").arg(path).kill_on_drop(true);
    if !std::io::stdout().is_terminal() {
        child.stdout(Stdio::from(std::io::stderr()));
    }
    let failed = |detail: String| {
        Failure::new(Exit::Other, format!("{what} failed ({detail}); nothing was published"))
            .hint(format!("it was: {command}"))
    };
    let status = child.status().await.map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A folder with a copy to work on, removed when dropped. The copy has the file's own last name, for the editor's sake.
#[derive(Debug)]
pub struct Workbench {
    folder: PathBuf,
    /// The copy's path.
    pub copy: PathBuf,
}

impl Workbench {
    /// Makes an empty one below `parent`. Blocking.
    pub fn new(parent: &Path, name: &FileName) -> std::io::Result<Self> {
        let folder = parent.join(format!("edit-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder)?;
        let last = name.as_str().rsplit('/').next().unwrap_or("file");
        Ok(Self { copy: folder.join(last), folder })
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        // What is left over is removed by the next `serve`, which clears the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
