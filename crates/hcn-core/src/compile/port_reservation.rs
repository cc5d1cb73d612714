//! The kernel objects of a port reservation: sockets that keep a single exclusive port from the host's programs.

use hcn_dataplane::{Frontend, HeldPort, Object};

use crate::entity::PortReservation;

pub(super) fn objects(reservation: &PortReservation) -> Vec<Object> {
    let held = |frontend: Frontend| {
        let Frontend { family, protocol, port, .. } = frontend;
        Object::HeldPort(HeldPort { family, protocol, port })
    };
    reservation.frontends().map(held).collect()
}
