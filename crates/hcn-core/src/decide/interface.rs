//! What an endpoint's interface is called in its namespace: as its document says, else the lowest `ethN` that is free.

use hcn_schema::{Error, HResult, Raw, Result};
use serde_json::Value;

use super::View;
use crate::entity::{Endpoint, Namespace};
use crate::text;

const MEMBER: &str = "InterfaceName";
const PATH: &str = "AdditionalParams.InterfaceName";
/// The longest name (`IFNAMSIZ` without its NUL), in octets.
const LONGEST: usize = 15;

/// What a document says, if it does. Other members are the client's own.
pub(super) fn asked(params: Option<&Raw>) -> Result<Option<String>> {
    let Some(params) = params.filter(|params| params.get().contains(MEMBER)) else { return Ok(None) };
    let Ok(params) = serde_json::from_str::<Value>(params.get()) else { return Ok(None) };
    match params.get(MEMBER) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if is_name(name) => Ok(Some(name.clone())),
        Some(_) => {
            let error = Error::new(HResult::INVALID_ARGUMENT, "this is no name for an interface");
            Err(error.at(PATH).expected("1 to 15 octets without blanks, slashes and colons"))
        }
    }
}

/// As the kernel sees it; every namespace has an `lo` of its own.
fn is_name(name: &str) -> bool {
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    (1..=LONGEST).contains(&name.len()) && !["lo", ".", ".."].contains(&name) && !name.contains(wrong)
}

/// The name that no endpoint of the namespace has, nor another link in it.
pub(super) fn name(view: &View<'_>, namespace: &Namespace, endpoint: &Endpoint) -> Result<String> {
    // Who made the namespace may have links of its own in it.
    let others = view.context.host.netns.as_ref().filter(|_| namespace.from.is_some());
    let others = others.into_iter().flat_map(|netns| &netns.links).map(String::as_str);
    let taken: Vec<&str> = namespace
        .endpoints()
        .filter_map(|id| view.registry.endpoints.get(id)?.interface.as_deref())
        .chain(others)
        .collect();
    if let Some(name) = asked(endpoint.document.additional_params.as_ref())? {
        if taken.contains(&name.as_str()) {
            let message =
                format!("the namespace {} has an interface {}", namespace.meta.id, text::shown(&name));
            return Err(Error::new(HResult::OBJECT_ALREADY_EXISTS, message).at("Settings.EndpointId"));
        }
        return Ok(name);
    }
    let mut names = (0..=taken.len()).map(|index| format!("eth{index}"));
    Ok(names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default())
}

/// Which of the namespace's interfaces it is, where that does not follow from its name.
pub(super) fn rank(view: &View<'_>, namespace: &Namespace, endpoint: &Endpoint) -> Option<u32> {
    let others = namespace.endpoints().filter_map(|id| view.registry.endpoints.get(id));
    let taken: Vec<u32> = others.map(|other| other.rank()).collect();
    if taken.contains(&endpoint.rank()) { (0..).find(|rank| !taken.contains(rank)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_name_is_one() {
        let ask =
            |value: &str| asked(Some(&Raw::new(format!(r#"{{"InterfaceName":{value},"mine":1}}"#)).unwrap()));
        assert_eq!(ask(r#""net1""#), Ok(Some("net1".to_owned())));
        assert_eq!(ask(r#""0123456789abcde""#), Ok(Some("0123456789abcde".to_owned())));
        assert_eq!(ask("null"), Ok(None));
        assert_eq!(asked(None), Ok(None));
        for wrong in [
            r#""""#,
            r#""lo""#,
            r#""..""#,
            r#""a b""#,
            r#""a/b""#,
            r#""a:b""#,
            r#""eth%d""#,
            "1",
            r#""0123456789abcdef""#,
        ] {
            let error = ask(wrong).unwrap_err();
            assert_eq!(
                (error.code, error.path.as_deref()),
                (HResult::INVALID_ARGUMENT, Some(PATH)),
                "{wrong}"
            );
        }
    }
}
