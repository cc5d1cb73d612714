//! What went wrong, as a runtime hears of it: a code of the specification or one of the plugin's own, and words.

use std::fmt::Display;

use hcn_client::ErrorClass;
use serde_json::{Value, json};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Codes of the specification, and from 100 on the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    UnsupportedField = 2,
    UnknownContainer = 3,
    InvalidEnvironment = 4,
    Io = 5,
    Undecodable = 6,
    InvalidConfiguration = 7,
    TryAgainLater = 11,
    NotAvailable = 50,
    LimitedConnectivity = 51,
    /// hcnd could not do it.
    Failed = 100,
    /// hcnd does not allow it to this user.
    Denied = 101,
    /// What is asked for is there already, or in use.
    Conflict = 102,
    /// CHECK: the container is not connected as ADD has left it.
    Changed = 103,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: String,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    #[must_use]
    pub(crate) fn with_details(mut self, details: impl Display) -> Self {
        self.details = details.to_string();
        self
    }

    /// A key of the configuration, or a part of it, that cannot be.
    pub(crate) fn at(path: impl Display, message: impl Display) -> Self {
        Self::new(Code::InvalidConfiguration, format!("{path}: {message}"))
    }

    /// Something that the plugin cannot do, by key and value.
    pub(crate) fn unsupported(key: impl Display, value: &Value) -> Self {
        Self::new(Code::UnsupportedField, format!("unsupported field {key}: {value}"))
    }

    pub(crate) fn json(&self, version: &str) -> Value {
        let mut error = json!({"cniVersion": version, "code": self.code as u16, "msg": self.message});
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        error
    }
}

impl From<hcn_client::Error> for Error {
    fn from(error: hcn_client::Error) -> Self {
        let code = match error.class() {
            ErrorClass::Unreachable | ErrorClass::Timeout => Code::TryAgainLater,
            ErrorClass::Denied => Code::Denied,
            ErrorClass::Conflict => Code::Conflict,
            ErrorClass::Invalid => Code::InvalidConfiguration,
            ErrorClass::NotFound | ErrorClass::Failure => Code::Failed,
        };
        match error {
            hcn_client::Error::Failed { error, .. } => {
                let mut message = error.message;
                if let Some(path) = error.path {
                    message = format!("{path}: {message}");
                }
                if let Some(expected) = error.expected {
                    message = format!("{message}; expected {expected}");
                }
                Self { code, message, details: error.code.to_string() }
            }
            other => Self::new(code, other.to_string()),
        }
    }
}

/// Whether the service says that something is not there.
pub(crate) fn is_missing(error: &hcn_client::Error) -> bool {
    error.class() == ErrorClass::NotFound
}
