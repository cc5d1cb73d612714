//! Rules for conformance cases: each parses, says what it is about and which part of the contract it proves.

use serde_json::Value;

use super::Violation;

pub(super) fn is_case(path: &str) -> bool {
    path.strip_prefix("tests/conformance/cases/").is_some_and(|name| name.ends_with(".json"))
}

pub(super) fn check(path: &str, content: &str) -> Vec<Violation> {
    let case: Value = match serde_json::from_str(content) {
        Ok(case) => case,
        Err(error) => return vec![Violation::new(path, error.line(), format!("not JSON: {error}"))],
    };
    let mut violations = Vec::new();
    for member in ["about", "contract"] {
        if case[member].as_str().is_none_or(|text| text.trim().is_empty()) {
            violations.push(Violation::new(path, 1, format!("`{member}` is missing or not a text")));
        }
    }
    if case["steps"].as_array().is_none_or(Vec::is_empty) {
        violations.push(Violation::new(path, 1, "`steps` is missing or not a list of steps"));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(content: &str) -> Vec<String> {
        check("case.json", content).into_iter().map(|found| found.to_string()).collect()
    }

    #[test]
    fn only_json_files_of_that_folder_are_cases() {
        assert!(is_case("tests/conformance/cases/a.json"));
        assert!(!is_case("tests/conformance/cases/README.md"));
        assert!(!is_case("tests/a.json"));
    }

    #[test]
    fn a_whole_case_passes() {
        assert!(messages(r#"{"about": "a", "contract": "2.1", "steps": [{"call": "x"}]}"#).is_empty());
    }

    #[test]
    fn what_is_missing_or_empty_is_named() {
        assert_eq!(
            messages(r#"{"about": "", "steps": []}"#),
            [
                "case.json:1: `about` is missing or not a text",
                "case.json:1: `contract` is missing or not a text",
                "case.json:1: `steps` is missing or not a list of steps",
            ]
        );
        assert_eq!(messages("[]").len(), 3);
    }

    #[test]
    fn broken_json_is_found_on_its_line() {
        let found = messages("{\n\"about\": \"a\",\n}");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("case.json:3: not JSON"), "{found:?}");
    }
}
