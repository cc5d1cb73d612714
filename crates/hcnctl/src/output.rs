//! The one writer of standard output: tables for people, HCN documents for programs.

use std::io::{self, BufWriter, Stdout, Write};

use clap::ValueEnum;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use hcn_client::Raw;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// HCN documents, byte for byte.
    Json,
}

/// Standard output. Dropping it writes the rest; what fails then is lost, so commands end with a flush.
pub(crate) struct Output {
    pub(crate) format: Format,
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, stdout: BufWriter::new(io::stdout()) }
    }

    /// Writes a line at once.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stdout, "{text}")?;
        self.stdout.flush()
    }

    /// Writes documents as a JSON array, one per line.
    pub(crate) fn documents(&mut self, documents: &[Raw]) -> io::Result<()> {
        let texts: Vec<&str> = documents.iter().map(Raw::get).collect();
        let array = if texts.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", texts.join(",\n")) };
        self.line(&array)
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        for line in table(header, rows) {
            writeln!(self.stdout, "{line}")?;
        }
        self.stdout.flush()
    }
}

fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| shown(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The longest text of a cell, in characters.
const CELL: usize = 120;

/// A text of a client, fit for a terminal: one line, no control characters, not endless.
pub(crate) fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(CELL).map(clean).collect();
    if text.chars().nth(CELL).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_columns() {
        let rows = [vec!["a".to_owned(), String::new()], vec!["longer".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["NAME", "ID"], &rows), ["NAME    ID", "a       -", "longer  b"]);
        assert_eq!(table(&[], &rows), ["a       -", "longer  b"]);
    }

    #[test]
    fn texts_of_clients_cannot_disturb_the_terminal() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(shown(&"x".repeat(10_000)).chars().count(), CELL + 1);
    }
}
