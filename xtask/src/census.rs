// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask unsafe`: counts unsafe code for each file, into docs/unsafe.md. `lint` fails if
//! that is out of date.

use crate::error::{Context, Result};
use crate::files;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the census is kept.
pub const FILE: &str = "docs/unsafe.md";

/// What is counted, by where it runs: a heading, and folders of the checkout.
const PLACES: [(&str, &[&str]); 2] = [
    (
        "In the kernel",
        &["engine/src", "jit/src", "kmod", "patches", "shared/src"],
    ),
    (
        "In user space",
        &[
            "engine/tests",
            "filters",
            "sdk",
            "tests",
            "userspace-loader",
            "xtask",
        ],
    ),
];

const INTRODUCTION: &str = "\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
<!-- Written by `cargo xtask unsafe`. -->
# Unsafe code

This page counts the code whose safety the compiler cannot check: `unsafe` blocks, functions,
implementations and traits, and lines of C that are not empty. It omits files without such code. For
a patch, it counts what the patch adds, minus what it removes. It does not count the unsafe code of
wasmi and of the `kernel` crate.
";

/// What one file, or several together, have.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Count {
    blocks: i64,
    functions: i64,
    items: i64,
    c_lines: i64,
}

impl Count {
    fn add(&mut self, other: Count, sign: i64) {
        self.blocks += sign * other.blocks;
        self.functions += sign * other.functions;
        self.items += sign * other.items;
        self.c_lines += sign * other.c_lines;
    }

    fn row(&self, name: &str) -> String {
        let Count {
            blocks,
            functions,
            items,
            c_lines,
        } = self;
        format!("| {name} | {blocks} | {functions} | {items} | {c_lines} |\n")
    }
}

/// Counts the checkout and writes [`FILE`]'s text.
pub fn take(checkout: &Path) -> Result<String> {
    let mut text = INTRODUCTION.to_owned();
    for (heading, folders) in PLACES {
        let mut paths = Vec::new();
        for folder in folders {
            collect(&checkout.join(folder), &mut paths)?;
        }
        paths.sort();
        let mut sum = Count::default();
        let mut rows = String::new();
        for path in paths {
            let content = fs::read_to_string(&path).context(path.display())?;
            let count = count(&path, &content);
            sum.add(count, 1);
            if count != Count::default() {
                let name = path.strip_prefix(checkout).unwrap_or(&path);
                rows += &count.row(&name.display().to_string());
            }
        }
        let _ = write!(
            text,
            "\n## {heading}\n\n\
             | file | blocks | functions | implementations, traits | lines of C |\n\
             |---|--:|--:|--:|--:|\n{rows}{}",
            sum.row("**total**")
        );
    }
    Ok(text)
}

/// Writes [`FILE`].
pub fn write(checkout: &Path) -> Result<()> {
    files::write(&checkout.join(FILE), take(checkout)?.as_bytes())
}

/// Whether [`FILE`] is what [`write`] would write.
pub fn check(checkout: &Path) -> Result<bool> {
    let kept = fs::read_to_string(checkout.join(FILE)).unwrap_or_default();
    let passed = kept == take(checkout)?;
    if !passed {
        eprintln!("{FILE} is not up to date: look at what `cargo xtask unsafe` changes in it");
    }
    Ok(passed)
}

/// The files below `folder` that are counted.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).context(folder.display())?.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(&path, paths)?;
            }
        } else if path.extension().map_or(false, |it| {
            it == "rs" || it == "c" || it == "h" || it == "patch"
        }) {
            paths.push(path);
        }
    }
    Ok(())
}

fn count(path: &Path, content: &str) -> Count {
    match path.extension().and_then(|it| it.to_str()) {
        Some("rs") => count_rust(content),
        Some("patch") => {
            let mut count = Count::default();
            count.add(count_rust(&lines_after(content, '+')), 1);
            count.add(count_rust(&lines_after(content, '-')), -1);
            count
        }
        _ => Count {
            c_lines: content
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count() as i64,
            ..Count::default()
        },
    }
}

/// A patch's lines that begin with `sign`, without the names of files.
fn lines_after(patch: &str, sign: char) -> String {
    let header = [sign, sign, sign].iter().collect::<String>();
    patch
        .lines()
        .filter(|line| !line.starts_with(&header))
        .filter_map(|line| line.strip_prefix(sign))
        .collect::<Vec<_>>()
        .join("\n")
}

fn count_rust(source: &str) -> Count {
    let mut count = Count::default();
    let code = without_text(source);
    let words = words(&code);
    for (at, word) in words.iter().enumerate() {
        if *word != "unsafe" {
            continue;
        }
        // `unsafe extern "C" fn`: the literal is gone.
        let next = words[at + 1..]
            .iter()
            .find(|word| **word != "extern" && **word != "\"");
        match next {
            Some(&"{") => count.blocks += 1,
            Some(&"fn") => count.functions += 1,
            Some(&("impl" | "trait")) => count.items += 1,
            // An attribute, or a macro's argument.
            _ => {}
        }
    }
    count
}

/// Identifiers, and everything else character by character.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        words.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    words
}

/// The source without comments, and with literals emptied.
fn without_text(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(len) = raw_string(rest) {
            code.push('"');
            len
        } else if first == '"' {
            code.push('"');
            1 + literal(&rest[1..], '"')
        } else if let Some(len) = character(rest) {
            len
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// Bytes of the comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Bytes of `r"…"` or `r#"…"#`.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.find(|c| c != '#')?;
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &rest[..hashes]);
    let len = body.find(&end)? + end.len();
    Some(1 + hashes + 1 + len)
}

/// Bytes of a literal up to and with `end`, behind its first quote.
fn literal(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == end => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of a character, if `text` begins with one and not with a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut rest = text.strip_prefix('\'')?.chars();
    match (rest.next()?, rest.next()?) {
        ('\\', _) => Some(1 + literal(&text[1..], '\'')),
        (c, '\'') => Some(1 + c.len_utf8() + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(source: &str) -> (i64, i64, i64) {
        let count = count_rust(source);
        (count.blocks, count.functions, count.items)
    }

    #[test]
    fn code_is_told_from_text() {
        assert_eq!(counted("unsafe { f() }; let x = unsafe\n{ 1 };"), (2, 0, 0));
        assert_eq!(
            counted("pub unsafe fn f() {} unsafe extern \"C\" fn g() {} unsafe impl Send for X {}"),
            (0, 2, 1)
        );
        assert_eq!(
            counted("// unsafe { }\n/* unsafe { /* */ unsafe { } */ \"unsafe { \\\" unsafe {\""),
            (0, 0, 0)
        );
        assert_eq!(
            counted("r#\"unsafe { \" unsafe {\"# '\"' '\\'' &'a str; unsafe {}"),
            (1, 0, 0)
        );
        assert_eq!(counted("#[unsafe(no_mangle)] fn f() {}"), (0, 0, 0));
    }

    #[test]
    fn patches_add_and_take_away() {
        let patch = "--- a/x.rs\n+++ b/x.rs\n+unsafe {\n+unsafe {\n-unsafe {\n unsafe {\n";
        assert_eq!(count(Path::new("x.patch"), patch).blocks, 1);
    }
}
