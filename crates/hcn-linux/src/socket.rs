//! Kept netlink sockets: many messages in one `sendmsg`, each refusal attributed to its message.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The dump met a change and may miss something.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// An error message carries attributes that explain it.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// At most this many messages a `sendmsg`: their answers must fit the socket's receive buffer (208 KiB by
/// default; the answer to a RTM_GETLINK takes about 2.5 KiB of it), or some would be lost.
const CHUNK_MESSAGES: usize = 48;
/// No message type of any netlink protocol: the kernel refuses it.
const REFUSED_TYPE: u16 = 0x0a_fe;

/// A netlink socket that lives as long as what it is for.
pub(crate) struct Socket(netlink_sys::Socket);

impl Socket {
    /// Opens a socket of the network namespace that the calling thread is in.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let socket = netlink_sys::Socket::new(protocol)?;
        // A refusal need not echo the message, but may explain itself.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self(socket))
    }

    /// Makes room for messages that have to go in one `sendmsg`, however many they are: as much as is asked for, or
    /// without privileges on the machine itself what anyone may have, usually 416 KiB.
    pub(crate) fn make_room(&self, octets: usize) -> io::Result<()> {
        if setsockopt(&self.0, sockopt::SndBufForce, &octets).is_err() {
            setsockopt(&self.0, sockopt::SndBuf, &octets)?;
        }
        Ok(())
    }

    /// The number that the kernel knows it by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = netlink_sys::SocketAddr::new(0, 0);
        self.0.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// How many octets one `sendmsg` can have.
    pub(crate) fn send_limit(&self) -> usize {
        // Of its buffer the kernel keeps 32 octets.
        getsockopt(&self.0, sockopt::SndBuf).map_or(64 << 10, |octets| octets.saturating_sub(32))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.0.send(bytes, 0) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a datagram, unless `flags` has MSG_DONTWAIT.
    fn receive(&self, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
        loop {
            match self.0.recv(&mut &mut buffer[..], flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// A message that the kernel refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The error number, positive.
    pub(crate) errno: i32,
    /// The kernel's explanation, where it gives one.
    pub(crate) detail: Option<String>,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::from_raw_os_error(refusal.errno)
    }
}

/// What became of one message: its answer, if it asked for one.
pub(crate) type Fate = Result<Option<Vec<u8>>, Refusal>;

/// Messages to go together, each with a tag that says what it is for.
pub(crate) struct Batch<T> {
    bytes: Vec<u8>,
    messages: Vec<(usize, T)>,
}

impl<T> Batch<T> {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), messages: Vec::new() }
    }

    /// Appends a message. `flags` beside NLM_F_REQUEST.
    pub(crate) fn push<M: NetlinkSerializable>(&mut self, tag: T, flags: u16, message: M) {
        let offset = self.bytes.len();
        append(&mut self.bytes, flags, message);
        self.messages.push((offset, tag));
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages as they are sent, but for what sending stamps on them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same messages without what they are for.
    pub(crate) fn bare(&self) -> Batch<()> {
        let messages = self.messages.iter().map(|(offset, _)| (*offset, ())).collect();
        Batch { bytes: self.bytes.clone(), messages }
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &T> {
        self.messages.iter().map(|(_, tag)| tag)
    }
}

fn append<M: NetlinkSerializable>(bytes: &mut Vec<u8>, flags: u16, message: M) {
    let mut header = NetlinkHeader::default();
    header.flags = flags | NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let offset = bytes.len();
    bytes.resize(offset + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[offset..]);
}

/// The buffer and the counter that all sockets of a thread share, so that a socket costs the process nothing
/// but its descriptor.
pub(crate) struct Wire {
    sequence: u32,
    buffer: Vec<u8>,
    /// Test hook: the message that shall be refused.
    pub(crate) fault: Option<Fault>,
    /// The sequence number of the one that was made to be, and the error number that it is refused with.
    refused: Option<(u32, i32)>,
}

/// A message that the kernel shall refuse, for tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// How many messages go before it.
    pub(crate) after: usize,
    /// The error number; the kernel's own for a message that it does not know, if none is given.
    pub(crate) errno: Option<i32>,
}

impl Wire {
    pub(crate) fn new() -> Self {
        // A dump fills at most 32 KiB a datagram.
        Self { sequence: 1, buffer: vec![0; 64 * 1024], fault: None, refused: None }
    }

    /// Another one that goes on where this one is, for another thread; numbers that it uses are not used here.
    pub(crate) fn twin(&mut self) -> Self {
        let (fault, refused) = (self.fault.take(), self.refused.take());
        let twin = Self { sequence: self.sequence, fault, refused, ..Self::new() };
        self.sequence = self.sequence.wrapping_add(1 << 30);
        twin
    }

