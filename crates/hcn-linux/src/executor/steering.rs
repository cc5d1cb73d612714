//! Routing tables of their own for packets from a bridge, or from an endpoint there. A link that is gone or down has no routes: what would leave
//! by it is discarded, until it is back and `watch` makes them.

use std::io;

use hcn_dataplane::{Hop, LinkId, Steering};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use super::{Away, Place, Run, Stop, Tag};
use crate::Linux;
use crate::socket::Batch;
use crate::steering::{self, Rule};

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// What went with its link.
const GONE: &[i32] = &[libc::ESRCH, libc::ENOENT, libc::ENODEV];

impl Run<'_> {
    pub(super) fn make_steering(&mut self, op: usize, object: &Steering, again: bool) -> Result<(), Stop> {
        self.push_last();
        let Steering { family, table, .. } = object;
        let tolerate: &[i32] = if again { &[libc::EEXIST] } else { &[] };
        let tag = || Tag { op, writes: true, tolerate };
        self.linux.watch.add(object).map_err(|error| self.stop(op, &error))?;
        // From now on it is looked after, which is to end with it.
        self.touched[op] = true;
        // The rules come last: until then nothing is led to a table that is not whole.
        let end = RouteNetlinkMessage::NewRoute(steering::end(*table, *family));
        self.push(&Place::Host, tag(), NEW, end);
        self.lead_out(op, object, NEW)?;
        for rule in Rule::all(object) {
            let rule = RouteNetlinkMessage::NewRule(rule.message(*family));
            self.push(&Place::Host, tag(), NEW, rule);
        }
        Ok(())
    }

    /// Gives a table its routes, as far as their links are up.
    fn lead_out(&mut self, op: usize, object: &Steering, flags: u16) -> Result<(), Stop> {
        let Steering { bridge, table, .. } = object;
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
                    self.push(&Place::Host, tag, flags, route);
                }
                None => {
                    tracing::warn!(
                        bridge,
                        link = hop.link,
                        "the link that packets are to leave by is not up"
                    );
                    if flags == SET {
                        // Nor do they go where they went before.
                        let gone = RouteNetlinkMessage::DelRoute(steering::way(*table, hop.destination));
                        self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, gone);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a table other routes, one taking the place of the other: whoever sends by it meanwhile goes the one way or the
    /// other, or nowhere.
    pub(super) fn alter_steering(&mut self, op: usize, from: &Steering, to: &Steering) -> Result<(), Stop> {
        self.linux.watch.add(to).map_err(|error| self.stop(op, &error))?;
        self.touched[op] = true;
        self.lead_out(op, to, SET)?;
        let stays = |hop: &&Hop| to.hops.iter().any(|other| other.destination == hop.destination);
        for hop in from.hops.iter().filter(|hop| !stays(hop)) {
            let gone = RouteNetlinkMessage::DelRoute(steering::way(to.table, hop.destination));
            self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, gone);
        }
        Ok(())
    }

    pub(super) fn unmake_steering(&mut self, op: usize, object: &Steering, _away: Away) -> Result<(), Stop> {
        // Bringing back what is there already changes nothing.
        self.touched[op] = true;
        self.linux.watch.remove(object);
        self.last.extend(removal(object).into_iter().map(|message| (op, message)));
        if object.sender.is_none() {
            self.push_last();
        }
        Ok(())
    }

    /// Takes away what leads to tables, and the tables: those of endpoints only after their links, so that none of them
    /// sends where it must not meanwhile.
    pub(super) fn push_last(&mut self) {
        for (op, message) in std::mem::take(&mut self.last) {
            self.push(&Place::Host, Tag { op, writes: true, tolerate: GONE }, 0, message);
        }
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

/// The rules first: nothing is led to a table that is not whole.
fn removal(object: &Steering) -> Vec<RouteNetlinkMessage> {
    let Steering { family, table, .. } = object;
    let rules = Rule::all(object).into_iter().map(|rule| rule.message(*family));
    let hops = object.hops.iter().map(|hop| steering::way(*table, hop.destination));
    let routes = hops.chain([steering::end(*table, *family)]).map(RouteNetlinkMessage::DelRoute);
    rules.map(RouteNetlinkMessage::DelRule).chain(routes).collect()
}
