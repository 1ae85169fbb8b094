// SPDX-License-Identifier: GPL-2.0-only
//! Finds the code blocks of a page, and reads each block's kind from the words after its fence.
//!
//! docs/testing.md, "Documentation", describes the words for authors of pages.

use crate::error::{Error, Result};

const FENCE: &str = "```";

/// A code block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The place, for example `README.md:12`: the line of the fence.
    pub place: String,
    pub kind: Kind,
    pub text: String,
}

/// The kind of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text that is not tested.
    Text,
    /// Commands that run on the host, in the checkout.
    Host,
    /// Commands that run in the machine.
    Machine,
    /// Commands after prompts, and their output. `$` is the host's prompt, `#` the machine's.
    Console,
    /// Options of a kernel module, for the configuration of modprobe.
    Modprobe,
    /// A file beside the checkout: its path without `../`.
    File(String),
}

impl Kind {
    fn of(words: &str) -> Option<Self> {
        let words: Vec<&str> = words.split_whitespace().collect();
        match words[..] {
            ["text"] => Some(Self::Text),
            ["sh", "host"] => Some(Self::Host),
            ["sh", "vm"] => Some(Self::Machine),
            ["console"] => Some(Self::Console),
            ["conf", "modprobe"] => Some(Self::Modprobe),
            [_, file] => {
                let path = file.strip_prefix("file=../")?;
                let stays = path.split('/').all(|part| !part.is_empty() && part != "..");
                stays.then(|| Self::File(path.to_owned()))
            }
            _ => None,
        }
    }
}

/// The blocks of the page `name`. Fails if a block does not say its kind.
pub fn blocks(name: &str, page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate().peekable();
    let mut blank = true;
    while let Some((at, line)) = lines.next() {
        let place = format!("{name}:{}", at + 1);
        let start = line.trim_start();
        if start.starts_with("~~~") || (blank && line.starts_with("    ")) {
            return Err(Error::new(format!(
                "{place}: begin code blocks with {FENCE}"
            )));
        }
        blank = line.trim().is_empty();
        let words = match start.strip_prefix(FENCE) {
            Some(words) => words,
            None => continue,
        };
        let kind = Kind::of(words).ok_or_else(|| {
            Error::new(format!(
                "{place}: {start:?} does not say how the block is tested: see docs/testing.md"
            ))
        })?;
        let mut text = String::new();
        loop {
            match lines.next() {
                Some((_, line)) if line.trim() == FENCE => break,
                Some((_, line)) => text = text + line + "\n",
                None => return Err(Error::new(format!("{place}: the block does not end"))),
            }
        }
        blocks.push(Block { place, kind, text });
    }
    Ok(blocks)
}

/// A command of a console block, and its output.
#[derive(Debug, PartialEq, Eq)]
pub struct Prompted {
    pub on_host: bool,
    pub command: String,
    /// The expected lines, without empty ones.
    pub output: Vec<String>,
}

/// The commands of a console block, with their output.
pub fn prompted(block: &Block) -> Result<Vec<Prompted>> {
    let mut commands: Vec<Prompted> = Vec::new();
    for line in block.text.lines() {
        let on_host = line.starts_with("$ ");
        if on_host || line.starts_with("# ") {
            commands.push(Prompted {
                on_host,
                command: line[2..].to_owned(),
                output: Vec::new(),
            });
        } else if let Some(last) = commands.last_mut() {
            if !line.trim().is_empty() {
                last.output.push(line.to_owned());
            }
        } else {
            let place = &block.place;
            return Err(Error::new(format!("{place}: begins with output")));
        }
    }
    Ok(commands)
}

/// The commands of a script, as words. Handles quotes, comments and continued lines. Other syntax
/// of the shell stays in the words.
pub fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            '\'' | '"' => {
                let inside = chars.by_ref().take_while(|it| *it != char);
                word.get_or_insert_with(String::new).extend(inside);
            }
            '#' if word.is_none() => while chars.next_if(|it| *it != '\n').is_some() {},
            ' ' | '\t' => words.extend(word.take()),
            '\n' => {
                words.extend(word.take());
                if !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_with(String::new).push(char),
        }
    }
    words.extend(word);
    if !words.is_empty() {
        commands.push(words);
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(page: &str) -> Block {
        let mut blocks = blocks("p.md", page).expect("a block");
        assert_eq!(blocks.len(), 1);
        blocks.remove(0)
    }

    #[test]
    fn blocks_say_what_they_are_for() {
        let block = only("A\n\n```sh vm\nnfwasm list\n```\n");
        assert_eq!(block.place, "p.md:3");
        assert_eq!(block.kind, Kind::Machine);
        assert_eq!(block.text, "nfwasm list\n");
        let block = only("* in a list:\n  ```wat file=../small/small.wat\n  ```\n");
        assert_eq!(block.kind, Kind::File("small/small.wat".to_owned()));
    }

    #[test]
    fn no_block_escapes() {
        for page in [
            "```\ntext\n```\n",
            "```sh\nls\n```\n",
            "```rust\nfn main() {}\n```\n",
            "```wat file=small.wat\n```\n",
            "```wat file=../../small.wat\n```\n",
            "```text\nno end\n",
            "~~~text\n~~~\n",
            "text\n\n    ls\n",
        ] {
            assert!(blocks("p.md", page).is_err(), "{page}");
        }
    }

    #[test]
    fn consoles_have_two_prompts_and_output() {
        let block = only("```console\n$ cargo xtask vm\n# ip -V\n\nip utility, …\n```\n");
        let commands = prompted(&block).expect("a console");
        assert!(commands[0].on_host && !commands[1].on_host);
        assert_eq!(commands[1].command, "ip -V");
        assert_eq!(commands[1].output, ["ip utility, …"]);
        assert!(prompted(&only("```console\noutput\n```\n")).is_err());
    }

    #[test]
    fn commands_are_read_as_a_shell_reads_them() {
        let script = "# nothing\nNAME=1 a 'b\n c' # d\na \\\n  --b \"c d\"\n";
        assert_eq!(
            commands(script),
            [vec!["NAME=1", "a", "b\n c"], vec!["a", "--b", "c d"]]
        );
    }
}
