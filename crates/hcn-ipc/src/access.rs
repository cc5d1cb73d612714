//! Who may do what? The one function that answers it, from a caller's credentials and a method.

use std::fmt;
use std::io;
use std::sync::Arc;

use hcn_schema::hns::HnsVersion;
use hcn_schema::{Error, HResult, Result};
use tokio::net::UnixStream;

use crate::interfaces::{Method, Verb};
use crate::message::shorten;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user (SO_PEERCRED).
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups (SO_PEERGROUPS).
    pub groups: Arc<[u32]>,
    /// Process that connected, when it is in sight of ours.
    pub pid: Option<i32>,
    /// Which version of the Host Network Service it is served as: at first what [`Identify`] says, then what the client
    /// asks for, for its connection or for one request.
    pub hns: HnsVersion,
}

impl Caller {
    fn is_in(&self, group: Option<&Group>) -> bool {
        group.is_some_and(|group| self.gid == group.gid || self.groups.contains(&group.gid))
    }
}

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number, which decides.
    pub gid: u32,
    /// What it is called, for messages.
    pub name: String,
}

/// Finds out who is at the other end.
pub type Identify = Arc<dyn Fn(&UnixStream) -> io::Result<Caller> + Send + Sync>;

/// Who may do what.
#[derive(Clone)]
pub struct Access {
    /// May do everything, as root may: the user that the service itself runs as.
    pub owner: Option<u32>,
    /// Whose members may do everything.
    pub group: Option<Group>,
    /// Whose members may read.
    pub read_group: Option<Group>,
    /// How callers are told apart.
    pub identify: Identify,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, group, read_group, .. } = self;
        f.debug_struct("Access")
            .field("owner", owner)
            .field("group", group)
            .field("read_group", read_group)
            .finish_non_exhaustive()
    }
}

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// It tells only what the program is, or books what belongs to the connection.
    Nothing,
    Read,
    Change,
}

impl Access {
    /// Decides whether a caller may call a method.
    ///
    /// # Errors
    /// 0x80070005, saying who may.
    pub(crate) fn check(&self, caller: &Caller, method: Method) -> Result<()> {
        self.admit(caller, need(method), || method.name())
    }

    /// Decides whether a caller may make a request of HNS version 1, from its method and path alone.
    ///
    /// # Errors
    /// 0x80070005, saying who may.
    pub(crate) fn check_hns(&self, caller: &Caller, method: &str, path: &str) -> Result<()> {
        self.admit(caller, need_of_hns(method, path), || {
            let mut request = format!("{method} {path}");
            shorten(&mut request);
            request
        })
    }

    fn admit(&self, caller: &Caller, need: Need, what: impl FnOnce() -> String) -> Result<()> {
        if self.most(caller) >= need {
            return Ok(());
        }
        let groups = match need {
            Need::Change => vec![self.group.as_ref()],
            Need::Read | Need::Nothing => vec![self.group.as_ref(), self.read_group.as_ref()],
        };
        let names: Vec<&str> = groups.into_iter().flatten().map(|group| group.name.as_str()).collect();
        let who = match names.is_empty() {
            true => "root".to_owned(),
            false => format!("root or a member of group {}", names.join(" or ")),
        };
        let message = format!("user {} may not {}; {who} may", caller.uid, what());
        Err(Error::new(HResult::ACCESS_DENIED, message).expected(who))
    }

    /// Whether a caller may do nothing that gives anything away. Anybody can connect, so such a caller gets no more
    /// of the service's memory than asking takes.
    pub(crate) fn is_stranger(&self, caller: &Caller) -> bool {
        self.most(caller) == Need::Nothing
    }

    fn most(&self, caller: &Caller) -> Need {
        if caller.uid == 0 || Some(caller.uid) == self.owner || caller.is_in(self.group.as_ref()) {
            Need::Change
        } else if caller.is_in(self.read_group.as_ref()) {
            Need::Read
        } else {
            Need::Nothing
        }
    }
}

fn need(method: Method) -> Need {
    match method {
        // A request of HNS version 1 is looked at more closely, see below. The doctor tells rules of other programs, which
        // only root can list; a backup has what documents keep from their readers.
        Method::Entity(_, Verb::Create | Verb::Modify | Verb::Delete)
        | Method::Hns
        | Method::Doctor
        | Method::Backup
        | Method::Restore => Need::Change,
        Method::Entity(
            _,
            Verb::Enumerate
            | Verb::Open
            | Verb::Query
            | Verb::QueryStats
            | Verb::Explain
            | Verb::QueryAddresses
            | Verb::Close,
        )
        | Method::Subscribe
        | Method::Status
        | Method::Metrics => Need::Read,
        Method::Ping
        | Method::GetInfo
        | Method::OpenSession
        | Method::JoinSession
        | Method::SetHnsVersion
        | Method::GetVarlinkInfo
        | Method::GetInterfaceDescription => Need::Nothing,
    }
}

