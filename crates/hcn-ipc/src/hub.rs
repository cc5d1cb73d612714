//! Who hears of events? Numbers events and spreads them to subscribers, never waiting for one.

use std::future::Future;
use std::sync::{Arc, Mutex};

use hcn_schema::Guid;
use hcn_schema::call::Kind;
use hcn_schema::notification::{Event, NotificationType};
use tokio::sync::{mpsc, oneshot};

use crate::message;
use crate::params::{DISCONNECT, EventReply};
use crate::session::locked;

/// Events that a subscriber may be behind.
const QUEUE: usize = 4096;

/// Spreads events. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seq: u64,
    closed: bool,
    subscribers: Vec<Subscriber>,
    /// Subscribers so far that did not keep up.
    cut_off: u64,
}

/// What a hub has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubCounts {
    /// Events published.
    pub events: u64,
    /// Subscribers cut off because they did not keep up.
    pub cut_off: u64,
    /// Subscribers now.
    pub subscribers: usize,
}

/// What the callbacks of the C API are registered for (contract 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// HcnRegisterServiceCallback: what comes and goes.
    Service,
    /// HcnRegisterNetworkCallback: endpoints of this network that are attached and detached.
    Network(Guid),
    /// HcnRegisterGuestNetworkServiceCallback: changes of state of this guest network service and its interfaces.
    GuestNetworkService(Guid),
}

impl Registration {
    /// Whether its callback gets the event.
    fn hears(self, event: &Event) -> bool {
        use NotificationType as Type;
        match event.notification {
            Some(
                Type::NetworkPreCreate
                | Type::NetworkCreate
                | Type::NetworkPreDelete
                | Type::NetworkDelete
                | Type::NamespaceCreate
                | Type::NamespaceDelete
                | Type::GuestNetworkServiceCreate
                | Type::GuestNetworkServiceDelete,
            ) => self == Self::Service,
            Some(Type::NetworkEndpointAttached | Type::NetworkEndpointDetached) => {
                event.network.is_some_and(|network| self == Self::Network(network))
            }
            Some(Type::GuestNetworkServiceStateChanged | Type::GuestNetworkServiceInterfaceStateChanged) => {
                self == Self::GuestNetworkService(event.id)
            }
            // The last one is told by the hub itself, to all.
            Some(Type::Invalid | Type::ServiceDisconnect) | None => false,
        }
    }
}

#[derive(Debug)]
struct Subscriber {
    kinds: Vec<Kind>,
    registration: Option<Registration>,
    queue: mpsc::Sender<Arc<[u8]>>,
    /// Dropped together with the queue; the other end sees that without emptying the queue.
    _cut: oneshot::Sender<()>,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An event, written as a frame.
    Event(Arc<[u8]>),
    /// The last notice, written as a frame: the service stops, or the subscriber did not keep up.
    Disconnect(Vec<u8>),
}

/// A place in the hub; leaving it is dropping it.
#[derive(Debug)]
pub struct Subscription {
    registered: u64,
    queue: mpsc::Receiver<Arc<[u8]>>,
    cut: Option<oneshot::Receiver<()>>,
    hub: Hub,
}

impl Hub {
    /// A hub without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbers the event and queues it for every subscriber of its kind. A subscriber whose queue is full is cut
    /// off. Returns the number.
    pub fn publish(&self, event: &Event) -> u64 {
        let mut state = locked(&self.0);
        state.seq += 1;
        let seq = state.seq;
        if state.subscribers.is_empty() {
            return seq;
        }
        let frame: Arc<[u8]> = message::reply(&event_reply(seq, event), true).into();
        let mut cut_off = 0;
        state.subscribers.retain(|subscriber| {
            let is_registered = subscriber.registration.is_none_or(|registration| registration.hears(event));
            if !is_registered || !subscriber.kinds.contains(&event.kind) {
                return !subscriber.queue.is_closed();
            }
            let sent = subscriber.queue.try_send(Arc::clone(&frame));
            cut_off += u64::from(matches!(sent, Err(mpsc::error::TrySendError::Full(_))));
            sent.is_ok()
        });
        state.cut_off += cut_off;
        seq
    }

