//! The plot of a churn: the files of each of its runs over time.

use crate::record::{Churn, ChurnRun, Sample};

use super::about;
use super::churned::title;
use super::numbers::{amount, three_digits};
use super::panel::{Axis, Panel};
use super::svg::{Anchor, LINES, MARGIN, Svg, WIDTH};

const LEFT: f64 = MARGIN + 44.0;
/// Space for names at the right of curves.
const NAMES: f64 = 92.0;
const FIELD_WIDTH: f64 = WIDTH - LEFT - NAMES - MARGIN;
const FIELD_HEIGHT: f64 = 150.0;
const FIELD_GAP: f64 = 54.0;
const TOP: f64 = 78.0;

/// A curve: its name, its colour, and its bytes.
type Curve = (&'static str, &'static str, fn(&Sample) -> Option<u64>);

/// Far apart, so by their logarithm.
const CURVES: [Curve; 5] = [
    ("live", LINES[0], |it| Some(it.live_bytes)),
    ("data file", LINES[1], |it| Some(it.file_bytes)),
    ("log files", LINES[2], |it| Some(it.log_bytes)),
    ("memory", LINES[3], |it| Some(it.memory_bytes)),
    ("for the reader", LINES[4], |it| it.pinned_bytes),
];
/// What is less is drawn as this, in MB.
const LEAST: f64 = 0.1;

/// Sizes of all runs, a field for each.
pub(super) fn plot(churn: &Churn) -> String {
    let mut svg = Svg::new();
    let heading = "The files while records come and go";
    svg.text((MARGIN, 34.0), Anchor::Start, "ink large bold", heading);
    for (number, run) in churn.runs.iter().enumerate() {
        field(&mut svg, run, TOP + number as f64 * (FIELD_HEIGHT + FIELD_GAP));
    }
    let legend = "Sizes are logarithmic. Where a curve of expiries goes on behind the last put, \
                  the last records expire. What the files have when they are compacted is in the \
                  table.";
    let caption =
        [legend.to_owned(), churn.circumstances.command.clone(), about(&churn.circumstances)];
    svg.finish(heading, &caption)
}

fn field(svg: &mut Svg, run: &ChurnRun, top: f64) {
    let curves = CURVES.map(|(name, class, of)| {
        let known = run.samples.iter().filter_map(|sample| Some((sample.at, of(sample)?)));
        let points = known.map(|(at, bytes)| (at, (bytes as f64 / 1e6).max(LEAST)));
        (name, class, points.collect::<Vec<(f64, f64)>>())
    });
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let most = points().map(|point| point.1).fold(LEAST, f64::max);
    let end = points().map(|point| point.0).fold(0.0, f64::max);
    let panel = Panel {
        left: LEFT,
        top,
        width: FIELD_WIDTH,
        height: FIELD_HEIGHT,
        x: Axis::Even { min: 0.0, max: if end > 0.0 { end } else { 1.0 } },
        y: Axis::decades(LEAST, most),
    };
    let seconds_text = |tick: f64| format!("{} s", three_digits(tick));
    panel.frame(svg, &format!("{}, MB", title(run)), seconds_text, amount);
    let mut labels = Vec::new();
    for (name, class, points) in &curves {
        if let Some((_, value)) = points.last() {
            panel.curve(svg, points, class);
            labels.push((*value, *class, (*name).to_owned()));
        }
    }
    panel.labels(svg, labels);
}

#[cfg(test)]
mod tests {
    use super::super::churned::tests::churn;
    use super::*;

    #[test]
    fn each_run_has_a_field_with_a_point_for_each_sample() {
        let mut churn = churn();
        let text = plot(&churn);
        for run in &churn.runs {
            assert!(text.contains(&format!(">{}, MB<", title(run))), "{text}");
        }
        let line = text.lines().find(|line| line.contains("class=\"line1\"")).expect("a curve");
        assert_eq!(line.matches(',').count(), churn.runs[0].samples.len(), "{line}");
        assert!(!text.contains("for the reader"), "{text}");
        churn.runs[0].samples.clear();
        let text = plot(&churn);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
