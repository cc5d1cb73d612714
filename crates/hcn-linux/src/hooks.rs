//! What tests make go wrong.

use std::time::Duration;

use crate::Linux;
use crate::socket::Fault;

impl Linux {
    /// For tests: the kernel refuses the `k`-th (from 0) netlink message from now on, and goes on with those
    /// after it.
    #[doc(hidden)]
    pub fn fail_message(&mut self, k: usize) {
        self.wire.fault = Some(Fault { after: k, errno: None });
    }

    /// For tests: the same with an error number of the test's.
    #[doc(hidden)]
    pub fn refuse_message(&mut self, k: usize, errno: i32) {
        self.wire.fault = Some(Fault { after: k, errno: Some(errno) });
    }

    /// For tests: the next change of rules in a namespace, and the next path to be opened, take so much longer.
    #[doc(hidden)]
    pub fn delay(&mut self, lag: Duration) {
        self.aside.lag = Some(lag);
        self.paths.delay(lag);
    }

    /// For tests: as on a kernel where tables cannot be owned; to be said before [`adopt`](hcn_dataplane::Dataplane::adopt).
    #[doc(hidden)]
    pub fn share_tables(&mut self) {
        self.may_own_tables = false;
    }

    /// For tests: whether a fault is still waiting; forgets it.
    #[doc(hidden)]
    pub fn fault_pending(&mut self) -> bool {
        self.wire.fault.take().is_some()
    }
}
