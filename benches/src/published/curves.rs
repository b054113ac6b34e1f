//! Plots of sustained runs: each over its time, and the latencies of all of them.

use crate::record::{Circumstances, Second, Sustained};

use super::about;
use super::goals::STALL_US;
use super::minutes::{load, title};
use super::numbers::{amount, three_digits, time};
use super::panel::{Axis, Panel};
use super::svg::{Anchor, LINES, MARGIN, Svg, WIDTH};

const LEFT: f64 = MARGIN + 44.0;
/// Space for names at the right of curves.
const NAMES: f64 = 92.0;
const FIELD_WIDTH: f64 = WIDTH - LEFT - NAMES - MARGIN;
const FIELD_HEIGHT: f64 = 150.0;
const FIELD_GAP: f64 = 54.0;
const TOP: f64 = 78.0;
/// Space for the list of runs beside their latencies.
const LIST: f64 = 250.0;
const NANOSECONDS_OF_US: f64 = 1000.0;

/// Speed, latencies, and sizes of a run, second by second.
pub(super) fn over_time(run: &Sustained) -> String {
    let mut svg = Svg::new();
    svg.text((MARGIN, 34.0), Anchor::Start, "ink large bold", &title(run));
    let field = |number: usize, y: Axis| Panel {
        left: LEFT,
        top: TOP + number as f64 * (FIELD_HEIGHT + FIELD_GAP),
        width: FIELD_WIDTH,
        height: FIELD_HEIGHT,
        x: Axis::Even { min: 0.0, max: run.elapsed_seconds.max(1.0) },
        y,
    };
    speeds(&mut svg, run, |y| field(0, y));
    latencies_over_time(&mut svg, run, |y| field(1, y));
    sizes(&mut svg, run, |y| field(2, y));
    let legend = "Each point is a second. A commit counts in the second in which it returned.";
    let caption = [legend.to_owned(), run.circumstances.command.clone(), about(&run.circumstances)];
    svg.finish(&title(run), &caption)
}

fn seconds_text(tick: f64) -> String {
    format!("{} s", three_digits(tick))
}

fn speeds(svg: &mut Svg, run: &Sustained, field: impl Fn(Axis) -> Panel) {
    let mut before = 0.0;
    let puts = run.load.puts as f64;
    let speeds: Vec<(f64, f64)> = run
        .seconds
        .iter()
        .map(|second| {
            let elapsed = second.at - before;
            before = second.at;
            (second.at, if elapsed > 0.0 { second.commits as f64 * puts / elapsed } else { 0.0 })
        })
        .collect();
    let panel = field(Axis::from_zero(most(&speeds)));
    let unit = if run.load.puts == 1 { "commits/s" } else { "puts/s" };
    panel.frame(svg, unit, seconds_text, amount);
    panel.curve(svg, &speeds, LINES[0]);
    let mean = run.latency.count() as f64 * puts / run.elapsed_seconds.max(f64::MIN_POSITIVE);
    panel.labels(svg, vec![(mean, LINES[0], format!("mean {}", amount(mean)))]);
}

fn latencies_over_time(svg: &mut Svg, run: &Sustained, field: impl Fn(Axis) -> Panel) {
    let curve = |of: fn(&Second) -> f64| -> Vec<(f64, f64)> {
        let busy = run.seconds.iter().filter(|second| second.commits > 0);
        busy.map(|second| (second.at, of(second))).collect()
    };
    let curves = [
        ("worst", LINES[4], curve(|second| second.worst_us)),
        ("p99", LINES[1], curve(|second| second.p99_us)),
        ("p50", LINES[0], curve(|second| second.p50_us)),
    ];
    let least = curves[2].2.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least.clamp(0.1, STALL_US) } else { 1.0 };
    let panel = field(Axis::decades(least, most(&curves[0].2).max(2.0 * STALL_US)));
    panel.frame(svg, "time of a commit", seconds_text, time);
    let ends = [0.0, run.elapsed_seconds.max(1.0)];
    panel.curve(svg, &ends.map(|at| (at, STALL_US)), "goal thin dashed");
    let mut labels = vec![(STALL_US, "goal", format!("goal {}", time(STALL_US)))];
    for (name, class, points) in curves {
        panel.curve(svg, &points, class);
        if let Some((_, value)) = points.last() {
            labels.push((*value, class, name.to_owned()));
        }
    }
    panel.labels(svg, labels);
    let checkpoints: Vec<f64> = run
        .seconds
        .iter()
        .filter(|second| second.checkpoints.is_some_and(|count| count > 0))
        .map(|second| second.at)
        .collect();
    let top = panel.top;
    for &at in &checkpoints {
        let x = panel.at((at, 1.0)).0;
        svg.line(&[(x, top - 5.0), (x, top)], "ink thin");
    }
    if !checkpoints.is_empty() {
        let right = panel.left + panel.width;
        let text = format!("marks above: seconds with a checkpoint ({})", checkpoints.len());
        svg.text((right, top - 10.0), Anchor::End, "faint small", &text);
    }
}

