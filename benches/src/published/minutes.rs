//! The table of sustained runs.

use crate::record::{Second, Sustained};

use super::goals::STALL_US;
use super::numbers::{amount, three_digits, time};
use super::tables::push;
use super::{about, engine_name};

/// Name of the plot that has the latencies of all runs.
pub(super) const LATENCIES: &str = "sustained-latencies";

/// All sustained runs: a table, and plots of each; nothing when there are none.
pub(super) fn section(runs: &[(&str, &Sustained)]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let goal = time(STALL_US);
    let mut text = String::from("## Sustained puts\n\n");
    push(
        &mut text,
        format_args!(
            "Random puts over a loaded database for minutes, without a pause. The goal: no durable \
             commit takes longer than {goal}, whatever else the engine does meanwhile.\n\n"
        ),
    );
    push(&mut text, format_args!("![How long commits take: a plot](plots/{LATENCIES}.svg)\n\n"));
    text += "| engine | commits/s | puts/s | p50 | p99 | p99.9 | worst | met | checkpoints \
             | flushes a commit | write amplification | memory at most, MB | files at most, MB |\n";
    push(&mut text, format_args!("|{}\n", "---|".repeat(13)));
    runs.iter().for_each(|(_, run)| text += &row(run));
    for (name, run) in runs {
        push(&mut text, format_args!("\n### {}\n\n", title(run)));
        push(&mut text, format_args!("    {}\n\n", run.circumstances.command));
        let others = run.others.map_or("unknown".to_owned(), |it| format!("{:.0} %", it * 100.0));
        let about = about(&run.circumstances);
        push(&mut text, format_args!("{about} Others used {others} of the processors.\n\n"));
        push(&mut text, format_args!("![{}: plots over time](plots/{name}.svg)\n", title(run)));
    }
    text.push('\n');
    text
}

/// The engine and what is asked of it.
pub(super) fn title(run: &Sustained) -> String {
    format!("{}: {}", engine_name(&run.engine), load(run))
}

/// What is asked of the engine.
pub(super) fn load(run: &Sustained) -> String {
    let threads = counted(run.load.threads, "thread");
    let puts = counted(run.load.puts, "put");
    let kind = if run.load.durable { "durable" } else { "buffered" };
    format!("{threads}, {puts} a {kind} transaction")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A run in a few lines.
pub(super) fn told(run: &Sustained) -> String {
    let Sustained { latency, elapsed_seconds, flushes, .. } = run;
    let count = latency.count();
    let speed = amount(count as f64 / elapsed_seconds);
    let [p50, p99, worst] =
        [latency.quantile(0.5), latency.quantile(0.99), latency.worst()].map(|it| it as f64 / 1e3);
    let (p50, p99, worst) = (time(p50), time(p99), time(worst));
    let flushes = flushes.map_or("unknown".to_owned(), |it| it.to_string());
    let failure = run.failure.iter().map(|it| format!("\nFAILED: {it}")).collect::<String>();
    let title = title(run);
    format!(
        "{title}\n{count} commits in {elapsed_seconds:.1} s, {speed}/s; {flushes} flushes; \
         p50 {p50}, p99 {p99}, worst {worst}{failure}"
    )
}

fn row(run: &Sustained) -> String {
    let mut text = format!("| {} |", title(run));
    if let Some(failure) = &run.failure {
        push(&mut text, format_args!(" failed: {failure} |{}\n", " - |".repeat(11)));
        return text;
    }
    let count = run.latency.count() as f64;
    let speed = count / run.elapsed_seconds;
    push(&mut text, format_args!(" {} |", amount(speed)));
    push(&mut text, format_args!(" {} |", amount(speed * run.load.puts as f64)));
    for share in [0.5, 0.99, 0.999] {
        push(&mut text, format_args!(" {} |", time(run.latency.quantile(share) as f64 / 1e3)));
    }
    let worst = run.latency.worst() as f64 / 1e3;
    let met = match (run.load.durable, worst <= STALL_US) {
        (false, _) => "-",
        (true, true) => "yes",
        (true, false) => "**no**",
    };
    push(&mut text, format_args!(" {} | {met} |", time(worst)));
    let known: Vec<u64> = run.seconds.iter().filter_map(|second| second.checkpoints).collect();
    let checkpoints = known.iter().sum::<u64>().to_string();
    let checkpoints = if known.is_empty() { "-".to_owned() } else { checkpoints };
    let ratio = |value: Option<f64>| value.map_or("-".to_owned(), three_digits);
    let flushes = ratio(run.flushes.map(|flushes| flushes as f64 / count));
    let written = ratio(run.write_amplification);
    let most = |of: fn(&Second) -> u64| {
        let most = run.seconds.iter().map(of).max().unwrap_or_default();
        amount(most as f64 / 1e6)
    };
    let (memory, files) = (most(|second| second.memory_bytes), most(|second| second.disk_bytes));
    let last = format_args!(" {checkpoints} | {flushes} | {written} | {memory} | {files} |\n");
    push(&mut text, last);
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use crate::record::{Circumstances, Load, Role};

    /// A hundred commits in two seconds, the last with a checkpoint and a stall.
    pub(in crate::published) fn run() -> Sustained {
        let mut latency = Histogram::default();
        (0..99).for_each(|number| latency.add(100_000 + number * 1000));
        latency.add(25_000_000);
        let second = |at: f64, checkpoints: u64, worst_us: f64| Second {
            at,
            commits: 50,
            p50_us: 150.0,
            p99_us: 199.0,
            worst_us,
            disk_bytes: 300_000_000,
            memory_bytes: 64_000_000,
            file_bytes: Some(250_000_000),
            log_bytes: Some(50_000_000),
            checkpoints: Some(checkpoints),
        };
        Sustained {
            circumstances: Circumstances { commit: "abc1234".to_owned(), ..Default::default() },
            engine: "bristlecone".to_owned(),
            role: Role::Ours,
            load: Load { pairs: 1000, threads: 4, puts: 10, durable: true },
            elapsed_seconds: 2.0,
            latency,
            flushes: Some(40),
            write_amplification: Some(3.25),
            others: Some(0.02),
            failure: None,
            seconds: vec![second(1.0, 0, 199.0), second(2.0, 1, 25_000.0)],
        }
    }

    #[test]
    fn a_row_tells_all_of_a_run() {
        let expected = "| Bristlecone: 4 threads, 10 puts a durable transaction | 50 | 500 \
                        | 152 µs | 201 µs | 25 ms | 25 ms | **no** | 1 | 0.4 | 3.25 | 64 | 300 |\n";
        assert_eq!(row(&run()), expected);
        let mut failed = run();
        failed.failure = Some("it lied".to_owned());
        let expected = row(&failed);
        assert!(expected.contains("| failed: it lied |"), "{expected}");
        assert_eq!(expected.matches('|').count(), row(&run()).matches('|').count());
        assert_eq!(section(&[]), "");
    }
}
