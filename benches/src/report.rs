//! The figures of a run, as a table and as JSON.

use std::fmt::Write;

use crate::contest::{Row, remark};
use crate::engines::Role;
use crate::measure::{Durable, Measure};

/// Where and on what the figures were taken: names and values.
pub(crate) type Circumstances = Vec<(&'static str, String)>;

/// The figures of a row over all rounds.
struct Figures {
    median: f64,
    min: f64,
    max: f64,
    /// Of the calling threads, for an operation.
    cpu_seconds: Option<f64>,
    /// The share of the machine that others used.
    others: Option<f64>,
    /// `None` unless the workload must be durable.
    flushes_per_commit: Option<f64>,
    /// Why the row does not count.
    invalid: Option<String>,
}

impl Figures {
    fn of(row: &Row) -> Option<Figures> {
        let values = sorted_values(&row.measures, |measure| Some(measure.value));
        let durables: Vec<Durable> = row.measures.iter().filter_map(|it| it.durable).collect();
        let shown = durables.iter().all(Durable::is_shown);
        let invalid = match &row.failure {
            Some(failure) => Some(format!("FAILED: {failure}")),
            None if !shown => Some("INVALID: fewer flushes than its commits need".to_owned()),
            None => None,
        };
        let flushes: Option<u64> = durables.iter().map(|durable| durable.flushes).sum();
        let commits: u64 = durables.iter().map(|durable| durable.commits).sum();
        Some(Figures {
            median: median(&values)?,
            min: *values.first()?,
            max: *values.last()?,
            others: median(&sorted_values(&row.measures, |measure| measure.others)),
            cpu_seconds: median(&sorted_values(&row.measures, |measure| measure.cpu_seconds)),
            flushes_per_commit: flushes
                .filter(|_| commits > 0)
                .map(|flushes| flushes as f64 / commits as f64),
            invalid,
        })
    }
}

/// The table, one line for each engine in each workload.
pub(crate) fn table(rows: &[Row], circumstances: &Circumstances) -> String {
    let mut text = String::new();
    for (name, value) in circumstances {
        push(&mut text, format_args!("{name}: {value}\n"));
    }
    push(
        &mut text,
        format_args!(
            "\n{:24} {:9} {:12} {:>11} {:>23} {:>7} {:>7} {:>8} {:>6} {:>8}  notes\n",
            "workload",
            "unit",
            "engine",
            "median",
            "min .. max",
            "x best",
            "x limit",
            "cpu/op",
            "others",
            "flush/c"
        ),
    );
    let mut last = "";
    for row in rows {
        if last != row.workload.name {
            text.push('\n');
        }
        last = row.workload.name;
        line(&mut text, row, rows);
    }
    text
}

fn line(text: &mut String, row: &Row, rows: &[Row]) {
    let (name, unit, engine) = (row.workload.name, row.workload.unit, row.kind.name);
    let Some(figures) = Figures::of(row) else {
        let why = match (&row.failure, &row.absent) {
            (Some(failure), _) => format!("FAILED: {failure}"),
            (None, Some(absent)) => format!("none: {absent}"),
            (None, None) => "not measured".to_owned(),
        };
        return push(text, format_args!("{name:24} {unit:9} {engine:12} {why}\n"));
    };
    let ratio = |other: Option<f64>| match other {
        Some(other) => format!("{:.2}", figures.median / other),
        None => "-".to_owned(),
    };
    let to_peer = ratio(best(row, rows, Role::Peer));
    let to_limit = ratio(best(row, rows, Role::Limit));
    let spread = format!("{} .. {}", short(figures.min), short(figures.max));
    let flushes = figures.flushes_per_commit.map_or("-".to_owned(), |it| format!("{it:.3}"));
    let median = short(figures.median);
    let others = figures.others.map_or("-".to_owned(), |it| format!("{:.0} %", it * 100.0));
    let cpu = figures.cpu_seconds.map_or("-".to_owned(), time);
    let notes = notes(row, &figures).join("; ");
    push(
        text,
        format_args!(
            "{name:24} {unit:9} {engine:12} {median:>11} {spread:>23} {to_peer:>7} {to_limit:>7} \
             {cpu:>8} {others:>6} {flushes:>8}  {notes}\n"
        ),
    );
}

fn notes(row: &Row, figures: &Figures) -> Vec<String> {
    let mut notes = Vec::from_iter(figures.invalid.clone());
    notes.extend(remark(row).map(str::to_owned));
    let unit = row.measures.iter().find_map(|measure| Some(measure.beside?.1));
    let of = |value: fn(&Measure) -> Option<f64>| median(&sorted_values(&row.measures, value));
    let p50 = of(|measure| Some(measure.latency?.median.as_secs_f64() * 1e6));
    let p99 = of(|measure| Some(measure.latency?.p99.as_secs_f64() * 1e6));
    if let (Some(value), Some(unit)) = (of(|measure| Some(measure.beside?.0)), unit) {
        notes.push(format!("{} {unit}", short(value)));
    }
    if let (Some(p50), Some(p99)) = (p50, p99) {
        notes.push(format!("p50 {p50:.0} us, p99 {p99:.0} us"));
    }
    if let Some(times) = of(|measure| measure.amplification) {
        notes.push(format!("device wrote {times:.1} x payload"));
    }
    if let Some(seconds) = of(|measure| measure.settle_seconds).filter(|it| *it >= 0.01) {
        notes.push(format!("then settled {seconds:.2} s"));
    }
    notes
}

/// The best valid median of a role in a row's workload.
fn best(row: &Row, rows: &[Row], role: Role) -> Option<f64> {
    let less_is_better = row.workload.less_is_better();
    let same = |other: &&Row| other.workload.name == row.workload.name && other.kind.role == role;
    let medians = rows.iter().filter(same).filter_map(Figures::of);
    let medians = medians.filter(|figures| figures.invalid.is_none()).map(|it| it.median);
    medians.reduce(|a, b| if less_is_better { a.min(b) } else { a.max(b) })
}

/// The figures as JSON.
pub(crate) fn json(rows: &[Row], circumstances: &Circumstances) -> String {
    let mut text = String::from("{\n");
    for (name, value) in circumstances {
        push(&mut text, format_args!("  {}: {},\n", quoted(name), quoted(value)));
    }
    text.push_str("  \"rows\": [\n");
    for (number, row) in rows.iter().enumerate() {
        let comma = if number + 1 < rows.len() { "," } else { "" };
        push(&mut text, format_args!("    {{{}}}{comma}\n", json_row(row, rows)));
    }
    text.push_str("  ]\n}\n");
    text
}

fn json_row(row: &Row, rows: &[Row]) -> String {
    let mut members = vec![
        ("workload", quoted(row.workload.name)),
        ("unit", quoted(row.workload.unit)),
        ("engine", quoted(row.kind.name)),
    ];
    if let Some(figures) = Figures::of(row) {
        members.push(("median", number(Some(figures.median))));
        let times = |role| best(row, rows, role).map(|other| figures.median / other);
        members.push(("times_best_peer", number(times(Role::Peer))));
        members.push(("times_limit", number(times(Role::Limit))));
        members.push(("cpu_seconds", exact(figures.cpu_seconds)));
        members.push(("flushes_per_commit", number(figures.flushes_per_commit)));
        members.push(("invalid", figures.invalid.map_or("null".to_owned(), |it| quoted(&it))));
    } else {
        let why = row.failure.as_deref().or(row.absent.as_deref());
        members.push(("invalid", quoted(why.unwrap_or("not measured"))));
    }
    let measures: Vec<String> = row.measures.iter().map(json_measure).collect();
    members.push(("rounds", format!("[{}]", measures.join(", "))));
    joined(&members)
}

fn json_measure(measure: &Measure) -> String {
    let latency = measure.latency;
    let durable = measure.durable;
    let members = [
        ("value", number(Some(measure.value))),
        ("beside", number(measure.beside.map(|(value, _)| value))),
        ("cpu_seconds", exact(measure.cpu_seconds)),
        ("others", number(measure.others)),
        ("commits", number(durable.map(|it| it.commits as f64))),
        ("flushes_min", number(durable.map(|it| it.flushes_min as f64))),
        ("flushes", number(durable.and_then(|it| it.flushes).map(|it| it as f64))),
        ("p50_us", number(latency.map(|it| it.median.as_secs_f64() * 1e6))),
        ("p99_us", number(latency.map(|it| it.p99.as_secs_f64() * 1e6))),
        ("settle_seconds", number(measure.settle_seconds)),
        ("write_amplification", number(measure.amplification)),
    ];
    format!("{{{}}}", joined(&members))
}

fn joined(members: &[(&str, String)]) -> String {
    let members = members.iter().map(|(name, value)| format!("{}: {value}", quoted(name)));
    members.collect::<Vec<_>>().join(", ")
}

fn number(value: Option<f64>) -> String {
    value.filter(|it| it.is_finite()).map_or("null".to_owned(), |it| format!("{it:.4}"))
}

/// For numbers far below one.
fn exact(value: Option<f64>) -> String {
    value.filter(|it| it.is_finite()).map_or("null".to_owned(), |it| format!("{it:.4e}"))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char < ' ' => push(&mut quoted, format_args!("\\u{:04x}", char as u32)),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn sorted_values(measures: &[Measure], value: impl Fn(&Measure) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = measures.iter().filter_map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The middle of sorted values; of an even number the lower one of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Three or four digits that count.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e7 => format!("{:.1}M", value / 1e6),
        value if value >= 1e6 => format!("{:.2}M", value / 1e6),
        value if value >= 1e4 => format!("{:.1}k", value / 1e3),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A short time, in a unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-6 => format!("{:.0} ns", seconds * 1e9),
        seconds if seconds < 1e-5 => format!("{:.2} us", seconds * 1e6),
        seconds => format!("{:.0} us", seconds * 1e6),
    }
}

/// Formatting into a `String` cannot fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("invariant: a string takes everything");
}
