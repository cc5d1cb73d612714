//! What others changed in the kernel: looked for where word of it came from, and repaired entity by entity. An entity that
//! is changed again and again is somebody else's to have: it is degraded and left alone for a while.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use hcn_dataplane::{Netns, Notice, Scope, State, diff};
use hcn_schema::call::Kind;
use hcn_schema::notification::Event;
use hcn_schema::{HResult, Raw};

use super::{Action, Engine};
use crate::compile;
use crate::decide::event_with;
use crate::entity::{Change, Entity, EntityKey};

/// More repairs of one entity than these, and one for each [`REGAINED`] that has passed, are a fight.
const MOST: u32 = 20;
const REGAINED: Duration = Duration::from_secs(10);
/// When to look again at what was being changed.
const SOON: Duration = Duration::from_millis(100);
/// How long the entity is left alone after the first fight, and at most; after each it is twice as long.
const FIRST_TRUCE: Duration = Duration::from_secs(30);
const LONGEST_TRUCE: Duration = Duration::from_secs(600);

/// What is known of drift.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// The look that is under way.
    look: Option<Look>,
    fights: HashMap<EntityKey, Fight>,
    /// When to look again, and where, although there was no word of a change.
    due: Vec<(Duration, Notice)>,
}

#[derive(Debug)]
struct Look {
    /// What each entity that is looked at means.
    wanted: Vec<(Entity, State)>,
    /// Who was or is being changed meanwhile: what is seen of these may be no more.
    touched: HashSet<EntityKey>,
}

/// Repairs of one entity.
#[derive(Debug, Default)]
struct Fight {
    /// How many there were, less those that time has made good.
    repairs: u32,
    /// Since when time counts.
    since: Duration,
    /// Until when it is left alone.
    truce: Option<Duration>,
    /// How long the next truce is.
    next: Duration,
}

impl Drift {
    /// A job changes these.
    pub(super) fn touch(&mut self, change: &Change) {
        if let Some(look) = &mut self.look {
            look.touched.extend(change.keys());
        }
    }

    /// Looks again then, where something may have changed.
    pub(super) fn look_at(&mut self, due: Duration, notice: Notice) {
        self.due.push((due, notice));
    }

    /// Notes a repair. Says whether it is one too many, and for how long there is a truce.
    fn repaired(&mut self, key: EntityKey, now: Duration) -> Option<Duration> {
        let fight = self.fights.entry(key).or_default();
        let regained = now.saturating_sub(fight.since).as_secs() / REGAINED.as_secs();
        let regained = u32::try_from(regained).unwrap_or(u32::MAX);
        if regained >= fight.repairs {
            // A long peace makes all good.
            *fight = Fight { since: now, ..Fight::default() };
        } else {
            fight.repairs -= regained;
            fight.since += REGAINED * regained;
        }
        fight.repairs += 1;
        if fight.repairs <= MOST {
            return None;
        }
        let truce = fight.next.max(FIRST_TRUCE);
        fight.next = (truce * 2).min(LONGEST_TRUCE);
        fight.truce = Some(now + truce);
        // One more, and it goes on.
        fight.repairs = MOST;
        Some(truce)
    }

    fn is_left_alone(&self, key: &EntityKey, now: Duration) -> bool {
        self.fights.get(key).and_then(|fight| fight.truce).is_some_and(|until| now < until)
    }
}

impl Engine {
    /// What is expected to be in scope, by the entities that nobody is changing. The data plane looks at it after all that
    /// it was asked for until now, and then [`looked`](Self::looked) is called, or [`unseen`](Self::unseen).
    pub fn expected(&mut self, scope: &Scope, now: Duration) -> State {
        let waiting: HashSet<EntityKey> =
            self.repairs.iter().flat_map(|repair| repair.change.keys().collect::<Vec<_>>()).collect();
        let entities: Vec<Entity> = match scope {
            Scope::Places(places) if !places.contains(&Netns::Host) => self.entities_in(places),
            _ => self.working.entities().collect(),
        };
        let mut wanted = Vec::new();
        for entity in entities {
            let key = entity.key();
            let aside =
                self.turns.is_busy(&key) || waiting.contains(&key) || self.drift.is_left_alone(&key, now);
            if !aside {
                let objects: State = compile::objects_of(&self.working, &entity).into_iter().collect();
                if !objects.is_empty() {
                    wanted.push((entity, objects));
                }
            }
        }
        let all =
            wanted.iter().flat_map(|(_, objects)| objects.iter().map(|(_, object)| object.clone())).collect();
        self.drift.look = Some(Look { wanted, touched: HashSet::new() });
        all
    }