fn sizes(svg: &mut Svg, run: &Sustained, field: impl Fn(Axis) -> Panel) {
    let curve = |of: fn(&Second) -> Option<u64>| -> Vec<(f64, f64)> {
        let known = run.seconds.iter().filter_map(|second| Some((second.at, of(second)?)));
        known.map(|(at, bytes)| (at, bytes as f64 / 1e6)).collect()
    };
    let curves = [
        ("on the device", LINES[5], curve(|second| Some(second.disk_bytes))),
        ("data file", LINES[1], curve(|second| second.file_bytes)),
        ("log", LINES[2], curve(|second| second.log_bytes)),
        ("memory", LINES[3], curve(|second| Some(second.memory_bytes))),
    ];
    let most = curves.iter().map(|(_, _, points)| most(points)).fold(0.0, f64::max);
    let panel = field(Axis::from_zero(most));
    panel.frame(svg, "files and anonymous memory, MB", seconds_text, amount);
    let mut labels = Vec::new();
    for (name, class, points) in &curves {
        if let Some((_, value)) = points.last() {
            panel.curve(svg, points, class);
            labels.push((*value, *class, (*name).to_owned()));
        }
    }
    panel.labels(svg, labels);
}

/// How many commits of each run took longer than each time; `None` when there are no runs.
pub(super) fn latencies(runs: &[(&str, &Sustained)]) -> Option<String> {
    let mut runs: Vec<&Sustained> =
        runs.iter().map(|(_, run)| *run).filter(|run| run.latency.count() > 0).collect();
    runs.sort_by_key(|run| (run.role, run.latency.worst()));
    let least = runs.iter().map(|run| run.latency.quantile(0.0)).min()?;
    let worst = runs.iter().map(|run| run.latency.worst()).max()?;
    let rarest = runs.iter().map(|run| run.latency.count()).max()? as f64;
    let panel = Panel {
        left: LEFT + 30.0,
        top: TOP,
        width: FIELD_WIDTH + NAMES - LIST - 30.0,
        height: 320.0,
        x: Axis::decades(
            (least as f64 / NANOSECONDS_OF_US).max(0.1),
            (worst as f64 / NANOSECONDS_OF_US).max(2.0 * STALL_US),
        ),
        y: Axis::decades(1.0 / rarest, 1.0),
    };
    let mut svg = Svg::new();
    let heading = "How long commits take";
    svg.text((MARGIN, 34.0), Anchor::Start, "ink large bold", heading);
    let one_in = |share: f64| match share {
        share if share > 0.5 => "all".to_owned(),
        share => format!("1 in {}", amount(1.0 / share)),
    };
    panel.frame(&mut svg, "share of commits that took longer", time, one_in);
    let goal = [(STALL_US, 1.0), (STALL_US, 0.0)];
    panel.curve(&mut svg, &goal, "goal thin dashed");
    let list = panel.left + panel.width + 24.0;
    svg.text((list, TOP), Anchor::Start, "goal", &format!("goal {}", time(STALL_US)));
    for (number, run) in runs.iter().enumerate() {
        let class = LINES[number % LINES.len()];
        panel.curve(&mut svg, &slower(run), class);
        let y = TOP + 26.0 + number as f64 * 34.0;
        let worst = time(run.latency.worst() as f64 / NANOSECONDS_OF_US);
        let name = format!("{}: worst {worst}", super::engine_name(&run.engine));
        svg.text((list, y), Anchor::Start, &format!("{class} bold"), &name);
        svg.text((list, y + 14.0), Anchor::Start, "faint small", &load(run));
    }
    let mut caption = vec![
        "Both axes are logarithmic. Where a curve ends is its worst commit. The command of each \
         run is with its own plot."
            .to_owned(),
    ];
    for run in runs {
        let Circumstances { commit, machine, kernel, device, .. } = &run.circumstances;
        let place = format!("Commit {commit}; {machine}, Linux {kernel}, {device}");
        if !caption.contains(&place) {
            caption.push(place);
        }
    }
    Some(svg.finish(heading, &caption))
}

/// Times in microseconds, and the share of commits that took longer.
fn slower(run: &Sustained) -> Vec<(f64, f64)> {
    let count = run.latency.count() as f64;
    let mut left = count;
    let mut points = Vec::new();
    for (last, commits) in run.latency.buckets() {
        left -= commits as f64;
        // The worst is not slower than itself; it is one of so many.
        let share = left.max(1.0) / count;
        points.push((last.min(run.latency.worst()) as f64 / NANOSECONDS_OF_US, share));
    }
    points
}

fn most(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::minutes::tests::run;
    use super::*;

    #[test]
    fn a_plot_over_time_has_a_point_for_each_second() {
        let text = over_time(&run());
        let line = text.lines().find(|line| line.contains("class=\"line0\"")).expect("a curve");
        assert_eq!(line.matches(',').count(), run().seconds.len(), "{line}");
        for shown in [">puts/s<", ">goal 20 ms<", ">data file<", "with a checkpoint (1)"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn a_run_without_commits_has_plots_too() {
        let mut run = run();
        (run.latency, run.elapsed_seconds) = (Default::default(), 0.0);
        run.seconds.clear();
        let text = over_time(&run);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert_eq!(latencies(&[("sustained-x", &run)]), None);
    }

    #[test]
    fn curves_of_latency_fall_to_the_worst_commit() {
        let points = slower(&run());
        assert!(points.is_sorted_by(|one, other| one.0 < other.0 && one.1 >= other.1));
        assert_eq!(points.last(), Some(&(25_000.0, 0.01)));
        let run = run();
        let text = latencies(&[("sustained-x", &run)]).expect("a plot");
        assert!(text.contains("Bristlecone: worst 25 ms"), "{text}");
    }
}
