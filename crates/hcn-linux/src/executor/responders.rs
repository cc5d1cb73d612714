//! DHCP and DNS on a bridge.

use std::io;

use hcn_dataplane::{Lease, OpError, Responder};
use hcn_responder::Failure;

use super::{Away, Place, Run, Stop};

impl Run<'_> {
    /// Begins, or goes on otherwise.
    pub(super) fn make_responder(&mut self, op: usize, object: &Responder, _again: bool) -> Result<(), Stop> {
        // The bridge and its addresses have to be there.
        self.flush(|queue| queue.place == Place::Host)?;
        match self.linux.responders.set(object) {
            Ok(()) => {
                self.touched[op] = true;
                Ok(())
            }
            Err(failure) => {
                self.note(op, explain(&failure));
                Err(Stop)
            }
        }
    }

    pub(super) fn unmake_responder(
        &mut self,
        op: usize,
        object: &Responder,
        _away: Away,
    ) -> Result<(), Stop> {
        self.linux.responders.end(&object.bridge);
        self.touched[op] = true;
        Ok(())
    }

    /// Notes what is known of an endpoint, in place of what was.
    pub(super) fn make_lease(&mut self, op: usize, object: &Lease, _again: bool) -> Result<(), Stop> {
        self.linux.responders.note(object);
        self.touched[op] = true;
        Ok(())
    }

    pub(super) fn unmake_lease(&mut self, op: usize, object: &Lease, _away: Away) -> Result<(), Stop> {
        self.linux.responders.forget(object);
        self.touched[op] = true;
        Ok(())
    }
}

fn explain(failure: &Failure) -> OpError {
    let hint = match failure.source.kind() {
        io::ErrorKind::AddrInUse => {
            "; a program of the host listens there, perhaps at all addresses: let it listen at its own alone, or \
             create the network without the flags EnableDnsProxy (1) and EnableDhcpServer (2)"
        }
        io::ErrorKind::PermissionDenied => "; hcnd needs CAP_NET_BIND_SERVICE and CAP_NET_RAW",
        _ => "",
    };
    OpError { errno: failure.source.raw_os_error(), message: format!("{failure}{hint}") }
}
