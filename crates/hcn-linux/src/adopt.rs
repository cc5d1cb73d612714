//! Taking over what an earlier run left. What is wanted and as it was made stays untouched and becomes known again;
//! what is half made, set aside or no longer wanted goes. Only what is recognisably hcnd's own is removed: links of
//! its group whose alias says `hcn …`, and namespaces whose loopback has the alias `hcn namespace NAME …`.

mod filters;
mod inside;
pub(crate) mod origins;
mod outside;
mod overlay;
mod ports;
mod responders;
mod shaping;
pub(crate) mod steering;
mod translation;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use hcn_dataplane::{Bridge, Key, LinkId, Netns, Object, OpError, State, Veth};

use crate::link::{self, GROUP, LOOPBACK, LinkFacts};
use crate::netns::Handle;
use crate::observe::{self, Links};
use crate::reaper::Released;
use crate::reserved::Reserved;
use crate::socket::Batch;
use crate::vlans::Vlans;
use crate::{Linux, announce, executor, nft, reaper, resolver, sysctl};

pub(crate) use inside::{find_address, find_route, index_of_claim, is_claim};
pub(crate) use shaping::disciplines;

/// Why it failed, and at what.
type Failure = (&'static str, io::Error);

pub(crate) fn adopt(linux: &mut Linux, wanted: &State) -> Result<State, OpError> {
    let mut adoption = Adoption {
        linux,
        wanted,
        found: State::new(),
        links: HashMap::new(),
        vlans: Vlans::default(),
        is_start: true,
        hung: BTreeSet::new(),
    };
    adoption.run().map_err(|(step, error)| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot {step}: {error}"),
    })?;
    adoption.tables_of_rules()?;
    let mut found = adoption.found;
    found.extend(wanted.iter().map(|(_, object)| object).filter(|object| nft::holds(object)).cloned());
    Ok(found)
}

/// See [`Dataplane::restore_rules`](hcn_dataplane::Dataplane::restore_rules).
pub(crate) fn restore_rules(linux: &mut Linux, wanted: &State) -> Result<(), OpError> {
    let links = observe::links(&mut linux.wire, &linux.host).map_err(|error| OpError {
        errno: error.raw_os_error(),
        message: format!("cannot read the host's links: {error}"),
    })?;
    let links = HashMap::from([(Netns::Host, links)]);
    linux.filtering = executor::Filtering::default();
    let found = State::new();
    let mut adoption = Adoption {
        linux,
        wanted,
        found,
        links,
        vlans: Vlans::default(),
        is_start: false,
        hung: BTreeSet::new(),
    };
    adoption.tables_of_rules()?;
    match adoption.hung.first() {
        None => Ok(()),
        Some(name) => Err(OpError {
            errno: Some(libc::ETIMEDOUT),
            message: format!(
                "somebody inside the network namespace {name} changes its rules, and has not come to an end"
            ),
        }),
    }
}

struct Adoption<'a> {
    linux: &'a mut Linux,
    wanted: &'a State,
    /// Which of the wanted objects are there, as they are.
    found: State,
    /// The links of the host and of each wanted namespace.
    links: HashMap<Netns, Links>,
    /// Those that its ports are in.
    vlans: Vlans,
    /// What is there was made by an earlier hcnd.
    is_start: bool,
    /// Namespaces whose rules could not be written, since somebody inside holds the kernel's lock of them.
    hung: BTreeSet<String>,
}

