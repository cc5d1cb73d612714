//! The one error of the contract: a code, what went wrong, and where in the document.

use std::fmt;

use serde::Serialize;

use crate::HResult;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code that the client sees.
    pub code: HResult,
    /// What went wrong in this very call.
    pub message: String,
    /// Where in the document, as `Ipams[0].Subnets[1].IpAddressPrefix`.
    pub path: Option<String>,
    /// What would have been right there.
    pub expected: Option<String>,
}

impl Error {
    /// An error with a code and what went wrong.
    pub fn new(code: HResult, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), path: None, expected: None }
    }

    /// Adds where in the document.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Puts the path of an inner document behind the place that it stands in.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path = Some(match self.path {
            Some(inner) => format!("{outer}.{inner}"),
            None => outer.to_owned(),
        });
        self
    }

    pub(crate) fn from_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let expected = message.split_once("expected ").map(|(_, rest)| {
            let end = rest.find(" at line ").unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        Self {
            code: HResult::INVALID_JSON,
            message,
            path: (path != ".").then_some(path),
            expected: expected.filter(|_| error.inner().is_data()),
        }
    }

    /// The record that goes to the client beside the code (contract 3.3).
    pub fn record(&self) -> ErrorRecord {
        ErrorRecord { success: false, error: self.code.text(), error_code: self.code.0 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(path) = &self.path {
            write!(f, " (at {path})")?;
        }
        if let Some(expected) = &self.expected {
            // serde's own messages say already what they expected.
            if !self.message.contains(expected.as_str()) {
                write!(f, "; expected {expected}")?;
            }
        }
        write!(f, " [{}]", self.code)
    }
}

impl std::error::Error for Error {}

/// ErrorRecord of the C API: delivered on failure only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorRecord {
    /// Always false.
    #[serde(rename = "Success")]
    pub success: bool,
    /// The system message of the code; ends with ". " as on Windows.
    #[serde(rename = "Error")]
    pub error: String,
    /// The code as an unsigned number.
    #[serde(rename = "ErrorCode")]
    pub error_code: u32,
}
