//! How long things may take where everything is slower than usual, as in an emulated machine.

use std::sync::OnceLock;
use std::time::Duration;

/// The variable that says how many times slower, a whole number.
const FACTOR: &str = "HCN_TIME_FACTOR";

/// What `time` is on this machine, if it is enough on an ordinary one: `HCN_TIME_FACTOR` times as long.
///
/// # Panics
/// The variable is not a whole number greater than zero.
#[must_use]
pub fn patience(time: Duration) -> Duration {
    static TIMES: OnceLock<u32> = OnceLock::new();
    time * *TIMES.get_or_init(|| factor(std::env::var(FACTOR).ok().as_deref()))
}

fn factor(given: Option<&str>) -> u32 {
    let Some(given) = given else { return 1 };
    let number = given.parse().ok().filter(|number| *number > 0);
    number.unwrap_or_else(|| panic!("{FACTOR} is {given:?}; it must be a whole number greater than zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_factor_nothing_is_slower() {
        assert_eq!(factor(None), 1);
        assert_eq!(factor(Some("12")), 12);
    }

    #[test]
    #[should_panic(expected = "HCN_TIME_FACTOR is \"0\"; it must be")]
    fn a_factor_of_zero_is_refused() {
        factor(Some("0"));
    }
}
