//! The state machine: calls and completions in, actions out.
//!
//! A changing call is decided at once against the *working* records, which hold the reservations of all calls
//! under way: what is being made is there already, what is being deleted is there still. Its entities are busy
//! until the data plane is done; a call that needs one of them waits for its turn, until its deadline. Success
//! publishes the change, failure takes it back.

mod drift;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use hcn_dataplane::{Notice, Plan, State, diff};
use hcn_schema::call::{Answer, Call};
use hcn_schema::notification::Event;
use hcn_schema::{Error, HResult, Result};

use crate::compile;
use crate::decide::{Context, Cursors, Decision, Refusal, View, decide};
use crate::entity::{Change, Entity, EntityKey, Step};
use crate::registry::Registry;
use crate::turns::{CallId, Turns};

/// How long a call waits for entities that others are changing.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// How long after a failed repair the next one is tried.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);
/// Operations of a repair to which nothing is added.
const REPAIR_AT_MOST: usize = 1_000;

/// How long after a repair is looked at what came of it.
const REPAIR_PAUSE: Duration = Duration::from_millis(50);

/// A job, as the engine knows it.
pub type Ticket = u64;

/// What the daemon must do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Tell subscribers.
    Announce(Event),
    /// Carry a plan out and make its change durable, then call [`Engine::finish`].
    Start(Job),
    /// Make a change visible to readers.
    Publish(Change),
    /// Answer a call.
    Reply(CallId, Result<Answer>),
}

/// Work for the data plane.
#[derive(Debug)]
pub struct Job {
    /// To be given back with the result.
    pub ticket: Ticket,
    /// What to do.
    pub plan: Plan,
    /// The records to make durable beside it.
    pub change: Change,
}

/// Why a job failed.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told.
    pub message: String,
    /// What of the plan could not be taken back.
    pub left: Option<Plan>,
    /// The code, where it is not the one that comes from what was being done.
    pub code: Option<HResult>,
}

/// A job under way.
#[derive(Debug)]
struct Pending {
    /// Who waits for it; a repair has no one.
    call: Option<(CallId, Answer)>,
    /// The code if the data plane or the store fails.
    failure_code: HResult,
    /// Where the pools go on if it succeeds; until then the reservations keep others off.
    cursors: Cursors,
    change: Change,
    after: Vec<Event>,
    /// What is still to be done if this job is a repair and fails.
    repair: Option<Plan>,
    /// It puts right what others changed: where to look at what came of it.
    drift: Option<Notice>,
    /// The call again, if it left the choice of a port to the service: another one may be free.
    chooses: Option<Parked>,
}

#[derive(Debug)]
struct Parked {
    id: CallId,
    call: Call,
    context: Context,
    deadline: Duration,
    /// The entities that it needs, as far as is known.
    needed: Vec<EntityKey>,
}

/// Something that could not be undone and is tried again.
#[derive(Debug)]
struct Repair {
    plan: Plan,
    /// The records once it is done.
    change: Change,
    due: Duration,
}

/// The service's state.
#[derive(Debug, Default)]
pub struct Engine {
    working: Registry,
    turns: Turns,
    pending: HashMap<Ticket, Pending>,
    /// Waiting calls, by the entity that each waits for, in the order of arrival.
    parked: HashMap<EntityKey, VecDeque<Parked>>,
    repairs: VecDeque<Repair>,
    cursors: Cursors,
    drift: drift::Drift,
    last_incarnation: u64,
    last_ticket: Ticket,
}

impl Engine {
    /// A service without entities.
    pub fn new() -> Self {
        Self::default()
    }

    /// A service that goes on with these records.
    pub fn restored(entities: &[Entity], last_incarnation: u64) -> Self {
        let youngest = entities.iter().map(|entity| entity.meta().incarnation).max().unwrap_or_default();
        Self {
            working: Registry::of(entities),
            last_incarnation: last_incarnation.max(youngest),
            ..Self::default()
        }
    }

    /// Starts making what the records mean and the kernel, where there is `found`, does not hold. Each entity is a job of
    /// its own, so that one that fails is degraded and repaired without the others.
    pub fn reconcile(&mut self, found: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        let entities: Vec<Entity> = self.working.entities().collect();
        for entity in entities {
            let wanted: State = compile::objects_of(&self.working, &entity).into_iter().collect();
            let present = wanted.iter().filter_map(|(key, _)| found.get(key).cloned()).collect();
            let plan = diff(&present, &wanted);
            if plan.is_empty() {
                continue;
            }
            let mut change = Change::default();
            change.replace(entity.clone(), entity);
            self.start_repair(plan, change, None, Vec::new(), &mut actions);
        }
        actions
    }

    /// The records, reservations included.
    pub fn working(&self) -> &Registry {
        &self.working
    }

