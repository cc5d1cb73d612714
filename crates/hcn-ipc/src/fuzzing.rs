//! What a client sends, for the fuzz targets and for nobody else: from octets to what the service would be asked.
#![allow(clippy::expect_used, reason = "what does not hold is a finding")]

use hcn_schema::call::{Call as Asked, HnsRequest, Kind};
use hcn_schema::{Error, Guid};

use crate::frame::is_nested_deeper;
use crate::interfaces::Method;
use crate::message::{self, Call};
use crate::pipeline;
use crate::resolve::{self, Resolved};
use crate::session::{Registry, Session};
use crate::{Limits, params};

/// What a message asks for.
#[derive(Debug)]
pub enum Meaning {
    /// A call on entities.
    Call(Asked),
    /// A request of HNS version 1.
    Hns(HnsRequest),
    /// Something that the server answers itself.
    Own,
    /// It is refused.
    Refused(Error),
    /// There is no such interface or method, or it is no call.
    Unknown,
}

/// Handles that are known, to refer to: 1 is a network's, 2 an endpoint's.
fn session() -> std::sync::Arc<Session> {
    let session = Registry::new(8).start(0);
    for (number, kind) in [Kind::Network, Kind::Endpoint].into_iter().enumerate() {
        let room = session.reserve().expect("room");
        room.bind(kind, Guid::random_from(number as u64, 1), 1, None);
    }
    session
}

/// Reads a message as a connection does.
pub fn meaning(frame: &[u8]) -> Meaning {
    let nesting = Limits::default().nesting;
    if is_nested_deeper(frame, nesting) {
        return Meaning::Refused(resolve::too_deep(nesting));
    }
    let Ok(call) = Call::parse(frame) else { return Meaning::Unknown };
    let Ok(method) = Method::find(&call.method) else { return Meaning::Unknown };
    let given = call.parameters;
    let session = session();
    let of = |result: Result<(), Error>| result.map_or_else(Meaning::Refused, |()| Meaning::Own);
    match method {
        Method::Entity(kind, verb) => match resolve::entity(&session, kind, verb, given, nesting) {
            Ok(Resolved::Asked(pipeline::Asked::Entity(call, _))) => Meaning::Call(call),
            Ok(_) => Meaning::Own,
            Err(error) => Meaning::Refused(error),
        },
        Method::Hns => {
            let target = resolve::hns_target(given);
            match resolve::hns(given, nesting) {
                Ok(request) => {
                    let meant = (request.method.clone(), request.path.clone());
                    assert_eq!(
                        target, meant,
                        "access is decided about another request than the one carried out"
                    );
                    Meaning::Hns(request)
                }
                Err(error) => Meaning::Refused(error),
            }
        }
        Method::JoinSession => of(resolve::parameters::<params::JoinSession>(given).map(drop)),
        Method::SetHnsVersion => of(resolve::parameters::<params::SetHnsVersion>(given).map(drop)),
        Method::Subscribe => of(resolve::parameters::<params::Subscribe>(given).map(drop)),
        _ => of(resolve::parameters::<params::Empty>(given).map(drop)),
    }
}

/// The reply that tells of an error, with its NUL.
pub fn failure(error: Error) -> Vec<u8> {
    message::failure(&message::shortened(error))
}