    /// The namespaces with these files, and what is attached to them.
    fn entities_in(&self, places: &BTreeSet<Netns>) -> Vec<Entity> {
        let mut entities = Vec::new();
        for place in places {
            let Netns::Named(name) = place else { continue };
            let id = name.parse().ok().filter(|id| self.working.namespaces.get(*id).is_some());
            let Some(namespace) = id.and_then(|id| self.working.get(EntityKey { kind: Kind::Namespace, id }))
            else {
                continue;
            };
            if let Entity::Namespace(record) = &namespace {
                let endpoints = record
                    .endpoints()
                    .filter_map(|id| self.working.get(EntityKey { kind: Kind::Endpoint, id }));
                entities.extend(endpoints);
            }
            entities.push(namespace);
        }
        entities
    }

    /// The data plane has looked. What is missing or wrong is repaired, as it was expected: of who was touched meanwhile
    /// nothing is known, and it is looked at again.
    pub fn looked(&mut self, found: &State, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(look) = self.drift.look.take() else { return actions };
        for (entity, wanted) in look.wanted {
            let key = entity.key();
            let present: State = wanted.iter().filter_map(|(key, _)| found.get(key).cloned()).collect();
            let plan = diff(&present, &wanted);
            let degraded = entity.meta().degraded.is_some();
            if look.touched.contains(&key) || self.turns.is_busy(&key) {
                if !plan.is_empty() {
                    self.drift.look_at(now + SOON, about(&wanted));
                }
                continue;
            }
            if plan.is_empty() && !degraded {
                continue;
            }
            let what: Vec<String> = plan.ops.iter().map(|op| op.key().to_string()).collect();
            let truce = if plan.is_empty() { None } else { self.drift.repaired(key, now) };
            let mut change = Change::default();
            if let Some(truce) = truce {
                let marked = entity.with_degraded(Some(HResult::DEGRADED_OPERATION));
                change.replace(entity, marked.clone());
                self.working.apply(&change);
                actions.push(Action::Publish(change));
                actions.push(Action::Announce(told("fight", &marked, &what)));
                self.drift.look_at(now + truce, about(&wanted));
                continue;
            }
            let right = entity.with_degraded(None);
            let event = (!what.is_empty()).then(|| told("repair", &right, &what));
            let events = event.into_iter().collect();
            change.replace(entity, right);
            self.start_repair(plan, change, Some(about(&wanted)), events, &mut actions);
        }
        actions
    }

    /// The data plane could not look.
    pub fn unseen(&mut self, now: Duration) {
        self.drift.look = None;
        self.drift.look_at(now + super::REPAIR_INTERVAL, Notice::of_everything());
    }

    /// Where it is time to look again.
    pub fn take_due_look(&mut self, now: Duration) -> Option<Notice> {
        let mut all = Notice::default();
        self.drift.due.retain(|(due, notice)| {
            let waits = *due > now;
            if !waits {
                all.merge(notice.clone());
            }
            waits
        });
        (!all.is_empty()).then_some(all)
    }

    pub(super) fn next_look(&self) -> Option<Duration> {
        self.drift.due.iter().map(|(due, _)| *due).min()
    }
}

/// Where the objects of an entity are.
fn about(wanted: &State) -> Notice {
    Notice::about(wanted.iter().map(|(_, object)| object))
}

/// What happened to an entity, with the kernel's objects that it happened to.
fn told(action: &'static str, entity: &Entity, objects: &[String]) -> Event {
    event_with(action, entity, Raw::of(&serde_json::json!({ "Objects": objects })))
}
