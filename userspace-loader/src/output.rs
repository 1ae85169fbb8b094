// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard output: text and tables, or JSON with `--json`.

use std::io::{self, Write};

use comfy_table::{presets, CellAlignment, Table};
use serde::Serialize;

use crate::error::Result;

/// Version of the JSON documents. Increased when a member is removed or changes its meaning, and
/// not when one is added.
pub const SCHEMA: u32 = 1;

/// The destination of a verb's output.
pub struct Output<'a> {
    to: Box<dyn Write + 'a>,
    json: bool,
    terminal: bool,
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a> Output<'a> {
    /// Writes to `to`: JSON if `json`, else text. `terminal`: `to` is a terminal.
    pub fn new(to: impl Write + 'a, json: bool, terminal: bool) -> Self {
        Self {
            to: Box::new(to),
            json,
            terminal,
        }
    }

    /// Whether the output is JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the output goes to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes one JSON document over several lines.
    pub fn json(&mut self, body: &impl Serialize) -> Result {
        let document = Document {
            schema: SCHEMA,
            body,
        };
        serde_json::to_writer_pretty(&mut self.to, &document).map_err(io::Error::from)?;
        self.line("")
    }

    /// Writes one JSON document on one line, as part of a stream.
    pub fn json_line(&mut self, body: &impl Serialize) -> Result {
        let document = Document {
            schema: SCHEMA,
            body,
        };
        serde_json::to_writer(&mut self.to, &document).map_err(io::Error::from)?;
        self.line("")?;
        Ok(self.to.flush()?)
    }

    /// Writes `body` as JSON, or calls `text` to write text.
    pub fn either(
        &mut self,
        body: &impl Serialize,
        text: impl FnOnce(&mut Self) -> Result,
    ) -> Result {
        if self.json {
            self.json(body)
        } else {
            text(self)
        }
    }

    /// Writes one line of text.
    pub fn line(&mut self, line: impl std::fmt::Display) -> Result {
        writeln!(self.to, "{line}")?;
        Ok(())
    }

    /// Writes a table of two columns: names and values.
    pub fn pairs(&mut self, pairs: &[(&str, String)]) -> Result {
        let mut table = plain_table();
        for (name, value) in pairs {
            table.add_row([*name, value]);
        }
        pad(&mut table);
        self.table(&table)
    }

    /// Writes a table.
    pub fn table(&mut self, table: &Table) -> Result {
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Clears the screen if the output is a terminal.
    pub fn clear(&mut self) -> Result {
        if self.terminal {
            write!(self.to, "\x1b[H\x1b[2J")?;
        }
        Ok(())
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> Result {
        Ok(self.to.flush()?)
    }

    /// Writes bytes unchanged.
    pub fn raw(&mut self, bytes: &[u8]) -> Result {
        Ok(self.to.write_all(bytes)?)
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// Puts two blanks between the columns.
fn pad(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
}

/// A table with a header. The columns named in `right` hold numbers.
pub fn table(header: &[&str], right: &[&str]) -> Table {
    let mut table = plain_table();
    table.set_header(header);
    pad(&mut table);
    for (column, name) in table.column_iter_mut().zip(header) {
        if right.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
