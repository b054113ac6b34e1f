//! The outcome of a run: its record, made of all measures, and the table for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use bristlecone_benches::record::{
    self, Better, Circumstances, Entry, Figure, Group, Role, SideBySide, Spread, figures,
};

use crate::contest::{Row, remark};
use crate::engines::Mode;
use crate::measure::{Durable, Measure};
use crate::workload::{Set, Work, Workload};

/// A figure beside the main one: name, unit, which way it is better, and where it is found.
type Beside = (&'static str, &'static str, Better, fn(&Measure) -> Option<f64>);

const BESIDE: &[Beside] = &[
    (figures::P50, "us", Better::Lower, |it| Some(it.latency?.median.as_secs_f64() * 1e6)),
    (figures::P99, "us", Better::Lower, |it| Some(it.latency?.p99.as_secs_f64() * 1e6)),
    (figures::WORST, "us", Better::Lower, |it| Some(it.latency?.worst.as_secs_f64() * 1e6)),
    (figures::FLUSHES, "", Better::Lower, |it| {
        it.durable.and_then(|durable| Some(durable.flushes? as f64 / durable.commits as f64))
    }),
    (figures::CPU, "us", Better::Lower, |it| Some(it.cpu_seconds? * 1e6)),
    (figures::WRITTEN, "", Better::Lower, |it| it.amplification),
    (figures::SETTLING, "s", Better::Lower, |it| it.settle_seconds),
    (figures::OTHERS, "%", Better::Lower, |it| Some(it.others? * 100.0)),
];

/// The record of all rows.
pub(crate) fn record(rows: &[Row], rounds: usize, circumstances: Circumstances) -> SideBySide {
    let mut workloads: Vec<record::Workload> = Vec::new();
    for row in rows {
        let place = workloads.iter().position(|workload| workload.name == row.workload.name);
        let place = place.unwrap_or_else(|| {
            workloads.push(described(&row.workload));
            workloads.len() - 1
        });
        workloads[place].entries.push(entry(row));
    }
    SideBySide { circumstances, rounds, workloads }
}

fn described(workload: &Workload) -> record::Workload {
    record::Workload {
        name: workload.name.to_owned(),
        unit: workload.unit.to_owned(),
        better: if workload.less_is_better() { Better::Lower } else { Better::Higher },
        group: group(workload),
        entries: Vec::new(),
    }
}

fn group(workload: &Workload) -> Group {
    match (workload.set, workload.work) {
        (Set::Records, _) => Group::Records,
        (Set::Buckets, _) => Group::Buckets,
        (Set::Values, _) => Group::Values,
        (_, Work::Commit { puts: 1, mode: Mode::Durable, .. }) => Group::Commits,
        (_, Work::Get { .. } | Work::GetsBesideCommits) => Group::Reads,
        (_, Work::Scan(_) | Work::FullScan) => Group::Scans,
        (_, Work::Open | Work::OpenKilled(_)) => Group::Opens,
        (_, Work::Memory(_) | Work::Size | Work::SizeCompacted | Work::LongReader) => Group::Size,
        (Set::Pairs | Set::Halved, _) => Group::Loads,
    }
}

