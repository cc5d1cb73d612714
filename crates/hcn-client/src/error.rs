//! Why did a call fail, and what kind of failure is that?

use std::io;
use std::path::PathBuf;

use hcn_ipc::ErrorClass;
use hcn_schema::HResult;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the socket, or the caller may not connect to it.
    #[error("cannot reach hcnd at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer; whether the call was carried out is not known.
    #[error("the connection to hcnd was lost")]
    Lost(#[source] Option<io::Error>),
    /// The service answered with a code.
    #[error("{error}")]
    Failed {
        /// The code and what went wrong.
        error: hcn_schema::Error,
        /// The ErrorRecord as a JSON text.
        record: String,
    },
    /// The service answered with an error of Varlink itself, as `org.varlink.service.MethodNotFound`.
    #[error("{error} {parameters}")]
    Refused {
        /// Its name.
        error: String,
        /// Its parameters, a JSON text.
        parameters: String,
    },
    /// What came is no answer to what was asked.
    #[error("hcnd does not speak the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// The code, when the service gave one.
    pub fn code(&self) -> Option<HResult> {
        match self {
            Self::Failed { error, .. } => Some(error.code),
            _ => None,
        }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorClass::Denied
            }
            Self::Unreachable { .. } | Self::Lost(_) => ErrorClass::Unreachable,
            Self::Failed { error, .. } => ErrorClass::of(error.code),
            Self::Refused { .. } => ErrorClass::Invalid,
            Self::Protocol(_) => ErrorClass::Failure,
        }
    }
}
