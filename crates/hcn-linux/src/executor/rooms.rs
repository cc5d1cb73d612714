//! Which file knows how to make and unmake an object.

use hcn_dataplane::{Object, OpError};

use super::{Away, Run, Stop};

impl Run<'_> {
    /// Makes an object, or brings back one that `unmake` took away (`again`: what is there already is right then).
    pub(super) fn make(&mut self, op: usize, object: &Object, again: bool) -> Result<(), Stop> {
        match object {
            Object::Vxlan(object) => self.make_vxlan(op, object, again),
            Object::FdbEntry(object) => self.make_fdb_entry(op, object, again),
            Object::Neighbour(object) => self.make_neighbour(op, object, again),
            Object::Vlan(object) => self.make_vlan(op, object, again),
            Object::Enslaved(object) => self.make_enslaved(op, object, again),
            Object::Sublink(object) => self.make_sublink(op, object, again),
            Object::ProxyNeighbour(object) => self.make_proxy_neighbour(op, object, again),
            Object::Joint(object) => self.make_joint(op, object, again),
            Object::Tap(object) => self.make_tap(op, object, again),
            Object::Isolation(object) => {
                self.make_isolation(op, object);
                Ok(())
            }
            Object::AddressSet(object) => {
                self.make_address_set(op, object);
                Ok(())
            }
            Object::Filter(object) => self.make_filter(op, object),
            Object::Outbound(_) | Object::Diversion(_) => self.make_translation(op, object),
            Object::Interception(object) => self.make_interception(op, object),
            Object::Guard(object) => {
                self.make_guard(op, object);
                Ok(())
            }
            Object::Preserved(object) => {
                self.make_preserved(op, object);
                Ok(())
            }
            Object::Shaper(object) => self.make_shaper(op, object, again),
            Object::Origin(object) => self.make_origin(op, object, again),
            Object::Steering(object) => self.make_steering(op, object, again),
            Object::Responder(object) => self.make_responder(op, object, again),
            Object::Lease(object) => self.make_lease(op, object, again),
            // These are `create`'s.
            Object::Forwarding(_)
            | Object::Netns(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Bridge(_)
            | Object::Home(_)
            | Object::Masquerade(_)
            | Object::Veth(_)
            | Object::Address(_)
            | Object::Claim(_)
            | Object::Route(_)
            | Object::Resolver(_)
            | Object::HeldPort(_)
            | Object::Affinity(_)
            | Object::Service(_)
            | Object::ReservedPorts(_) => self.cannot(op),
        }
    }

    /// Takes an object away.
    pub(super) fn unmake(&mut self, op: usize, object: &Object, away: Away) -> Result<(), Stop> {
        match object {
            Object::Vxlan(object) => self.unmake_vxlan(op, object, away),
            Object::FdbEntry(object) => self.unmake_fdb_entry(op, object, away),
            Object::Neighbour(object) => self.unmake_neighbour(op, object, away),
            Object::Vlan(object) => self.unmake_vlan(op, object, away),
            Object::Enslaved(object) => self.unmake_enslaved(op, object, away),
            Object::Sublink(object) => self.unmake_sublink(op, object, away),
            Object::ProxyNeighbour(object) => self.unmake_proxy_neighbour(op, object, away),
            Object::Joint(object) => self.unmake_joint(op, object, away),
            Object::Tap(object) => self.unmake_tap(op, object, away),
            Object::Isolation(object) => {
                self.unmake_isolation(op, object);
                Ok(())
            }
            Object::AddressSet(object) => {
                self.unmake_address_set(op, object);
                Ok(())
            }
            Object::Filter(object) => self.unmake_filter(op, object),
            Object::Outbound(_) | Object::Diversion(_) => self.unmake_translation(op, object),
            Object::Interception(object) => self.unmake_interception(op, object),
            Object::Guard(object) => {
                self.unmake_guard(op, object);
                Ok(())
            }
            Object::Preserved(object) => {
                self.unmake_preserved(op, object);
                Ok(())
            }
            Object::Shaper(object) => self.unmake_shaper(op, object, away),
            Object::Origin(object) => {
                self.unmake_origin(op, object);
                Ok(())
            }
            Object::Steering(object) => self.unmake_steering(op, object, away),
            Object::Responder(object) => self.unmake_responder(op, object, away),
            Object::Lease(object) => self.unmake_lease(op, object, away),
            // These are `remove`'s.
            Object::Forwarding(_)
            | Object::Netns(_)
            | Object::Barrier(_)
            | Object::Annex(_)
            | Object::Bridge(_)
            | Object::Home(_)
            | Object::Masquerade(_)
            | Object::Veth(_)
            | Object::Address(_)
            | Object::Claim(_)
            | Object::Route(_)
            | Object::Resolver(_)
            | Object::HeldPort(_)
            | Object::Affinity(_)
            | Object::Service(_)
            | Object::ReservedPorts(_) => self.cannot(op),
        }
    }

    /// Makes an object another one of the same key, in place.
    pub(super) fn alter(&mut self, op: usize, from: &Object, to: &Object) -> Result<(), Stop> {
        match (from, to) {
            (Object::Responder(_), Object::Responder(to)) => self.make_responder(op, to, true),
            (Object::Lease(_), Object::Lease(to)) => self.make_lease(op, to, true),
            (Object::AddressSet(from), Object::AddressSet(to)) => {
                self.alter_address_set(op, from, to);
                Ok(())
            }
            (Object::Filter(from), Object::Filter(to)) => self.alter_filter(op, from, to),
            (Object::Outbound(_), Object::Outbound(_)) | (Object::Diversion(_), Object::Diversion(_)) => {
                self.alter_translation(op, from, to);
                Ok(())
            }
            (Object::Interception(_), Object::Interception(to)) => self.make_interception(op, to),
            (Object::Guard(from), Object::Guard(to)) => {
                self.alter_guard(op, from, to);
                Ok(())
            }
            (Object::Preserved(from), Object::Preserved(to)) => {
                self.alter_preserved(op, from, to);
                Ok(())
            }
            (Object::Shaper(_), Object::Shaper(to)) => self.alter_shaper(op, to),
            (Object::Origin(from), Object::Origin(to)) => self.alter_origin(op, from, to),
            (Object::Steering(from), Object::Steering(to)) => self.alter_steering(op, from, to),
            (Object::Sublink(_), Object::Sublink(to)) => self.alter_sublink(op, to),
            _ => {
                let message = "this kind of object does not change in place".to_owned();
                self.note(op, OpError { errno: Some(libc::EINVAL), message });
                Err(Stop)
            }
        }
    }

    pub(super) fn cannot(&mut self, op: usize) -> Result<(), Stop> {
        let message = "this kind of object cannot be made".to_owned();
        self.note(op, OpError { errno: Some(libc::EOPNOTSUPP), message });
        Err(Stop)
    }
}
