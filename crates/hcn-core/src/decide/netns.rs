//! Network namespaces that others made: what documents say of them, and what must be known of them first.

use hcn_dataplane::Existing;
use hcn_schema::call::{Call, Kind, Verb};
use hcn_schema::enums::NamespaceType;
use hcn_schema::{Error, HResult, Raw, Result};
use serde_json::Value;

use super::View;
use crate::registry::Registry;
use crate::text;

const PATH: &str = "AdditionalParams.NetnsPath";
const DESCRIPTOR: &str = "AdditionalParams.NetnsFd";
/// The longest path (`PATH_MAX`), in octets.
const LONGEST: usize = 4095;

/// What a document asks for.
struct Asked {
    path: String,
    /// The member that says it.
    member: &'static str,
}

/// What the data plane must be asked of before a call can be decided: the path, or the name in the netns folder, of a
/// network namespace that somebody else made.
pub fn named_netns(registry: &Registry, call: &Call, caller: Option<i32>) -> Option<String> {
    let document = |text: &Option<String>| serde_json::from_str::<Value>(text.as_deref()?).ok();
    let namespace = match (&call.verb, call.kind) {
        (Verb::Create { document: given, .. }, Kind::Namespace) => {
            // Most documents have none of it, and need not be read twice.
            let given = given.as_ref().filter(|text| text.contains("Netns"))?;
            let document: Value = serde_json::from_str(given).ok()?;
            return asked(document.get("AdditionalParams")?, caller).ok()?.map(|asked| asked.path);
        }
        (Verb::Modify { target, .. }, Kind::Namespace) => registry.namespaces.get(target.id),
        (Verb::Act { document: given, .. }, Kind::Endpoint) => {
            let number = document(given)?.get("CompartmentId")?.as_u64()?;
            registry.namespaces.iter().find(|namespace| u64::from(namespace.number) == number)
        }
        _ => None,
    };
    namespace.filter(|namespace| namespace.from.is_some()).map(|namespace| namespace.file())
}

fn asked(params: &Value, caller: Option<i32>) -> Result<Option<Asked>> {
    let invalid = |message: &str, member: &str| Error::new(HResult::INVALID_ARGUMENT, message).at(member);
    let given = |member: &str| params.get(member).filter(|value| !value.is_null());
    match (given("NetnsPath"), given("NetnsFd")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(invalid("a path and a descriptor are given", DESCRIPTOR).expected("one of them"))
        }
        (Some(path), None) => {
            let fine = |path: &&str| path.starts_with('/') && path.len() <= LONGEST && !path.contains('\0');
            let path = path.as_str().filter(fine).ok_or_else(|| {
                invalid("this is no absolute path", PATH).expected("the path of a network namespace")
            })?;
            Ok(Some(Asked { path: path.to_owned(), member: PATH }))
        }
        (None, Some(descriptor)) => {
            let number =
                descriptor.as_u64().and_then(|number| i32::try_from(number).ok()).ok_or_else(|| {
                    invalid("this is no descriptor", DESCRIPTOR)
                        .expected("the number of a descriptor of the caller")
                })?;
            let caller = caller.filter(|pid| *pid > 0).ok_or_else(|| {
                let message = "the process that asks is in a process namespace that hcnd does not see";
                invalid(message, DESCRIPTOR).expected("NetnsPath instead")
            })?;
            Ok(Some(Asked { path: format!("/proc/{caller}/fd/{number}"), member: DESCRIPTOR }))
        }
    }
}

/// The network namespace that a new namespace is to be, if somebody else made it.
pub(super) fn existing(
    view: &View<'_>,
    kind: NamespaceType,
    params: Option<&Raw>,
) -> Result<Option<Existing>> {
    let Some(params) = params.filter(|params| params.get().contains("Netns")) else { return Ok(None) };
    let Ok(params) = serde_json::from_str::<Value>(params.get()) else { return Ok(None) };
    let Some(asked) = asked(&params, view.context.caller_pid)? else { return Ok(None) };
    let fail = |code, message: String| Error::new(code, message).at(asked.member);
    if kind != NamespaceType::Host {
        let message = format!("a namespace of type {} is no network namespace of its own", kind.name());
        return Err(fail(HResult::INVALID_ARGUMENT, message).expected("Type Host"));
    }
    let facts = view.context.host.netns.clone().unwrap_or_default();
    let shown = text::shown(&asked.path);
    if let Some(problem) = facts.problem {
        let code = match problem.errno {
            Some(2) => HResult::NOT_FOUND,
            Some(110) => HResult::TIMEOUT,
            _ => HResult::INVALID_ARGUMENT,
        };
        let message = format!("{shown}: {}", problem.message);
        return Err(fail(code, message).expected("the path of a network namespace"));
    }
    if facts.own {
        let message = format!("{shown} is the host's own network namespace");
        return Err(fail(HResult::INVALID_ARGUMENT, message).expected("Type HostDefault for it"));
    }
    if let Some(name) = facts.known_as {
        let message = format!("{shown} is the namespace {name} already");
        return Err(fail(HResult::OBJECT_ALREADY_EXISTS, message));
    }
    Ok(Some(Existing { path: asked.path, inode: facts.inode }))
}
