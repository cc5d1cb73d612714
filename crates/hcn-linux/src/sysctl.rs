//! IP forwarding of the host, switched on once and, if nothing came of it, back.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcn_dataplane::{Family, Forwarding};

const FORWARD_V4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const CONF_V4: &str = "/proc/sys/net/ipv4/conf";
const CONF_V6: &str = "/proc/sys/net/ipv6/conf";

/// Who needs the host to forward, and what was changed for whom.
#[derive(Debug, Default)]
pub(crate) struct Forwarders {
    /// By family and bridge; what is settled keeps an empty list.
    claims: HashMap<(Family, String), Changed>,
}

impl Forwarders {
    /// Switches forwarding on for a bridge. `ours` says which links are hcnd's own.
    ///
    /// # Errors
    /// A setting could not be written; those before it were put back.
    pub(crate) fn claim(&mut self, claim: &Forwarding, ours: impl Fn(&str) -> bool) -> io::Result<()> {
        let changed = forward(claim, ours)?;
        self.claims.insert((claim.family, claim.bridge.clone()), changed);
        Ok(())
    }

    /// Registers a claim of an earlier run and says whether the host forwards, as it claims.
    pub(crate) fn adopt(&mut self, claim: &Forwarding) -> bool {
        let on = |file: &Path| fs::read_to_string(file).map(|value| value.trim() != "0");
        let forwards = match claim.family {
            // A bridge that is not there yet begins as all others are.
            Family::V4 => on(Path::new(FORWARD_V4)).unwrap_or(false) && on(&of_bridge(claim)).unwrap_or(true),
            Family::V6 => on(Path::new(FORWARD_V6)).unwrap_or(false),
        };
        if forwards {
            self.claims.insert((claim.family, claim.bridge.clone()), Changed::default());
        }
        forwards
    }

    /// Gives a claim up and leaves the host as it is.
    pub(crate) fn release(&mut self, claim: &Forwarding) {
        self.claims.remove(&(claim.family, claim.bridge.clone()));
    }

    /// The claim stays: what was changed for it is not put back any more.
    pub(crate) fn settle(&mut self, claim: &Forwarding) {
        if let Some(changed) = self.claims.get_mut(&(claim.family, claim.bridge.clone())) {
            *changed = Changed::default();
        }
    }

    /// Takes a claim back, and what was changed for it, unless others rely on it by now.
    pub(crate) fn take_back(&mut self, claim: &Forwarding) -> io::Result<()> {
        let changed = self.claims.remove(&(claim.family, claim.bridge.clone())).unwrap_or_default();
        if self.claims.keys().any(|(family, _)| *family == claim.family) {
            return Ok(());
        }
        restore(&changed)
    }
}

/// Where the host answers for others, and what was changed for that.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// How many addresses it answers for, by family and link, with what is to be put back after the last.
    links: HashMap<(Family, String), (usize, Changed)>,
}

impl Answering {
    /// Makes a link answer for one address more, at once: the kernel would wait for up to 0.8 s, so that the one who
    /// has the address can be first.
    ///
    /// # Errors
    /// A setting could not be written; those before it were put back.
    pub(crate) fn claim(&mut self, family: Family, link: &str) -> io::Result<()> {
        let key = (family, link.to_owned());
        if let Some((count, _)) = self.links.get_mut(&key) {
            *count += 1;
            return Ok(());
        }
        let mut changed = Changed::default();
        let done = answer(family, link, &mut changed);
        if done.is_err() {
            restore(&changed)?;
        } else {
            self.links.insert(key, (1, changed));
        }
        done
    }

    /// Registers an address of an earlier run, whose old values nobody knows: they stay as they are after the last.
    pub(crate) fn adopt(&mut self, family: Family, link: &str) -> io::Result<()> {
        let key = (family, link.to_owned());
        if !self.links.contains_key(&key) {
            answer(family, link, &mut Changed::default())?;
        }
        self.links.entry(key).or_default().0 += 1;
        Ok(())
    }

    /// One address less. After the last, what was changed is put back, unless somebody has changed it meanwhile.
    pub(crate) fn release(&mut self, family: Family, link: &str) -> io::Result<()> {
        let key = (family, link.to_owned());
        let Some((count, _)) = self.links.get_mut(&key) else { return Ok(()) };
        *count -= 1;
        if *count > 0 {
            return Ok(());
        }
        let Some((_, Changed(mut changed))) = self.links.remove(&key) else { return Ok(()) };
        changed.retain(|(path, _)| {
            let ours = if path.ends_with("proxy_ndp") { "1" } else { "0" };
            fs::read_to_string(path).is_ok_and(|value| value.trim() == ours)
        });
        restore(&Changed(changed))
    }
}