    /// Sends a batch and learns what became of each message. Messages are independent for the kernel: after a
    /// refused one it goes on with the next.
    ///
    /// # Errors
    /// The socket failed; what became of the messages is unknown.
    pub(crate) fn exchange<T>(&mut self, socket: &Socket, batch: &mut Batch<T>) -> io::Result<Vec<Fate>> {
        let mut fates = Vec::with_capacity(batch.len());
        let mut first = 0;
        while first < batch.len() {
            let count = (batch.len() - first).min(CHUNK_MESSAGES);
            let base = self.sequence;
            self.sequence = base.wrapping_add(count as u32);
            for (sequence, (offset, _)) in batch.messages[first..first + count].iter().enumerate() {
                let header = &mut batch.bytes[*offset..*offset + HEADER];
                // What asks is answered anyway.
                let acknowledge = sequence + 1 == count && !asks(header);
                stamp(header, base.wrapping_add(sequence as u32), acknowledge);
                self.sabotage(&mut batch.bytes[*offset..*offset + HEADER]);
            }
            let start = batch.messages[first].0;
            let end = batch.messages.get(first + count).map_or(batch.bytes.len(), |(offset, _)| *offset);
            socket.send(&batch.bytes[start..end])?;
            let mut part: Vec<Fate> = (0..count).map(|_| Ok(None)).collect();
            let last = &batch.bytes[batch.messages[first + count - 1].0..];
            let end = if asks(last) { End::Answered } else { End::Acknowledged };
            self.collect(socket, base, &mut part, end)?;
            fates.append(&mut part);
            first += count;
        }
        Ok(fates)
    }

    /// Sends a batch as one nftables transaction: all of it happens or nothing.
    ///
    /// # Errors
    /// `Ok(Err(..))`: which messages were refused, by index, and why; nothing was done.
    pub(crate) fn transact<T, M: NetlinkSerializable>(
        &mut self,
        socket: &Socket,
        batch: &mut Batch<T>,
        (begin, end): (M, M),
    ) -> io::Result<Result<(), Vec<(usize, Refusal)>>> {
        let count = batch.len();
        let base = self.sequence;
        self.sequence = base.wrapping_add(count as u32 + 2);
        for (index, (offset, _)) in batch.messages.iter().enumerate() {
            let header = &mut batch.bytes[*offset..*offset + HEADER];
            stamp(header, base.wrapping_add(index as u32 + 1), index + 1 == count);
            self.sabotage(&mut batch.bytes[*offset..*offset + HEADER]);
        }
        let mut bytes = Vec::with_capacity(batch.bytes.len() + 64);
        append(&mut bytes, 0, begin);
        stamp(&mut bytes, base, false);
        bytes.extend_from_slice(&batch.bytes);
        let last = bytes.len();
        append(&mut bytes, 0, end);
        stamp(&mut bytes[last..], base.wrapping_add(count as u32 + 1), false);
        match socket.send(&bytes) {
            // Nothing of it was sent, as if the first message had been refused.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                return Ok(Err(vec![(0, Refusal { errno: libc::EMSGSIZE, detail: None })]));
            }
            other => other?,
        }
        let mut fates: Vec<Fate> = (0..=count).map(|_| Ok(None)).collect();
        self.collect(socket, base, &mut fates, End::Transaction)?;
        let refused: Vec<(usize, Refusal)> = fates
            .into_iter()
            .enumerate()
            // What is reported on the opening message belongs to the whole: the first message stands for it.
            .filter_map(|(index, fate)| Some((index.saturating_sub(1), fate.err()?)))
            .collect();
        Ok(if refused.is_empty() { Ok(()) } else { Err(refused) })
    }

    /// Asks for a dump and gives the payload of each message of the answer. Repeated, up to five times, when it
    /// met a change.
    pub(crate) fn dump<M: NetlinkSerializable + Clone>(
        &mut self,
        socket: &Socket,
        question: &M,
    ) -> io::Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        for _ in 0..5 {
            let sequence = self.sequence;
            self.sequence = sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            append(&mut bytes, NLM_F_DUMP, question.clone());
            stamp(&mut bytes, sequence, false);
            socket.send(&bytes)?;
            answers.clear();
            let mut interrupted = false;
            let mut finished = false;
            while !finished {
                let length = socket.receive(&mut self.buffer, 0)?;
                for message in Messages(&self.buffer[..length]) {
                    if message.sequence != sequence {
                        continue;
                    }
                    interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                    match message.kind {
                        NLMSG_DONE => finished = true,
                        NLMSG_ERROR => return Err(refusal(&message).unwrap_or_else(unknown).into()),
                        _ => answers.push(message.payload.to_vec()),
                    }
                }
            }
            if !interrupted {
                break;
            }
        }
        Ok(answers)
    }

    /// Receives until the end. Only the last message asks for an acknowledgement: refusals come without asking and
    /// in order. A transaction can have more of them than the receive buffer holds (some 270); then the kernel has
    /// dropped the later ones, and what is there already is all.
    fn collect(&mut self, socket: &Socket, base: u32, fates: &mut [Fate], end: End) -> io::Result<()> {
        let count = fates.len();
        let mut overrun = false;
        loop {
            let flags = if overrun { libc::MSG_DONTWAIT } else { 0 };
            let length = match socket.receive(&mut self.buffer, flags) {
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && end == End::Transaction => {
                    overrun = true;
                    continue;
                }
                Err(error) if overrun && error.kind() == io::ErrorKind::WouldBlock => {
                    let known = fates.iter().any(Result::is_err);
                    return if known { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOBUFS)) };
                }
                Err(error) => return Err(error),
            };
            let mut finished = false;
            for message in Messages(&self.buffer[..length]) {
                let index = message.sequence.wrapping_sub(base) as usize;
                // A late word about an earlier batch.
                let Some(fate) = fates.get_mut(index) else { continue };
                if message.kind == NLMSG_ERROR {
                    if let Some(mut refusal) = refusal(&message) {
                        if let Some((_, errno)) = self.refused.filter(|(of, _)| *of == message.sequence) {
                            refusal = Refusal { errno, detail: None };
                        }
                        *fate = Err(refusal);
                        finished |= end == End::Transaction && index == 0;
                    }
                    finished |= index + 1 == count;
                } else {
                    *fate = Ok(Some(message.payload.to_vec()));
                    finished |= index + 1 == count && end == End::Answered;
                }
            }
            if finished {
                return Ok(());
            }
        }
    }

    fn sabotage(&mut self, header: &mut [u8]) {
        match &mut self.fault {
            Some(Fault { after: 0, errno }) => {
                let sequence = header[8..12].try_into().map_or(0, u32::from_ne_bytes);
                self.refused = errno.map(|errno| (sequence, errno));
                header[4..6].copy_from_slice(&REFUSED_TYPE.to_ne_bytes());
                self.fault = None;
            }
            Some(Fault { after, .. }) => *after -= 1,
            None => {}
        }
    }
}

