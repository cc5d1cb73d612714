//! What does a subscriber want to hear? The parameters of Events.Subscribe become kinds and a registration.

use hcn_schema::call::{Answer, Call, Kind, Reference, Verb};
use hcn_schema::{Error, HResult, Result};

use crate::resolve::invalid;
use crate::session::Session;
use crate::{Caller, Registration, Service, params, resolve};

/// The names of the registrations.
const SERVICE: &str = "service";
const NETWORK: &str = "network";
const GUEST_NETWORK_SERVICE: &str = "guest-network-service";

/// What a subscriber wants to hear of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kinds: Vec<Kind>,
    registration: Option<Asked>,
}

/// A registration that was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Service,
    /// For an entity, which must be there.
    Of {
        kind: Kind,
        target: Reference,
        /// The parameter that names it.
        path: &'static str,
    },
}

impl Wanted {
    /// Resolves the parameters.
    ///
    /// # Errors
    /// 0x80070057, or that of a wrong handle or ID, with the parameter.
    pub(crate) fn resolve(session: &Session, given: params::Subscribe) -> Result<Self> {
        let params::Subscribe { kinds, registration, handle, id } = given;
        let kinds = match kinds {
            Some(names) => names.iter().enumerate().map(kind).collect::<Result<_>>()?,
            None => Kind::ALL.to_vec(),
        };
        let path = if handle.is_some() { "handle" } else { "id" };
        let entity = |kind| {
            let target = resolve::target(session, kind, handle, id.clone())?;
            Ok::<_, Error>(Some(Asked::Of { kind, target, path }))
        };
        let registration = match registration.as_deref() {
            Some(NETWORK) => entity(Kind::Network)?,
            Some(GUEST_NETWORK_SERVICE) => entity(Kind::GuestNetworkService)?,
            None | Some(SERVICE) if handle.is_some() || id.is_some() => {
                let message = format!("only a registration for an entity has a {path}");
                let expected = format!("{NETWORK} or {GUEST_NETWORK_SERVICE} as registration, or no {path}");
                return Err(invalid(path, &message, &expected));
            }
            None => None,
            Some(SERVICE) => Some(Asked::Service),
            Some(other) => {
                let names = [SERVICE, NETWORK, GUEST_NETWORK_SERVICE].join(", ");
                let message = format!("there is no registration {other:?}");
                return Err(invalid("registration", &message, &format!("one of {names}")));
            }
        };
        Ok(Self { kinds, registration })
    }

    /// The registration, once it is known that its entity is there.
    ///
    /// # Errors
    /// As of Open; 0x803b0031 for a handle whose entity was deleted and made again.
    pub(crate) async fn registration(
        &self,
        service: &dyn Service,
        caller: &Caller,
    ) -> Result<Option<Registration>> {
        let (kind, target, path) = match &self.registration {
            None => return Ok(None),
            Some(Asked::Service) => return Ok(Some(Registration::Service)),
            Some(Asked::Of { kind, target, path }) => (*kind, *target, *path),
        };
        let open = Call { kind, verb: Verb::Open { id: target.id } };
        let found = service.call(caller, open).await.map_err(|error| error.at(path))?;
        if let (Answer::Entity { incarnation, .. }, Some(bound)) = (found, target.incarnation)
            && incarnation != bound
        {
            let message = format!("the {kind} {} of this handle was deleted", target.id);
            return Err(Error::new(HResult::OBJECT_USED_AFTER_UNLOAD, message).at(path));
        }
        Ok(Some(match kind {
            Kind::Network => Registration::Network(target.id),
            _ => Registration::GuestNetworkService(target.id),
        }))
    }
}

fn kind((place, name): (usize, &String)) -> Result<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let expected = format!("one of {}", Kind::ALL.map(Kind::name).join(", "));
        invalid(&format!("kinds[{place}]"), &format!("there is no kind {name:?}"), &expected)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Registry;

    const ID: &str = "5F0B1190-63BE-4E0C-B974-BD0F55675A42";

    fn resolve(session: &Session, json: &str) -> Result<Wanted> {
        Wanted::resolve(session, serde_json::from_str(json).unwrap())
    }

    #[test]
    fn registrations_are_for_what_a_handle_or_an_id_names() {
        let session = Registry::new(9).start(0);
        let id = ID.parse().unwrap();
        let handle = session.reserve().unwrap().bind(Kind::Network, id, 3, None);
        let registration = |json: &str| resolve(&session, json).unwrap().registration;
        assert_eq!(registration("{}"), None);
        assert_eq!(registration(r#"{"registration":"service"}"#), Some(Asked::Service));
        let expected =
            |kind, incarnation, path| Some(Asked::Of { kind, target: Reference { id, incarnation }, path });
        assert_eq!(
            registration(&format!(r#"{{"registration":"network","handle":{handle}}}"#)),
            expected(Kind::Network, Some(3), "handle")
        );
        assert_eq!(
            registration(&format!(r#"{{"registration":"guest-network-service","id":"{ID}"}}"#)),
            expected(Kind::GuestNetworkService, None, "id")
        );
    }

    #[test]
    fn wrong_parameters_are_refused_with_their_path() {
        let session = Registry::new(9).start(0);
        let handle = session.reserve().unwrap().bind(Kind::GuestNetworkService, ID.parse().unwrap(), 3, None);
        let (argument, no_handle, no_guid) =
            (HResult::INVALID_ARGUMENT, HResult::INVALID_HANDLE, HResult::GUID_CONVERSION_FAILURE);
        for (json, code, path) in [
            (r#"{"kinds":["Network","Moon"]}"#.to_owned(), argument, "kinds[1]"),
            (r#"{"registration":"moon"}"#.to_owned(), argument, "registration"),
            (r#"{"registration":"moon","id":"x"}"#.to_owned(), argument, "registration"),
            (r#"{"registration":"network"}"#.to_owned(), argument, "handle"),
            (format!(r#"{{"registration":"network","handle":1,"id":"{ID}"}}"#), argument, "handle"),
            (format!(r#"{{"registration":"network","handle":{handle}}}"#), no_handle, "handle"),
            (r#"{"registration":"network","id":"x"}"#.to_owned(), no_guid, "id"),
            (format!(r#"{{"registration":"service","id":"{ID}"}}"#), argument, "id"),
            (r#"{"registration":"service","handle":1}"#.to_owned(), argument, "handle"),
            (format!(r#"{{"id":"{ID}"}}"#), argument, "id"),
            (r#"{"handle":1}"#.to_owned(), argument, "handle"),
        ] {
            let error = resolve(&session, &json).unwrap_err();
            assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{json}");
        }
    }
}
