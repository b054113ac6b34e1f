//! The table of a disturbance.

use crate::record::{Commits, Disturbance, Phase};

use super::about;
use super::numbers::{amount, percent, three_digits, time};
use super::tables::push;

/// All of a disturbance: circumstances and the table.
pub(super) fn section(disturbance: &Disturbance) -> String {
    let mut text = String::from("## Commits beside work of the engine\n\n");
    text += "One thread commits durably, one put of 24 + 150 B after the other, in a bucket of \
             its own: quietly, and while the engine works on other buckets, each time between two \
             quiet phases. Half of the pairs were deleted before the compaction; those that expire \
             do so together.\n\n";
    push(&mut text, format_args!("    {}\n\n", disturbance.circumstances.command));
    let others = disturbance.others.map_or("unknown".to_owned(), percent);
    let rounds = disturbance.phases.iter().map(|phase| phase.rounds.len()).max();
    let (about, rounds) = (about(&disturbance.circumstances), rounds.unwrap_or_default());
    push(
        &mut text,
        format_args!(
            "{about} Others used {others} of the processors. Medians of {rounds} rounds; in \
             brackets the least and the most.\n\n"
        ),
    );
    text += &table(disturbance);
    text.push('\n');
    text
}

/// A row for each phase.
pub(super) fn table(disturbance: &Disturbance) -> String {
    let mut text = String::new();
    if let Some(failure) = &disturbance.failure {
        push(&mut text, format_args!("**Failed: {failure}.**\n\n"));
    }
    text += "| phase | took | commits | commits/s | p50 | beside quiet | p99 | beside quiet \
             | longest |\n";
    push(&mut text, format_args!("|{}\n", "---|".repeat(9)));
    let quiet = disturbance.phases.first();
    disturbance.phases.iter().for_each(|phase| text += &row(phase, quiet));
    text
}

fn row(phase: &Phase, quiet: Option<&Phase>) -> String {
    let quantile = |share: f64| move |it: &Commits| it.latency.quantile(share) as f64 / 1e3;
    let median = |of: &dyn Fn(&Commits) -> f64| phase.spread(of).map(|spread| spread.median);
    let spread = |of: &dyn Fn(&Commits) -> f64| match phase.spread(of) {
        None => "-".to_owned(),
        Some(it) => format!("{} ({} to {})", time(it.median), time(it.min), time(it.max)),
    };
    let beside = |of: &dyn Fn(&Commits) -> f64| {
        let quiet = quiet.and_then(|quiet| Some(quiet.spread(of)?.median));
        let times = quiet.zip(median(of)).map(|(quiet, here)| three_digits(here / quiet));
        times.unwrap_or("-".to_owned())
    };
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    let worst = |it: &Commits| it.latency.worst() as f64 / 1e3;
    let number = |of: &dyn Fn(&Commits) -> f64| median(of).map_or("-".to_owned(), amount);
    let cells = [
        phase.name.clone(),
        median(&|it| it.seconds * 1e6).map_or("-".to_owned(), time),
        number(&|it| it.latency.count() as f64),
        number(&|it| it.latency.count() as f64 / it.seconds),
        spread(&p50),
        beside(&p50),
        spread(&p99),
        beside(&p99),
        spread(&worst),
    ];
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use crate::record::Circumstances;

    /// Three rounds of a quiet phase and of one in which commits take twice as long.
    pub(in crate::published) fn disturbance() -> Disturbance {
        let commits = |times: u64| {
            let mut latency = Histogram::default();
            (1..=10).for_each(|number| latency.add(number * times * 1000));
            Commits { seconds: 0.01, latency }
        };
        let phase = |name: &str, times: [u64; 3]| Phase {
            name: name.to_owned(),
            rounds: times.map(commits).to_vec(),
        };
        let phases = vec![phase("quiet", [10, 10, 11]), phase("compaction", [20, 30, 20])];
        let circumstances = Circumstances::default();
        Disturbance { circumstances, others: None, failure: None, phases }
    }

    #[test]
    fn a_row_tells_medians_beside_the_quiet_ones() {
        let disturbance = disturbance();
        let found = row(&disturbance.phases[1], disturbance.phases.first());
        let expected = "| compaction | 10 ms | 10 | 1,000 | 100 µs (100 µs to 152 µs) | 2 \
                        | 200 µs (200 µs to 300 µs) | 2 | 200 µs (200 µs to 300 µs) |\n";
        assert_eq!(found, expected);
        assert!(table(&disturbance).starts_with("| phase |"));
        let failed = Disturbance { failure: Some("it lied".to_owned()), ..disturbance };
        assert!(table(&failed).starts_with("**Failed: it lied.**"));
    }
}
