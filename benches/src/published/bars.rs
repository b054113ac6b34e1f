//! Plots of a group of workloads: a panel of bars for each workload, two side by side.
//!
//! Each panel has its own scale, for units and magnitudes differ. Engines stand in the order of
//! their figures, the limit above them.

use crate::record::{Better, Entry, Group, Role, SideBySide, Workload};

use super::goals::target;
use super::numbers::amount;
use super::svg::{Anchor, MARGIN, Svg, WIDTH};
use super::tables::GROUPS;
use super::{about, engine_name};

const PANEL_WIDTH: f64 = (WIDTH - 3.0 * MARGIN) / 2.0;
/// Where bars begin and how long they can be, within a panel.
const BAR_LEFT: f64 = 86.0;
const BAR_LENGTH: f64 = PANEL_WIDTH - BAR_LEFT - 62.0;
const BAR_HEIGHT: f64 = 12.0;
const ROW_HEIGHT: f64 = 18.0;
const PANEL_TITLE: f64 = 26.0;
const PANEL_GAP: f64 = 28.0;
const TOP: f64 = 62.0;
/// A limit that is more times better than the best engine is cut off.
const LIMIT_TIMES_MAX: f64 = 1.3;

/// The plot of a group; `None` when the run has none of its workloads.
pub(super) fn plot(run: &SideBySide, group: Group) -> Option<String> {
    let workloads: Vec<&Workload> =
        run.workloads.iter().filter(|workload| workload.group == group).collect();
    if workloads.is_empty() {
        return None;
    }
    let heading = GROUPS.iter().find(|(one, ..)| *one == group).map_or("", |(.., text)| text);
    let mut svg = Svg::new();
    svg.text((MARGIN, 34.0), Anchor::Start, "ink large bold", heading);
    let mut top = TOP;
    for pair in workloads.chunks(2) {
        for (column, workload) in pair.iter().enumerate() {
            let left = MARGIN + column as f64 * (PANEL_WIDTH + MARGIN);
            panel(&mut svg, (left, top), workload);
        }
        let rows = pair.iter().map(|it| in_order(it).len()).max().unwrap_or_default();
        top += PANEL_TITLE + rows as f64 * ROW_HEIGHT + PANEL_GAP;
    }
    let legend = format!(
        "Medians of {} rounds; the thin line across the end of a bar goes from the least round to \
         the most. Hollow: the limit, cut off where a gap is. Dashed: the goal.",
        run.rounds
    );
    let caption = [legend, run.circumstances.command.clone(), about(&run.circumstances)];
    Some(svg.finish(heading, &caption))
}

fn panel(svg: &mut Svg, (left, top): (f64, f64), workload: &Workload) {
    svg.text((left, top), Anchor::Start, "ink bold", &workload.name);
    let unit = match workload.better {
        Better::Higher => workload.unit.clone(),
        Better::Lower => format!("{}, less is better", workload.unit),
    };
    let right = left + PANEL_WIDTH - 4.0;
    svg.text((right, top), Anchor::End, "faint small", &unit);
    let scale = BAR_LENGTH / most(workload);
    let first = top + PANEL_TITLE - ROW_HEIGHT;
    let entries = in_order(workload);
    let rows = || (0..).map(|row| first + f64::from(row) * ROW_HEIGHT).zip(&entries);
    rows().for_each(|(top, entry)| bar(svg, (left + BAR_LEFT, top), entry, scale));
    if let Some(goal) = target(workload) {
        let x = left + BAR_LEFT + goal * scale;
        let bottom = first + entries.len() as f64 * ROW_HEIGHT;
        svg.line(&[(x, first), (x, bottom + 2.0)], "goal thin dashed");
        svg.text((x, bottom + 13.0), Anchor::Middle, "goal small", &amount(goal));
    }
    rows().for_each(|(top, entry)| texts(svg, (left + BAR_LEFT, top), entry, scale));
}

