//! How does a request of HNS version 1 reach the service when it does not come as a call of io.hcn.V1? Through the
//! same door: the same credentials, access, limits, records and end as those of calls.

use std::sync::Arc;

use hcn_schema::call::HnsRequest;
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, Guid, HResult, Raw, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::UnixStream;

use crate::account::{Account, Subject};
use crate::connection::{Phase, Shared};
use crate::server::Place;
use crate::{Caller, Limits, frame, message, resolve};

/// Reads a version that a client, or the configuration, wants HNS to have.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn hns_version(text: &str) -> std::result::Result<HnsVersion, String> {
    let version: HnsVersion = text.trim().parse()?;
    if version > HnsVersion::NEWEST {
        let newest = HnsVersion::NEWEST;
        return Err(format!("{version} is newer than this HNS; expected a version up to {newest}"));
    }
    Ok(version)
}

/// Where connections that carry requests of HNS version 1 come in; clones lead to the same server.
#[derive(Clone)]
pub struct HnsDoor(Arc<Shared>);

impl HnsDoor {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Takes a connection, as one of its user's.
    ///
    /// # Errors
    /// The outer one: the system does not say who is at the other end. The inner one: 0x8007000e, the user has as many
    /// connections as one may have.
    pub fn enter(&self, stream: &UnixStream) -> std::io::Result<Result<HnsVisitor>> {
        let Self(shared) = self;
        let caller = (shared.access.identify)(stream)?;
        let limits = shared.limits_of(&caller);
        Ok(Place::take(&shared.users, &caller, limits.connections).map(|place| {
            let connection = shared.next_connection();
            HnsVisitor { shared: Arc::clone(shared), caller, limits, connection, _place: place }
        }))
    }

    /// Finishes when the server stops: requests under way are still answered, others are not.
    pub async fn closed(&self) {
        let mut phase = self.0.phase.clone();
        // An error means that the server is gone altogether.
        let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
    }
}

/// A connection that carries requests of HNS version 1.
pub struct HnsVisitor {
    shared: Arc<Shared>,
    caller: Caller,
    limits: Limits,
    connection: u64,
    _place: Place,
}

impl HnsVisitor {
    /// What this caller may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Decides whether a request goes on, before anything but its method and path is looked at.
    ///
    /// # Errors
    /// 0x80070005, saying who may; 0x803b0020 when the server stops.
    pub fn admit(&self, method: &str, path: &str) -> Result<HnsAdmitted> {
        let subject = Subject::hns(method, path);
        let service = Arc::clone(&self.shared.service);
        let account = Account::open(service, self.caller.clone(), self.connection, subject);
        if let Err(error) = self.shared.admit_hns(&self.caller, method, path) {
            account.close(Err(&error));
            return Err(error);
        }
        let request = HnsRequest { method: method.to_owned(), path: path.to_owned(), body: None };
        Ok(HnsAdmitted {
            shared: Arc::clone(&self.shared),
            caller: self.caller.clone(),
            account,
            request,
            nesting: self.limits.nesting,
        })
    }
}

/// A request that goes on. Dropped, it has never been.
pub struct HnsAdmitted {
    shared: Arc<Shared>,
    caller: Caller,
    account: Account,
    request: HnsRequest,
    nesting: usize,
}

impl HnsAdmitted {
    /// Serves this request as another version of HNS.
    pub fn set_version(&mut self, version: HnsVersion) {
        self.caller.hns = version;
    }

    /// Ends the request, for what is wrong with the rest of it.
    pub fn refuse(self, error: Error) -> Error {
        let error = message::shortened(error);
        self.account.close(Err(&error));
        error
    }

    /// Carries the request out; gives the envelope. Once this is polled it is carried out to the end.
    ///
    /// # Errors
    /// 0x803b001b for a document that is nested too deep, 0x800706be if the service broke off.
    pub async fn carry_out(self, body: Option<String>) -> Result<Raw> {
        if let Some(body) = &body
            && frame::is_nested_deeper(body.as_bytes(), self.nesting)
        {
            let error = resolve::too_deep(self.nesting);
            return Err(self.refuse(error));
        }
        let Self { shared, caller, mut account, request, .. } = self;
        let request = HnsRequest { body, ..request };
        let entered = shared.gauge.enter();
        account.begin(about(&request.path));
        let is_change = request.is_change();
        let envelope = shared.service.hns(&caller, request);
        let carried_out = tokio::spawn(async move {
            let envelope = envelope.await;
            close(account, &envelope, is_change);
            drop(entered);
            envelope
        });
        carried_out.await.map_err(|_| Error::new(HResult::CALL_FAILED, "the service broke the request off"))
    }
}