impl Adoption<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let at = |step: &'static str| move |error: io::Error| (step, error);
        let linux = &mut *self.linux;
        let links = observe::links(&mut linux.wire, &linux.host).map_err(at("read the host's links"))?;
        let vlans = Vlans::read(&mut linux.wire, &linux.host, links.values());
        self.vlans = vlans.map_err(at("read the VLANs of the host's bridges"))?;
        self.links.insert(Netns::Host, links);
        let unwanted = self.namespaces().map_err(at("take over the namespaces of an earlier hcnd"))?;
        self.bridges();
        self.joints();
        self.vxlans();
        self.outside().map_err(at("take over what stands on links of the host"))?;
        self.pairs();
        self.taps();
        self.shapers().map_err(at("read what limits rates"))?;
        self.remove_links().map_err(at("remove links that an earlier hcnd left"))?;
        self.remove_namespaces(unwanted).map_err(at("remove namespaces that an earlier hcnd left"))?;
        self.forwarding();
        self.reserved();
        self.resolvers().map_err(at("take over resolver configurations"))?;
        self.inside().map_err(at("read addresses and routes"))?;
        self.overlay().map_err(at("read where frames go"))?;
        self.answers().map_err(at("read what the host answers for"))?;
        self.steering().map_err(at("read routing tables"))?;
        self.origins().map_err(at("read routing tables of interfaces"))?;
        self.responders();
        self.remember();
        Ok(())
    }

    /// Makes all rules what the wanted objects mean.
    fn tables_of_rules(&mut self) -> Result<(), OpError> {
        let wanted = self.wanted;
        let objects = || wanted.iter().map(|(_, object)| object);
        let linux = &mut *self.linux;
        linux.owns_tables = nft::take_over(&mut linux.wire, &linux.nft, linux.may_own_tables, objects())?;
        self.filters().map_err(|error| OpError {
            errno: error.raw_os_error(),
            message: format!("cannot take over filters and proxies: {error}"),
        })?;
        let linux = &mut *self.linux;
        let isolations = || {
            objects().filter_map(|object| match object {
                Object::Isolation(isolation) => Some(isolation),
                _ => None,
            })
        };
        nft::take_over_isolation(&mut linux.wire, &linux.nft, isolations())?;
        linux.isolated = isolations().map(|isolation| isolation.port.clone()).collect();
        translation::take_over(linux, wanted)?;
        let guards = || {
            objects().filter_map(|object| match object {
                Object::Guard(guard) => Some(guard),
                _ => None,
            })
        };
        nft::take_over_guards(&mut linux.wire, &linux.nft, guards(), linux.owns_tables)?;
        linux.guarded = guards().map(|guard| guard.port.clone()).collect();
        let preserved = || {
            objects().filter_map(|object| match object {
                Object::Preserved(preserved) => Some(preserved),
                _ => None,
            })
        };
        nft::take_over_preserved(&mut linux.wire, &linux.nft, linux.owns_tables, preserved())?;
        linux.preserving = preserved().map(|preserved| preserved.port.clone()).collect();
        Ok(())
    }

    /// Opens the wanted namespaces that are there; gives hcnd's others.
    fn namespaces(&mut self) -> io::Result<Vec<(String, Handle)>> {
        let mut unwanted = Vec::new();
        for name in self.linux.folder.names()? {
            let wanted = match self.wanted.get(&Key::Netns(name.clone())) {
                Some(Object::Netns(wanted)) => Some(wanted),
                _ => None,
            };
            let linux = &mut *self.linux;
            let Ok(handle) = linux.folder.adopt(&name) else {
                // No namespace, or one that is gone: not ours, unless a kill came between file and namespace.
                match wanted {
                    Some(_) => linux.folder.discard_unfinished(&name)?,
                    None => linux.folder.discard_own(&name)?,
                }
                continue;
            };
            let Some(wanted) = wanted else {
                if self.loopback(&handle)?.is_some_and(|facts| is_alias_of(&facts.alias, &name)) {
                    unwanted.push((name, handle));
                }
                continue;
            };
            let links = observe::links(&mut linux.wire, &handle.socket)?;
            let loopback = links.values().find(|facts| facts.index == LOOPBACK);
            let alias = loopback.map_or("", |facts| &facts.alias);
            let in_use = links.values().any(|facts| facts.up);
            if is_alias_of(alias, &name) || (alias.is_empty() && in_use) {
                // An alias of another form, or one that the container's root has emptied, is no reason to take its
                // network away: the file has the name of one that is wanted.
                if alias != wanted.alias || !loopback.is_some_and(|facts| facts.up) {
                    let mut batch = Batch::new();
                    batch.push((), 0, link::mark_up(LOOPBACK, &wanted.alias));
                    for fate in linux.wire.exchange(&handle.socket, &mut batch)? {
                        fate?;
                    }
                }
                linux.namespaces.insert(name.clone(), handle);
                self.found.insert(Object::Netns(wanted.clone()));
                self.links.insert(Netns::Named(name), links);
            } else if alias.is_empty() {
                // Made, and not marked any more before a kill.
                unwanted.push((name, handle));
            }
        }
        Ok(unwanted)
    }

    fn loopback(&mut self, handle: &Handle) -> io::Result<Option<LinkFacts>> {
        let mut batch = Batch::new();
        batch.push((), 0, link::get_index(LOOPBACK));
        let fates = self.linux.wire.exchange(&handle.socket, &mut batch)?;
        let answer = fates.into_iter().next().and_then(|fate| fate.ok().flatten());
        Ok(answer.and_then(|payload| LinkFacts::read(&payload)))
    }

    fn remove_namespaces(&mut self, unwanted: Vec<(String, Handle)>) -> io::Result<()> {
        if !unwanted.is_empty() {
            tracing::warn!(count = unwanted.len(), "removing namespaces that an earlier hcnd left behind");
        }
        for (name, handle) in unwanted {
            // The name last: after a kill in between it would lead here again.
            resolver::remove(&self.linux.netns_etc, &name)?;
            // It may be one that lives on with who made it.
            let mut batch = Batch::new();
            batch.push((), 0, link::unmark(LOOPBACK));
            self.linux.wire.exchange(&handle.socket, &mut batch)?;
            self.linux.folder.unbind(&name)?;
            self.linux.reaper.release(Released::Netns(handle));
        }
        Ok(())
    }

    /// Bridges are there once they are up: that is the last thing that is done to a new one.
    fn bridges(&mut self) {
        // For an uplink, whose routers they go on hearing.
        let standing: HashSet<&str> = self
            .wanted
            .iter()
            .filter_map(|(_, object)| match object {
                Object::Enslaved(enslaved) => Some(enslaved.bridge.as_str()),
                _ => None,
            })
            .collect();
        for wanted in self.wanted.iter().filter_map(|(_, object)| match object {
            Object::Bridge(bridge) => Some(bridge),
            _ => None,
        }) {
            let link = LinkId::host(&wanted.name);
            let Some(facts) = self.link(&link) else { continue };
            if facts.group != GROUP || !facts.up || !is_same(&facts.alias, &wanted.alias) {
                continue;
            }
            let index = facts.index;
            // One of before hears what links hear by default.
            if !standing.contains(wanted.name.as_str())
                && let Err(error) = sysctl::hear_no_routers(&wanted.name)
            {
                tracing::warn!(%error, bridge = %wanted.name, "cannot keep it from hearing routers");
            }
            let bridge = Bridge {
                alias: facts.alias.clone(),
                mac: facts.mac.unwrap_or(wanted.mac),
                mtu: facts.mtu,
                arp: facts.arp,
                ..wanted.clone()
            };
            self.linux.links.insert(link, index);
            self.found.insert(Object::Bridge(bridge));
        }
    }

    fn pairs(&mut self) {
        for wanted in self.wanted.iter().filter_map(|(_, object)| match object {
            Object::Veth(veth) => Some(veth),
            _ => None,
        }) {
            let Some((host, peer)) = self.pair(wanted) else { continue };
            let veth = Veth {
                alias: host.alias.clone(),
                mac: peer.mac.unwrap_or(wanted.mac),
                // Of both ends, the one that has to be changed.
                mtu: if peer.mtu == wanted.mtu { host.mtu } else { peer.mtu },
                vlan: self.vlans.of(host, wanted.vlan),
                ..wanted.clone()
            };
            let (host, peer) = (host.index, peer.index);
            self.linux.links.insert(LinkId::host(&wanted.name), host);
            self.linux.links.insert(wanted.peer.clone(), peer);
            self.found.insert(Object::Veth(veth));
        }
    }

    /// Both ends of a pair, if it is complete: a kill in the midst of making or removing it leaves one of them without
    /// its alias or down.
    fn pair(&self, wanted: &Veth) -> Option<(&LinkFacts, &LinkFacts)> {
        let host = self.link(&LinkId::host(&wanted.name))?;
        let peer = self.link(&wanted.peer)?;
        let bridge = *self.linux.links.get(&LinkId::host(&wanted.bridge))?;
        let paired = host.peer == Some(peer.index) && peer.peer == Some(host.index);
        let same_namespace = wanted.peer.netns == Netns::Host;
        let complete = host.group == GROUP
            && is_same(&host.alias, &wanted.alias)
            && host.up
            && host.master == Some(bridge)
            && paired
            && same_namespace != host.peer_elsewhere
            && peer.up;
        complete.then_some((host, peer))
    }

    fn link(&self, link: &LinkId) -> Option<&LinkFacts> {
        self.links.get(&link.netns)?.get(&link.name)
    }

    /// Removes hcnd's links that were not taken over.
    fn remove_links(&mut self) -> io::Result<()> {
        let kept: HashSet<u32> = self
            .linux
            .links
            .iter()
            .filter(|(link, _)| link.netns == Netns::Host)
            .map(|(_, index)| *index)
            .collect();
        let unwanted: Vec<u32> = self.links[&Netns::Host]
            .values()
            .filter(|facts| is_ours(facts) && !kept.contains(&facts.index))
            .map(|facts| facts.index)
            .collect();
        if !unwanted.is_empty() {
            tracing::warn!(count = unwanted.len(), "removing links that an earlier hcnd left behind");
        }
        reaper::delete_all(&mut self.linux.wire, &self.linux.host, &unwanted)
    }

    fn forwarding(&mut self) {
        for (_, object) in self.wanted.iter() {
            if let Object::Forwarding(claim) = object
                && self.linux.forwarding.adopt(claim)
            {
                self.found.insert(object.clone());
            }
        }
    }

    fn reserved(&mut self) {
        for (_, object) in self.wanted.iter() {
            if let Object::ReservedPorts(ports) = object
                && Reserved::holds(*ports)
            {
                self.found.insert(object.clone());
            }
        }
    }

    fn resolvers(&mut self) -> io::Result<()> {
        for name in self.linux.namespaces.keys() {
            let folder = &self.linux.netns_etc;
            let Some(Object::Resolver(wanted)) = self.wanted.get(&Key::Resolver(name.clone())) else {
                resolver::remove(folder, name)?;
                continue;
            };
            if let Some(contents) = resolver::read(folder, name)? {
                let mut found = wanted.clone();
                found.contents = contents;
                self.found.insert(Object::Resolver(found));
            }
        }
        Ok(())
    }

    /// Notes what later operations need to know of the objects that are there.
    fn remember(&mut self) {
        let linux = &mut *self.linux;
        for (_, object) in self.found.iter() {
            if let Some((link, prefix)) = executor::on_link(object) {
                linux.prefixes.entry(link.clone()).or_default().push(prefix);
            }
            if let Object::Address(address) = object
                && let Some(Object::Veth(veth)) =
                    self.found.link_owner(&address.link).and_then(|owner| self.found.get(&owner))
                && veth.peer == address.link
            {
                announce::note(linux, veth, address.address.addr());
            }
        }
    }
}

