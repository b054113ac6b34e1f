//! A field with two axes and curves in it.

use super::svg::{Anchor, Svg};

/// The least distance of two labels, in pixels.
const LABEL_HEIGHT: f64 = 14.0;

/// The values between two ends, evenly spread or by their logarithm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Axis {
    Even { min: f64, max: f64 },
    Decades { min: f64, max: f64 },
}

impl Axis {
    /// From zero to at least `max`, up to a round number.
    pub(super) fn from_zero(max: f64) -> Axis {
        let step = round_step(max);
        Axis::Even { min: 0.0, max: (max / step).ceil().max(1.0) * step }
    }

    /// Whole powers of ten around the values from `min` to `max`, which are above zero.
    pub(super) fn decades(min: f64, max: f64) -> Axis {
        // A power of ten that the logarithm misses by a hair is that power.
        let low = (min.log10() + 1e-9).floor();
        let high = (max.log10() - 1e-9).ceil().max(low + 1.0);
        Axis::Decades { min: 10_f64.powf(low), max: 10_f64.powf(high) }
    }

    /// Where a value is, from 0 at the axis's begin to 1 at its end.
    fn share(self, value: f64) -> f64 {
        let share = match self {
            Axis::Even { min, max } => (value - min) / (max - min),
            Axis::Decades { min, max } => {
                (value.max(min).log10() - min.log10()) / (max.log10() - min.log10())
            }
        };
        share.clamp(0.0, 1.0)
    }

    /// The values that are written beside it.
    fn ticks(self) -> Vec<f64> {
        match self {
            Axis::Even { min, max } => {
                let step = round_step(max - min);
                let count = ((max - min) / step + 1e-9).floor() as usize;
                (0..=count).map(|tick| min + tick as f64 * step).collect()
            }
            Axis::Decades { min, max } => {
                let count = (max / min).log10().round() as i32;
                (0..=count).map(|tick| min * 10_f64.powi(tick)).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts a length into four to nine parts.
fn round_step(length: f64) -> f64 {
    if length <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf((length / 4.0).log10().floor());
    let steps = [5.0, 2.0].map(|times| times * power);
    steps.into_iter().find(|step| *step * 4.0 <= length).unwrap_or(power)
}

/// A field of a place, a size and two axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Panel {
    /// Where a point lies in the picture.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (right, up) = (self.x.share(x) * self.width, self.y.share(y) * self.height);
        (self.left + right, self.top + self.height - up)
    }

    /// Draws the title above and the axes, whose ticks are written by two functions.
    pub(super) fn frame(
        &self,
        svg: &mut Svg,
        title: &str,
        x_text: impl Fn(f64) -> String,
        y_text: impl Fn(f64) -> String,
    ) {
        svg.text((self.left, self.top - 10.0), Anchor::Start, "ink bold", title);
        let (bottom, right) = (self.top + self.height, self.left + self.width);
        for tick in self.y.ticks() {
            let y = bottom - self.y.share(tick) * self.height;
            svg.line(&[(self.left, y), (right, y)], "rule thin");
            svg.text((self.left - 6.0, y + 4.0), Anchor::End, "faint small", &y_text(tick));
        }
        for tick in self.x.ticks() {
            let x = self.left + self.x.share(tick) * self.width;
            svg.line(&[(x, bottom), (x, bottom + 4.0)], "rule thin");
            svg.text((x, bottom + 16.0), Anchor::Middle, "faint small", &x_text(tick));
        }
    }

    /// Draws a curve.
    pub(super) fn curve(&self, svg: &mut Svg, points: &[(f64, f64)], class: &str) {
        let points: Vec<(f64, f64)> = points.iter().map(|&point| self.at(point)).collect();
        svg.line(&points, class);
    }

    /// Writes names right of the field, each as near to its value as the others let it.
    pub(super) fn labels(&self, svg: &mut Svg, mut labels: Vec<(f64, &str, String)>) {
        labels.sort_by(|one, other| other.0.total_cmp(&one.0));
        let right = self.left + self.width + 8.0;
        let bottom = self.top + self.height;
        let count = labels.len();
        let mut free = self.top;
        for (place, (value, class, text)) in labels.into_iter().enumerate() {
            let wanted = bottom - self.y.share(value) * self.height;
            // Those below need their space too.
            let below = (count - 1 - place) as f64 * LABEL_HEIGHT;
            let y = wanted.min(bottom - below).max(free);
            svg.text((right, y + 4.0), Anchor::Start, class, &text);
            free = y + LABEL_HEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_and_step_at_round_numbers() {
        let Axis::Even { max, .. } = Axis::from_zero(63_000.0) else { panic!("an even axis") };
        assert_eq!(max, 70_000.0);
        assert_eq!(Axis::from_zero(630.0).ticks().len(), 8);
        assert_eq!(Axis::from_zero(600.0).ticks()[..3], [0.0, 100.0, 200.0]);
        assert_eq!(Axis::from_zero(5.0).ticks(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(Axis::from_zero(0.0).ticks().len(), 6);
        let decades: Vec<f64> = Axis::decades(30.0, 9_000.0).ticks();
        assert_eq!(decades, [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(Axis::decades(1_000.0, 1_000.0).ticks().len(), 2);
    }

    #[test]
    fn points_lie_between_the_ends() {
        let x = Axis::Even { min: 0.0, max: 10.0 };
        let y = Axis::Decades { min: 1.0, max: 100.0 };
        let panel = Panel { left: 5.0, top: 7.0, width: 100.0, height: 50.0, x, y };
        assert_eq!(panel.at((5.0, 10.0)), (55.0, 32.0));
        assert_eq!(panel.at((99.0, 0.0)), (105.0, 57.0));
    }
}
