//! When to look at what others changed. Word of changes comes in swarms and some of it is about nothing, so a look waits a
//! moment for more, and takes its rest after the last one: looking takes a tenth of the time at most.

use std::time::Duration;

use hcn_dataplane::{Notice, Scope, State};

/// How long a look waits for more word.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the host is looked at without any word: of some things the kernel says nothing, such as neighbours that the
/// host speaks for.
const ROUND: Duration = Duration::from_secs(60);
/// The longest that rules wait for the calls under way.
const PATIENCE: Duration = Duration::from_millis(500);

/// A step of looking.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask where to look after this.
    Resolve(Notice),
    /// Make the rules right.
    Rules,
}

/// What has become of a step.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Where to look; nowhere.
    Resolved(Option<Scope>),
    /// What was seen; nothing could be.
    Seen(Option<State>),
    /// The rules were made right, or were right.
    Rules { restored: bool },
}

/// Word that waits.
#[derive(Debug, Default)]
pub(crate) struct Looking {
    notice: Notice,
    /// When to look.
    due: Option<Duration>,
    /// Since when rules are known to be wrong.
    rules_since: Option<Duration>,
    /// A look that is under way, since then.
    since: Option<Duration>,
    /// Not before.
    rest: Duration,
    /// When the last look was, with word or without.
    last: Duration,
}

impl Looking {
    /// Notes that something may have changed.
    pub(crate) fn note(&mut self, notice: Notice, now: Duration) {
        if notice.rules {
            self.rules_since.get_or_insert(now);
        }
        self.notice.merge(notice);
        self.due.get_or_insert((now + PAUSE).max(self.rest));
    }

    /// When there is something to do.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.or(Some(self.last + ROUND)).filter(|_| self.since.is_none())
    }

    /// What to do now; `idle`: no call is under way.
    pub(crate) fn begin(&mut self, now: Duration, idle: bool) -> Option<Step> {
        self.next().filter(|due| *due <= now)?;
        let mut notice = std::mem::take(&mut self.notice);
        self.due = None;
        if self.last + ROUND <= now {
            notice.host = true;
        }
        if let Some(since) = self.rules_since {
            // What is changed meanwhile would be in the way.
            if idle || since + PATIENCE <= now {
                self.rules_since = None;
                notice.rules = false;
                self.notice = notice;
                self.due = (!self.notice.is_empty()).then_some(now);
                self.since = Some(now);
                return Some(Step::Rules);
            }
            self.due = Some(now + PAUSE);
        }
        notice.rules = false;
        if notice.is_empty() {
            return None;
        }
        self.since = Some(now);
        if notice.host || notice.lost {
            self.last = now;
        }
        Some(Step::Resolve(notice))
    }

    /// The look is over.
    pub(crate) fn end(&mut self, now: Duration) {
        let took = self.since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.rest = now + took * 9;
        self.due = self.due.map(|due| due.max(self.rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn host() -> Notice {
        Notice { host: true, ..Notice::default() }
    }

    #[test]
    fn a_swarm_is_one_look_and_the_next_waits() {
        let mut looking = Looking::default();
        assert_eq!(looking.next(), Some(ROUND));
        looking.note(host(), 100 * MS);
        looking.note(host(), 120 * MS);
        assert_eq!(looking.next(), Some(150 * MS));
        assert!(looking.begin(149 * MS, true).is_none());
        assert!(matches!(looking.begin(150 * MS, true), Some(Step::Resolve(notice)) if notice == host()));
        looking.note(host(), 155 * MS);
        assert_eq!(looking.next(), None, "one at a time");
        looking.end(170 * MS);
        assert_eq!(looking.next(), Some(350 * MS), "nine times the 20 ms that it took");
    }

    #[test]
    fn without_word_there_is_a_look_at_the_host_now_and_then() {
        let mut looking = Looking::default();
        assert!(looking.begin(ROUND - MS, true).is_none());
        assert!(matches!(looking.begin(ROUND, true), Some(Step::Resolve(notice)) if notice == host()));
        looking.end(ROUND);
        assert_eq!(looking.next(), Some(2 * ROUND));
    }

    #[test]
    fn rules_wait_for_calls_but_not_for_ever() {
        let mut looking = Looking::default();
        looking.note(Notice::of_everything(), Duration::ZERO);
        assert!(matches!(looking.begin(50 * MS, false), Some(Step::Resolve(_))), "the rest need not wait");
        looking.end(51 * MS);
        assert!(looking.begin(200 * MS, false).is_none());
        assert!(matches!(looking.begin(600 * MS, false), Some(Step::Rules)));
        looking.end(601 * MS);
        assert_eq!(looking.next(), Some(50 * MS + ROUND));
        looking.note(Notice { rules: true, ..host() }, 700 * MS);
        assert!(matches!(looking.begin(750 * MS, true), Some(Step::Rules)));
        looking.end(750 * MS);
        assert!(matches!(looking.begin(750 * MS, true), Some(Step::Resolve(_))));
    }
}
