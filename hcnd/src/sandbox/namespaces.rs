//! Making the namespaces, with a user namespace where the caller is not root, and what to tell a caller whose
//! host forbids it.

use std::fs;

use anyhow::{Context as _, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Moves this process into a new network and mount namespace, and its children into a new PID namespace.
pub(super) fn enter() -> anyhow::Result<()> {
    let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        match unshare(namespaces) {
            // Root without the capability, in a container: an ordinary user after all.
            Err(Errno::EPERM) => {}
            other => return other.context("cannot make network, mount and PID namespaces"),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | namespaces)
        .map_err(|errno| forbidden(&format!("cannot make a user namespace: {}", errno.desc())))?;
    // A group map needs setgroups denied first, so that nobody drops a group that keeps him out of a file.
    map_ids("setgroups", "deny")?;
    map_ids("uid_map", &format!("0 {uid} 1"))?;
    map_ids("gid_map", &format!("0 {gid} 1"))
}

fn map_ids(file: &str, content: &str) -> anyhow::Result<()> {
    fs::write(format!("/proc/self/{file}"), content).map_err(|error| {
        forbidden(&format!("cannot write /proc/self/{file} of a new user namespace: {error}"))
    })
}

/// An error with the ways out that this host offers.
pub(super) fn forbidden(what: &str) -> anyhow::Error {
    let advice = advice(|name| fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok());
    anyhow!("{what}\n{advice}")
}

/// Which setting stands in the way, judged by those that forbid user namespaces on some distribution.
fn advice(sysctl: impl Fn(&str) -> Option<String>) -> String {
    let settings = [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "15000"),
    ];
    let mut lines: Vec<String> = settings
        .iter()
        .filter(|(name, forbids, _)| sysctl(name).is_some_and(|value| value.trim() == *forbids))
        .map(|(name, forbids, allows)| {
            format!(
                "  This host forbids unprivileged user namespaces: {name} is {forbids}. Either\n    \
                 sudo sysctl -w {name}={allows}"
            )
        })
        .collect();
    if lines.is_empty() {
        lines.push(
            "  Something on this host (a container's seccomp profile, an LSM) forbids unprivileged user namespaces.\n  \
             In a container give it CAP_SYS_ADMIN and CAP_NET_ADMIN (docker run --privileged), else"
                .into(),
        );
    }
    lines.push("  or run it as root, which needs no user namespace.".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_setting_of_ubuntu_24_04() {
        let text = advice(|name| {
            Some(if name == "kernel.apparmor_restrict_unprivileged_userns" { "1\n" } else { "99\n" }.into())
        });
        assert!(text.contains("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{text}");
        assert!(!text.contains("max_user_namespaces"), "{text}");
        assert!(text.contains("as root"), "{text}");
    }

    #[test]
    fn the_advice_without_a_known_setting_speaks_of_containers() {
        let text = advice(|_| None);
        assert!(text.contains("CAP_SYS_ADMIN"), "{text}");
        assert!(text.contains("as root"), "{text}");
    }
}
