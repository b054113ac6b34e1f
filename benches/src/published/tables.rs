//! The tables of runs side by side.

use std::fmt::Write as _;

use crate::record::{Entry, Group, Role, SideBySide, Spread, Workload};

use super::goals::{Verdict, verdicts};
use super::numbers::{amount, percent, with_unit};
use super::{about, engine_name};

/// The groups in the order of the page: what, in names of files, and in headings.
pub(super) const GROUPS: &[(Group, &str, &str)] = &[
    (Group::Commits, "commits", "Durable commits"),
    (Group::Reads, "reads", "Reads"),
    (Group::Scans, "scans", "Scans"),
    (Group::Loads, "loads", "Loads and batches"),
    (Group::Size, "size", "Size and memory"),
    (Group::Opens, "opens", "Opening"),
    (Group::Records, "records", "Records of JSON"),
    (Group::Buckets, "buckets", "Small buckets"),
    (Group::Values, "values", "Single values"),
    (Group::Others, "others", "Others"),
];

/// All of a run: circumstances, a summary, and a table and a plot for each group.
pub(super) fn section(name: &str, run: &SideBySide) -> String {
    let mut text = String::new();
    push(&mut text, format_args!("## {}\n\n", title(name)));
    push(&mut text, format_args!("    {}\n\n", run.circumstances.command));
    let (about, rounds) = (about(&run.circumstances), run.rounds);
    push(&mut text, format_args!("{about} Medians of {rounds} rounds.\n\n"));
    text += &summary(run);
    for (group, slug, heading) in GROUPS {
        let workloads: Vec<&Workload> =
            run.workloads.iter().filter(|workload| workload.group == *group).collect();
        if !workloads.is_empty() {
            push(&mut text, format_args!("\n### {heading}\n\n"));
            push(&mut text, format_args!("![{heading}: a plot](plots/{name}-{slug}.svg)\n\n"));
            text += &table(&workloads, &engines(run));
            text += &remarks(&workloads);
            text += &beside(&workloads);
        }
    }
    text.push('\n');
    text
}

/// The name of a record as a heading.
fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// Engines in the order of the columns: Bristlecone, the peers as they ran, the limit.
fn engines(run: &SideBySide) -> Vec<(&str, Role)> {
    let mut engines: Vec<(&str, Role)> = Vec::new();
    for entry in run.workloads.iter().flat_map(|workload| &workload.entries) {
        if !engines.contains(&(entry.engine.as_str(), entry.role)) {
            engines.push((&entry.engine, entry.role));
        }
    }
    engines.sort_by_key(|(_, role)| *role);
    engines
}

/// How many goals were reached, and where another engine was better.
fn summary(run: &SideBySide) -> String {
    let verdicts: Vec<Verdict> = run.workloads.iter().flat_map(verdicts).collect();
    let met = verdicts.iter().filter(|verdict| verdict.met == Some(true)).count();
    let losses: Vec<String> = run.workloads.iter().filter_map(loss).collect();
    let goals = format!("{met} of {} goals are met.", verdicts.len());
    let alone = engines(run).iter().all(|(_, role)| *role != Role::Peer);
    match (losses.is_empty(), alone) {
        (true, true) => format!("{goals}\n"),
        (true, false) => format!("{goals} No other engine was better in any workload.\n"),
        (false, _) => format!("{goals} **Losses: {}.**\n", losses.join("; ")),
    }
}

fn loss(workload: &Workload) -> Option<String> {
    let ours = workload.best(Role::Ours).map(|(_, median)| median);
    let (peer, best) = workload.best(Role::Peer)?;
    let name = &workload.name;
    match ours {
        None => Some(format!("{name} (failed)")),
        Some(ours) if workload.times(ours, best) < 1.0 => {
            let times = workload.times(ours, best);
            let (times, peer) = (amount(times), engine_name(&peer.engine));
            Some(format!("{name} ({times} of {peer})"))
        }
        Some(_) => None,
    }
}

fn table(workloads: &[&Workload], engines: &[(&str, Role)]) -> String {
    let mut text = String::from("| workload |");
    for (engine, _) in engines {
        push(&mut text, format_args!(" {} |", engine_name(engine)));
    }
    text += " beside the best | of the limit | goal | met |\n|---|";
    text += &"---|".repeat(engines.len() + 4);
    text.push('\n');
    for workload in workloads {
        push(&mut text, format_args!("| {}, {} |", workload.name, workload.unit));
        for (engine, role) in engines {
            let same = |entry: &&Entry| entry.engine == *engine && entry.role == *role;
            let entry = workload.entries.iter().find(same);
            push(&mut text, format_args!(" {} |", entry.map_or("-".to_owned(), cell)));
        }
        let verdicts = verdicts(workload);
        let goals: Vec<&str> = verdicts.iter().map(|verdict| verdict.goal.as_str()).collect();
        let met: Vec<&str> = verdicts.iter().map(met).collect();
        let goals = if goals.is_empty() { "-".to_owned() } else { goals.join("; ") };
        let met = if met.is_empty() { "-".to_owned() } else { met.join("; ") };
        let (times, share) = (times_best(workload), share_of_limit(workload));
        push(&mut text, format_args!(" {times} | {share} | {goals} | {met} |\n"));
    }
    text
}

fn met(verdict: &Verdict) -> &'static str {
    match verdict.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "not measured",
    }
}

/// A median and how far the farthest round lay from it.
fn cell(entry: &Entry) -> String {
    match (&entry.failure, entry.figure) {
        (Some(_), _) => "failed".to_owned(),
        (None, None) => "-".to_owned(),
        (None, Some(spread)) => match deviation(spread) {
            Some(share) => format!("{} ± {}", amount(spread.median), percent(share)),
            None => amount(spread.median),
        },
    }
}

