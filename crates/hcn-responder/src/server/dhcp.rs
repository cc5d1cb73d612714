//! The DHCP server of one bridge.

use std::sync::Arc;

use tokio::net::UdpSocket;

use super::Shared;
use crate::dhcp;

/// No request fits into less than an Ethernet frame's payload only by chance.
const LONGEST: usize = 1500;

pub(super) async fn serve(shared: Arc<Shared>, bridge: String, socket: UdpSocket) {
    let mut datagram = [0; LONGEST];
    loop {
        let length = match socket.recv_from(&mut datagram).await {
            Ok((length, _)) => length,
            Err(error) => {
                super::pause(&bridge, "DHCP", &error).await;
                continue;
            }
        };
        let answer = shared.books().get(&bridge).and_then(|book| dhcp::answer(book, &datagram[..length]));
        if let Some(answer) = answer
            && let Err(error) = socket.send_to(&answer.message, answer.to).await
        {
            tracing::debug!(%error, bridge, to = %answer.to, "cannot answer a DHCP client");
        }
    }
}