    /// Whether any job is under way.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many repairs wait or are under way.
    pub fn repairs(&self) -> usize {
        self.repairs.len() + self.pending.values().filter(|job| job.repair.is_some()).count()
    }

    /// Decides a changing call, or lets it wait.
    pub fn submit(&mut self, id: CallId, call: Call, context: Context) -> Vec<Action> {
        let deadline = context.now + WAIT_LIMIT;
        let mut actions = Vec::new();
        self.decide(Parked { id, call, context, deadline, needed: Vec::new() }, &mut actions);
        actions
    }

    /// Decides a call; answers the entities that it does not claim any longer.
    fn decide(&mut self, mut parked: Parked, actions: &mut Vec<Action>) -> Vec<EntityKey> {
        let view = View {
            registry: &self.working,
            turns: &self.turns,
            call: parked.id,
            needed: RefCell::default(),
            cursors: &self.cursors,
            context: &parked.context,
            next_incarnation: self.last_incarnation + 1,
        };
        let decision = decide(&view, &parked.call);
        let needed = view.needed.into_inner();
        self.turns.unclaim(parked.id, &parked.needed);
        let mut released = std::mem::take(&mut parked.needed);
        match decision {
            Ok(decision) => self.begin(parked, decision, actions),
            Err(Refusal::Error(error)) => actions.push(Action::Reply(parked.id, Err(error))),
            Err(Refusal::Wait(key)) => {
                self.turns.claim(parked.id, &needed);
                released.retain(|key| !needed.contains(key));
                parked.needed = needed;
                let queue = self.parked.entry(key).or_default();
                let place = queue.partition_point(|other| other.id < parked.id);
                queue.insert(place, parked);
            }
        }
        released
    }

    /// Decides again the calls that wait for these entities, and those that wait for what these calls release.
    fn wake(&mut self, keys: Vec<EntityKey>, actions: &mut Vec<Action>) {
        let mut keys: VecDeque<EntityKey> = keys.into();
        while let Some(key) = keys.pop_front() {
            for parked in self.parked.remove(&key).unwrap_or_default() {
                keys.extend(self.decide(parked, actions));
            }
        }
    }

    fn begin(&mut self, parked: Parked, decision: Decision, actions: &mut Vec<Action>) {
        let id = parked.id;
        self.last_incarnation += 1;
        if decision.change.steps.is_empty() {
            return actions.push(Action::Reply(id, Ok(decision.answer)));
        }
        actions.extend(decision.before.into_iter().map(Action::Announce));
        let from = compile::touched(&self.working, &decision.change);
        self.working.apply(&decision.change);
        let plan = diff(&from, &compile::touched(&self.working, &decision.change));
        // What is deleted keeps its names and addresses until it is gone: the deletion may fail.
        let (_, deleted) = decision.change.split();
        self.working.apply(&deleted.inverse());
        let pending = Pending {
            call: Some((id, decision.answer)),
            failure_code: decision.failure_code,
            chooses: decision.cursors.port.map(|_| parked),
            cursors: decision.cursors,
            change: decision.change,
            after: decision.after,
            repair: None,
            drift: None,
        };
        self.start(plan, pending, actions);
    }

    fn start(&mut self, plan: Plan, pending: Pending, actions: &mut Vec<Action>) {
        self.last_ticket += 1;
        self.drift.touch(&pending.change);
        self.turns.begin(&pending.change);
        actions.push(Action::Start(Job { ticket: self.last_ticket, plan, change: pending.change.clone() }));
        self.pending.insert(self.last_ticket, pending);
    }

    /// Starts what nobody has called for; of what others changed it is told where to look afterwards.
    fn start_repair(
        &mut self,
        plan: Plan,
        change: Change,
        drift: Option<Notice>,
        after: Vec<Event>,
        actions: &mut Vec<Action>,
    ) {
        let pending = Pending {
            call: None,
            failure_code: HResult::DEGRADED_OPERATION,
            cursors: Cursors::default(),
            change,
            after,
            // Drift is looked at anew.
            repair: Some(if drift.is_some() { Plan::default() } else { plan.clone() }),
            drift,
            chooses: None,
        };
        self.start(plan, pending, actions);
    }

    /// A job is done.
    pub fn finish(
        &mut self,
        ticket: Ticket,
        result: std::result::Result<(), Failure>,
        now: Duration,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(pending) = self.pending.remove(&ticket) else { return actions };
        let keys: Vec<EntityKey> = pending.change.keys().collect();
        self.turns.end(&keys);
        if let Some(places) = &pending.drift {
            // With one thing others may have gone, which could not be seen.
            let pause = if result.is_ok() { REPAIR_PAUSE } else { REPAIR_INTERVAL };
            self.drift.look_at(now + pause, places.clone());
        }
        match result {
            Ok(()) => self.succeed(pending, &mut actions),
            Err(failure) => self.fail(pending, failure, now, &mut actions),
        }
        self.wake(keys, &mut actions);
        actions
    }

