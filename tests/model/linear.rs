//! Is a history linearizable? Whether there is one order of the calls on an object, in agreement with when they were
//! sent and answered, in which a sequential model gives the same answers (Wing and Gong's search, with a memory).

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What an object is in the model.
pub(crate) trait Model {
    /// Whether calls of one client take effect in the order in which it sent them.
    const IN_ORDER: bool;
    /// Its state.
    type State: Clone + Eq + Hash + Debug;
    /// A call on it.
    type Call: Debug;
    /// What the call was answered.
    type Answer: Debug;

    /// The state after a call that was answered so; none where the call cannot be answered so in this state.
    fn step(state: &Self::State, call: &Self::Call, answer: &Self::Answer) -> Option<Self::State>;
}

/// A call that was made, and its answer.
#[derive(Debug)]
pub(crate) struct Event<C, A> {
    /// Who made it.
    pub(crate) client: usize,
    /// When it was sent; times are all different.
    pub(crate) sent: u64,
    /// When its answer was there.
    pub(crate) answered: u64,
    pub(crate) call: C,
    pub(crate) answer: A,
}

/// Checks a history; answers the longest order that was found where none takes in all calls.
pub(crate) fn check<M: Model>(
    initial: &M::State,
    history: &[Event<M::Call, M::Answer>],
) -> Result<(), Vec<usize>> {
    let mut search = Search::<M> { history, seen: HashSet::new(), order: Vec::new(), longest: Vec::new() };
    let done = vec![false; history.len()];
    if search.from(initial, &done) { Ok(()) } else { Err(search.longest) }
}

struct Search<'a, M: Model> {
    history: &'a [Event<M::Call, M::Answer>],
    /// Which calls were done and what state that left: not tried again.
    seen: HashSet<(Vec<bool>, M::State)>,
    order: Vec<usize>,
    longest: Vec<usize>,
}

impl<M: Model> Search<'_, M> {
    fn from(&mut self, state: &M::State, done: &[bool]) -> bool {
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
        if self.order.len() == self.history.len() {
            return true;
        }
        if !self.seen.insert((done.to_vec(), state.clone())) {
            return false;
        }
        let open = |index: &usize| !done[*index];
        // Whatever was sent after another call was answered comes after it.
        let first_answer =
            (0..self.history.len()).filter(open).map(|index| self.history[index].answered).min();
        for index in (0..self.history.len()).filter(open) {
            let event = &self.history[index];
            let too_early = first_answer.is_some_and(|answered| event.sent > answered);
            let sent_before = |other: &usize| {
                let other = &self.history[*other];
                M::IN_ORDER && other.client == event.client && other.sent < event.sent
            };
            if too_early || (0..self.history.len()).filter(open).any(|other| sent_before(&other)) {
                continue;
            }
            if let Some(next) = M::step(state, &event.call, &event.answer) {
                let mut done = done.to_vec();
                done[index] = true;
                self.order.push(index);
                if self.from(&next, &done) {
                    return true;
                }
                self.order.pop();
            }
        }
        false
    }
}

/// A register, to see that the check finds what it should.
#[cfg(test)]
mod tests {
    use super::*;

    struct Register;

    #[derive(Debug)]
    enum Call {
        Write(u32),
        Read,
    }

    impl Model for Register {
        const IN_ORDER: bool = true;
        type State = u32;
        type Call = Call;
        type Answer = u32;

        fn step(state: &u32, call: &Call, answer: &u32) -> Option<u32> {
            match call {
                Call::Write(value) => Some(*value),
                Call::Read => (state == answer).then_some(*state),
            }
        }
    }

    fn event(client: usize, sent: u64, answered: u64, call: Call, answer: u32) -> Event<Call, u32> {
        Event { client, sent, answered, call, answer }
    }

    #[test]
    fn calls_side_by_side_may_take_effect_in_any_order() {
        let history =
            [event(0, 1, 4, Call::Write(7), 0), event(1, 2, 3, Call::Read, 0), event(1, 5, 6, Call::Read, 7)];
        assert_eq!(check::<Register>(&0, &history), Ok(()));
    }

    #[test]
    fn an_old_value_after_the_answer_is_found_out() {
        let history = [event(0, 1, 2, Call::Write(7), 0), event(1, 3, 4, Call::Read, 0)];
        assert_eq!(check::<Register>(&0, &history), Err(vec![0]));
    }

    #[test]
    fn a_client_sees_what_it_sent_before() {
        let history = [event(0, 1, 4, Call::Write(7), 0), event(0, 2, 3, Call::Read, 0)];
        assert!(check::<Register>(&0, &history).is_err());
    }
}