/// What ends the answers to a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The acknowledgement of the last message.
    Acknowledged,
    /// The answer to the last message, a question.
    Answered,
    /// As `Acknowledged`; or a refusal of the opening message, which stands for all.
    Transaction,
}

fn stamp(header: &mut [u8], sequence: u32, acknowledge: bool) {
    if acknowledge {
        let flags = u16::from_ne_bytes([header[6], header[7]]) | NLM_F_ACK;
        header[6..8].copy_from_slice(&flags.to_ne_bytes());
    }
    header[8..12].copy_from_slice(&sequence.to_ne_bytes());
}

/// Whether a message is one of the route family's questions, RTM_GET*.
fn asks(header: &[u8]) -> bool {
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    (16..256).contains(&kind) && kind & 3 == 2
}

fn unknown() -> Refusal {
    Refusal { errno: libc::EIO, detail: None }
}

/// The refusal that an NLMSG_ERROR carries; `None` when it is an acknowledgement.
pub(crate) fn refusal(message: &Message<'_>) -> Option<Refusal> {
    let code = i32::from_ne_bytes(message.payload.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    // With NETLINK_CAP_ACK only the header of the refused message is echoed.
    let attributes =
        (message.flags & NLM_F_ACK_TLVS != 0).then(|| message.payload.get(4 + HEADER..)).flatten();
    let detail = attributes.and_then(|attributes| {
        crate::attributes::find(attributes, NLMSGERR_ATTR_MSG).map(crate::attributes::text)
    });
    // The kernel says none below -4095, and must not be trusted to.
    Some(Refusal { errno: code.saturating_neg(), detail })
}

/// One message of a datagram.
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    sequence: u32,
    /// Whose request it is an answer to, or whose doing it tells of.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram.
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Their kinds and payloads, whoever they are for.
    pub(crate) fn of(datagram: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> {
        Self(datagram).map(|message| (message.kind, message.payload))
    }

    /// All of them.
    pub(crate) fn all(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let payload = self.0.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes(header[8..12].try_into().ok()?),
            port: u32::from_ne_bytes(header[12..16].try_into().ok()?),
            payload,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}