fn entry(row: &Row) -> Entry {
    let figure = Spread::of(row.measures.iter().map(|measure| measure.value));
    let shown = row.measures.iter().filter_map(|it| it.durable).all(|it: Durable| it.is_shown());
    let failure = match (&row.failure, figure) {
        (Some(failure), _) => Some(failure.clone()),
        (None, None) if row.absent.is_none() => Some("not measured".to_owned()),
        (None, Some(_)) if !shown => Some("fewer flushes than its commits need".to_owned()),
        (None, _) => None,
    };
    let mut beside = BTreeMap::new();
    for (name, unit, better, of) in BESIDE {
        if let Some(spread) = Spread::of(row.measures.iter().filter_map(of)) {
            let figure = Figure { unit: (*unit).to_owned(), better: *better, spread };
            beside.insert((*name).to_owned(), figure);
        }
    }
    // The second figure of a workload has its unit for a name.
    let second = |it: &Measure| it.beside.as_ref().map(|beside| beside.0);
    if let Some((_, unit)) = row.measures.iter().find_map(|measure| measure.beside.as_ref())
        && let Some(spread) = Spread::of(row.measures.iter().filter_map(second))
    {
        let better = if unit.ends_with("/s") { Better::Higher } else { Better::Lower };
        beside.insert(unit.clone(), Figure { unit: unit.clone(), better, spread });
    }
    let absent = row.absent.iter().map(|why| format!("cannot: {why}"));
    Entry {
        engine: row.kind.name.to_owned(),
        role: row.kind.role,
        figure,
        beside,
        remarks: absent.chain(remark(row).map(str::to_owned)).collect(),
        failure,
    }
}

/// The table, one line for each engine in each workload.
pub(crate) fn table(run: &SideBySide) -> String {
    let mut text = String::new();
    let about = &run.circumstances;
    for (name, value) in [
        ("command", &about.command),
        ("commit", &about.commit),
        ("machine", &about.machine),
        ("kernel", &about.kernel),
        ("device", &about.device),
        ("data", &about.data),
        ("load average before", &about.load_before),
        ("load average after", &about.load_after),
    ] {
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
    for workload in &run.workloads {
        text.push('\n');
        workload.entries.iter().for_each(|entry| line(&mut text, workload, entry));
    }
    text
}

fn line(text: &mut String, workload: &record::Workload, entry: &Entry) {
    let (name, unit, engine) = (&workload.name, &workload.unit, &entry.engine);
    let notes = notes(entry).join("; ");
    let Some(figure) = entry.figure else {
        return push(text, format_args!("{name:24} {unit:9} {engine:12} {notes}\n"));
    };
    let ratio = |role| match workload.best(role) {
        Some((_, other)) => format!("{:.2}", figure.median / other),
        None => "-".to_owned(),
    };
    let (to_peer, to_limit) = (ratio(Role::Peer), ratio(Role::Limit));
    let spread = format!("{} .. {}", short(figure.min), short(figure.max));
    let median = short(figure.median);
    let beside = |name: &str, show: fn(f64) -> String| {
        entry.beside.get(name).map_or("-".to_owned(), |it| show(it.spread.median))
    };
    let cpu = beside(figures::CPU, time);
    let others = beside(figures::OTHERS, |it| format!("{it:.0} %"));
    let flushes = beside(figures::FLUSHES, |it| format!("{it:.3}"));
    push(
        text,
        format_args!(
            "{name:24} {unit:9} {engine:12} {median:>11} {spread:>23} {to_peer:>7} {to_limit:>7} \
             {cpu:>8} {others:>6} {flushes:>8}  {notes}\n"
        ),
    );
}

/// Failures, remarks, and the figures that have no column.
fn notes(entry: &Entry) -> Vec<String> {
    const COLUMNS: [&str; 3] = [figures::CPU, figures::OTHERS, figures::FLUSHES];
    let mut notes: Vec<String> = entry.failure.iter().map(|it| format!("FAILED: {it}")).collect();
    notes.extend(entry.remarks.iter().cloned());
    for (name, figure) in &entry.beside {
        if !COLUMNS.contains(&name.as_str()) {
            let value = record::rounded(figure.spread.median, 3);
            notes.push(format!("{name} {value} {}", figure.unit).trim_end().to_owned());
        }
    }
    notes
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

/// A short time in microseconds, in a unit that suits it.
fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1.0 => format!("{:.0} ns", us * 1e3),
        us if us < 10.0 => format!("{us:.2} us"),
        us => format!("{us:.0} us"),
    }
}

/// Formatting into a `String` cannot fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("invariant: a string takes everything");
}