/// What a request of HNS version 1 needs. Clients ask for the version before anything else.
fn need_of_hns(method: &str, path: &str) -> Need {
    match method {
        "GET" if path.trim_end_matches('/') == "/globals/version" => Need::Nothing,
        "GET" => Need::Read,
        _ => Need::Change,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::ALL;

    const ALL_GROUP: u32 = 900;
    const READ_GROUP: u32 = 901;

    fn access() -> Access {
        let group = |gid, name: &str| Some(Group { gid, name: name.to_owned() });
        Access {
            owner: Some(77),
            group: group(ALL_GROUP, "hcn"),
            read_group: group(READ_GROUP, "hcn-read"),
            identify: Arc::new(|_| Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        Caller { uid, gid, groups: groups.into(), pid: None, hns: HnsVersion::NEWEST }
    }

    /// Every described method that the caller may call, without its interface's common beginning.
    fn allowed(access: &Access, caller: &Caller) -> Vec<String> {
        let methods = ALL.iter().flat_map(|(interface, description)| {
            let methods = description.lines().filter_map(|line| line.strip_prefix("method "));
            methods.map(move |line| format!("{interface}.{}", &line[..line.find('(').unwrap()]))
        });
        methods.filter(|name| access.check(caller, Method::find(name).unwrap()).is_ok()).collect()
    }

    #[test]
    fn root_the_owner_and_the_group_may_do_everything() {
        let access = access();
        let everything = allowed(&access, &caller(0, 0, &[]));
        assert!(everything.len() > 28, "{everything:?}");
        for caller in [
            caller(0, 5, &[]),
            caller(77, 5, &[]),
            caller(1000, ALL_GROUP, &[]),
            caller(1000, 5, &[1, ALL_GROUP]),
            caller(1000, READ_GROUP, &[ALL_GROUP]),
        ] {
            assert_eq!(allowed(&access, &caller), everything, "{caller:?}");
        }
    }

    #[test]
    fn the_read_group_may_read() {
        let access = access();
        for caller in [caller(1000, READ_GROUP, &[]), caller(1000, 5, &[1, READ_GROUP])] {
            let allowed = allowed(&access, &caller);
            for name in allowed.iter() {
                let verb = name.rsplit('.').next().unwrap();
                assert!(!["Create", "Modify", "Delete"].contains(&verb), "{name}");
            }
            for name in ["Network.Enumerate", "Endpoint.Query", "Namespace.Close", "Events.Subscribe"] {
                assert!(allowed.contains(&format!("io.hcn.{name}")), "{name}");
            }
            for name in ["Status", "Metrics"] {
                assert!(allowed.contains(&format!("io.hcn.Service.{name}")), "{name}");
            }
            for name in ["Doctor", "Backup", "Restore"] {
                assert!(!allowed.contains(&format!("io.hcn.Service.{name}")), "{name}");
            }
        }
    }

    #[test]
    fn everybody_may_ask_what_this_is() {
        let open = [
            "io.hcn.Service.Ping",
            "io.hcn.Service.GetInfo",
            "io.hcn.Service.OpenSession",
            "io.hcn.Service.JoinSession",
            "io.hcn.Service.SetHnsVersion",
            "org.varlink.service.GetInfo",
            "org.varlink.service.GetInterfaceDescription",
        ];
        assert_eq!(allowed(&access(), &caller(1000, 1000, &[4, 27])), open);
        // Without groups the numbers of no group decide nothing.
        let none = Access { group: None, read_group: None, ..access() };
        assert_eq!(allowed(&none, &caller(1000, ALL_GROUP, &[READ_GROUP])), open);
        assert!(none.is_stranger(&caller(1000, 0, &[0])));
    }

    #[test]
    fn a_version_1_request_is_judged_by_its_method_and_the_version_is_for_everybody() {
        let access = access();
        let (nobody, reader, member) =
            (caller(7, 7, &[]), caller(1000, READ_GROUP, &[]), caller(1000, 5, &[ALL_GROUP]));
        for (method, path, allowed) in [
            ("GET", "/globals/version", [true, true, true]),
            ("GET", "/globals/version/", [true, true, true]),
            ("GET", "/globals/versions", [false, true, true]),
            ("GET", "/networks/", [false, true, true]),
            ("GET", "", [false, true, true]),
            ("POST", "/globals/version", [false, false, true]),
            ("DELETE", "/networks/1", [false, false, true]),
            ("get", "/globals/version", [false, false, true]),
            ("", "", [false, false, true]),
        ] {
            let found =
                [&nobody, &reader, &member].map(|caller| access.check_hns(caller, method, path).is_ok());
            assert_eq!(found, allowed, "{method} {path}");
        }
        let long = "/".repeat(1 << 20);
        let error = access.check_hns(&nobody, "GET", &long).unwrap_err();
        assert!(error.message.len() < 5000);
        assert!(error.message.starts_with("user 7 may not GET ///"), "{}", &error.message[..40]);
    }

    #[test]
    fn a_refusal_says_who_may() {
        let create = Method::find("io.hcn.Network.Create").unwrap();
        let query = Method::find("io.hcn.Network.Query").unwrap();
        let reader = caller(1000, READ_GROUP, &[]);
        let error = access().check(&reader, create).unwrap_err();
        assert_eq!(error.code, HResult::ACCESS_DENIED);
        assert_eq!(error.message, "user 1000 may not Network.Create; root or a member of group hcn may");
        let error = access().check(&caller(7, 7, &[]), query).unwrap_err();
        assert!(error.message.ends_with("root or a member of group hcn or hcn-read may"), "{error}");
        let none = Access { group: None, read_group: None, ..access() };
        assert!(none.check(&reader, query).unwrap_err().message.ends_with("; root may"));
    }
}
