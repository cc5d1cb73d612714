//! What does a message ask for? Parameters become a call of the service, handles resolved.

use std::sync::Arc;

use hcn_schema::call::{Call, HnsRequest, Kind, Reference, Verb};
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::interfaces::Verb as Name;
use crate::pipeline::Asked;
use crate::session::Session;
use crate::{frame, params};

/// A method on entities, resolved.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// For the service.
    Asked(Asked),
    /// A handle was closed.
    Closed,
}

/// Resolves a method on entities.
pub(crate) fn entity(
    session: &Arc<Session>,
    kind: Kind,
    name: Name,
    given: Option<&RawValue>,
    nesting: usize,
) -> Result<Resolved> {
    let call = |verb| Resolved::Asked(Asked::Entity(Call { kind, verb }, None));
    // Room for the handle is taken before anything is changed.
    let with_handle = |verb| {
        let room = session.reserve()?;
        Ok::<_, Error>(Resolved::Asked(Asked::Entity(Call { kind, verb }, Some(room))))
    };
    Ok(match name {
        Name::Enumerate => {
            let given: params::Enumerate = parameters(given)?;
            call(Verb::Enumerate { query: document(given.query, "query", given.text, nesting)? })
        }
        Name::Create => {
            let given: params::Create = parameters(given)?;
            let id = given.id.map(|text| guid(&text, "id")).transpose()?.filter(|id| !id.is_zero());
            let parent = parent(session, kind, given.network_handle, given.network_id)?;
            let document = document(given.settings, "settings", given.text, nesting)?;
            with_handle(Verb::Create { id, parent, document })?
        }
        Name::Open => {
            let id = required_id(given)?;
            with_handle(Verb::Open { id })?
        }
        Name::Modify => {
            let given: params::Modify = parameters(given)?;
            let target = target(session, kind, given.handle, given.id)?;
            call(Verb::Modify {
                target,
                document: document(given.settings, "settings", given.text, nesting)?,
            })
        }
        Name::Query | Name::QueryStats | Name::QueryAddresses | Name::Explain => {
            let given: params::Query = parameters(given)?;
            let target = target(session, kind, given.handle, given.id)?;
            let query = document(given.query, "query", given.text, nesting)?;
            call(match name {
                Name::QueryStats => Verb::QueryStats { target, query },
                Name::QueryAddresses => Verb::QueryAddresses { target, query },
                Name::Explain => Verb::Explain { target, question: query },
                _ => Verb::Query { target, query },
            })
        }
        Name::Delete => call(Verb::Delete { id: required_id(given)? }),
        Name::Close => {
            let given: params::ByHandle = parameters(given)?;
            match session.close(kind, given.handle.ok_or_else(|| missing("handle", "a handle"))?)? {
                Some(release) => Resolved::Asked(Asked::Release(release)),
                None => Resolved::Closed,
            }
        }
    })
}

/// Method and path of a request of HNS version 1, as far as they can be read: who may make it is decided before anything
/// else is looked at.
pub(crate) fn hns_target(given: Option<&RawValue>) -> (String, String) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Target {
        method: String,
        path: String,
    }
    let target = given.and_then(|given| serde_json::from_str(given.get()).ok());
    let Target { method, path } = target.unwrap_or_default();
    (method, path)
}

/// Resolves a request of HNS version 1.
pub(crate) fn hns(given: Option<&RawValue>, nesting: usize) -> Result<HnsRequest> {
    const METHODS: &str = "GET, POST or DELETE";
    let params::HnsCall { method, path, request, text } = parameters(given)?;
    let method = method.ok_or_else(|| missing("method", METHODS))?;
    if !["GET", "POST", "DELETE"].contains(&method.as_str()) {
        return Err(invalid("method", &format!("there is no method {method:?}"), METHODS));
    }
    let path = path.ok_or_else(|| missing("path", "a path, as /networks/ID"))?;
    Ok(HnsRequest { method, path, body: document(request, "request", text, nesting)? })
}

/// The parameters of a method; none count as an empty object.
pub(crate) fn parameters<'a, T: Deserialize<'a>>(given: Option<&'a RawValue>) -> Result<T> {
    // What arrives here is well-formed JSON, so whatever is wrong with it is a wrong parameter.
    hcn_schema::parse(given.map_or("{}", RawValue::get))
        .map_err(|error| Error { code: HResult::INVALID_ARGUMENT, ..error })
}

/// The error of a parameter that must be given.
pub(crate) fn missing(path: &str, expected: &str) -> Error {
    invalid(path, &format!("the parameter {path} is missing"), expected)
}

/// The error of a parameter that is wrong.
pub(crate) fn invalid(path: &str, message: &str, expected: &str) -> Error {
    Error::new(HResult::INVALID_ARGUMENT, message).at(path).expected(expected)
}

fn required_id(given: Option<&RawValue>) -> Result<Guid> {
    let given: params::ById = parameters(given)?;
    guid(&given.id.ok_or_else(|| missing("id", "a GUID"))?, "id")
}

