//! Rules for Rust files: a head that says what the file answers, a bearable length, nothing unfinished, and unsafe
//! code in few crates only.

use super::Violation;
use super::text::contains_word;

/// A longer file fails.
const WALL: usize = 800;
/// A longer file is mentioned.
pub(super) const NOTED: usize = 500;
/// Where interfaces of C make it necessary: the kernel's, and the libraries' own.
const UNSAFE_HOMES: [&str; 5] = [
    "crates/hcn-linux/",
    "crates/hcn-c/",
    "crates/libcomputenetwork/",
    "crates/libvmcompute/",
    "crates/hcn-wine/",
];
/// Put together, so that this file does not break its own rule.
const UNFINISHED: [&str; 3] = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("#[ig", "nore")];

pub(super) fn check(path: &str, content: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let lines = content.lines().count();
    if lines > WALL {
        violations.push(Violation::new(path, lines, format!("{lines} lines; {WALL} is the wall: split it")));
    }
    if !content.starts_with("//!") {
        violations.push(Violation::new(
            path,
            1,
            "the file does not begin with a `//!` line that says what it answers",
        ));
    }
    let bare = without_comments_and_strings(content);
    for (index, line) in bare.lines().enumerate() {
        for mark in UNFINISHED {
            if line.contains(mark) {
                violations.push(Violation::new(path, index + 1, format!("`{mark}` does not ship")));
            }
        }
        if !UNSAFE_HOMES.iter().any(|home| path.starts_with(home)) && contains_word(line, "unsafe") {
            let message = format!("unsafe code belongs to {}", UNSAFE_HOMES.join(", "));
            violations.push(Violation::new(path, index + 1, message));
        }
    }
    for (index, line) in content.lines().enumerate() {
        if line.contains('\t') {
            violations.push(Violation::new(path, index + 1, "a tab"));
        }
    }
    violations
}

/// The number of lines, if it deserves a mention.
pub(super) fn long(path: &str, content: &str) -> Option<(usize, String)> {
    let lines = content.lines().count();
    (lines > NOTED).then(|| (lines, path.to_owned()))
}

/// The code alone; the lines keep their numbers. It knows line and nested block comments, strings with escapes, raw
/// strings and characters, which is all that can hide a word; it does not know macros, and need not.
fn without_comments_and_strings(content: &str) -> String {
    let mut bare = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(next) = rest.chars().next() {
        let hidden = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if next == '"' {
            string(rest)
        } else if next == 'r' && !bare.ends_with(|c: char| c.is_alphanumeric() && c != 'b' && c != 'c') {
            raw_string(rest)
        } else if next == '\'' {
            character(rest)
        } else {
            0
        };
        if hidden == 0 {
            bare.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            bare.extend(rest[..hidden].chars().filter(|c| *c == '\n'));
            rest = &rest[hidden..];
        }
    }
    bare
}

/// The length of the block comment that `text` begins with.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal that `text` begins with, or 0 if that is a word.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 2;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// The length of the character literal that `text` begins with, or 0 if that is a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        // The second character is escaped whatever it is; the next quote ends it.
        Some((_, '\\')) => text.get(3..).and_then(|rest| rest.find('\'')).map_or(0, |at| at + 4),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "//! What it answers.\n";

    fn lines(path: &str, content: &str) -> Vec<usize> {
        check(path, content).into_iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert_eq!(lines("a.rs", "fn main() {}\n"), [1]);
        assert!(lines("a.rs", HEAD).is_empty());
    }

    #[test]
    fn the_wall_fails_and_a_long_file_is_noted() {
        let of = |count: usize| format!("{HEAD}{}", "//\n".repeat(count - 1));
        assert_eq!((lines("a.rs", &of(500)), long("a.rs", &of(500))), (vec![], None));
        assert_eq!(
            (lines("a.rs", &of(501)), long("a.rs", &of(501))),
            (vec![], Some((501, "a.rs".to_owned())))
        );
        assert!(lines("a.rs", &of(800)).is_empty());
        assert_eq!(lines("a.rs", &of(801)), [801]);
    }

    #[test]
    fn unfinished_code_is_found() {
        for mark in UNFINISHED {
            assert_eq!(lines("a.rs", &format!("{HEAD}fn f() {{ {mark} }}\n")), [2], "{mark}");
            assert!(lines("a.rs", &format!("{HEAD}// no {mark} here\n")).is_empty(), "{mark}");
        }
    }

    #[test]
    fn unsafe_code_lives_in_few_crates() {
        let content = format!("{HEAD}fn f() {{\n    unsafe {{ g() }}\n}}\n");
        assert_eq!(lines("crates/hcn-core/src/f.rs", &content), [3]);
        assert!(lines("crates/hcn-linux/src/f.rs", &content).is_empty());
        assert!(lines("crates/hcn-c/src/f.rs", &content).is_empty());
        assert!(lines("a.rs", &format!("{HEAD}#![deny(unsafe_code)]\n")).is_empty());
    }

    #[test]
    fn a_tab_is_found() {
        assert_eq!(lines("a.rs", &format!("{HEAD}\tfn f() {{}}\n")), [2]);
    }

    #[test]
    fn comments_and_literals_hide_words_and_nothing_else() {
        for hidden in [
            "// unsafe",
            "/* unsafe /* unsafe */ unsafe */",
            r#""unsafe \" unsafe""#,
            r##"r#"unsafe " unsafe"#"##,
            r#"br"unsafe""#,
            r#"b"\\unsafe""#,
            r#"'"' /* unsafe */"#,
            r#"'\'' /* unsafe */"#,
            r"'\u{22}' // unsafe",
        ] {
            assert!(!without_comments_and_strings(hidden).contains("unsafe"), "{hidden}");
        }
        for seen in [
            r#""" unsafe"#,
            r#"'"' unsafe '"'"#,
            r"'\\' unsafe",
            "&'a str, unsafe",
            "/**/ unsafe",
            r##"r#""# unsafe"##,
            "for r in 0 unsafe",
            "'é' unsafe",
        ] {
            assert!(without_comments_and_strings(seen).contains("unsafe"), "{seen}");
        }
        assert_eq!(without_comments_and_strings("a /* 1\n2 */ b \"3\n4\" c").lines().count(), 3);
    }
}
