//! What a command prints if it fails or cannot be parsed.

use std::ffi::OsString;

use super::{Exit, Failure, Format, Output, conclude, note_stdout_failure};

/// Prints a failure on the standard error. A failure without a message has already been printed.
pub fn print_failure(output: Output, failure: &Failure) {
    if !failure.what.is_empty() {
        output.failure(failure);
    }
}

/// Prints the parser's help text or error, and returns the exit code.
pub fn print_usage(error: &clap::Error, args: impl Iterator<Item = OsString>) -> u8 {
    if error.use_stderr() && asks_for_json(args) {
        let text = error.render().to_string();
        let what = text.trim().trim_start_matches("error: ");
        let json = Output { format: Format::Json, quiet: false };
        print_failure(json, &Failure::new(Exit::Usage, what));
        return Exit::Usage as u8;
    }
    let printed = error.print();
    if error.use_stderr() {
        return Exit::Usage as u8;
    }
    if let Err(error) = printed {
        note_stdout_failure(&error);
    }
    match conclude(Ok(())) {
        Ok(()) => Exit::Done as u8,
        Err(failure) => {
            print_failure(Output { format: Format::Table, quiet: false }, &failure);
            failure.exit as u8
        }
    }
}

/// Whether a command line that cannot be parsed asks for JSON.
fn asks_for_json(args: impl Iterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for arg in args {
        let value_of = before == "-o" || before == "--output";
        if (value_of && arg == "json") || arg == "-ojson" || arg == "-o=json" || arg == "--output=json" {
            return true;
        }
        before = arg;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_in_every_spelling() {
        for (args, expected) in [
            ("x -o json", true),
            ("x --output=json y", true),
            ("x -ojson", true),
            ("x -o table json", false),
            ("json", false),
        ] {
            assert_eq!(asks_for_json(args.split(' ').map(OsString::from)), expected, "{args}");
        }
    }
}
