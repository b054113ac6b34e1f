//! What is published of records: the tables of `docs/benchmarks.md`, and the plots beside it.
//!
//! All of it is made from records and goals and from nothing else, so that a check can tell when
//! the page and the records differ. Tables stand between a line `<!-- NAME: made by report -->`
//! and a line `<!-- end -->`; a plot is a file of its own.

mod bars;
mod churned;
mod curves;
mod disturbed;
mod goals;
mod minutes;
mod numbers;
mod panel;
mod sizes;
mod svg;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::{Churn, Circumstances, Disturbance, Record, SideBySide, Sustained};

/// The page that has the tables, within the repository.
const DOCUMENT: &str = "docs/benchmarks.md";
/// The folder of the plots: it holds nothing else.
const PLOTS: &str = "docs/plots";

/// A file that is made from records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its path within the repository.
    pub path: PathBuf,
    /// All of its text.
    pub text: String,
}

/// All pages of the records, which have names, for the repository at `root`.
///
/// # Errors
/// When the document cannot be read, or lacks a place for what is made.
pub fn pages(root: &Path, records: &[(String, Record)]) -> Result<Vec<Page>, String> {
    let document = fs::read_to_string(root.join(DOCUMENT));
    let document = document.map_err(|error| format!("{DOCUMENT}: {error}"))?;
    made(&document, records)
}

/// A sustained run in a few lines, for a terminal.
#[must_use]
pub fn told(run: &Sustained) -> String {
    minutes::told(run)
}

/// A churn in a few lines, for a terminal.
#[must_use]
pub fn churned(churn: &Churn) -> String {
    churned::table(churn)
}

/// A disturbance in a few lines, for a terminal.
#[must_use]
pub fn disturbed(disturbance: &Disturbance) -> String {
    disturbed::table(disturbance)
}

fn made(document: &str, records: &[(String, Record)]) -> Result<Vec<Page>, String> {
    let (mut contests, mut endured) = (Vec::new(), Vec::new());
    let (mut churns, mut disturbances) = (Vec::new(), Vec::new());
    for (name, record) in records {
        match record {
            Record::SideBySide(run) => contests.push((name.as_str(), run)),
            Record::Sustained(run) => endured.push((name.as_str(), run)),
            Record::Churn(churn) => churns.push((name.as_str(), churn)),
            Record::Disturbance(disturbance) => disturbances.push(disturbance),
        }
    }
    let mut pages = plots(&contests, &endured, &churns);
    let tables: Vec<String> =
        contests.iter().map(|(name, run)| tables::section(name, run)).collect();
    let text = replaced(document, "side by side", &tables.concat())?;
    let text = replaced(&text, "sustained", &minutes::section(&endured))?;
    let tables: Vec<String> =
        churns.iter().map(|(name, churn)| churned::section(name, churn)).collect();
    let text = replaced(&text, "churn", &tables.concat())?;
    let tables: Vec<String> = disturbances.into_iter().map(disturbed::section).collect();
    let text = replaced(&text, "disturbance", &tables.concat())?;
    pages.push(Page { path: DOCUMENT.into(), text });
    Ok(pages)
}

fn plots(
    contests: &[(&str, &SideBySide)],
    endured: &[(&str, &Sustained)],
    churns: &[(&str, &Churn)],
) -> Vec<Page> {
    let mut plots = Vec::new();
    for (name, run) in contests {
        for (group, slug, _) in tables::GROUPS {
            plots.extend(bars::plot(run, *group).map(|text| (format!("{name}-{slug}"), text)));
        }
    }
    plots.extend(endured.iter().map(|(name, run)| ((*name).to_owned(), curves::over_time(run))));
    plots.extend(churns.iter().map(|(name, churn)| ((*name).to_owned(), sizes::plot(churn))));
    plots.extend(curves::latencies(endured).map(|text| (minutes::LATENCIES.to_owned(), text)));
    let page = |(name, text)| Page { path: Path::new(PLOTS).join(format!("{name}.svg")), text };
    plots.into_iter().map(page).collect()
}

/// The document with `made` in the place of this name.
fn replaced(document: &str, name: &str, made: &str) -> Result<String, String> {
    let start = format!("<!-- {name}: made by report -->\n");
    let end = "<!-- end -->";
    let Some((before, rest)) = document.split_once(&start) else {
        return Err(format!("expected a line {:?}, found none", start.trim()));
    };
    let Some((_, after)) = rest.split_once(end) else {
        return Err(format!("expected a line {end:?} behind {:?}, found none", start.trim()));
    };
    Ok(format!("{before}{start}{made}{end}{after}"))
}

/// What differs between the repository at `root` and its pages, a sentence for each file.
///
/// # Errors
/// Those of the file system.
pub fn differences(root: &Path, pages: &[Page]) -> io::Result<Vec<String>> {
    let mut told = Vec::new();
    for page in pages {
        let path = page.path.display();
        match fs::read_to_string(root.join(&page.path)) {
            Ok(text) if text == page.text => {}
            Ok(text) => told.push(match first_difference(&page.text, &text) {
                Some((line, expected, found)) => {
                    format!("{path}:{line}: expected {expected:?}, found {found:?}")
                }
                None => format!("{path}: expected other ends of lines"),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                told.push(format!("{path}: expected a plot of the records, found none"));
            }
            Err(error) => return Err(error),
        }
    }
    for path in strays(root, pages)? {
        told.push(format!("{}: expected a record for it, found none", path.display()));
    }
    Ok(told)
}

/// The number of the first line that differs, and what it should be and is.
fn first_difference<'a>(expected: &'a str, found: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let (mut expected, mut found) = (expected.lines(), found.lines());
    let mut line = 0;
    loop {
        line += 1;
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                return Some((line, one.unwrap_or_default(), other.unwrap_or_default()));
            }
        }
    }
}

