//! What does a request of HNS version 1 do?

use hcn_ipc::{Caller, Later};
use hcn_schema::call::HnsRequest;
use hcn_schema::{Error, HResult, Raw};

use crate::service::Service;

/// Answers a request with its envelope (contract 5.1).
pub(crate) fn answer(_service: Service, caller: Caller, request: HnsRequest) -> Later<Raw> {
    let HnsRequest { method, path, .. } = &request;
    tracing::debug!(%method, %path, uid = caller.uid, pid = caller.pid, hns = %caller.hns, "version 1");
    let error = Error::new(HResult::NOT_IMPLEMENTED, "version 1 is not served");
    Box::pin(std::future::ready(Raw::of(&error.record())))
}
