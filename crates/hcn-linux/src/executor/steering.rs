//! Routing tables of their own for packets from a bridge. A link that is gone or down has no routes: what would leave
//! by it is discarded, until it is back and `watch` makes them.

use std::io;

use hcn_dataplane::{LinkId, Steering};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Away, Place, Run, Stop, Tag};
use crate::socket::Batch;
use crate::{Linux, steering};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// What went with its link.
const GONE: &[i32] = &[libc::ESRCH, libc::ENOENT, libc::ENODEV];

impl Run<'_> {
    pub(super) fn make_steering(&mut self, op: usize, object: &Steering, again: bool) -> Result<(), Stop> {
        let Steering { bridge, family, table, .. } = object;
        let tolerate: &[i32] = if again { &[libc::EEXIST] } else { &[] };
        let tag = || Tag { op, writes: true, tolerate };
        self.linux.watch.add(object).map_err(|error| self.stop(op, &error))?;
        // From now on it is looked after, which is to end with it.
        self.touched[op] = true;
        // The rule comes last: until then nothing is led to a table that is not whole.
        let end = RouteNetlinkMessage::NewRoute(steering::end(*table, *family));
        self.push(&Place::Host, tag(), NEW, end);
        for hop in &object.hops {
            let link = if hop.link == *bridge {
                Some(self.index(op, &LinkId::host(bridge))?)
            } else {
                // Not remembered: links of the host come and go.
                self.look_up(op, &Place::Host, &hop.link)?.filter(|facts| facts.up).map(|facts| facts.index)
            };
            match link {
                Some(link) => {
                    let route = RouteNetlinkMessage::NewRoute(steering::new_way(*table, hop, link));
                    // Whoever looks after the table may have been faster.
                    let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
                    self.push(&Place::Host, tag, NEW, route);
                }
                None => {
                    tracing::warn!(bridge, link = hop.link, "the link that a network leads out by is not up");
                }
            }
        }
        self.push(&Place::Host, tag(), NEW, RouteNetlinkMessage::NewRule(steering::rule(object)));
        Ok(())
    }

    pub(super) fn unmake_steering(&mut self, op: usize, object: &Steering, _away: Away) -> Result<(), Stop> {
        // Bringing back what is there already changes nothing.
        self.touched[op] = true;
        self.linux.watch.remove(object);
        for message in removal(object) {
            self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, message);
        }
        Ok(())
    }
}

impl Linux {
    /// Takes a table away whose bridge is gone, so that it can be made.
    pub(crate) fn remove_steering(&mut self, object: &Steering) -> io::Result<()> {
        self.watch.remove(object);
        let mut batch = Batch::new();
        for message in removal(object) {
            batch.push((), 0, message);
        }
        // What has gone already is gone.
        self.wire.exchange(&self.host, &mut batch).map(drop)
    }
}

/// The rule first: nothing is led to a table that is not whole.
fn removal(object: &Steering) -> impl Iterator<Item = RouteNetlinkMessage> {
    let Steering { family, table, .. } = object;
    let rule = RouteNetlinkMessage::DelRule(steering::rule(object));
    let hops = object.hops.iter().map(|hop| steering::way(*table, hop.destination));
    [rule].into_iter().chain(hops.chain([steering::end(*table, *family)]).map(RouteNetlinkMessage::DelRoute))
}
