//! The table of a churn.

use crate::record::{Churn, ChurnRun, Turnover};

use super::about;
use super::goals::{COMPACTED, NOT_COMPACTED, keeps_to};
use super::numbers::{amount, three_digits, time};
use super::tables::push;

/// All of a churn: circumstances, the table and the plot.
pub(super) fn section(name: &str, churn: &Churn) -> String {
    let asked = &churn.asked;
    let mut text = String::from("## Churn\n\n");
    push(
        &mut text,
        format_args!(
            "{} puts of 24 + 150 B, {} in a buffered transaction. *Overwrites*: of {} keys, \
             without a pause. *Expiries*: of records that live for {} s, {} of them a second, \
             among {} pairs that stay; the engine's thread removes them. *With a reader*: held \
             from the twentieth part of the puts on until the file was compacted. \
             *Live* are keys and values that are there. The goals: the data file never longer \
             than {}; and than {} after `Db::compact`.\n\n",
            amount(asked.puts as f64),
            asked.together,
            amount(asked.keys as f64),
            three_digits(asked.lifetime_seconds),
            amount(asked.rate as f64),
            amount(asked.lasting as f64),
            bound(NOT_COMPACTED, "the most that were live"),
            bound(COMPACTED, "what is live"),
        ),
    );
    push(&mut text, format_args!("    {}\n\n", churn.circumstances.command));
    let others = churn.others.map_or("unknown".to_owned(), |it| format!("{:.0} %", it * 100.0));
    let about = about(&churn.circumstances);
    push(&mut text, format_args!("{about} Others used {others} of the processors.\n\n"));
    push(
        &mut text,
        format_args!("![The files while records come and go: a plot](plots/{name}.svg)"),
    );
    text += "\n\n";
    text += &table(churn);
    text.push('\n');
    text
}

fn bound((times, more): (f64, u64), of: &str) -> String {
    format!("{} times {of} and {} KiB", three_digits(times), more >> 10)
}

/// What a run is called.
pub(super) fn title(run: &ChurnRun) -> String {
    let turnover = match run.turnover {
        Turnover::Overwrites => "overwrites",
        Turnover::Expiries => "expiries",
    };
    let held = if run.with_reader { "with a reader" } else { "no reader" };
    format!("{turnover}, {held}")
}

/// A row for each run.
pub(super) fn table(churn: &Churn) -> String {
    let mut text = String::from(
        "| MB | puts/s | live, at most | data file, at most | of live | met | log files, at most \
         | memory, at most | kept for the reader | latest removal | live, at the end | data file \
         | compacted, the reader held | compacted | of live | met | log files |\n",
    );
    push(&mut text, format_args!("|{}\n", "---|".repeat(17)));
    churn.runs.iter().for_each(|run| text += &row(run, churn.asked.puts));
    text
}

fn row(run: &ChurnRun, puts: u64) -> String {
    let mut text = format!("| {} |", title(run));
    if let Some(failure) = &run.failure {
        push(&mut text, format_args!(" failed: {failure} |{}\n", " - |".repeat(15)));
        return text;
    }
    let mega = |bytes: u64| amount(bytes as f64 / 1e6);
    let times = |file: u64, live: u64| three_digits(file as f64 / live.max(1) as f64);
    let met = |is_met: bool| if is_met { "yes" } else { "**no**" };
    let (live, file) = (run.most(|it| it.live_bytes), run.most(|it| it.file_bytes));
    let cells = [
        amount(puts as f64 / run.put_seconds),
        mega(live),
        mega(file),
        times(file, live),
        met(keeps_to(NOT_COMPACTED, file, live)).to_owned(),
        mega(run.most(|it| it.log_bytes)),
        mega(run.most(|it| it.memory_bytes)),
        run.most(|it| it.pinned_bytes).map_or("-".to_owned(), mega),
        match run.turnover {
            Turnover::Overwrites => "-".to_owned(),
            Turnover::Expiries => time(run.most(|it| it.ttl_lag_ms) as f64 * 1e3),
        },
        mega(run.last().live_bytes),
        mega(run.settled.file_bytes),
        match run.with_reader {
            true => mega(run.compacted.file_bytes),
            false => "-".to_owned(),
        },
        mega(run.last().file_bytes),
        times(run.last().file_bytes, run.last().live_bytes),
        met(keeps_to(COMPACTED, run.last().file_bytes, run.last().live_bytes)).to_owned(),
        mega(run.last().log_bytes),
    ];
    push(&mut text, format_args!(" {} |\n", cells.join(" | ")));
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::{Asked, Circumstances, Sample};

    /// Expiries without a reader, and overwrites with one of which the file stays long.
    pub(in crate::published) fn churn() -> Churn {
        let sample = |at: f64, live_bytes: u64, file_bytes: u64| Sample {
            at,
            puts: 1000,
            live_bytes,
            file_bytes,
            free_bytes: 1_000_000,
            log_bytes: 33_000_000,
            disk_bytes: 50_000_000,
            memory_bytes: 7_000_000,
            pinned_bytes: None,
            swept: 1000,
            ttl_lag_ms: 97,
        };
        let run = |turnover: Turnover, with_reader: bool| ChurnRun {
            turnover,
            with_reader,
            put_seconds: 2.0,
            failure: None,
            settled: sample(3.0, 10_000_000, 40_000_000),
            compacted: sample(3.0, 10_000_000, 12_000_000),
            released: with_reader.then(|| sample(3.0, 10_000_000, 13_500_000)),
            samples: vec![sample(1.0, 12_000_000, 90_000_000), sample(2.0, 10_000_000, 40_000_000)],
        };
        let asked = Asked {
            puts: 2_000_000,
            together: 100,
            keys: 1000,
            lasting: 50_000,
            lifetime_seconds: 2.0,
            rate: 33_333,
        };
        let runs = vec![run(Turnover::Expiries, false), run(Turnover::Overwrites, true)];
        Churn { circumstances: Circumstances::default(), asked, others: Some(0.01), runs }
    }

    #[test]
    fn a_row_tells_whether_files_keep_to_their_bounds() {
        let churn = churn();
        let rows: Vec<String> = churn.runs.iter().map(|run| row(run, churn.asked.puts)).collect();
        assert_eq!(
            rows[0],
            "| expiries, no reader | 1 M | 12 | 90 | 7.5 | yes | 33 | 7 | - | 97 ms | 10 | 40 | - \
             | 12 | 1.2 | yes | 33 |\n"
        );
        assert!(rows[1].contains("| 40 | 12 | 13.5 | 1.35 | **no** | 33 |"), "{}", rows[1]);
    }

    #[test]
    fn a_failed_run_has_as_many_cells() {
        let mut churn = churn();
        let cells = row(&churn.runs[0], 1000).matches('|').count();
        churn.runs[0].failure = Some("it lied".to_owned());
        let failed = row(&churn.runs[0], 1000);
        assert!(failed.contains("failed: it lied"), "{failed}");
        assert_eq!(failed.matches('|').count(), cells);
        let heading = table(&churn).lines().next().map(|line| line.matches('|').count());
        assert_eq!(heading, Some(cells));
    }
}
