//! Which methods are there? The interface files, and the table of methods that goes with them.

use hcn_schema::call::Kind;

use crate::message::shorten;

/// Every interface with its description.
pub const ALL: [(&str, &str); 11] = [
    ("io.hcn.Endpoint", include_str!("../interfaces/io.hcn.Endpoint.varlink")),
    ("io.hcn.Events", include_str!("../interfaces/io.hcn.Events.varlink")),
    ("io.hcn.GuestNetworkService", include_str!("../interfaces/io.hcn.GuestNetworkService.varlink")),
    ("io.hcn.LoadBalancer", include_str!("../interfaces/io.hcn.LoadBalancer.varlink")),
    ("io.hcn.Namespace", include_str!("../interfaces/io.hcn.Namespace.varlink")),
    ("io.hcn.Network", include_str!("../interfaces/io.hcn.Network.varlink")),
    ("io.hcn.PortReservation", include_str!("../interfaces/io.hcn.PortReservation.varlink")),
    ("io.hcn.SdnRoute", include_str!("../interfaces/io.hcn.SdnRoute.varlink")),
    ("io.hcn.Service", include_str!("../interfaces/io.hcn.Service.varlink")),
    ("io.hcn.V1", include_str!("../interfaces/io.hcn.V1.varlink")),
    ("org.varlink.service", include_str!("../interfaces/org.varlink.service.varlink")),
];

/// The names of the interfaces.
pub fn names() -> Vec<String> {
    ALL.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The full name of a method on entities.
pub fn method(kind: Kind, verb: &str) -> String {
    format!("io.hcn.{}.{verb}", kind.name())
}

/// Verbs on entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Enumerate,
    Create,
    Open,
    Modify,
    Query,
    /// Of endpoints only.
    QueryStats,
    Explain,
    /// Of endpoints only.
    QueryAddresses,
    Delete,
    Close,
}

impl Verb {
    /// Whether the call changes anything.
    pub(crate) fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Modify | Self::Delete)
    }

    /// The name, as in method names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enumerate => "Enumerate",
            Self::Create => "Create",
            Self::Open => "Open",
            Self::Modify => "Modify",
            Self::Query => "Query",
            Self::QueryStats => "QueryStats",
            Self::Explain => "Explain",
            Self::QueryAddresses => "QueryAddresses",
            Self::Delete => "Delete",
            Self::Close => "Close",
        }
    }
}

/// Methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Entity(Kind, Verb),
    Subscribe,
    Ping,
    GetInfo,
    OpenSession,
    JoinSession,
    SetHnsVersion,
    /// Of HNS version 1.
    Hns,
    Status,
    Doctor,
    Backup,
    Restore,
    Metrics,
    GetVarlinkInfo,
    GetInterfaceDescription,
}

/// A name that is no method's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Interface(String),
    Method(String),
}

impl Method {
    pub(crate) fn find(name: &str) -> Result<Self, Unknown> {
        let (interface, method) = name.rsplit_once('.').unwrap_or((name, ""));
        if !ALL.iter().any(|(known, _)| *known == interface) {
            return Err(Unknown::Interface(repeated(interface)));
        }
        let found = match (interface, method) {
            ("org.varlink.service", "GetInfo") => Some(Self::GetVarlinkInfo),
            ("org.varlink.service", "GetInterfaceDescription") => Some(Self::GetInterfaceDescription),
            ("io.hcn.Events", "Subscribe") => Some(Self::Subscribe),
            ("io.hcn.Service", "Ping") => Some(Self::Ping),
            ("io.hcn.Service", "GetInfo") => Some(Self::GetInfo),
            ("io.hcn.Service", "OpenSession") => Some(Self::OpenSession),
            ("io.hcn.Service", "JoinSession") => Some(Self::JoinSession),
            ("io.hcn.Service", "SetHnsVersion") => Some(Self::SetHnsVersion),
            ("io.hcn.V1", "Call") => Some(Self::Hns),
            ("io.hcn.Service", "Status") => Some(Self::Status),
            ("io.hcn.Service", "Doctor") => Some(Self::Doctor),
            ("io.hcn.Service", "Backup") => Some(Self::Backup),
            ("io.hcn.Service", "Restore") => Some(Self::Restore),
            ("io.hcn.Service", "Metrics") => Some(Self::Metrics),
            _ => entity(interface, method),
        };
        found.ok_or_else(|| Unknown::Method(repeated(name)))
    }

    /// The name, for people: without what all interfaces of hcnd begin with.
    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::Entity(kind, verb) => return format!("{}.{}", kind.name(), verb.name()),
            Self::Subscribe => "Events.Subscribe",
            Self::Ping => "Service.Ping",
            Self::GetInfo => "Service.GetInfo",
            Self::OpenSession => "Service.OpenSession",
            Self::JoinSession => "Service.JoinSession",
            Self::SetHnsVersion => "Service.SetHnsVersion",
            Self::Hns => "V1.Call",
            Self::Status => "Service.Status",
            Self::Doctor => "Service.Doctor",
            Self::Backup => "Service.Backup",
            Self::Restore => "Service.Restore",
            Self::Metrics => "Service.Metrics",
            Self::GetVarlinkInfo => "org.varlink.service.GetInfo",
            Self::GetInterfaceDescription => "org.varlink.service.GetInterfaceDescription",
        };
        name.to_owned()
    }
}

fn repeated(name: &str) -> String {
    let mut name = name.to_owned();
    shorten(&mut name);
    name
}

fn entity(interface: &str, method: &str) -> Option<Method> {
    let name = interface.strip_prefix("io.hcn.")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    let verb = match method {
        "Enumerate" => Verb::Enumerate,
        "Create" => Verb::Create,
        "Open" => Verb::Open,
        "Modify" => Verb::Modify,
        "Query" => Verb::Query,
        "QueryStats" if kind == Kind::Endpoint => Verb::QueryStats,
        "Explain" if kind == Kind::Endpoint => Verb::Explain,
        "QueryAddresses" if kind == Kind::Endpoint => Verb::QueryAddresses,
        "Delete" => Verb::Delete,
        "Close" => Verb::Close,
        _ => return None,
    };
    Some(Method::Entity(kind, verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_method_is_there() {
        for (interface, description) in ALL {
            assert!(description.contains(&format!("\ninterface {interface}\n")), "{interface}");
            let methods = description.lines().filter_map(|line| line.strip_prefix("method "));
            for line in methods {
                let name = &line[..line.find('(').unwrap()];
                let full = format!("{interface}.{name}");
                let method = Method::find(&full).unwrap();
                assert_eq!(full.strip_prefix("io.hcn.").unwrap_or(&full), method.name());
            }
        }
        for kind in Kind::ALL {
            let description =
                ALL.iter().find(|(name, _)| *name == method(kind, "").trim_end_matches('.')).unwrap().1;
            let more = if kind == Kind::Endpoint { 3 } else { 0 };
            assert_eq!(description.matches("\nmethod ").count(), 7 + more);
        }
    }

    #[test]
    fn other_names_are_told_apart() {
        let interface = |name: &str| Err(Unknown::Interface(name.to_owned()));
        assert_eq!(Method::find("io.hcn.Nothing.Create"), interface("io.hcn.Nothing"));
        assert_eq!(Method::find("Create"), interface("Create"));
        assert_eq!(Method::find(""), interface(""));
        assert_eq!(
            Method::find("io.hcn.Network.Destroy"),
            Err(Unknown::Method("io.hcn.Network.Destroy".to_owned()))
        );
    }
}