/// The bar of an engine, and the line from its least round to its most.
fn bar(svg: &mut Svg, (left, top): (f64, f64), entry: &Entry, scale: f64) {
    let Some(spread) = entry.counted() else { return };
    let above = top + (ROW_HEIGHT - BAR_HEIGHT) / 2.0;
    let class = match entry.role {
        Role::Ours => "ours",
        Role::Peer => "peer",
        Role::Limit => "faint-edge",
    };
    svg.area((left, above), length(spread.median, scale).max(1.0), BAR_HEIGHT, class);
    if spread.median * scale > BAR_LENGTH + 0.5 {
        svg.area((left + BAR_LENGTH - 22.0, above - 1.0), 6.0, BAR_HEIGHT + 2.0, "ground");
    } else if spread.max > spread.min {
        let middle = above + BAR_HEIGHT / 2.0;
        let ends = [spread.min, spread.max].map(|end| (left + length(end, scale), middle));
        svg.line(&ends, "ink thin");
    }
}

/// The name of an engine and its figure, over bars and lines.
fn texts(svg: &mut Svg, (left, top): (f64, f64), entry: &Entry, scale: f64) {
    let base = top + ROW_HEIGHT - 5.0;
    let class = if entry.role == Role::Ours { "ink over bold" } else { "ink over" };
    svg.text((left - 6.0, base), Anchor::End, class, engine_name(&entry.engine));
    match entry.counted() {
        None => svg.text((left + 2.0, base), Anchor::Start, "faint over", "failed"),
        Some(spread) => {
            let end = left + length(spread.median.max(spread.max), scale) + 5.0;
            svg.text((end, base), Anchor::Start, class, &amount(spread.median));
        }
    }
}

/// How long a bar is.
fn length(value: f64, scale: f64) -> f64 {
    (value * scale).min(BAR_LENGTH)
}

/// The limit, then engines from the best to the worst, then those that failed. An engine that
/// cannot do the work by its nature has neither figure nor failure, and no bar.
fn in_order(workload: &Workload) -> Vec<&Entry> {
    let tried = |entry: &&Entry| entry.figure.is_some() || entry.failure.is_some();
    let mut entries: Vec<&Entry> = workload.entries.iter().filter(tried).collect();
    let place = |entry: &Entry| match entry.counted() {
        Some(spread) if workload.better == Better::Higher => -spread.median,
        Some(spread) => spread.median,
        None => f64::INFINITY,
    };
    entries.sort_by(|one, other| {
        let limit_first = (one.role != Role::Limit).cmp(&(other.role != Role::Limit));
        limit_first.then(place(one).total_cmp(&place(other)))
    });
    entries
}

/// What the longest bar stands for.
fn most(workload: &Workload) -> f64 {
    let all = workload.entries.iter().filter(|entry| entry.role != Role::Limit);
    let engines = all.filter_map(|entry| Some(entry.counted()?.max)).fold(0.0, f64::max);
    let most = engines.max(target(workload).unwrap_or_default());
    let limit = workload.best(Role::Limit).map_or(0.0, |(_, median)| median);
    let most = if most > 0.0 { most.max(limit.min(most * LIMIT_TIMES_MAX)) } else { limit };
    if most > 0.0 { most } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::run;
    use super::*;

    #[test]
    fn a_plot_shows_each_engine_with_its_figure() {
        let run = run();
        let commits = plot(&run, Group::Commits).expect("commits were measured");
        for shown in [">Bristlecone<", ">62.6 k<", ">LMDB<", ">3,408<", ">limit<", "abc1234"] {
            assert!(commits.contains(shown), "{shown}: {commits}");
        }
        let scans = plot(&run, Group::Scans).expect("scans were measured");
        assert!(scans.contains(">failed<"), "{scans}");
        assert_eq!(plot(&run, Group::Reads), None);
    }

    #[test]
    fn engines_stand_in_the_order_of_their_figures() {
        let run = run();
        let engines = |workload: usize| {
            let entries = in_order(&run.workloads[workload]);
            entries.into_iter().map(|entry| entry.engine.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(engines(0), ["limit", "bristlecone", "lmdb"]);
        assert_eq!(engines(1), ["lmdb", "bristlecone"]);
        assert_eq!(engines(2), ["limit", "bristlecone", "lmdb"]);
    }
}