/// A link that was killed between being made and being described has no alias yet, but one of our names.
fn is_ours(facts: &LinkFacts) -> bool {
    let named = ["hcn", "hve", "hvi", "hvj", "hvl", "hvp", "hvt", "hvx", "hcj", "hck", "hcr", "hcs", "hcx"]
        .iter()
        .any(|prefix| facts.name.starts_with(prefix));
    facts.group == GROUP && (facts.alias.starts_with("hcn ") || (facts.alias.is_empty() && named))
}

/// Whether two aliases `hcn KIND ID NAME` are of one entity; its name may have changed.
pub(crate) fn is_same(alias: &str, other: &str) -> bool {
    alias.starts_with("hcn ") && alias.split(' ').take(3).eq(other.split(' ').take(3))
}

fn is_alias_of(alias: &str, name: &str) -> bool {
    alias.strip_prefix("hcn namespace ").and_then(|rest| rest.split(' ').next()) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_names_its_own_namespace_only() {
        assert!(is_alias_of("hcn namespace AB box", "AB"));
        assert!(is_alias_of("hcn namespace AB", "AB"));
        assert!(!is_alias_of("hcn namespace ABC", "AB"));
        assert!(!is_alias_of("AB", "AB"));
        assert!(!is_alias_of("", ""));
    }

    #[test]
    fn a_renamed_entity_is_the_same_one() {
        assert!(is_same("hcn endpoint AB old name", "hcn endpoint AB new"));
        assert!(is_same("hcn endpoint AB", "hcn endpoint AB"));
        assert!(!is_same("hcn endpoint AB", "hcn endpoint CD"));
        assert!(!is_same("hcn network AB", "hcn endpoint AB"));
        assert!(!is_same("", ""));
    }
}
