//! Which versions of the specification are spoken, and what the later ones have.

use crate::error::{Code, Error, Result};

/// Oldest first.
pub(crate) const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// One of them, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(usize);

impl Version {
    /// The first with CHECK.
    pub(crate) const V0_4: Self = Self(2);
    /// The first whose addresses do not tell their family.
    pub(crate) const V1_0: Self = Self(3);
    /// The first with GC, STATUS, MTUs of interfaces and priorities of routes.
    pub(crate) const V1_1: Self = Self(4);

    /// The version of a configuration; one that tells none is of 0.1.0.
    pub(crate) fn of(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or("0.1.0");
        SUPPORTED.iter().position(|known| *known == text).map(Self).ok_or_else(|| {
            Error::new(Code::IncompatibleVersion, format!("cniVersion {text:?} is not supported"))
                .with_details(format!("supported are {}", SUPPORTED.join(", ")))
        })
    }

    pub(crate) fn text(self) -> &'static str {
        SUPPORTED[self.0]
    }
}
