//! Why did a call fail, as C hears of it: a code and an ErrorRecord.

use std::io;

use hcn_client::{Error, HResult};

/// A failure.
#[derive(Debug)]
pub struct Fault {
    pub(crate) code: HResult,
    /// The ErrorRecord (contract 3.3), a JSON text.
    pub(crate) record: String,
    /// The connection ended before the answer.
    pub(crate) lost: bool,
}

impl From<HResult> for Fault {
    fn from(code: HResult) -> Self {
        let record = hcn_schema::Error::new(code, "").record();
        Self { code, record: hcn_schema::to_text(&record), lost: false }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Failed { error, record } => Self { code: error.code, record, lost: false },
            Error::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                HResult::ACCESS_DENIED.into()
            }
            Error::Unreachable { .. } => HResult::NOT_REGISTERED.into(),
            Error::Lost(Some(source)) if source.kind() == io::ErrorKind::WouldBlock => {
                HResult::TIMEOUT.into()
            }
            Error::Lost(_) => Self { lost: true, ..HResult::CALL_FAILED.into() },
            // The service is older than this library.
            Error::Refused { error, .. }
                if error.ends_with(".MethodNotFound") || error.ends_with(".InterfaceNotFound") =>
            {
                HResult::NOT_IMPLEMENTED.into()
            }
            Error::Refused { .. } => HResult::INVALID_ARGUMENT.into(),
            Error::Protocol(_) => HResult::GENERAL_FAILURE.into(),
        }
    }
}
