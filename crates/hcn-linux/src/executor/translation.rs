//! What endpoints' own policies translate, on the host and in their namespaces.

use std::io;

use hcn_dataplane::{Interception, LinkId, Netns, Object, Op};

use super::{Place, Run, Stop};
use crate::conntrack::Stale;
use crate::nft;

impl Run<'_> {
    /// The table is there as long as anybody has a part in it. Who has one is noted when the operation begins, and
    /// forgotten when it is taken back.
    pub(super) fn make_translation(&mut self, op: usize, object: &Object) {
        self.turn_flows(None, Some(object));
        let first = self.linux.translated.len() == 1;
        let owned = self.linux.owns_tables;
        for (flags, message) in nft::translate(object, first.then_some(owned)) {
            self.write(&Place::Nft, op, flags, message);
        }
    }

    pub(super) fn unmake_translation(&mut self, op: usize, object: &Object) {
        self.turn_flows(Some(object), None);
        let last = self.linux.translated.is_empty();
        for (flags, message) in nft::leave_alone(object, last) {
            self.write(&Place::Nft, op, flags, message);
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
        let first = LinkId { netns: netns.clone(), name: String::new() };
        let known = self.linux.intercepted.range(first..).take_while(|(link, _)| link.netns == *netns);
        let messages = nft::intercept(known.map(|(_, interception)| interception));
        for (flags, message) in messages {
            self.write(&place, op, flags, message);
        }
        Ok(())
    }

    pub(super) fn unmake_interception(&mut self, op: usize, interception: &Interception) -> Result<(), Stop> {
        if let Netns::Named(name) = &interception.link.netns
            && !self.linux.namespaces.contains_key(name)
            && self.linux.folder.adopt(name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            // It is gone with all that was in it.
            self.touched[op] = true;
            return Ok(());
        }
        self.make_interception(op, interception)
    }
}
