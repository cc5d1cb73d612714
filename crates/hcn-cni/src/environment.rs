//! What the runtime tells by environment variables: about which container it is, and what is special about it.

use std::env;
use std::path::PathBuf;

use crate::error::{Code, Error, Result};

/// An attachment of a container, as the runtime names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// Name of its interface.
    pub(crate) interface: String,
    /// Path of its network namespace; a container that is gone may have none.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) arguments: Arguments,
}

/// `CNI_ARGS`, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) ip: Option<String>,
    pub(crate) mac: Option<String>,
    /// What the runtime calls the container.
    pub(crate) name: Option<String>,
}

/// A variable that must be there.
pub(crate) fn required(name: &str) -> Result<String> {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| Error::new(Code::InvalidEnvironment, format!("{name} is missing")))
}

impl Container {
    /// Reads the variables of ADD, DEL and CHECK.
    pub(crate) fn from_environment() -> Result<Self> {
        let invalid = |name: &str, value: &str| {
            Error::new(Code::InvalidEnvironment, format!("{name} is invalid: {value:?}"))
        };
        let id = required("CNI_CONTAINERID")?;
        if !is_identifier(&id) {
            return Err(invalid("CNI_CONTAINERID", &id));
        }
        let interface = required("CNI_IFNAME")?;
        if !is_interface(&interface) {
            return Err(invalid("CNI_IFNAME", &interface));
        }
        let netns = env::var_os("CNI_NETNS").filter(|path| !path.is_empty()).map(PathBuf::from);
        let arguments = Arguments::parse(&env::var("CNI_ARGS").unwrap_or_default())?;
        Ok(Self { id, interface, netns, arguments })
    }

    /// The path that ADD and CHECK need.
    pub(crate) fn netns(&self) -> Result<&PathBuf> {
        let netns = self.netns.as_ref();
        netns.ok_or_else(|| Error::new(Code::InvalidEnvironment, "CNI_NETNS is missing"))
    }
}

impl Arguments {
    fn parse(text: &str) -> Result<Self> {
        let mut arguments = Self::default();
        let mut unknown = Vec::new();
        let mut ignore = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::new(Code::InvalidEnvironment, format!("CNI_ARGS: {pair:?} is no KEY=VALUE"))
            })?;
            match key {
                "IP" => arguments.ip = Some(value.to_owned()),
                "MAC" => arguments.mac = Some(value.to_owned()),
                "K8S_POD_NAME" => arguments.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
                "IgnoreUnknown" => ignore = value == "1" || value.eq_ignore_ascii_case("true"),
                _ => unknown.push(key),
            }
        }
        // What a plugin does not know is an error unless the runtime says otherwise.
        if !ignore && !unknown.is_empty() {
            let message = format!("CNI_ARGS: unknown: {}", unknown.join(", "));
            return Err(Error::new(Code::InvalidEnvironment, message));
        }
        Ok(arguments)
    }
}

/// A name of a network, or an ID of a container.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_interface(text: &str) -> bool {
    let wrong = |c: char| c.is_whitespace() || "/:".contains(c);
    (1..=15).contains(&text.len()) && ![".", ".."].contains(&text) && !text.contains(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_not_known_are_refused_unless_they_are_to_be_ignored() {
        let known = Arguments {
            ip: Some("192.0.2.7".to_owned()),
            mac: Some("02:00:00:00:00:07".to_owned()),
            name: Some("box".to_owned()),
        };
        let text = "IP=192.0.2.7;MAC=02:00:00:00:00:07;K8S_POD_NAME=box";
        assert_eq!(Arguments::parse(text), Ok(known.clone()));
        assert_eq!(Arguments::parse(&format!("FOO=1;{text};IgnoreUnknown=true")), Ok(known));
        assert_eq!(Arguments::parse(""), Ok(Arguments::default()));
        for wrong in ["FOO=1", "FOO=1;IgnoreUnknown=0", "IP"] {
            assert_eq!(Arguments::parse(wrong).unwrap_err().code, Code::InvalidEnvironment, "{wrong}");
        }
    }

    #[test]
    fn names_are_what_the_specification_allows() {
        for fine in ["a", "0a_.-"] {
            assert!(is_identifier(fine), "{fine}");
        }
        for wrong in ["", "-a", "a/b", "a b", "ä"] {
            assert!(!is_identifier(wrong), "{wrong}");
        }
        for wrong in ["", ".", "..", "a b", "a/b", "a:b", "0123456789abcdef"] {
            assert!(!is_interface(wrong), "{wrong}");
        }
        assert!(is_interface("0123456789abcde"));
    }
}