fn deviation(Spread { median, min, max }: Spread) -> Option<f64> {
    (max > min && median > 0.0).then(|| (max - median).max(median - min) / median)
}

fn times_best(workload: &Workload) -> String {
    match (workload.best(Role::Ours), workload.best(Role::Peer)) {
        (Some((_, ours)), Some((peer, best))) => {
            let (times, name) = (workload.times(ours, best), engine_name(&peer.engine));
            let mark = if times < 1.0 { "**" } else { "" };
            format!("{mark}{}{mark} ({name})", amount(times))
        }
        (None, Some(_)) => "**failed**".to_owned(),
        _ => "-".to_owned(),
    }
}

fn share_of_limit(workload: &Workload) -> String {
    let (ours, limit) = (workload.best(Role::Ours), workload.best(Role::Limit));
    let share = ours.zip(limit).map(|((_, ours), (_, limit))| workload.times(ours, limit));
    share.map_or("-".to_owned(), percent)
}

/// What is particular, and what failed.
fn remarks(workloads: &[&Workload]) -> String {
    let mut text = String::new();
    for workload in workloads {
        for entry in &workload.entries {
            let failure = entry.failure.iter().map(|failure| format!("failed: {failure}"));
            let told: Vec<String> = failure.chain(entry.remarks.iter().cloned()).collect();
            if !told.is_empty() {
                let (name, engine) = (&workload.name, engine_name(&entry.engine));
                push(&mut text, format_args!("* {name}, {engine}: {}\n", told.join("; ")));
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The figures beside the main ones, folded away.
fn beside(workloads: &[&Workload]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for entry in workloads.iter().flat_map(|workload| &workload.entries) {
        names.extend(entry.beside.keys().map(String::as_str));
    }
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    let mut text = format!("\n<details><summary>{}</summary>\n\n", names.join(", "));
    push(&mut text, format_args!("| workload | engine | {} |\n", names.join(" | ")));
    push(&mut text, format_args!("|---|---|{}\n", "---|".repeat(names.len())));
    for workload in workloads {
        for entry in workload.entries.iter().filter(|entry| !entry.beside.is_empty()) {
            let (name, engine) = (&workload.name, engine_name(&entry.engine));
            push(&mut text, format_args!("| {name} | {engine} |"));
            for name in &names {
                let figure = entry.beside.get(*name);
                let figure = figure.map(|it| with_unit(it.spread.median, &it.unit));
                push(&mut text, format_args!(" {} |", figure.unwrap_or("-".to_owned())));
            }
            text.push('\n');
        }
    }
    text += "\n</details>\n";
    text
}

/// Formatting into a `String` cannot fail.
pub(super) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("invariant: a string takes everything");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::{Better, Circumstances, Figure, figures};
    use std::collections::BTreeMap;

    /// Bristlecone, a peer and the limit, as far as there are medians. Rounds lie 2 % apart.
    pub(in crate::published) fn workload(name: &str, unit: &str, medians: &[f64]) -> Workload {
        let engines = [("bristlecone", Role::Ours), ("lmdb", Role::Peer), ("limit", Role::Limit)];
        let entry = |((engine, role), &median): ((&str, Role), &f64)| Entry {
            engine: engine.to_owned(),
            role,
            figure: Spread::of([0.98, 1.0, 1.01].map(|times| times * median)),
            beside: BTreeMap::new(),
            remarks: Vec::new(),
            failure: None,
        };
        Workload {
            name: name.to_owned(),
            unit: unit.to_owned(),
            better: Better::Higher,
            group: Group::Commits,
            entries: engines.into_iter().zip(medians).map(entry).collect(),
        }
    }

    /// A run with a win, a loss and a failure.
    pub(in crate::published) fn run() -> SideBySide {
        let mut commits =
            workload("durable put, 16 threads", "commits/s", &[62_600.0, 3_408.0, 74_600.0]);
        let spread = Spread { median: 640.0, min: 600.0, max: 700.0 };
        let p99 = Figure { unit: "us".to_owned(), better: Better::Lower, spread };
        commits.entries[0].beside.insert(figures::P99.to_owned(), p99);
        let mut size = workload("size after load", "MB", &[490.0, 277.0]);
        (size.better, size.group) = (Better::Lower, Group::Size);
        let mut scans = workload("full scan", "pairs/s", &[20.5e6, 14.3e6, 197e6]);
        scans.group = Group::Scans;
        scans.entries[1].failure = Some("expected 10 pairs, found 9".to_owned());
        let about = |text: &str| text.to_owned();
        let circumstances = Circumstances {
            command: about("cargo run --release -p bristlecone-benches"),
            commit: about("abc1234"),
            date: about("2026-11-20"),
            machine: about("2 x a processor"),
            kernel: about("6.18"),
            device: about("vda, ext4"),
            data: about("1000 pairs"),
            load_before: about("0.10 0.20 0.30 1/100 1"),
            load_after: about("1.10 0.20 0.30 1/100 1"),
        };
        SideBySide { circumstances, rounds: 3, workloads: vec![commits, size, scans] }
    }

    #[test]
    fn a_small_record_gives_these_tables() {
        let golden = include_str!("../../tests/golden/side-by-side.md");
        let found = section("side-by-side", &run());
        assert!(found == golden, "expected\n{golden}\nfound\n{found}");
    }

    #[test]
    fn names_become_headings() {
        assert_eq!(title("side-by-side-8m-pairs"), "Side by side 8m pairs");
        assert_eq!(title(""), "");
    }
}
