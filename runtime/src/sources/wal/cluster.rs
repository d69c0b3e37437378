//! Which log it is that places are of: a cluster's, on a timeline.
//!
//! Source: PostgreSQL's section "Streaming Replication Protocol", `IDENTIFY_SYSTEM` and `TIMELINE_HISTORY`; the history's
//! form is that of `src/backend/access/transam/timeline.c`.

use std::time::Duration;

use super::line::{Line, malformed};
use super::lsn::Lsn;
use crate::connections::sql::Fault;

/// Questions are answered within this.
const ANSWERED: Duration = Duration::from_secs(15);

/// A cluster's log.
///
/// A server that is restored, or a standby that is made the primary, begins another timeline, on which the same places
/// hold other things. A place belongs to the timeline that was current when it was written, whenever it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cluster {
    pub(super) system: String,
    pub(super) timeline: String,
    /// Earlier timelines, each with where the next one begins.
    pub(super) earlier: Vec<(String, Lsn)>,
}

impl Cluster {
    /// The timeline that a place is of.
    pub(super) fn timeline_of(&self, place: Lsn) -> &str {
        let earlier = self.earlier.iter().find(|(_, end)| place < *end);
        earlier.map_or(&self.timeline, |(timeline, _)| timeline)
    }
}

/// Asks which log it is.
pub(super) async fn ask(line: &mut Line) -> Result<Cluster, Fault> {
    let mut told = line.ask("IDENTIFY_SYSTEM", ANSWERED).await?.into_iter().flatten().map(Option::unwrap_or_default);
    let (Some(system), Some(timeline)) = (told.next(), told.next()) else { return Err(malformed()) };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(&system) || !is_number(&timeline) {
        return Err(malformed());
    }
    let mut earlier = Vec::new();
    if timeline != "1" {
        let history = line.ask(&format!("TIMELINE_HISTORY {timeline}"), ANSWERED).await?;
        let text = history.into_iter().flatten().flatten().nth(1).unwrap_or_default();
        earlier = text.lines().filter_map(switch).collect();
    }
    Ok(Cluster { system, timeline, earlier })
}

/// A line of a timeline's history: a timeline, where the next one begins, and why.
fn switch(line: &str) -> Option<(String, Lsn)> {
    let mut words = line.split_whitespace();
    let timeline = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((timeline.to_owned(), words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_the_timeline_that_was_current_when_it_was_written() {
        let earlier = vec![("1".into(), Lsn(10)), ("2".into(), Lsn(20))];
        let cluster = Cluster { system: "7".into(), timeline: "3".into(), earlier };
        assert_eq!([5, 10, 19, 20].map(|place| cluster.timeline_of(Lsn(place))), ["1", "2", "2", "3"]);
    }

    #[test]
    fn a_timeline_s_history_says_where_the_next_one_begins() {
        assert_eq!(switch("1\t0/15D68C0\tno recovery target specified"), Some(("1".into(), Lsn(0x15d_68c0))));
        for other in ["", "# a comment", "1", "1\tx"] {
            assert_eq!(switch(other), None, "{other}");
        }
    }
}
