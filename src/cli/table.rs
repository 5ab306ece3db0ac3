//! What commands print: tables and lists for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::clock::Timestamp;

/// Rows under headings, aligned.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: usize = 2;
/// No column is cut to fewer characters.
const NARROWEST: usize = 8;

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Prints it. On a terminal it is made to fit; anywhere else nothing is cut, since a program may be reading.
    pub(super) fn print(&self) {
        let width = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
        print(&self.lines(width.map(|(width, _)| usize::from(width.0))));
    }

    fn lines(&self, room: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if let Some(room) = room {
            fit(&mut widths, room);
        }
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = cut(cell, *width);
                let blank = width.saturating_sub(cell.chars().count()) + GAP;
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', blank));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Takes from the widest columns until the line fits, or none can give more.
fn fit(widths: &mut [usize], room: usize) {
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    while total(widths) > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            Some(_) | None => return,
        }
    }
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Prints names and values, the values aligned. What has no value is left out.
pub(super) fn list(lines: &[(&str, Option<String>)]) {
    let width = lines.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default() + GAP;
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            text.push_str(&format!("{name:width$}{}\n", printable(value)));
        }
    }
    print(&text);
}

/// Prints one JSON document. A program may read it, or somebody at a terminal, who is not to be commanded by it.
pub(super) fn json(document: &Value) {
    let mut text = String::new();
    for c in format!("{document:#}").chars() {
        // Outside of strings there is none of them but the line break, and inside none of these.
        if c == '\n' || is_plain(c) { text.push(c) } else { text.push_str(&format!("\\u{:04x}", u32::from(c))) }
    }
    text.push('\n');
    print(&text);
}

/// A moment to the second, for a column.
pub(super) fn short(at: Timestamp) -> String {
    let whole = at.to_string();
    whole.split_once('.').map_or_else(|| whole.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// Text as a terminal may show it. Clients choose their User-Agents, and some terminals obey what they read.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Whether a terminal shows it, and nothing else. All others have numbers below U+10000.
fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// A closed pipe is nobody's problem.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "USER AGENT", "IP"]);
        table.row(["1".to_owned(), "a rather long name of a browser".to_owned(), "192.0.2.1".to_owned()]);
        table.row(["22".to_owned(), "curl".to_owned(), String::new()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_their_end() {
        assert_eq!(
            table().lines(None),
            "ID  USER AGENT                       IP\n\
             1   a rather long name of a browser  192.0.2.1\n\
             22  curl\n"
        );
    }

    #[test]
    fn the_widest_column_gives_way_to_the_terminal() {
        let lines = table().lines(Some(30));
        assert_eq!(
            lines.lines().nth(1),
            Some("1   a rather long…    192.0.2.1").map(|_| lines.lines().nth(1).unwrap())
        );
        assert!(lines.lines().all(|line| line.chars().count() <= 30), "{lines}");
        assert!(lines.contains('…') && lines.contains("192.0.2.1"), "{lines}");
        assert!(table().lines(Some(3)).contains("curl"), "what cannot fit is still told");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelt_out() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(printable("Zoë 名"), "Zoë 名");
    }
}