/// Makes a link answer for those that it is told of.
fn answer(family: Family, link: &str, changed: &mut Changed) -> io::Result<()> {
    set_delay(family, link, changed)?;
    match family {
        Family::V4 => Ok(()),
        Family::V6 => set(&Path::new(CONF_V6).join(link).join("proxy_ndp"), "0", "1", changed),
    }
}

/// Makes a link of hcnd's own answer for others at once.
pub(crate) fn answer_at_once(family: Family, link: &str) -> io::Result<()> {
    set_delay(family, link, &mut Changed::default())
}

fn set_delay(family: Family, link: &str, changed: &mut Changed) -> io::Result<()> {
    let folder = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let path = PathBuf::from(format!("/proc/sys/net/{folder}/neigh/{link}/proxy_delay"));
    let old = fs::read_to_string(&path)?;
    if old.trim() != "0" {
        fs::write(&path, "0")?;
        changed.0.push((path, old.trim().to_owned()));
    }
    Ok(())
}

/// Makes a link of hcnd's own deaf to router advertisements, whatever new links hear by default: what containers announce
/// is not to be believed.
pub(crate) fn hear_no_routers(link: &str) -> io::Result<()> {
    write_accept_ra(link, "0")
}

/// Makes a link of hcnd's own that stands for one of the host's hear routers if that one does, whether the host forwards or
/// not.
pub(crate) fn hear_routers_as(link: &str, of: &str) -> io::Result<()> {
    let hears = match fs::read_to_string(accept_ra(of)) {
        Ok(value) => value.trim() != "0",
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    write_accept_ra(link, if hears { "2" } else { "0" })
}

fn accept_ra(link: &str) -> PathBuf {
    Path::new(CONF_V6).join(link).join("accept_ra")
}

fn write_accept_ra(link: &str, value: &str) -> io::Result<()> {
    match fs::write(accept_ra(link), value) {
        // Without IPv6 there is nothing to hear.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Settings that were changed, with their old values, first to last.
#[derive(Debug, Default)]
struct Changed(Vec<(PathBuf, String)>);

/// Whether the kernel has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new(FORWARD_V6).exists()
}

/// Whether packets of IPv4 that come by a bridge are forwarded; of IPv6 all links have one setting.
fn of_bridge(claim: &Forwarding) -> PathBuf {
    Path::new(CONF_V4).join(&claim.bridge).join("forwarding")
}

/// Switches forwarding on. `ours` says which links are hcnd's own.
///
/// # Errors
/// A setting could not be written; those before it were put back.
fn forward(claim: &Forwarding, ours: impl Fn(&str) -> bool) -> io::Result<Changed> {
    let mut changed = Changed::default();
    let done = match claim.family {
        Family::V4 => set(Path::new(FORWARD_V4), "0", "1", &mut changed).and_then(|()| {
            // Not put back: the bridge goes, or others want it to forward as well.
            match set(&of_bridge(claim), "0", "1", &mut Changed::default()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }),
        Family::V6 => forward_v6(ours, &mut changed),
    };
    match done {
        Ok(()) => Ok(changed),
        Err(error) => {
            restore(&changed)?;
            Err(error)
        }
    }
}

fn forward_v6(ours: impl Fn(&str) -> bool, changed: &mut Changed) -> io::Result<()> {
    // A router ignores router advertisements: a host that lives by them would lose its addresses and default
    // route, unless told (2) to accept them all the same. Only the host's links: what containers announce on
    // our bridges is not to be believed.
    if fs::read_to_string(FORWARD_V6)?.trim() == "0" {
        for entry in fs::read_dir(CONF_V6)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if matches!(&*name, "all" | "default" | "lo") || ours(&name) {
                continue;
            }
            match set(&entry.path().join("accept_ra"), "1", "2", changed) {
                // The link went away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    set(Path::new(FORWARD_V6), "0", "1", changed)
}

/// Writes `to` where there is `from`.
fn set(path: &Path, from: &str, to: &str, changed: &mut Changed) -> io::Result<()> {
    if fs::read_to_string(path)?.trim() == from {
        fs::write(path, to)?;
        changed.0.push((path.to_owned(), from.to_owned()));
    }
    Ok(())
}

/// Puts the old values back, the last change first. Goes on after an error and gives the first.
fn restore(changed: &Changed) -> io::Result<()> {
    let mut result = Ok(());
    for (path, old) in changed.0.iter().rev() {
        match fs::write(path, old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && result.is_ok() => result = Err(error),
            _ => {}
        }
    }
    result
}
