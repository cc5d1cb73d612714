//! Why did a command fail, which exit code is that, and how is it told?

use std::io::{self, Write};

use hcn_client::{Error, ErrorClass};
use serde_json::json;

use crate::output::Format;

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The exit code of wrong arguments; the others are [`ErrorClass`]'s.
pub(crate) const USAGE: u8 = 2;

/// The exit code of `doctor` where it has found something of severity warning or above. 9 is kept for what differs from
/// the records.
pub(crate) const FINDINGS: u8 = 10;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Of the client or the service.
    Service(Error),
    /// Of hcnctl itself.
    Own {
        /// The exit code.
        exit_code: u8,
        /// What went wrong, and what to do.
        message: String,
    },
    /// Failures that were told already; the exit code is the first one's.
    Told(u8),
    /// Nobody reads the output any more.
    OutputClosed,
}

impl Failure {
    /// A failure of this class.
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Own { exit_code: class.exit_code(), message: message.into() }
    }

    /// Arguments that do not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Own { exit_code: USAGE, message: message.into() }
    }

    /// The exit code of hcnctl.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Service(error) => error.class().exit_code(),
            Self::Own { exit_code, .. } | Self::Told(exit_code) => *exit_code,
            Self::OutputClosed => 0,
        }
    }

    /// Writes the failure to stderr.
    pub(crate) fn tell(&self, format: Format) {
        let text = match (self, format) {
            (Self::Told(_) | Self::OutputClosed, _) => return,
            (_, Format::Json) => self.json(),
            (_, Format::Table) => format!("hcnctl: {}", self.text()),
        };
        // When stderr is closed the exit code has to do.
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn text(&self) -> String {
        match self {
            Self::Service(error @ Error::Unreachable { .. }) => {
                let hint = if error.class() == ErrorClass::Denied {
                    "the socket or its folder is closed to this user; hcnd itself decides per call"
                } else {
                    "start it with `systemctl start hcnd`, or try things out in `hcnd sandbox`; \
                     --socket or HCND_SOCKET name another socket"
                };
                format!("{error}\n  {hint}")
            }
            Self::Service(Error::Lost(Some(source))) => format!("the connection to hcnd was lost: {source}"),
            Self::Service(error) => error.to_string(),
            Self::Own { message, .. } => message.clone(),
            Self::Told(_) | Self::OutputClosed => String::new(),
        }
    }

    fn json(&self) -> String {
        let error = match self {
            Self::Service(Error::Failed { error, .. }) => json!({
                "hresult": error.code.0,
                "name": error.code.name(),
                "message": error.message,
                "path": error.path,
                "expected": error.expected,
            }),
            other => json!({
                "hresult": null,
                "name": null,
                "message": other.text(),
                "path": null,
                "expected": null,
            }),
        };
        json!({ "error": error }).to_string()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<io::Error> for Failure {
    /// Of writing the output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::new(ErrorClass::Failure, format!("cannot write the output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_daemon_is_told_with_its_socket_and_the_way_out() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let failure = Failure::from(Error::Unreachable { path: "/run/hcnd/hcnd.sock".into(), source });
        assert_eq!(failure.exit_code(), 6);
        for part in ["/run/hcnd/hcnd.sock", "systemctl start hcnd", "hcnd sandbox"] {
            assert!(failure.text().contains(part), "{}", failure.text());
        }
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Failure::from(Error::Unreachable { path: "s".into(), source }).exit_code(), 5);
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 1);
    }

    #[test]
    fn failures_are_json_when_asked_for() {
        let json: serde_json::Value = serde_json::from_str(&Failure::usage("a \"b\"").json()).unwrap();
        assert_eq!(json["error"]["message"], "a \"b\"");
        assert_eq!(json["error"]["hresult"], serde_json::Value::Null);
    }
}
