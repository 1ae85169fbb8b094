// SPDX-License-Identifier: GPL-2.0-only
//! The commands in documentation that run in the machine, and their expected output.

use crate::vm::quote;

/// The script that runs the scripts in [`SCRIPTS`].
pub const RUNNER: &str = include_str!("machine.sh");
/// The folder of scripts, below the shared folder.
pub const SCRIPTS: &str = ".blocks";

/// Fuzzing runs of an hour are shortened: the test only shows that they start.
const SECONDS: &str = "--seconds ";

/// A command, and lines that it must print. If no lines are given, the command must succeed.
pub struct Command {
    place: String,
    text: String,
    output: Vec<String>,
}

/// The commands of one block.
#[derive(Default)]
pub struct Script {
    text: String,
}

/// The commands of all blocks.
#[derive(Default)]
pub struct Work {
    pub scripts: Vec<Script>,
    commands: Vec<Command>,
}

impl Work {
    /// Appends a command to `script`.
    pub fn add(&mut self, script: &mut Script, place: &str, command: &str, output: &[String]) {
        let text = shorter(command);
        script.text += &format!(
            "echo '@begin {number}'\n{text}\nstatus=$?\necho\necho \"@end {number} $status\"\n",
            number = self.commands.len()
        );
        self.commands.push(Command {
            place: place.to_owned(),
            text,
            output: output.to_vec(),
        });
    }

    /// Whether all commands had the expected result. `printed` is the machine's output. Prints the
    /// failures.
    pub fn judge(&self, printed: &str) -> bool {
        let mut passed = true;
        for (number, command) in self.commands.iter().enumerate() {
            if let Err(why) = command.judge(number, printed) {
                eprintln!("{}: `{}` {why}", command.place, command.text.trim());
                passed = false;
            }
        }
        passed
    }
}

impl Script {
    /// The script for bash. Standard error goes to standard output, as on a terminal.
    pub fn text(&self) -> String {
        format!("exec 2>&1\n{}", self.text)
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Mounts a folder below the shared one at `/share`.
    pub fn share(&mut self, folder: &str) {
        let folder = quote(&format!("/share/{folder}"));
        self.text += &format!("mount --bind {folder} /share || exit\n");
    }
}

impl Command {
    fn judge(&self, number: usize, printed: &str) -> Result<(), String> {
        let begin = format!("@begin {number}\n");
        let end = format!("\n@end {number} ");
        let begun = printed.split_once(&begin).ok_or("did not begin")?.1;
        let (output, rest) = begun
            .split_once(&end)
            .ok_or_else(|| format!("did not end, and printed:\n{begun}"))?;
        if self.output.is_empty() {
            return match rest.lines().next() {
                Some("0") => Ok(()),
                status => Err(format!(
                    "ended with status {}, and printed:\n{output}",
                    status.unwrap_or("none")
                )),
            };
        }
        let mut lines = output.lines();
        for wanted in &self.output {
            if !lines.any(|line| fits(wanted, line)) {
                return Err(format!("does not print {wanted:?}, but:\n{output}"));
            }
        }
        Ok(())
    }
}

/// Whether an output line matches a line of the page. `…` matches anything, and spaces match
/// spaces.
fn fits(shown: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, line) = (plain(shown), plain(line));
    let mut rest = line.as_str();
    for (at, part) in shown.split('…').enumerate() {
        match rest.find(part) {
            Some(found) if at > 0 || found == 0 => rest = &rest[found + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || shown.ends_with('…')
}

fn shorter(command: &str) -> String {
    let mut parts = command.split(SECONDS);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|it: char| it.is_ascii_digit());
        text = text + SECONDS + "1" + rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(output: &[&str]) -> Work {
        let mut work = Work::default();
        let output: Vec<_> = output.iter().map(|&line| line.to_owned()).collect();
        work.add(&mut Script::default(), "p.md:1", "true", &output);
        work
    }

    #[test]
    fn commands_have_to_succeed_or_to_print_what_is_shown() {
        assert!(work(&[]).judge("@begin 0\nx\n\n@end 0 0\n"));
        assert!(!work(&[]).judge("@begin 0\nx\n\n@end 0 1\n"));
        assert!(work(&["x 1…", "z"]).judge("@begin 0\nx  12\ny\nz\n\n@end 0 1\n"));
        assert!(!work(&["z", "x"]).judge("@begin 0\nx\nz\n\n@end 0 0\n"));
        assert!(!work(&[]).judge("@begin 0\nx\n"));
        assert!(!work(&[]).judge(""));
    }

    #[test]
    fn dots_stand_for_anything() {
        assert!(fits("a … c", "a b c"));
        assert!(fits("…c", "a b c"));
        assert!(!fits("a", "a b"));
        assert!(!fits("b…", "a b"));
    }

    #[test]
    fn campaigns_are_short() {
        let long = "fuzz --seconds 3600 --seed 3; storm --seconds 60";
        assert_eq!(
            shorter(long),
            "fuzz --seconds 1 --seed 3; storm --seconds 1"
        );
    }
}
