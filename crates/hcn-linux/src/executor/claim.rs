//! Claims of addresses on bridges, and on the loopback of namespaces: the first adds the address, the last takes it away.

use hcn_dataplane::{Address, Claim, LinkId, Netns, Object, Op};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Place, Run, Stop, Tag};
use crate::link::LOOPBACK;
use crate::{Claimed, Linux, address};

impl Run<'_> {
    /// Counts a claim, or brings one back.
    pub(super) fn claim(&mut self, op: usize, claim: &Claim) -> Result<(), Stop> {
        let key = (claim.link.clone(), claim.address);
        if let Some(claimed) = self.linux.claims.get_mut(&key)
            && claimed.count > 0
        {
            claimed.count += 1;
            self.touched[op] = true;
            return Ok(());
        }
        let wanted = address::of_claim(claim);
        let Some(index) = self.carrier(op, &claim.link, false)? else { return Ok(()) };
        let place = Place::from(&claim.link.netns);
        // A removal that was refused has left it there: it is still ours.
        let ours = self.back && self.linux.claims.get(&key).is_some_and(|claimed| claimed.added);
        let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
        self.push(&place, tag, NLM_F_CREATE | NLM_F_EXCL, address::create_claimed(index, &wanted));
        // Only the answer says whether the link had it already.
        let sent = self.flush(|queue| queue.place == place);
        let there = self.missed.remove(&op);
        if there || self.touched[op] {
            self.touched[op] = true;
            self.linux.claims.insert(key, Claimed { count: 1, added: ours || !there });
        }
        sent
    }

    /// Gives a claim up. What is known of the address stays until the removal is settled.
    pub(super) fn release_claim(&mut self, op: usize, claim: &Claim, lenient: bool) -> Result<(), Stop> {
        let key = (claim.link.clone(), claim.address);
        self.touched[op] = true;
        let Some(claimed) = self.linux.claims.get_mut(&key) else { return Ok(()) };
        claimed.count = claimed.count.saturating_sub(1);
        if claimed.count > 0 || !claimed.added {
            return Ok(());
        }
        let Some(index) = self.carrier(op, &claim.link, lenient)? else { return Ok(()) };
        let tag = Tag { op, writes: true, tolerate: &[libc::EADDRNOTAVAIL, libc::ENODEV] };
        let place = Place::from(&claim.link.netns);
        self.push(&place, tag, 0, address::delete(index, address::of_claim(claim).address));
        Ok(())
    }

    /// An IPv6 address that could not be brought back at once may be there for a claim already, without its prefix: then it
    /// is made anew, and the claim counts on it, as it did before. An IPv4 address can be there with each prefix.
    pub(super) fn take_from_claims(&mut self, op: usize, index: u32, address: &Address) {
        let host = IpNet::from(address.address.addr());
        match self.linux.claims.get_mut(&(address.link.clone(), host.addr())) {
            Some(claimed) if host.addr().is_ipv6() && claimed.count > 0 && claimed.added => {
                claimed.added = false;
            }
            _ => return,
        }
        let tag = Tag { op, writes: true, tolerate: &[libc::EADDRNOTAVAIL] };
        self.push(&Place::from(&address.link.netns), tag, 0, address::delete(index, host));
    }

    /// The index of the link of a claim; none where it goes, or is gone, with its namespace, if `lenient`.
    fn carrier(&mut self, op: usize, link: &LinkId, lenient: bool) -> Result<Option<u32>, Stop> {
        let Netns::Named(name) = &link.netns else { return self.index_if_any(op, link, lenient) };
        let goes = |op: &Op| match op {
            Op::Remove { object: Object::Netns(netns), .. } => netns.name == *name && netns.from.is_none(),
            _ => false,
        };
        let is_there = self.linux.namespaces.contains_key(name);
        if lenient && (!is_there || self.ops.iter().any(goes)) {
            return Ok(None);
        }
        self.open(op, name)?;
        Ok(Some(LOOPBACK))
    }
}

impl Linux {
    /// A claim that could not be given up is one still.
    pub(super) fn keep_claim(&mut self, claim: &Claim) {
        if let Some(claimed) = self.claims.get_mut(&(claim.link.clone(), claim.address)) {
            claimed.count += 1;
        }
    }
}
