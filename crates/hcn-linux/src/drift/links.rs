//! Links: those that are as they should be, those that can be set right, and those that are gone.

use hcn_dataplane::{Joint, LinkId, Netns, Object, Veth, Vlan, Vxlan};

use super::Look;
use crate::adopt::is_same;
use crate::link::{GROUP, IpTraits, LOOPBACK, LinkFacts, PortFacts};

/// What is seen of a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Right,
    /// It is there, and can be set right.
    Wrong,
    Gone,
}

impl Sight {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gone, _) | (_, Self::Gone) => Self::Gone,
            (Self::Right, Self::Right) => Self::Right,
            _ => Self::Wrong,
        }
    }

    fn right_if(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

impl Look<'_> {
    /// Decides about all objects that are links, or hold them.
    pub(super) fn decide_links(&mut self) {
        for (key, object) in self.wanted.iter().filter(|(_, object)| self.scope.shows(object)) {
            let sight = match object {
                Object::Netns(netns) => self.namespace(&netns.name, &netns.alias),
                Object::Bridge(bridge) => {
                    let link = LinkId::host(&bridge.name);
                    let traits = IpTraits::of_bridge(bridge, self.linux.ipv6);
                    let shown = [self.linux.filtering.on(&bridge.name); 2];
                    self.on_host(&link, &bridge.alias, bridge.mtu, |facts| {
                        facts.arp == bridge.arp
                            && facts.mac == Some(bridge.mac)
                            && traits.hold(facts)
                            && (shown == [false; 2] || facts.shows_frames == shown)
                    })
                }
                Object::Veth(veth) => self.pair(veth),
                Object::Joint(joint) => self.joint(joint),
                Object::Vxlan(Vxlan { name, alias, mtu, bridge, .. }) => {
                    self.port(name, alias, *mtu, bridge, PortFacts::TUNNEL)
                }
                Object::Vlan(Vlan { name, alias, mtu, bridge, .. }) => {
                    self.port(name, alias, *mtu, bridge, PortFacts::of_endpoint(false))
                }
                Object::Tap(tap) => {
                    let used = PortFacts::of_endpoint(tap.isolated);
                    let sight = self.port(&tap.name, &tap.alias, tap.mtu, &tap.bridge, used);
                    sight.and(self.in_vlan(&tap.name, tap.vlan))
                }
                Object::Sublink(sublink) => match self.known(&sublink.link) {
                    None => Sight::Gone,
                    Some(facts) => Sight::right_if(facts.up),
                },
                Object::Enslaved(enslaved) => {
                    let bridge = self.linux.links.get(&LinkId::host(&enslaved.bridge)).copied();
                    let links = &self.links[&Netns::Host];
                    let port = links.values().find(|facts| facts.name == enslaved.link);
                    let plugged =
                        |facts: &LinkFacts| facts.up && facts.master.is_some() && facts.master == bridge;
                    // It goes on from where it is.
                    if port.is_some_and(plugged) { Sight::Right } else { Sight::Gone }
                }
                _ => continue,
            };
            match sight {
                Sight::Right => {
                    self.found.insert(object.clone());
                }
                Sight::Wrong => {
                    self.found.insert(object.distorted());
                }
                Sight::Gone => {
                    self.gone.insert(key.clone());
                    self.lose(object);
                }
            }
        }
    }

    /// A link that is known, as it is now.
    fn known(&self, link: &LinkId) -> Option<&LinkFacts> {
        self.links.get(&link.netns)?.get(self.linux.links.get(link)?)
    }

    fn namespace(&self, name: &str, alias: &str) -> Sight {
        let Some(handle) = self.linux.namespaces.get(name) else { return Sight::Gone };
        let loopback = self.links.get(&Netns::Named(name.to_owned())).and_then(|links| links.get(&LOOPBACK));
        let marked = loopback.is_some_and(|facts| facts.up && facts.alias == alias);
        Sight::right_if(marked && self.linux.folder.is_bound(name, handle))
    }

    fn on_host(&self, link: &LinkId, alias: &str, mtu: u32, right: impl Fn(&LinkFacts) -> bool) -> Sight {
        let Some(facts) = self.known(link) else { return Sight::Gone };
        let own = facts.name == link.name && facts.group == GROUP && is_same(&facts.alias, alias);
        Sight::right_if(own && facts.up && facts.mtu == mtu && right(facts))
    }

    /// A port of a bridge, which uses it so. One that is on no bridge, since this is gone, is put onto the new one.
    fn port(&self, name: &str, alias: &str, mtu: u32, bridge: &str, used: PortFacts) -> Sight {
        let bridge = self.linux.links.get(&LinkId::host(bridge)).copied();
        self.on_host(&LinkId::host(name), alias, mtu, |facts| {
            bridge.is_some() && facts.master == bridge && facts.port == Some(used)
        })
    }

    /// The port of an endpoint, in its VLAN.
    fn in_vlan(&self, name: &str, vlan: Option<u16>) -> Sight {
        let Some(facts) = self.known(&LinkId::host(name)) else { return Sight::Gone };
        Sight::right_if(self.vlans.of(facts, vlan) == vlan && !self.vlans.is_in_none(facts))
    }

    fn pair(&self, veth: &Veth) -> Sight {
        let host = LinkId::host(&veth.name);
        let mut sight = Sight::Right;
        if self.scope.holds(&Netns::Host) {
            let used = PortFacts::of_endpoint(veth.isolated);
            sight = sight.and(self.port(&veth.name, &veth.alias, veth.mtu, &veth.bridge, used));
            sight = sight.and(self.in_vlan(&veth.name, veth.vlan));
            let peer = self.linux.links.get(&veth.peer).copied();
            let here = veth.peer.netns == Netns::Host;
            // Whoever has moved the other end elsewhere has taken it away.
            let paired = |facts: &LinkFacts| facts.peer == peer && facts.peer_elsewhere != here;
            if !self.known(&host).is_some_and(paired) {
                sight = Sight::Gone;
            }
        }
        if self.scope.holds(&veth.peer.netns) {
            sight = sight.and(match self.known(&veth.peer) {
                // Its name, MTU and MAC address may be the container's own choice.
                Some(facts) => Sight::right_if(facts.up),
                None => Sight::Gone,
            });
        }
        sight
    }

    fn joint(&self, joint: &Joint) -> Sight {
        let ends = joint.ends.iter().zip(&joint.bridges).enumerate();
        let seen = ends.map(|(position, (end, bridge))| {
            self.port(end, &joint.alias, joint.mtu, bridge, PortFacts::of_joint(joint, position))
        });
        seen.fold(Sight::Right, Sight::and)
    }

    /// Forgets a link that is gone, and what it held, and notes what may be left of it.
    fn lose(&mut self, object: &Object) {
        let linux = &mut *self.linux;
        match object {
            Object::Bridge(bridge) => {
                self.left.extend(linux.links.remove(&LinkId::host(&bridge.name)));
                linux.proxied.retain(|(link, _), _| *link != bridge.name);
                linux.neighbours.forget(|(link, _)| *link == bridge.name);
                linux.claims.retain(|(link, _), _| *link != LinkId::host(&bridge.name));
                linux.prefixes.remove(&LinkId::host(&bridge.name));
            }
            Object::Veth(veth) => {
                let host = LinkId::host(&veth.name);
                self.left.extend(linux.links.remove(&host));
                linux.links.remove(&veth.peer);
                linux.prefixes.remove(&veth.peer);
            }
            Object::Joint(joint) => {
                for end in &joint.ends {
                    self.left.extend(linux.links.remove(&LinkId::host(end)));
                }
            }
            Object::Vxlan(vxlan) => {
                self.left.extend(linux.links.remove(&LinkId::host(&vxlan.name)));
                linux.ways.forget(|(link, _)| *link == vxlan.name);
            }
            Object::Vlan(vlan) => self.left.extend(linux.links.remove(&LinkId::host(&vlan.name))),
            Object::Tap(tap) => self.left.extend(linux.links.remove(&LinkId::host(&tap.name))),
            Object::Sublink(sublink) => {
                linux.links.remove(&sublink.link);
                linux.prefixes.remove(&sublink.link);
            }
            _ => {}
        }
    }
}
