//! Just enough reading of Rust to tell code from comments and strings, and to find what `crate::` names.

use std::ops::Range;

/// The text with every comment, string and character literal blanked; lines stay where they are.
pub(crate) fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_a_word = code.chars().next_back().is_some_and(is_word);
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = (!in_a_word).then(|| raw_string(rest)).flatten() {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char_literal(rest) {
            quoted(rest, '\'')
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the block comment at the start; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        let (change, step) = match rest {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth += change;
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the raw string (`r"…"`, `br#"…"#`) at the start, if one starts here.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body[hashes..].strip_prefix('"')?;
    let start = text.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// The length of the literal that the quote at the start opens.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the quote at the start opens a character, not a lifetime.
fn is_char_literal(text: &str) -> bool {
    let mut inside = text.chars().skip(1);
    match inside.next() {
        Some('\\') => true,
        Some(_) => inside.next() == Some('\''),
        None => false,
    }
}

/// Every top-level module that `crate::` names in the code, with its line; groups are opened.
pub(crate) fn arrows(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("crate") {
        let before = code[..at].chars().next_back();
        let Some(path) = code[at + word.len()..].trim_start().strip_prefix("::") else { continue };
        if before.is_some_and(is_word) {
            continue;
        }
        for head in heads(path) {
            let module: String = head.chars().take_while(|c| is_word(*c)).collect();
            let offset = head.as_ptr() as usize - code.as_ptr() as usize;
            // A name with a capital is an item that lib.rs re-exports, and `self` or `*` is the crate itself.
            if module.starts_with(|c: char| c.is_lowercase()) && module != "self" {
                found.push((line_of(code, offset), module));
            }
        }
    }
    found
}

/// Where each path begins: the text itself, or the members of the group it opens with.
fn heads(path: &str) -> Vec<&str> {
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![path.trim_start()] };
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(group[start..at].trim_start());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

/// The lines on which `super::` climbs out of the file's top-level module, as far as can be told without counting inline
/// modules: twice anywhere, or once in the production part of a file that is such a module.
pub(crate) fn climbs(code: &str, is_top_level: bool) -> Vec<usize> {
    let tests = test_parts(code);
    code.match_indices("super")
        .filter(|(at, word)| {
            let once = is_top_level && !tests.iter().any(|part| part.contains(at));
            let after = code[at + word.len()..].trim_start().strip_prefix("::").map(str::trim_start);
            after.is_some_and(|rest| once || rest.starts_with("super"))
        })
        .map(|(at, _)| line_of(code, at))
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The lines of the file without those of its `#[cfg(test)]` items.
pub(crate) fn production_lines(code: &str) -> usize {
    let in_tests: usize = test_parts(code).into_iter().map(|part| code[part].lines().count()).sum();
    code.lines().count() - in_tests
}

fn test_parts(code: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]") {
        let start = from + at;
        from = start + item_length(&code[start..]);
        parts.push(start..from);
    }
    parts
}

/// How far an item reaches: to the end of its first braces, or to a semicolon outside any bracket.
fn item_length(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '}' if depth == 1 => return at + 1,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}
