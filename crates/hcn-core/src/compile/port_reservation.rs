//! The kernel objects of a port reservation: sockets that keep a single exclusive port from the host's programs, or a
//! range that the kernel does not choose ports from.

use hcn_dataplane::{Frontend, HeldPort, Object, ReservedPorts};

use crate::entity::PortReservation;

pub(super) fn objects(reservation: &PortReservation) -> Vec<Object> {
    let held = |frontend: Frontend| {
        let Frontend { family, protocol, port, .. } = frontend;
        Object::HeldPort(HeldPort { family, protocol, port })
    };
    if reservation.first < reservation.last {
        let ports = ReservedPorts { first: reservation.first, last: reservation.last };
        return vec![Object::ReservedPorts(ports)];
    }
    reservation.frontends().map(held).collect()
}