/// The entity that a path names: its first part that is an ID.
pub(crate) fn about(path: &str) -> Option<Guid> {
    path.split('/').find_map(|part| part.parse().ok())
}

/// Records the answer that an envelope is.
pub(crate) fn close(account: Account, envelope: &Raw, is_change: bool) {
    match outcome(envelope, is_change) {
        Ok(made) => account.close(Ok(made)),
        Err(error) => account.close(Err(&message::shortened(error))),
    }
}

/// What an envelope says of its request (contract 5.1).
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Success", default)]
    success: bool,
    #[serde(rename = "Error", default)]
    error: Option<String>,
    #[serde(rename = "ErrorCode", default)]
    code: Option<u32>,
    #[serde(rename = "Output", default, borrow)]
    output: Option<&'a RawValue>,
}

/// The entity that a change tells of, or why the request failed.
fn outcome(envelope: &Raw, is_change: bool) -> Result<Option<Guid>> {
    #[derive(Deserialize)]
    struct Entity {
        #[serde(rename = "ID")]
        id: String,
    }
    let failed = |code: Option<u32>, message: String| {
        Err(Error::new(code.map_or(HResult::GENERAL_FAILURE, HResult), message))
    };
    let Ok(Envelope { success, error, code, output }) = serde_json::from_str(envelope.get()) else {
        return failed(None, "the answer is no envelope".to_owned());
    };
    if !success {
        return failed(code, error.unwrap_or_default().trim_end().to_owned());
    }
    let output = output.filter(|_| is_change).and_then(|output| serde_json::from_str(output.get()).ok());
    Ok(output.and_then(|Entity { id }| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

    #[test]
    fn an_envelope_tells_the_code_and_the_entity() {
        let outcome = |json: &str| {
            let told = outcome(&Raw::new(json.to_owned()).unwrap(), true);
            told.map_err(|error| (error.code, error.message))
        };
        let id = ID.parse().unwrap();
        assert_eq!(
            outcome(&format!(r#"{{"Success":true,"Output":{{"Name":"a","ID":"{ID}"}}}}"#)),
            Ok(Some(id))
        );
        for json in [
            r#"{"Success":true,"Error":""}"#,
            r#"{"Success":true,"Output":[{"ID":"x"}]}"#,
            r#"{"Success":true,"Output":{"ID":7}}"#,
            r#"{"Success":true,"Output":null,"ErrorCode":0}"#,
        ] {
            assert_eq!(outcome(json), Ok(None), "{json}");
        }
        let failed = outcome(r#"{"Success":false,"Error":"Access is denied. ","ErrorCode":2147942405}"#);
        assert_eq!(failed, Err((HResult::ACCESS_DENIED, "Access is denied.".to_owned())));
        for json in [r#"{"Success":false}"#, "{}", "[]", "null"] {
            assert_eq!(outcome(json).unwrap_err().0, HResult::GENERAL_FAILURE, "{json}");
        }
    }

    #[test]
    fn a_path_names_an_entity_or_none() {
        assert_eq!(about(&format!("/endpoints/{ID}/attach")), Some(ID.parse().unwrap()));
        for path in ["", "/networks/", "/globals/version", "/endpoints/x"] {
            assert_eq!(about(path), None, "{path}");
        }
    }

    #[test]
    fn versions_up_to_the_newest_can_be_asked_for() {
        assert_eq!(hns_version(" 9.2 "), Ok(HnsVersion::new(9, 2)));
        assert_eq!(hns_version("16.0"), Ok(HnsVersion::NEWEST));
        assert!(hns_version("16.1").unwrap_err().contains("up to 16.0"));
        assert!(hns_version("nine").unwrap_err().contains("as 15.4"));
    }
}
