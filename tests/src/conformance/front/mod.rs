//! The cases through other fronts than the wire: the same steps, said in the words of another interface. What an
//! interface has no words for is listed with the reason; anything else that cannot be said fails.

pub mod c;
pub mod http;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hcn_dataplane::{Fake, State};
use serde_json::Value;

use super::{Answer, Case, Connection, Inexpressible, Subject, delete_everything};
use crate::service::{InProcess, fake_host};
use crate::wire::Wire;

/// How much of a case a front has no words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// All of it is about that.
    Case(&'static str),
    /// So many steps of it, which are left out.
    Steps(usize, &'static str),
}

/// A daemon over the fake kernel that is reached by a front.
struct Reached<'a, C> {
    daemon: InProcess<Fake>,
    connect: &'a mut dyn FnMut(&InProcess<Fake>) -> C,
    may_leave_out: bool,
    left_out: usize,
}

impl<C: Connection> Subject for Reached<'_, C> {
    type Connection = C;

    fn connect(&mut self) -> C {
        (self.connect)(&self.daemon)
    }

    fn leave_out(&mut self, place: &str, Inexpressible(why): Inexpressible) {
        assert!(self.may_leave_out, "{place}: {why}");
        eprintln!("{place}: left out: {why}");
        self.left_out += 1;
    }

    fn start_again(&mut self, reboot: bool) {
        self.daemon.start_again(reboot);
    }

    fn call_while_stopping(&mut self, connection: &mut C, method: &str, parameters: &Value) -> Answer {
        self.daemon.call_while_stopping(|| connection.call(method, parameters))
    }
}

/// Runs cases over the fake kernel through a front; tells how many there were, and fails for those that fail.
pub fn run_through<C: Connection>(
    front: &str,
    cases: &[Case],
    without: &[(&str, Without)],
    mut connect: impl FnMut(&InProcess<Fake>) -> C,
) {
    let (mut ran, mut steps, mut left_out, mut failed) = (0, 0, 0, Vec::new());
    for case in cases {
        let known = without.iter().find(|(name, _)| *name == case.name).map(|(_, without)| *without);
        if matches!(known, Some(Without::Case(_))) {
            continue;
        }
        let run = catch_unwind(AssertUnwindSafe(|| {
            let dataplane = fake_host();
            let daemon = if case.needs().is_empty() {
                InProcess::start(dataplane.clone())
            } else {
                InProcess::start_durable(dataplane.clone())
            };
            let expected = if let Some(Without::Steps(count, _)) = known { count } else { 0 };
            let mut subject =
                Reached { daemon, connect: &mut connect, may_leave_out: expected > 0, left_out: 0 };
            case.run(&mut subject);
            delete_everything(&mut Wire::connect(&subject.daemon.socket()).unwrap());
            assert_eq!(dataplane.lock().inner.state, State::new(), "case {} left something", case.name);
            assert_eq!(subject.left_out, expected, "steps of case {} that cannot be said", case.name);
            subject.left_out
        }));
        match run {
            Ok(without) => {
                (ran, steps, left_out) = (ran + 1, steps + case.steps().len(), left_out + without);
            }
            Err(_) => failed.push(case.name.as_str()),
        }
    }
    eprintln!("{ran} of {} cases through {front}, but for {left_out} of their {steps} steps", cases.len());
    assert!(failed.is_empty(), "{} cases failed: {}", failed.len(), failed.join(", "));
}
