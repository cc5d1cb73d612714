//! Which cases prove what of the contract? Every behaviour, failure, text and scenario of
//! `tests/conformance/behaviours.txt` needs a case that names it, and the failures and texts must be met there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

const LIST: &str = "tests/conformance/behaviours.txt";
const CASES: &str = "tests/conformance/cases";
/// The groups, by the first word of an item, and how many are covered.
const GROUPS: [(&str, &str); 4] =
    [("B", "behaviours"), ("E", "failures"), ("T", "texts"), ("scenario", "scenarios")];

/// Something that the contract demands.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    /// `B12`, `E3`, `T1`, `scenario 7`.
    name: String,
    /// The codes or the text that a case must contain.
    marks: Vec<String>,
    what: String,
}

impl Item {
    fn group(&self) -> &str {
        self.name.split(|c: char| c == ' ' || c.is_ascii_digit()).next().unwrap_or_default()
    }
}

/// A case, as far as it matters here.
#[derive(Debug)]
struct Case {
    name: String,
    /// The names of the items that it proves.
    proves: Vec<String>,
    /// All texts of its steps.
    texts: BTreeSet<String>,
}

/// Prints what proves what, and says by its exit code whether everything is proved.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let (table, problems) = look(root)?;
    print!("{table}");
    for problem in &problems {
        println!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table, and what is wrong.
fn look(root: &Path) -> anyhow::Result<(String, Vec<String>)> {
    let list = fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let items = items(&list)?;
    let cases = read_cases(&root.join(CASES), &items)?;
    Ok((table(&items, &cases), problems(&items, &cases)))
}

fn items(list: &str) -> anyhow::Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    for (index, line) in list.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let item = item(line).with_context(|| format!("{LIST}:{}: {line:?}", index + 1))?;
        ensure!(items.iter().all(|other| other.name != item.name), "{LIST}: {} is there twice", item.name);
        items.push(item);
    }
    Ok(items)
}

fn item(line: &str) -> anyhow::Result<Item> {
    let (mut name, mut rest) = word(line).context("no name")?;
    let numbered;
    if name == "scenario" {
        let (number, after) = word(rest).context("no number")?;
        numbered = format!("{name} {number}");
        (name, rest) = (&numbered, after);
    }
    let mut marks = Vec::new();
    if name.starts_with('T') {
        let text = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).context("no text")?;
        marks.push(text.to_owned());
    }
    while let Some((code, after)) = word(rest).filter(|(word, _)| word.starts_with("0x")) {
        marks.push(code.to_owned());
        rest = after;
    }
    ensure!(!rest.is_empty(), "nothing is said about it");
    ensure!(name.starts_with('E') != marks.is_empty() || name.starts_with('T'), "codes belong to E");
    let item = Item { name: name.to_owned(), marks, what: rest.to_owned() };
    ensure!(GROUPS.iter().any(|(group, _)| *group == item.group()), "what kind of thing is it?");
    Ok(item)
}

/// The first word and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(' ').unwrap_or(text.len());
    (!text.is_empty()).then(|| (&text[..end], text[end..].trim()))
}

fn read_cases(folder: &Path, items: &[Item]) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|ending| ending == "json") {
            let document: Value = serde_json::from_str(&fs::read_to_string(&path)?)
                .with_context(|| format!("{name} is not JSON"))?;
            cases.push(case(name.clone(), &document, items).with_context(|| format!("case {name}"))?);
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn case(name: String, document: &Value, items: &[Item]) -> anyhow::Result<Case> {
    let mut proves = Vec::new();
    for part in document["contract"].as_str().unwrap_or_default().split(',').map(str::trim) {
        // Sections and questions are for people.
        if part.starts_with(|c: char| c.is_ascii_digit()) || part.starts_with("question") {
            continue;
        }
        let (first, last) = part.split_once(" to ").unwrap_or((part, part));
        let place = |name: &str| items.iter().position(|item| item.name == name);
        match (place(first), place(last)) {
            (Some(first), Some(last)) if first <= last => {
                proves.extend(items[first..=last].iter().map(|item| item.name.clone()));
            }
            _ => bail!("{part:?} is not in {LIST}"),
        }
    }
    let mut texts = BTreeSet::new();
    collect(&document["steps"], &mut texts);
    Ok(Case { name, proves, texts })
}

fn collect(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            texts.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        _ => {}
    }
}

/// How the case of a scenario begins.
fn prefix(item: &Item) -> Option<String> {
    let number = item.name.strip_prefix("scenario ")?;
    Some(format!("scenario-{number:0>2}-"))
}

