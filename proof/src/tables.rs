//! The tables of `docs/testing.md`, made from the records.
//!
//! A table stands between a line `<!-- NAME: made by proof tables -->` and a line `<!-- end -->`.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::record::{Evidence, Record};
use crate::rig::Tier;
use crate::rigs::RIGS;

/// Puts the tables of these records, the shortest tier first, and of the lines that `fuzz/run`
/// wrote, into a document.
///
/// # Errors
///
/// When a place for a table is missing or has no end, or a line of `fuzz` is of another shape.
pub fn fill(document: &str, records: &[Option<Record>; 3], fuzz: &str) -> Result<String, String> {
    let document = replace(document, "faults", &faults(records))?;
    let document = replace(&document, "bugs", &bugs(records))?;
    let document = replace(&document, "fuzzing", &fuzzing(fuzz)?)?;
    replace(&document, "runs", &runs(records))
}

fn replace(document: &str, name: &str, table: &str) -> Result<String, String> {
    let start = format!("<!-- {name}: made by proof tables -->\n");
    let end = "<!-- end -->";
    let Some((before, rest)) = document.split_once(&start) else {
        return Err(format!("expected a line {:?}, found none", start.trim()));
    };
    let Some((_, after)) = rest.split_once(end) else {
        return Err(format!("expected a line {end:?} behind {:?}, found none", start.trim()));
    };
    Ok(format!("{before}{start}{table}{end}{after}"))
}

fn faults(records: &[Option<Record>; 3]) -> String {
    let mut table = String::from(
        "| fault | required | rig | push | nightly | release |\n|---|---|---|---|---|---|\n",
    );
    for rig in RIGS {
        write!(table, "| {} | {} | `{}` |", rig.fault, rig.behaviour, rig.name)
            .expect("a string takes text");
        for record in records {
            let found = record
                .as_ref()
                .and_then(|record| record.rigs.iter().find(|evidence| evidence.rig == rig.name));
            write!(table, " {} |", found.map_or("-".to_owned(), cell))
                .expect("a string takes text");
        }
        table.push('\n');
    }
    table
}

fn cell(evidence: &Evidence) -> String {
    match (&evidence.skipped, evidence.failures.len()) {
        (Some(_), _) => "skipped".to_owned(),
        (None, 0) => format!("{} {}, 0 failed", grouped(evidence.cases), evidence.unit),
        (None, failed) => format!("{} {}, **{failed} failed**", evidence.cases, evidence.unit),
    }
}

fn bugs(records: &[Option<Record>; 3]) -> String {
    let mut table = String::from("| seeded bug | caught by the tier | after |\n|---|---|---|\n");
    // The shortest tier that ran is the one that catches first.
    let found = Tier::ALL.iter().zip(records).find_map(|(tier, record)| {
        let evidence = record.as_ref()?.evidence("seeded-bugs")?;
        Some((tier.name(), evidence))
    });
    if let Some((tier, evidence)) = found {
        for (name, cases) in &evidence.counts {
            if let Some((unit, bug)) = name.split_once(" until ") {
                writeln!(table, "| `{bug}` | {tier} | {} {unit} |", grouped(*cases))
                    .expect("a string takes text");
            }
        }
    }
    table
}

fn runs(records: &[Option<Record>; 3]) -> String {
    let mut table = String::from(
        "| tier | day | commit | machine | rigs | skipped | failed | minutes |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for record in records.iter().flatten() {
        let skipped = record.rigs.iter().filter(|evidence| evidence.skipped.is_some()).count();
        let failed = record.rigs.iter().filter(|evidence| !evidence.is_clean()).count();
        writeln!(
            table,
            "| {} | {} | `{}`{} | {} cores, Linux {} | {} | {skipped} | {failed} | {:.0} |",
            record.tier,
            record.date,
            record.commit,
            if record.changed { " and changes" } else { "" },
            record.machine.cores,
            record.machine.kernel,
            record.rigs.len(),
            record.seconds / 60.0,
        )
        .expect("a string takes text");
    }
    table
}

/// What `fuzz/run` writes of each run.
#[derive(Deserialize)]
struct Fuzzed {
    target: String,
    executions: u64,
    seconds: u64,
    seeds: u64,
    corpus: u64,
    commit: String,
    findings: u64,
}

fn fuzzing(lines: &str) -> Result<String, String> {
    let mut table = String::from(
        "| target | executions | minutes | corpus here and in all | commit | findings |\n\
         |---|---|---|---|---|---|\n",
    );
    for line in lines.lines() {
        let run: Fuzzed = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let Fuzzed { target, executions, seconds, seeds, corpus, commit, findings } = run;
        let (executions, minutes) = (grouped(executions), seconds / 60);
        writeln!(
            table,
            "| `{target}` | {executions} | {minutes} | {seeds}, {corpus} | `{commit}` \
             | {findings} |",
        )
        .expect("a string takes text");
    }
    Ok(table)
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let all = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_table_takes_its_place_and_nothing_else() {
        let places = |name: &str| {
            format!("<!-- {name}: made by proof tables -->\nwhat was there\n<!-- end -->\n")
        };
        let document = ["faults", "bugs", "fuzzing", "runs"].map(places).concat();
        let filled = fill(&document, &[None, None, None], "").expect("all places are there");
        assert!(!filled.contains("what was there") && filled.contains("crash-images"), "{filled}");
        assert_eq!(fill(&filled, &[None, None, None], ""), Ok(filled));
        assert!(fill("nothing", &[None, None, None], "").is_err());
    }
}
