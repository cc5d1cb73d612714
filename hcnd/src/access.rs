//! Who may do what here: the configured groups, looked up, and how a caller's credentials are read.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use hcn_ipc::{Access, Caller, Group};
use hcn_schema::hns::HnsVersion;
use nix::unistd::geteuid;
use tokio::net::UnixStream;

use crate::config::{self, GroupName};

/// What the configuration means on this system, now: groups that are made later count from the next start on. Callers
/// are served as `hns` until they ask for another version.
pub fn access(config: &config::Access, hns: HnsVersion) -> Access {
    Access {
        // Whoever has no number in this user namespace has this one, as others have.
        owner: Some(geteuid().as_raw()).filter(|uid| *uid != overflow("overflowuid")),
        group: find("access.group", &config.group),
        read_group: find("access.read_group", &config.read_group),
        identify: Arc::new(move |stream| identify(stream, hns)),
    }
}

fn identify(stream: &UnixStream, hns: HnsVersion) -> std::io::Result<Caller> {
    let peer = stream.peer_cred()?;
    let groups = hcn_linux::peer_groups(stream.as_fd())?;
    Ok(Caller { uid: peer.uid(), gid: peer.gid(), groups: groups.into(), pid: peer.pid(), hns })
}

fn find(key: &str, given: &GroupName) -> Option<Group> {
    let by_number = |gid: u32| {
        if gid == overflow("overflowgid") {
            tracing::warn!("{key}: {gid} is what groups without a number look like, so it lets nobody in");
            return None;
        }
        Some(Group { gid, name: gid.to_string() })
    };
    match given {
        GroupName::Number(gid) => by_number(*gid),
        GroupName::Name(name) if name.is_empty() => None,
        GroupName::Name(name) => {
            if let Ok(gid) = name.parse() {
                return by_number(gid);
            }
            match nix::unistd::Group::from_name(name) {
                Ok(Some(found)) => Some(Group { gid: found.gid.as_raw(), name: name.clone() }),
                Ok(None) => {
                    tracing::info!("{key}: there is no group {name:?}, so it lets nobody in");
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "{key}: cannot look up the group {name:?}, so it lets nobody in");
                    None
                }
            }
        }
    }
}

/// The number that the kernel shows for users (or groups) that have none in this user namespace.
fn overflow(name: &str) -> u32 {
    let read = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    read.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65_534)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_names_or_numbers_and_may_be_missing() {
        let named = |name: &str| GroupName::Name(name.to_owned());
        let root = Group { gid: 0, name: "root".to_owned() };
        assert_eq!(find("k", &named("root")), Some(root));
        let number = Group { gid: 4711, name: "4711".to_owned() };
        assert_eq!(find("k", &GroupName::Number(4711)), Some(number.clone()));
        assert_eq!(find("k", &named("4711")), Some(number));
        assert_eq!(find("k", &named("")), None);
        assert_eq!(find("k", &named("hcn-tests-no-such-group")), None);
    }

    #[tokio::test]
    async fn a_caller_is_the_process_at_the_other_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        let caller = identify(&here, HnsVersion::new(9, 2)).unwrap();
        assert_eq!(caller.uid, geteuid().as_raw());
        assert_eq!(caller.pid, Some(nix::unistd::getpid().as_raw()));
        assert_eq!(caller.hns, HnsVersion::new(9, 2));
    }
}