fn guid(text: &str, path: &str) -> Result<Guid> {
    text.parse().map_err(|()| {
        let shown: String = text.chars().take(64).collect();
        Error::new(HResult::GUID_CONVERSION_FAILURE, format!("{shown:?} is not a GUID"))
            .at(path)
            .expected("8-4-4-4-12 hexadecimal digits")
    })
}

/// The entity that a handle or an ID names.
pub(crate) fn target(
    session: &Session,
    kind: Kind,
    handle: Option<i64>,
    id: Option<String>,
) -> Result<Reference> {
    one_of(session, kind, (handle, "handle"), (id, "id"))?.ok_or_else(|| missing("handle", "handle or id"))
}

fn parent(
    session: &Session,
    kind: Kind,
    handle: Option<i64>,
    id: Option<String>,
) -> Result<Option<Reference>> {
    if kind != Kind::Endpoint && (handle.is_some() || id.is_some()) {
        let path = if handle.is_some() { "network_handle" } else { "network_id" };
        return Err(invalid(path, &format!("a {kind} has no network"), "no such parameter"));
    }
    one_of(session, Kind::Network, (handle, "network_handle"), (id, "network_id"))
}

fn one_of(
    session: &Session,
    kind: Kind,
    handle: (Option<i64>, &str),
    id: (Option<String>, &str),
) -> Result<Option<Reference>> {
    match (handle, id) {
        ((Some(_), by_handle), (Some(_), by_id)) => {
            let message = format!("{by_handle} and {by_id} are both given");
            Err(invalid(by_handle, &message, &format!("{by_handle} or {by_id}")))
        }
        ((Some(handle), path), _) => session.resolve(kind, handle, path).map(Some),
        (_, (Some(text), path)) => Ok(Some(Reference { id: guid(&text, path)?, incarnation: None })),
        _ => Ok(None),
    }
}

fn document(object: Option<Raw>, name: &str, text: Option<String>, nesting: usize) -> Result<Option<String>> {
    match (object, text) {
        (Some(_), Some(_)) => {
            Err(invalid(name, &format!("{name} and text are both given"), &format!("{name} or text")))
        }
        (Some(object), None) if !object.get().starts_with('{') => {
            Err(invalid(name, &format!("{name} is not an object"), "an object"))
        }
        (Some(object), None) => Ok(Some(object.get().to_owned())),
        (None, Some(text)) if frame::is_nested_deeper(text.as_bytes(), nesting) => Err(too_deep(nesting)),
        (None, text) => Ok(text),
    }
}

