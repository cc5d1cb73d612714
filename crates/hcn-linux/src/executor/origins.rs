//! Routing tables of interfaces of their own, for what their addresses send.

use std::io;

use hcn_dataplane::{Hop, Origin};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Place, Run, Stop, Tag};
use crate::Linux;
use crate::netns::socket_in;
use crate::socket::Batch;
use crate::steering::{self, Rule};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// Gone already, with its link or by the container's root.
const GONE: &[i32] = &[libc::ESRCH, libc::ENOENT, libc::ENODEV];

impl Run<'_> {
    /// The rules come last: until then nothing is led to a table that is not whole.
    pub(super) fn make_origin(&mut self, op: usize, origin: &Origin, again: bool) -> Result<(), Stop> {
        let tolerate: &[i32] = if again { &[libc::EEXIST] } else { &[] };
        self.lead_home(op, origin, NEW, tolerate)
    }

    fn lead_home(
        &mut self,
        op: usize,
        origin: &Origin,
        flags: u16,
        tolerate: &'static [i32],
    ) -> Result<(), Stop> {
        let index = self.index(op, &origin.link)?;
        let place = Place::from(&origin.link.netns);
        for (destination, gateway) in &origin.routes {
            let (destination, gateway) = (*destination, *gateway);
            let hop = Hop { destination, link: origin.link.name.clone(), gateway };
            let route = RouteNetlinkMessage::NewRoute(steering::new_way(origin.table, &hop, index));
            self.push(&place, Tag { op, writes: true, tolerate }, flags, route);
        }
        for rule in Rule::of_origin(origin) {
            let rule = RouteNetlinkMessage::NewRule(rule.message(origin.family));
            self.push(&place, Tag { op, writes: true, tolerate }, NEW, rule);
        }
        Ok(())
    }

    pub(super) fn alter_origin(&mut self, op: usize, from: &Origin, to: &Origin) -> Result<(), Stop> {
        self.lead_home(op, to, SET, &[libc::EEXIST])?;
        let mut gone = from.clone();
        gone.addresses.retain(|address| !to.addresses.contains(address));
        gone.routes.retain(|(destination, _)| !to.routes.iter().any(|(other, _)| other == destination));
        self.unmake_origin(op, &gone);
        Ok(())
    }

    /// Routes may have gone with the link; rules stay.
    pub(super) fn unmake_origin(&mut self, op: usize, origin: &Origin) {
        // Bringing back what is there already changes nothing.
        self.touched[op] = true;
        // What is in a namespace goes with it.
        let netns = &origin.link.netns;
        if self.goes_with_namespace(netns) || self.is_gone(netns) {
            return;
        }
        let place = Place::from(netns);
        for message in removal(origin) {
            self.push(&place, Tag { op, writes: true, tolerate: GONE }, 0, message);
        }
    }
}

impl Linux {
    /// Takes away what is left of a table whose interface has lost an address, so that it can be made.
    pub(crate) fn remove_origin(&mut self, origin: &Origin) -> io::Result<()> {
        let Some(socket) = socket_in(&self.host, &self.namespaces, &origin.link.netns) else { return Ok(()) };
        let mut batch = Batch::new();
        removal(origin).into_iter().for_each(|message| batch.push((), 0, message));
        // What has gone already is gone.
        self.wire.exchange(socket, &mut batch).map(drop)
    }
}

/// The rules first: nothing is led to a table that is not whole.
fn removal(origin: &Origin) -> Vec<RouteNetlinkMessage> {
    let rules = Rule::of_origin(origin).into_iter().map(|rule| rule.message(origin.family));
    let routes = origin.routes.iter().map(|(destination, _)| steering::way(origin.table, *destination));
    rules.map(RouteNetlinkMessage::DelRule).chain(routes.map(RouteNetlinkMessage::DelRoute)).collect()
}
