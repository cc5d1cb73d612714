//! What endpoints' own policies translate, on the host and in their namespaces.

use hcn_dataplane::{Interception, LinkId, Netns, Object, Op};

use super::{Place, Run, Stop};
use crate::conntrack::Stale;
use crate::{Linux, nft};

impl Run<'_> {
    /// The table is there as long as anybody has a part in it. Who has one is noted when the operation begins, and
    /// forgotten when it is taken back.
    /// A bridge shows its frames while connections of neighbours on it may have to go to a proxy.
    pub(super) fn make_translation(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        self.turn_flows(None, Some(object));
        let first = self.linux.translated.len() == 1;
        let owned = self.linux.owns_tables;
        for (flags, message) in nft::translate(object, first.then_some(owned)) {
            self.write(&Place::Nft, op, flags, message);
        }
        match object {
            Object::Diversion(diversion) => self.begin_to_show(op, &diversion.bridge),
            _ => Ok(()),
        }
    }

    pub(super) fn unmake_translation(&mut self, op: usize, object: &Object) -> Result<(), Stop> {
        self.turn_flows(Some(object), None);
        let last = self.linux.translated.is_empty();
        for (flags, message) in nft::leave_alone(object, last) {
            self.write(&Place::Nft, op, flags, message);
        }
        match object {
            Object::Diversion(diversion) => self.end_to_show(op, &diversion.bridge),
            _ => Ok(()),
        }
    }

    pub(super) fn alter_translation(&mut self, op: usize, from: &Object, to: &Object) {
        self.turn_flows(Some(from), Some(to));
        for (flags, message) in nft::leave_alone(from, false).into_iter().chain(nft::translate(to, None)) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    /// Notes the flows that are translated otherwise from now on; an endpoint that comes or goes has none.
    fn turn_flows(&mut self, from: Option<&Object>, to: Option<&Object>) {
        let port = match from.or(to) {
            Some(Object::Outbound(outbound)) => &outbound.port,
            Some(Object::Diversion(diversion)) => &diversion.port,
            _ => return,
        };
        let is_its_link = |op: &Op| match op.object() {
            Object::Veth(veth) => veth.name == *port,
            Object::Tap(tap) => tap.name == *port,
            _ => false,
        };
        if !self.ops.iter().any(is_its_link) {
            self.stale.extend(Stale::turned(from, to));
        }
    }

    /// Writes what is to be intercepted in a namespace, which is noted when the operation begins.
    pub(super) fn make_interception(&mut self, op: usize, interception: &Interception) -> Result<(), Stop> {
        let netns = &interception.link.netns;
        if self.goes_with_namespace(netns) {
            return Ok(());
        }
        let place = self.rules_in(op, netns)?;
        if self.write_all_inside(op, &place, netns) {
            return Ok(());
        }
        for (flags, message) in nft::intercept(self.linux.intercepted_in(netns)) {
            self.write(&place, op, flags, message);
        }
        Ok(())
    }

    pub(super) fn unmake_interception(&mut self, op: usize, interception: &Interception) -> Result<(), Stop> {
        if self.is_gone(&interception.link.netns) {
            self.touched[op] = true;
            return Ok(());
        }
        self.make_interception(op, interception)
    }
}

impl Linux {
    /// What is intercepted in a namespace.
    pub(super) fn intercepted_in(&self, netns: &Netns) -> impl Iterator<Item = &Interception> {
        let first = LinkId { netns: netns.clone(), name: String::new() };
        let known = self.intercepted.range(first..).take_while(move |(link, _)| link.netns == *netns);
        known.map(|(_, interception)| interception)
    }
}
