//! Setting right what is there and not as it was made. Whatever is wrong, all of it is said again: what is right already
//! does not change by that.

use hcn_dataplane::{Joint, LinkId, Netns, NetnsFile, Object, Veth};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::ports::Port;
use super::{Place, Run, Stop, Tag, facts_of, quietly};
use crate::address;
use crate::link::{self, GROUP, LOOPBACK, PortFacts};
use crate::socket::{Batch, Fate};
use crate::vlans;

impl Run<'_> {
    /// Makes a link what the object says.
    pub(super) fn straighten(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        match object {
            Object::Netns(netns) => self.straighten_netns(op, netns),
            Object::Bridge(bridge) => {
                let index = self.straighten_own(op, &bridge.name)?;
                let change = link::change(index, Some(&bridge.alias), Some(bridge.mac), bridge.mtu);
                self.write(&Place::Host, op, 0, change);
                self.describe_bridge(op, index, bridge)?;
                self.write(&Place::Host, op, 0, link::set_up(index, true));
                if bridge.ipv6 {
                    let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
                    let message = address::create_link_local(index, bridge.mac);
                    self.push(&Place::Host, tag, NLM_F_CREATE | NLM_F_EXCL, message);
                }
                Ok(())
            }
            Object::Veth(veth) => self.straighten_veth(op, veth),
            Object::Joint(joint) => self.straighten_joint(op, joint),
            Object::Vxlan(vxlan) => {
                let bridge = self.index(op, &LinkId::host(&vxlan.bridge))?;
                let index = self.straighten_own(op, &vxlan.name)?;
                let change = link::change(index, Some(&vxlan.alias), None, vxlan.mtu);
                self.write(&Place::Host, op, 0, change);
                self.write(&Place::Host, op, 0, link::plug(index, bridge));
                self.write(&Place::Host, op, 0, link::describe_tunnel(index, &vxlan.alias, self.of_port()));
                Ok(())
            }
            Object::Vlan(vlan) => {
                let bridge = self.index(op, &LinkId::host(&vlan.bridge))?;
                let index = self.straighten_own(op, &vlan.name)?;
                let change = link::change(index, Some(&vlan.alias), None, vlan.mtu);
                self.write(&Place::Host, op, 0, change);
                self.write(&Place::Host, op, 0, link::plug(index, bridge));
                let message = link::describe_port(index, &vlan.alias, self.of_port(), false);
                self.write(&Place::Host, op, 0, message);
                Ok(())
            }
            Object::Tap(tap) => {
                let index = self.straighten_own(op, &tap.name)?;
                let change = link::change(index, Some(&tap.alias), None, tap.mtu);
                self.write(&Place::Host, op, 0, change);
                self.straighten_port(op, index, &Port::from(tap))
            }
            Object::Sublink(sublink) => {
                let index = self.index(op, &sublink.link)?;
                let place = Place::from(&sublink.link.netns);
                self.write(&place, op, 0, link::mark_up(index, &sublink.alias));
                Ok(())
            }
            _ => self.cannot(op),
        }
    }

    /// What every link of the host has: its name, and the group by which it is recognised.
    fn straighten_own(&mut self, op: usize, name: &str) -> Result<u32, Stop> {
        let index = self.index(op, &LinkId::host(name))?;
        let is_named =
            quietly(self.linux, |linux| facts_of(linux, index)).is_some_and(|facts| facts.name == name);
        if !is_named {
            if self.must_be_down(index, name) {
                // What goes while it is down is missed by the next look.
                self.write(&Place::Host, op, 0, link::set_up(index, false));
            }
            self.write(&Place::Host, op, 0, link::rename(index, name));
        }
        self.write(&Place::Host, op, 0, link::set_group(index, GROUP));
        Ok(index)
    }

    /// Tries to rename a link. Says whether it is refused because the link is up, as by kernels before 6.2.
    fn must_be_down(&mut self, index: u32, name: &str) -> bool {
        let mut batch = Batch::new();
        batch.push((), 0, link::rename(index, name));
        let fates = quietly(self.linux, |linux| linux.wire.exchange(&linux.host, &mut batch));
        let busy = |fate: &Fate| fate.as_ref().is_err_and(|refusal| refusal.errno == libc::EBUSY);
        fates.is_ok_and(|fates| fates.iter().any(busy))
    }

    fn straighten_netns(&mut self, op: usize, netns: &NetnsFile) -> Result<(), Stop> {
        let linux = &mut *self.linux;
        if let Some(handle) = linux.namespaces.get(&netns.name) {
            let bound = linux.folder.bind_again(&netns.name, handle);
            bound.map_err(|error| self.stop(op, &error))?;
        }
        let place = Place::Named(netns.name.clone());
        self.write(&place, op, 0, link::mark_up(LOOPBACK, &netns.alias));
        Ok(())
    }

    fn straighten_veth(&mut self, op: usize, veth: &Veth) -> Result<(), Stop> {
        let host = self.straighten_own(op, &veth.name)?;
        self.write(&Place::Host, op, 0, link::change(host, Some(&veth.alias), None, veth.mtu));
        self.straighten_port(op, host, &Port::from(veth))?;
        let peer = self.index(op, &veth.peer)?;
        let place = Place::from(&veth.peer.netns);
        if veth.peer.netns == Netns::Host {
            self.write(&place, op, 0, link::set_group(peer, GROUP));
        }
        self.write(&place, op, 0, link::set_up(peer, true));
        Ok(())
    }

    fn straighten_joint(&mut self, op: usize, joint: &Joint) -> Result<(), Stop> {
        for (position, (end, bridge)) in joint.ends.iter().zip(&joint.bridges).enumerate() {
            let bridge = self.index(op, &LinkId::host(bridge))?;
            let index = self.straighten_own(op, end)?;
            self.write(&Place::Host, op, 0, link::change(index, Some(&joint.alias), None, joint.mtu));
            self.write(&Place::Host, op, 0, link::plug(index, bridge));
            self.write(&Place::Host, op, 0, link::set_port(index, &PortFacts::of_joint(joint, position)));
        }
        // Which VLANs the endpoints behind it are in is not known here; where none is, the second one does not filter.
        let [first, second] = &joint.bridges;
        let second = self.index(op, &LinkId::host(second))?;
        if quietly(self.linux, |linux| facts_of(linux, second)).is_some_and(|facts| facts.filters_vlans) {
            let first = self.index(op, &LinkId::host(first))?;
            self.write(&Place::Host, op, 0, vlans::filter_vlans(first));
            for end in &joint.ends {
                let end = self.index(op, &LinkId::host(end))?;
                self.write(&Place::Host, op, 0, vlans::trunk(end));
            }
        }
        Ok(())
    }
}