fn proofs<'a>(item: &Item, cases: &'a [Case]) -> Vec<&'a Case> {
    cases.iter().filter(|case| case.proves.contains(&item.name)).collect()
}

fn problems(items: &[Item], cases: &[Case]) -> Vec<String> {
    let mut problems = Vec::new();
    for item in items {
        let proofs = proofs(item, cases);
        if proofs.is_empty() {
            problems.push(format!("{}: no case: {}", item.name, item.what));
            continue;
        }
        for mark in &item.marks {
            if !proofs.iter().any(|case| case.texts.contains(mark)) {
                problems.push(format!("{}: {mark:?} is met in no case that names it", item.name));
            }
        }
        if let Some(prefix) = prefix(item) {
            if !proofs.iter().any(|case| case.name.starts_with(&prefix)) {
                problems.push(format!("{}: its case is not called {prefix}….json", item.name));
            }
            for case in cases.iter().filter(|case| case.name.starts_with(&prefix)) {
                if !case.proves.contains(&item.name) {
                    problems.push(format!("case {} does not name {}", case.name, item.name));
                }
            }
        }
    }
    problems
}

fn table(items: &[Item], cases: &[Case]) -> String {
    let mut table = String::new();
    for item in items {
        let names: Vec<&str> = proofs(item, cases).iter().map(|case| case.name.as_str()).collect();
        let names = if names.is_empty() { "NOTHING".to_owned() } else { names.join(", ") };
        let codes = if item.group() == "E" { format!("{} ", item.marks.join(" ")) } else { String::new() };
        let _ = writeln!(table, "{:<12} {codes}{}\n{:<15} {names}", item.name, item.what, "");
    }
    let _ = writeln!(table, "{} cases", cases.len());
    for (group, title) in GROUPS {
        let all: Vec<&Item> = items.iter().filter(|item| item.group() == group).collect();
        let proved = all.iter().filter(|item| !proofs(item, cases).is_empty()).count();
        let _ = writeln!(table, "{proved} of {} {title}", all.len());
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SOME: &str = "# head\n\nB1   one\nB2   two\nB4   four\nE1   0x803b0001 0x803b0002  fails\nT1   \"Text. \"\n\
        scenario 1   first\nscenario 12  twelfth\n";

    fn read(name: &str, contract: &str, steps: &Value) -> anyhow::Result<Case> {
        let document = json!({"contract": contract, "steps": steps});
        case(name.to_owned(), &document, &items(SOME)?)
    }

    #[test]
    fn the_contract_is_proved_by_cases() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let (_, problems) = look(root).unwrap();
        assert!(problems.is_empty(), "see cargo xtask contract:\n{}", problems.join("\n"));
    }

    #[test]
    fn the_list_is_read() {
        let items = items(SOME).unwrap();
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["B1", "B2", "B4", "E1", "T1", "scenario 1", "scenario 12"]);
        assert_eq!(items[3].marks, ["0x803b0001", "0x803b0002"]);
        assert_eq!((items[3].what.as_str(), items[4].marks[0].as_str()), ("fails", "Text. "));
        for wrong in ["B1", "E1 no code", "B1 0x80070490 code", "T1 text", "X1 what", "B1 a\nB1 b"] {
            assert!(super::items(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_case_names_what_it_proves() {
        let found = read("a", "2.1, B1 to B4, question 7, scenario 12", &json!([])).unwrap();
        assert_eq!(found.proves, ["B1", "B2", "B4", "scenario 12"]);
        for wrong in ["B3", "B4 to B1", "scenario 2", "b1"] {
            assert!(read("a", wrong, &json!([])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let items = items(SOME).unwrap();
        let steps = json!([{"error": {"hresult": "0x803b0001"}}, {"refused": {"text": "Text. "}}]);
        let cases = [
            read("one", "B1 to B2, E1, T1, scenario 1", &steps).unwrap(),
            read("scenario-12-twelve", "B1", &json!([])).unwrap(),
        ];
        assert_eq!(
            problems(&items, &cases),
            [
                "B4: no case: four",
                "E1: \"0x803b0002\" is met in no case that names it",
                "scenario 1: its case is not called scenario-01-….json",
                "scenario 12: no case: twelfth",
            ]
        );
        let table = table(&items, &cases);
        assert!(table.contains("B1           one\n                one, scenario-12-twelve\n"), "{table}");
        assert!(
            table.ends_with("2 cases\n2 of 3 behaviours\n1 of 1 failures\n1 of 1 texts\n1 of 2 scenarios\n")
        );
    }
}
