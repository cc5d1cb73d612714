//! Claims of addresses on bridges: the first adds the address, the last takes it away.

use hcn_dataplane::{Claim, LinkId};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::{Place, Run, Stop, Tag};
use crate::{Claimed, address};

impl Run<'_> {
    /// Counts a claim, or brings one back.
    pub(super) fn claim(&mut self, op: usize, claim: &Claim) -> Result<(), Stop> {
        let key = (claim.bridge.clone(), claim.address);
        if let Some(claimed) = self.linux.claims.get_mut(&key)
            && claimed.count > 0
        {
            claimed.count += 1;
            self.touched[op] = true;
            return Ok(());
        }
        let wanted = address::of_claim(claim);
        let index = self.index(op, &wanted.link)?;
        // A removal that was refused has left it there: it is still ours.
        let ours = self.back && self.linux.claims.get(&key).is_some_and(|claimed| claimed.added);
        let tag = Tag { op, writes: true, tolerate: &[libc::EEXIST] };
        self.push(&Place::Host, tag, NLM_F_CREATE | NLM_F_EXCL, address::create(index, &wanted));
        // Only the answer says whether the bridge had it already.
        let sent = self.flush(|queue| queue.place == Place::Host);
        let there = self.missed.remove(&op);
        if there || self.touched[op] {
            self.touched[op] = true;
            self.linux.claims.insert(key, Claimed { count: 1, added: ours || !there });
        }
        sent
    }

    /// Gives a claim up. What is known of the address stays until the removal is settled.
    pub(super) fn release_claim(&mut self, op: usize, claim: &Claim, lenient: bool) -> Result<(), Stop> {
        let key = (claim.bridge.clone(), claim.address);
        self.touched[op] = true;
        let Some(claimed) = self.linux.claims.get_mut(&key) else { return Ok(()) };
        claimed.count = claimed.count.saturating_sub(1);
        if claimed.count > 0 || !claimed.added {
            return Ok(());
        }
        let Some(index) = self.index_if_any(op, &LinkId::host(&claim.bridge), lenient)? else {
            return Ok(());
        };
        let tag = Tag { op, writes: true, tolerate: &[libc::EADDRNOTAVAIL, libc::ENODEV] };
        self.push(&Place::Host, tag, 0, address::delete(index, address::of_claim(claim).address));
        Ok(())
    }
}
