//! Secrets on the command line. What stands there itself is shown to everybody who lists processes, so each may come from
//! elsewhere: `-` is a line of standard input, `env:NAME` a variable, `file:PATH` a file.

use std::io::{self, BufRead as _};

use zeroize::Zeroizing;

use super::open::Failure;

/// Reads the value of `option` from where `argument` says; anything else is the value itself.
pub(super) fn read(option: &str, argument: &str) -> Result<Zeroizing<String>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("{option}: {why}"));
    let text = if argument == "-" {
        let mut line = Zeroizing::new(String::new());
        io::stdin().lock().read_line(&mut line).map_err(|error| wrong(format!("standard input: {error}")))?;
        line
    } else if let Some(name) = argument.strip_prefix("env:") {
        let value = std::env::var(name).map_err(|_| wrong(format!("the variable {name} is not set, or not UTF-8")))?;
        Zeroizing::new(value)
    } else if let Some(path) = argument.strip_prefix("file:") {
        Zeroizing::new(std::fs::read_to_string(path).map_err(|error| wrong(format!("{path}: {error}")))?)
    } else {
        return Ok(Zeroizing::new(argument.to_owned()));
    };
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(wrong("nothing is there".to_owned()));
    }
    Ok(Zeroizing::new(value.to_owned()))
}

/// The same where the value itself is not taken.
pub(super) fn read_elsewhere(option: &str, argument: &str) -> Result<Zeroizing<String>, Failure> {
    if argument == "-" || argument.starts_with("env:") || argument.starts_with("file:") {
        read(option, argument)
    } else {
        Err(Failure::Usage(format!("{option}: say where it is: - (standard input), env:NAME or file:PATH")))
    }
}