    /// Subscribes to events of these kinds; with a registration, only to what its callback gets.
    pub fn subscribe(&self, kinds: &[Kind], registration: Option<Registration>) -> Subscription {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (cut_sender, cut) = oneshot::channel();
        let mut state = locked(&self.0);
        // Whoever left without hearing of anything goes now.
        state.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        if !state.closed {
            let kinds = kinds.to_vec();
            state.subscribers.push(Subscriber { kinds, registration, queue: sender, _cut: cut_sender });
        }
        Subscription { registered: state.seq, queue, cut: Some(cut), hub: self.clone() }
    }

    /// Sends every subscriber, now and from now on, what is queued for it and then the last notice.
    pub fn close(&self) {
        let mut state = locked(&self.0);
        state.closed = true;
        state.subscribers.clear();
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.counts().subscribers
    }

    /// What it has done so far.
    pub fn counts(&self) -> HubCounts {
        let mut state = locked(&self.0);
        state.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        let State { seq: events, cut_off, ref subscribers, .. } = *state;
        HubCounts { events, cut_off, subscribers: subscribers.len() }
    }
}

impl Subscription {
    /// The first notice: the number of the last event before the subscription.
    pub(crate) fn registered(&self) -> Vec<u8> {
        message::reply(&EventReply { registered: true, ..empty(self.registered) }, true)
    }

    /// The next notice.
    pub async fn next(&mut self) -> Notice {
        match self.queue.recv().await {
            Some(frame) => Notice::Event(frame),
            None => self.disconnect(),
        }
    }

    /// The next notice, if it is there already.
    pub(crate) fn try_next(&mut self) -> Option<Notice> {
        match self.queue.try_recv() {
            Ok(frame) => Some(Notice::Event(frame)),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.disconnect()),
        }
    }

    /// Finishes when no more events are queued for this subscriber; to be asked for once.
    pub(crate) fn cut(&mut self) -> impl Future<Output = ()> + use<> {
        let cut = self.cut.take();
        async move {
            if let Some(cut) = cut {
                // It fails when the hub drops the other end, which is the sign.
                let _ = cut.await;
            }
        }
    }

    fn disconnect(&self) -> Notice {
        let seq = locked(&self.hub.0).seq;
        let reply = EventReply {
            notification: Some(DISCONNECT),
            action: Some("disconnect".to_owned()),
            ..empty(seq)
        };
        Notice::Disconnect(message::reply(&reply, false))
    }
}

fn empty(seq: u64) -> EventReply {
    EventReply {
        registered: false,
        seq,
        notification: None,
        action: None,
        kind: None,
        id: None,
        owner: None,
        revision: None,
        data: None,
    }
}

fn event_reply(seq: u64, event: &Event) -> EventReply {
    EventReply {
        notification: event.notification.map(|number| number as u32),
        action: Some(event.action.to_owned()),
        kind: Some(event.kind.name().to_owned()),
        id: Some(event.id.to_string()),
        owner: Some(event.owner.clone()),
        revision: Some(event.revision),
        data: Some(event.data.clone()),
        ..empty(seq)
    }
}

#[cfg(test)]
mod tests {
    use hcn_schema::Raw;

    use super::*;

    fn event(kind: Kind) -> Event {
        Event {
            notification: None,
            action: "modify",
            kind,
            id: Guid::ZERO,
            network: None,
            owner: String::new(),
            revision: 1,
            data: Raw::of(&serde_json::json!({})),
        }
    }

    fn text(notice: Option<Notice>) -> String {
        match notice {
            Some(Notice::Event(frame)) => String::from_utf8(frame.to_vec()).unwrap(),
            Some(Notice::Disconnect(frame)) => String::from_utf8(frame).unwrap(),
            None => String::new(),
        }
    }

