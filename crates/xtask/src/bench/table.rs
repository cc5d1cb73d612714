//! Samples, their percentiles, and the table that compares them.

use std::time::{Duration, Instant};

/// How long one thing took, each time.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    /// Does it and notes how long it took.
    pub(super) fn time<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let start = Instant::now();
        let result = work()?;
        self.0.push(start.elapsed());
        Ok(result)
    }

    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The smallest that so many percent do not exceed, in microseconds.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
    }
}

/// What a figure shall be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// At most so many times the floor.
    Ratio(&'static str, f64),
    /// At most so many milliseconds.
    Milliseconds(&'static str, f64),
}

/// One line: hcnd's, and the floor's where there is one.
pub(super) struct Row<'a> {
    pub(super) what: &'static str,
    pub(super) ours: &'a Samples,
    pub(super) floor: Option<&'a Samples>,
    pub(super) goal: Option<Goal>,
}

pub(super) const HEAD: &str =
    "                                          hcnd p50       p95   floor p50       p95   ratio  goal (p50)";

impl Row<'_> {
    pub(super) fn line(&self) -> String {
        let p50 = self.ours.percentile(50);
        let floor = self.floor.map(|floor| (floor.percentile(50), floor.percentile(95)));
        let ratio = floor.map(|(floor, _)| p50 / floor);
        let beside = floor.map_or_else(String::new, |(p50, p95)| format!("{p50:12.0} {p95:9.0}"));
        let shown = ratio.map_or_else(String::new, |ratio| format!("{ratio:8.2}"));
        let verdict = |met: bool| if met { "met" } else { "MISSED" };
        let goal = match self.goal {
            Some(Goal::Ratio(name, limit)) => {
                format!("{name} <= {limit}: {}", verdict(ratio.is_some_and(|ratio| ratio <= limit)))
            }
            Some(Goal::Milliseconds(name, limit)) => {
                format!("{name} <= {limit} ms: {}", verdict(p50 <= limit * 1e3))
            }
            None => String::new(),
        };
        let line = format!(
            "{:40} {p50:9.0} {:9.0}{beside:22}{shown:8}  {goal}",
            self.what,
            self.ours.percentile(95)
        );
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(microseconds: &[u64]) -> Samples {
        Samples(microseconds.iter().copied().map(Duration::from_micros).collect())
    }

    #[test]
    fn percentiles_are_samples() {
        let mut hundred: Vec<u64> = (1..=100).collect();
        hundred.reverse();
        let hundred = samples(&hundred);
        assert_eq!((hundred.percentile(50), hundred.percentile(95)), (50.0, 95.0));
        assert_eq!(samples(&[7]).percentile(95), 7.0);
        assert!(Samples::default().percentile(50).is_nan());
    }

    #[test]
    fn a_row_says_whether_its_goal_is_met() {
        let (ours, floor) = (samples(&[130]), samples(&[100]));
        let row = |goal| Row { what: "it", ours: &ours, floor: Some(&floor), goal: Some(goal) }.line();
        assert!(row(Goal::Ratio("P3", 1.3)).ends_with("1.30  P3 <= 1.3: met"));
        assert!(row(Goal::Ratio("P1", 1.25)).ends_with("MISSED"));
        assert!(row(Goal::Milliseconds("P4", 0.1)).ends_with("P4 <= 0.1 ms: MISSED"));
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let (ours, floor) = (samples(&[123]), samples(&[100]));
        let line = Row { what: "it", ours: &ours, floor: Some(&floor), goal: None }.line();
        let ends = |text: &str, word: &str| text.find(word).map(|at| at + word.len());
        assert_eq!(ends(&line, "123"), ends(HEAD, "hcnd p50"));
        assert_eq!(ends(&line, " 100"), ends(HEAD, "floor p50"));
        assert_eq!(ends(&line, "1.23"), ends(HEAD, "ratio"));
    }
}