/// The error of JSON that is nested too deep.
pub(crate) fn too_deep(nesting: usize) -> Error {
    Error::new(HResult::INVALID_JSON, format!("the JSON is nested deeper than {nesting} levels"))
        .expected(format!("at most {nesting} levels of arrays and objects"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Registry;

    const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

    fn resolve(session: &Arc<Session>, kind: Kind, name: Name, json: &str) -> Result<Resolved> {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        entity(session, kind, name, Some(&raw), 4)
    }

    fn verb(session: &Arc<Session>, kind: Kind, name: Name, json: &str) -> Verb {
        let Resolved::Asked(Asked::Entity(call, _)) = resolve(session, kind, name, json).unwrap() else {
            unreachable!()
        };
        call.verb
    }

    #[test]
    fn a_target_is_a_handle_or_an_id() {
        let session = Registry::new(9).start(0);
        let id: Guid = ID.parse().unwrap();
        let handle = session.reserve().unwrap().bind(Kind::Network, id, 3, None);
        let query = |json: &str| verb(&session, Kind::Network, Name::Query, json);
        let by_handle = Reference { id, incarnation: Some(3) };
        let by_id = Reference { id, incarnation: None };
        assert_eq!(
            query(&format!(r#"{{"handle":{handle}}}"#)),
            Verb::Query { target: by_handle, query: None }
        );
        assert_eq!(query(&format!(r#"{{"id":"{ID}"}}"#)), Verb::Query { target: by_id, query: None });
        let created =
            verb(&session, Kind::Endpoint, Name::Create, &format!(r#"{{"network_handle":{handle}}}"#));
        assert_eq!(created, Verb::Create { id: None, parent: Some(by_handle), document: None });
    }

    #[test]
    fn documents_are_passed_on_byte_for_byte() {
        let session = Registry::new(9).start(0);
        for (json, expected) in [
            (r#"{"settings":{ "b":1.0,"a":"\u0041" }}"#, Some(r#"{ "b":1.0,"a":"\u0041" }"#)),
            (r#"{"text":"{ not json"}"#, Some("{ not json")),
            (r#"{"text":""}"#, Some("")),
            (r#"{"settings":null}"#, None),
            (r#"{"id":"00000000-0000-0000-0000-000000000000"}"#, None),
        ] {
            let document = expected.map(str::to_owned);
            let expected = Verb::Create { id: None, parent: None, document };
            assert_eq!(verb(&session, Kind::Network, Name::Create, json), expected, "{json}");
        }
    }

    #[test]
    fn wrong_parameters_are_refused_with_their_path() {
        let session = Registry::new(9).start(0);
        let (net, ep) = (Kind::Network, Kind::Endpoint);
        let both = format!(r#"{{"handle":1,"id":"{ID}"}}"#);
        let foreign = format!(r#"{{"network_id":"{ID}"}}"#);
        let cases = [
            (net, Name::Query, "{}", HResult::INVALID_ARGUMENT, "handle"),
            (net, Name::Query, both.as_str(), HResult::INVALID_ARGUMENT, "handle"),
            (net, Name::Query, r#"{"handle":"1"}"#, HResult::INVALID_ARGUMENT, "handle"),
            (net, Name::Query, r#"{"handle":1.5}"#, HResult::INVALID_ARGUMENT, "handle"),
            (net, Name::Query, r#"{"handle":7}"#, HResult::INVALID_HANDLE, "handle"),
            (net, Name::Query, r#"{"id":7}"#, HResult::INVALID_ARGUMENT, "id"),
            (net, Name::Query, r#"{"id":"x"}"#, HResult::GUID_CONVERSION_FAILURE, "id"),
            (net, Name::Create, r#"{"id":""}"#, HResult::GUID_CONVERSION_FAILURE, "id"),
            (net, Name::Create, r#"{"settings":[]}"#, HResult::INVALID_ARGUMENT, "settings"),
            (net, Name::Create, r#"{"settings":{},"text":""}"#, HResult::INVALID_ARGUMENT, "settings"),
            (net, Name::Create, &foreign, HResult::INVALID_ARGUMENT, "network_id"),
            (ep, Name::Create, r#"{"network_handle":5}"#, HResult::INVALID_HANDLE, "network_handle"),
            (net, Name::Enumerate, r#"{"query":{},"text":""}"#, HResult::INVALID_ARGUMENT, "query"),
            (net, Name::Open, "{}", HResult::INVALID_ARGUMENT, "id"),
            (net, Name::Close, "{}", HResult::INVALID_ARGUMENT, "handle"),
        ];
        for (kind, name, json, code, path) in cases {
            let error = resolve(&session, kind, name, json).unwrap_err();
            assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{name:?} {json}");
        }
        for json in [r#"{"misspelt":1}"#, "[]", "7"] {
            let error = resolve(&session, net, Name::Enumerate, json).unwrap_err();
            assert_eq!(error.code, HResult::INVALID_ARGUMENT, "{json}");
        }
    }

    #[test]
    fn version_1_requests_are_resolved_and_wrong_ones_refused_with_their_path() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let resolve = |json: &str| hns(Some(&raw(json)), 4);
        let body = |json: &str| resolve(json).unwrap().body;
        assert_eq!(body(r#"{"method":"GET","path":"/networks/"}"#), None);
        assert_eq!(body(r#"{"method":"POST","path":"/","request":{ "a":1.0 }}"#).unwrap(), r#"{ "a":1.0 }"#);
        assert_eq!(body(r#"{"method":"DELETE","path":"/","text":"not json"}"#).unwrap(), "not json");
        for (json, path) in [
            ("{}", "method"),
            (r#"{"method":"PUT","path":"/"}"#, "method"),
            (r#"{"method":"get","path":"/"}"#, "method"),
            (r#"{"method":1,"path":"/"}"#, "method"),
            (r#"{"method":"GET"}"#, "path"),
            (r#"{"method":"GET","path":"/","request":[]}"#, "request"),
            (r#"{"method":"GET","path":"/","request":{},"text":""}"#, "request"),
        ] {
            let error = resolve(json).unwrap_err();
            assert_eq!(
                (error.code, error.path.as_deref()),
                (HResult::INVALID_ARGUMENT, Some(path)),
                "{json}"
            );
        }
        let deep = resolve(r#"{"method":"POST","path":"/","text":"[[[[[]]]]]"}"#).unwrap_err();
        assert_eq!(deep.code, HResult::INVALID_JSON);
    }

    #[test]
    fn what_decides_about_access_is_read_from_any_parameters() {
        let target = |json: &str| hns_target(Some(&RawValue::from_string(json.to_owned()).unwrap()));
        let both = ("GET".to_owned(), "/a".to_owned());
        assert_eq!(target(r#"{"method":"GET","path":"/a","moon":[]}"#), both);
        for json in ["{}", "7", r#"{"method":1,"path":"/a"}"#, r#"{"method":"GET","method":"POST"}"#] {
            assert_eq!(target(json), Default::default(), "{json}");
        }
        assert_eq!(hns_target(None), Default::default());
    }

    #[test]
    fn a_text_that_is_nested_too_deep_is_refused() {
        let session = Registry::new(9).start(0);
        let error = resolve(&session, Kind::Network, Name::Create, r#"{"text":"[[[[[]]]]]"}"#).unwrap_err();
        assert_eq!(error.code, HResult::INVALID_JSON);
    }

    #[test]
    fn a_refused_call_takes_no_room_for_a_handle() {
        let session = Registry::new(1).start(0);
        for _ in 0..3 {
            resolve(&session, Kind::Network, Name::Open, r#"{"id":"x"}"#).unwrap_err();
            resolve(&session, Kind::Network, Name::Open, &format!(r#"{{"id":"{ID}"}}"#)).unwrap();
        }
    }
}
