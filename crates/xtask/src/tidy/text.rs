//! Rules for every text file: no unfinished business, no path of somebody's machine, no invisible characters.

use super::Violation;

/// Words that mark what is unfinished. Put together, so that this file does not break its own rule.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Folders that exist on one machine and not on the next.
const MACHINE_PATHS: [&str; 3] = [concat!("/wor", "k/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

pub(super) fn check(path: &str, content: &str) -> Vec<Violation> {
    // Written by cargo.
    if path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let mut add = |message: String| violations.push(Violation::new(path, index + 1, message));
        for mark in MARKS {
            if contains_word(line, mark) {
                add(format!("{mark}: finish it"));
            }
        }
        for machine in MACHINE_PATHS {
            if contains_absolute(line, machine) {
                add(format!("a path below {machine} exists on one machine only"));
            }
        }
        if line.ends_with([' ', '\t']) {
            add("white space at the end of the line".to_owned());
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        let last = content.lines().count();
        violations.push(Violation::new(path, last, "the last line does not end"));
    }
    violations
}

/// Whether `word` stands alone somewhere in `line`.
pub(super) fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !line[..start].ends_with(part) && !line[start + word.len()..].starts_with(part)
    })
}

/// Whether an absolute path begins so, rather than a relative path or a URL that has such a part.
fn contains_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let inside = |c: char| c.is_alphanumeric() || "_-.~/})$*]>".contains(c);
        !line[..start].ends_with(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(content: &str) -> Vec<(usize, String)> {
        check("file.md", content).into_iter().map(|found| (found.line, found.message)).collect()
    }

    #[test]
    fn clean_text_passes() {
        assert_eq!(messages("# Title\n\nWords; `mktemp -d work-XXXXXX`, TODOS.\n"), []);
        assert!(messages("").is_empty());
    }

    #[test]
    fn a_mark_is_found_where_it_stands_alone() {
        for mark in MARKS {
            let found = messages(&format!("fine\n# {mark}(me): later\n"));
            assert_eq!(found.len(), 1, "{mark}");
            assert_eq!(found[0].0, 2);
            assert!(messages(&format!("_{mark}_ {mark}S\n")).is_empty());
        }
    }

    #[test]
    fn an_absolute_path_of_a_machine_is_found_and_a_part_of_another_path_is_not() {
        for machine in MACHINE_PATHS {
            assert_eq!(messages(&format!("cd \"{machine}me\"\n")).len(), 1, "{machine}");
            for before in ["src", "..", "https://example.test", "$dir", "~", "${dir}"] {
                assert!(messages(&format!("cd {before}{machine}me\n")).is_empty(), "{before}");
            }
        }
    }

    #[test]
    fn invisible_characters_at_an_end_are_found() {
        assert_eq!(messages("one \ntwo\t\nthree").iter().map(|found| found.0).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn what_cargo_writes_is_not_read() {
        assert!(check("Cargo.lock", "x ").is_empty());
    }
}