    #[test]
    fn numbers_count_all_events_and_kinds_are_filtered() {
        let hub = Hub::new();
        hub.publish(&event(Kind::Network));
        let mut subscription = hub.subscribe(&[Kind::Endpoint], None);
        assert_eq!(hub.publish(&event(Kind::Network)), 2);
        assert_eq!(hub.publish(&event(Kind::Endpoint)), 3);
        assert!(text(Some(Notice::Disconnect(subscription.registered()))).contains(r#""seq":1"#));
        assert!(text(subscription.try_next()).contains(r#""seq":3"#));
        assert_eq!(subscription.try_next(), None);
    }

    #[test]
    fn a_registration_hears_of_what_its_callback_gets() {
        use NotificationType as Type;
        let guid = |number: u128| format!("00000000-0000-0000-0000-{number:012X}").parse::<Guid>().unwrap();
        let (network, other) = (guid(1), guid(2));
        let registrations = [
            Registration::Service,
            Registration::Network(network),
            Registration::GuestNetworkService(network),
        ];
        let hub = Hub::new();
        let mut subscribers = registrations.map(|registration| hub.subscribe(&Kind::ALL, Some(registration)));
        let mut heard_by = |notification: Option<Type>, id: Guid, on: Option<Guid>| {
            hub.publish(&Event { notification, id, network: on, ..event(Kind::Endpoint) });
            subscribers.each_mut().map(|subscriber| subscriber.try_next().is_some())
        };
        for notification in [
            Type::NetworkPreCreate,
            Type::NetworkCreate,
            Type::NetworkPreDelete,
            Type::NetworkDelete,
            Type::NamespaceCreate,
            Type::NamespaceDelete,
            Type::GuestNetworkServiceCreate,
            Type::GuestNetworkServiceDelete,
        ] {
            assert_eq!(heard_by(Some(notification), network, Some(network)), [true, false, false]);
        }
        for notification in [Type::NetworkEndpointAttached, Type::NetworkEndpointDetached] {
            assert_eq!(heard_by(Some(notification), other, Some(network)), [false, true, false]);
            assert_eq!(heard_by(Some(notification), network, Some(other)), [false; 3]);
            assert_eq!(heard_by(Some(notification), network, None), [false; 3]);
        }
        for notification in
            [Type::GuestNetworkServiceStateChanged, Type::GuestNetworkServiceInterfaceStateChanged]
        {
            assert_eq!(heard_by(Some(notification), network, None), [false, false, true]);
            assert_eq!(heard_by(Some(notification), other, Some(network)), [false; 3]);
        }
        assert_eq!(heard_by(None, network, Some(network)), [false; 3]);
        let mut narrow = hub.subscribe(&[Kind::Namespace], Some(Registration::Service));
        for (kind, heard) in [(Kind::Network, false), (Kind::Namespace, true)] {
            hub.publish(&Event { notification: Some(Type::NetworkCreate), ..event(kind) });
            assert_eq!(narrow.try_next().is_some(), heard, "{kind}");
        }
        hub.close();
        assert!(subscribers.iter_mut().all(|subscriber| {
            // What came before is still told.
            std::iter::from_fn(|| subscriber.try_next())
                .take(9)
                .any(|notice| matches!(notice, Notice::Disconnect(_)))
        }));
    }

    #[test]
    fn those_who_left_are_forgotten_though_nothing_happened_to_them() {
        let hub = Hub::new();
        for _ in 0..100 {
            drop(hub.subscribe(&[], None));
        }
        assert_eq!(locked(&hub.0).subscribers.len(), 1, "the last one, until something happens");
        hub.publish(&event(Kind::Network));
        assert_eq!(locked(&hub.0).subscribers.len(), 0);
    }

    #[test]
    fn one_who_does_not_keep_up_is_cut_off_after_what_was_queued() {
        let hub = Hub::new();
        let mut slow = hub.subscribe(&Kind::ALL, None);
        for _ in 0..=QUEUE {
            hub.publish(&event(Kind::Network));
        }
        let queue = u64::try_from(QUEUE).unwrap();
        assert_eq!(hub.counts(), HubCounts { events: queue + 1, cut_off: 1, subscribers: 0 });
        for _ in 0..QUEUE {
            assert!(matches!(slow.try_next(), Some(Notice::Event(_))));
        }
        assert!(matches!(slow.try_next(), Some(Notice::Disconnect(_))));
    }

    #[test]
    fn a_closed_hub_tells_old_and_new_subscribers() {
        let hub = Hub::new();
        let mut old = hub.subscribe(&Kind::ALL, None);
        hub.publish(&event(Kind::Network));
        hub.close();
        assert!(matches!(old.try_next(), Some(Notice::Event(_))));
        let last = text(old.try_next());
        assert!(last.contains(r#""notification":16777216"#) && !last.contains("continues"), "{last}");
        assert!(matches!(hub.subscribe(&Kind::ALL, None).try_next(), Some(Notice::Disconnect(_))));
    }
}