    fn succeed(&mut self, pending: Pending, actions: &mut Vec<Action>) {
        if pending.repair.is_some() {
            self.working.apply(&pending.change);
        } else {
            let (_, deleted) = pending.change.split();
            self.working.apply(&deleted);
        }
        self.cursors.advance(pending.cursors);
        actions.push(Action::Publish(pending.change));
        if let Some((id, answer)) = pending.call {
            actions.push(Action::Reply(id, Ok(answer)));
        }
        actions.extend(pending.after.into_iter().map(Action::Announce));
    }

    fn fail(&mut self, pending: Pending, failure: Failure, now: Duration, actions: &mut Vec<Action>) {
        let due = now + REPAIR_INTERVAL;
        if pending.drift.is_some() && failure.left.is_none() {
            let code = failure.code.unwrap_or(pending.failure_code);
            let (marked, _) = degrade(&pending.change, code, |step| step.after.clone());
            self.working.apply(&marked);
            actions.push(Action::Publish(marked));
            return;
        }
        if let Some(repair) = pending.repair {
            // A failed repair has undone itself; what it could not undo comes before the rest. One that fails so again and
            // again does not grow without end.
            let mut plan = failure.left.unwrap_or_default();
            if plan.ops.len() + repair.ops.len() > REPAIR_AT_MOST {
                plan.ops.clear();
            }
            plan.ops.extend(repair.ops);
            let code = failure.code.unwrap_or(pending.failure_code);
            let (marked, change) = degrade(&pending.change, code, |step| step.after.clone());
            self.working.apply(&marked);
            actions.push(Action::Publish(marked));
            self.repairs.push_back(Repair { plan, change, due });
            return;
        }
        let (made, _) = pending.change.split();
        self.working.apply(&made.inverse());
        // A program of the host has the port that was chosen.
        if failure.code == Some(HResult::PORT_ALREADY_EXISTS)
            && failure.left.is_none()
            && let Some(parked) = pending.chooses.filter(|parked| now < parked.deadline)
        {
            self.cursors.port = pending.cursors.port;
            // The call held no claims while it was under way.
            self.decide(parked, actions);
            return;
        }
        let code = failure.code.unwrap_or(pending.failure_code);
        if let Some(plan) = failure.left {
            let (marked, repaired) =
                degrade(&pending.change, pending.failure_code, |step| step.before.clone());
            self.working.apply(&marked);
            actions.push(Action::Publish(marked));
            self.repairs.push_back(Repair { plan, change: repaired, due });
        }
        if let Some((id, _)) = pending.call {
            actions.push(Action::Reply(id, Err(Error::new(code, failure.message))));
        }
    }

    /// Time passes: calls that waited too long fail, repairs that are due are tried.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut late = Vec::new();
        for queue in self.parked.values_mut() {
            let (in_time, expired): (VecDeque<_>, VecDeque<_>) =
                queue.drain(..).partition(|parked| now < parked.deadline);
            *queue = in_time;
            late.extend(expired);
        }
        self.parked.retain(|_, queue| !queue.is_empty());
        for parked in late {
            self.turns.unclaim(parked.id, &parked.needed);
            let message = "the call waited too long for an entity that others are changing";
            actions.push(Action::Reply(parked.id, Err(Error::new(HResult::TIMEOUT, message))));
            self.wake(parked.needed, &mut actions);
        }
        for _ in 0..self.repairs.len() {
            let Some(repair) = self.repairs.pop_front() else { break };
            if repair.due <= now {
                self.start_repair(repair.plan, repair.change, None, Vec::new(), &mut actions);
            } else {
                self.repairs.push_back(repair);
            }
        }
        actions
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn next_tick(&self) -> Option<Duration> {
        let deadlines = self.parked.values().flatten().map(|parked| parked.deadline);
        deadlines.chain(self.repairs.iter().map(|repair| repair.due)).chain(self.next_look()).min()
    }
}

/// Work that failed and left something over: the change that shows it in the records, and the change once the rest is
/// repaired, which leads to the `goal` of each step. An entity that was to be made stays visible until nothing of it is
/// left.
fn degrade(change: &Change, code: HResult, goal: impl Fn(&Step) -> Option<Entity>) -> (Change, Change) {
    let (mut marked, mut repaired) = (Change::default(), Change::default());
    for step in &change.steps {
        let shown = step.before.as_ref().or(step.after.as_ref());
        let shown = shown.map(|entity| entity.with_degraded(Some(code)));
        marked.steps.push(Step { before: step.before.clone(), after: shown.clone() });
        repaired.steps.push(Step { before: shown, after: goal(step) });
    }
    (marked, repaired)
}