/// Writes all pages, and removes plots of which there is no record.
///
/// # Errors
/// Those of the file system.
pub fn write(root: &Path, pages: &[Page]) -> io::Result<()> {
    for page in pages {
        let path = root.join(&page.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, &page.text)?;
    }
    strays(root, pages)?.iter().try_for_each(|path| fs::remove_file(root.join(path)))
}

/// Plots that no record makes.
fn strays(root: &Path, pages: &[Page]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let listing = match fs::read_dir(root.join(PLOTS)) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in listing {
        let path = Path::new(PLOTS).join(entry?.file_name());
        let is_plot = path.extension().is_some_and(|extension| extension == "svg");
        if is_plot && pages.iter().all(|page| page.path != path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Where and on what, in a line or two.
fn about(about: &Circumstances) -> String {
    let Circumstances {
        commit, date, machine, kernel, device, data, load_before, load_after, ..
    } = about;
    let load = |text: &str| text.split(' ').next().unwrap_or("unknown").to_owned();
    format!(
        "Commit {commit}, {date}; {data}; {machine}, Linux {kernel}, {device}; \
         load average {} before, {} after.",
        load(load_before),
        load(load_after)
    )
}

/// What an engine is called.
fn engine_name(engine: &str) -> &str {
    match engine {
        "bristlecone" => "Bristlecone",
        "lmdb" => "LMDB",
        "rocksdb" => "RocksDB",
        "sqlite" => "SQLite",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn records() -> Vec<(String, Record)> {
        vec![
            ("side-by-side".to_owned(), Record::SideBySide(tables::tests::run())),
            ("sustained-bristlecone-4x10".to_owned(), Record::Sustained(minutes::tests::run())),
            ("churn".to_owned(), Record::Churn(churned::tests::churn())),
            ("disturbance".to_owned(), Record::Disturbance(disturbed::tests::disturbance())),
        ]
    }

    /// A repository with a document that has places, and all pages of the records.
    fn repository(records: &[(String, Record)]) -> Scratch {
        let scratch = Scratch::new().expect("a directory");
        let places = ["side by side", "sustained", "churn", "disturbance"]
            .map(|name| format!("<!-- {name}: made by report -->\nold\n<!-- end -->\n"));
        fs::create_dir_all(scratch.path().join("docs")).expect("a folder");
        fs::write(scratch.path().join(DOCUMENT), places.concat()).expect("a document");
        let pages = pages(scratch.path(), records).expect("places for all");
        write(scratch.path(), &pages).expect("pages");
        scratch
    }

    fn check(root: &Path, records: &[(String, Record)]) -> Vec<String> {
        // As a file would hold them: what is lost on the way must not matter.
        let read = |(name, record): &(String, Record)| {
            let text = record.to_text();
            (name.clone(), serde_json::from_str(&text).expect("a record"))
        };
        let records: Vec<(String, Record)> = records.iter().map(read).collect();
        differences(root, &pages(root, &records).expect("places for all")).expect("files")
    }

    #[test]
    fn a_check_notices_a_changed_figure() {
        let mut records = records();
        let scratch = repository(&records);
        let root = scratch.path();
        assert_eq!(check(root, &records), Vec::<String>::new());
        let Record::SideBySide(run) = &mut records[0].1 else { panic!("a run side by side") };
        let figure = run.workloads[0].entries[0].figure.as_mut().expect("a figure");
        figure.median += 1000.0;
        let told = check(root, &records);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("docs/plots/side-by-side-commits.svg:"), "{told:?}");
        assert!(told[1].starts_with("docs/benchmarks.md:"), "{told:?}");
        assert!(told[1].contains("63.6 k") && told[1].contains("62.6 k"), "{told:?}");
    }

    #[test]
    fn a_check_notices_a_missing_record_and_a_missing_plot() {
        let records = records();
        let scratch = repository(&records);
        let told = check(scratch.path(), &records[..1]);
        assert!(told.iter().any(|it| it.contains("expected a record for it")), "{told:?}");
        fs::remove_file(scratch.path().join(PLOTS).join("side-by-side-size.svg")).expect("a plot");
        let told = check(scratch.path(), &records);
        assert_eq!(
            told,
            ["docs/plots/side-by-side-size.svg: expected a plot of the records, found none"]
        );
    }

    #[test]
    fn writing_again_changes_nothing_and_removes_what_is_of_no_record() {
        let records = records();
        let scratch = repository(&records);
        let root = scratch.path();
        let before = fs::read_to_string(root.join(DOCUMENT)).expect("a document");
        assert!(!before.contains("old") && before.contains("| 62.6 k ± 2 % |"), "{before}");
        let again = pages(root, &records[1..]).expect("places for all");
        write(root, &again).expect("pages");
        assert_eq!(check(root, &records[1..]), Vec::<String>::new());
        assert!(!root.join(PLOTS).join("side-by-side-size.svg").exists());
        assert!(made("no place", &records).is_err());
    }
}
