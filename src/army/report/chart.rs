//! Line charts as SVG.

use std::fmt::Write;

use crate::army::report::number;
use crate::army::show::escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 28.0;
/// Below the title, and for each row of the legend.
const TOP: f64 = 28.0;
const LEGEND_ROW: f64 = 16.0;
const BOTTOM: f64 = 26.0;

/// How many lines can be told apart: by color, and by dashes in print.
pub const COLORS: usize = 5;
const STROKES: [(&str, &str); COLORS] =
    [("#2563eb", ""), ("#d97706", "7 3"), ("#059669", "2 3"), ("#dc2626", "10 3 2 3"), ("#7c3aed", "4 2")];

/// More points than pixels would only make the file large.
const POINTS_MAX: usize = 900;

pub struct Line {
    name: String,
    stroke: usize,
    points: Vec<(f64, f64)>,
}

impl Line {
    pub fn new(name: &str, stroke: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), stroke: stroke % COLORS, points }
    }
}

pub struct Chart {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
    /// The axis below shows shares, each step ten times as rare.
    has_shares: bool,
}

impl Chart {
    pub fn new(title: &'static str, unit: &'static str) -> Self {
        Self { title, unit, lines: Vec::new(), has_shares: false }
    }

    pub fn with(mut self, line: Line) -> Self {
        if !line.points.is_empty() {
            self.lines.push(line);
        }
        self
    }

    pub fn with_shares(mut self) -> Self {
        self.has_shares = true;
        self
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (from, to) =
            points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
        let (from, to) = if self.lines.is_empty() { (0.0, 1.0) } else { (from, to.max(from + 1e-9)) };
        let top = round_up(points().map(|(_, y)| *y).fold(0.0, f64::max));
        let x = |value: f64| LEFT + (value - from) / (to - from) * (WIDTH - LEFT - RIGHT);
        let (legend, legend_rows) = self.legend();
        let upper = TOP + LEGEND_ROW * legend_rows;
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - upper - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\n<text class=\"title\" x=\"{LEFT}\" \
             y=\"16\">{0}</text>\n",
            escaped(self.title)
        );
        svg.push_str(&legend);
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {1:.1}H{2:.1}\"/><text class=\"axis\" x=\"{3:.1}\" y=\"{4:.1}\" \
                 text-anchor=\"end\">{0}</text>",
                number(value),
                y(value),
                WIDTH - RIGHT,
                LEFT - 6.0,
                y(value) + 4.0
            );
        }
        for (value, text) in self.below(from, to) {
            let _ = writeln!(
                svg,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                x(value),
                HEIGHT - 8.0
            );
        }
        for line in &self.lines {
            let (color, dashes) = STROKES[line.stroke];
            let every = line.points.len().div_ceil(POINTS_MAX).max(1);
            let path: Vec<_> = line
                .points
                .iter()
                .step_by(every)
                .map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\" stroke-dasharray=\"{dashes}\"/>",
                path.join(" ")
            );
        }
        svg.push_str("</svg>");
        svg
    }

    /// What each line is, and on how many rows.
    fn legend(&self) -> (String, f64) {
        let mut svg = String::new();
        let (mut x, mut y) = (LEFT, TOP + 2.0);
        for line in &self.lines {
            let (color, dashes) = STROKES[line.stroke];
            let width = 40.0 + 6.6 * line.name.chars().count() as f64;
            if x > LEFT && x + width > WIDTH - 4.0 {
                (x, y) = (LEFT, y + LEGEND_ROW);
            }
            let _ = writeln!(
                svg,
                "<path d=\"M{x} {y}h18\" stroke=\"{color}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/><text \
                 class=\"axis\" x=\"{}\" y=\"{}\">{}</text>",
                x + 23.0,
                y + 4.0,
                escaped(&line.name)
            );
            x += width;
        }
        if !self.unit.is_empty() {
            let _ = writeln!(
                svg,
                "<text class=\"axis\" x=\"{}\" y=\"16\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                escaped(self.unit)
            );
        }
        (svg, (y - TOP - 2.0) / LEGEND_ROW + 1.0)
    }

    /// What stands below the picture, and where.
    fn below(&self, from: f64, to: f64) -> Vec<(f64, String)> {
        if self.has_shares {
            let shares = [0.0, 50.0, 90.0, 95.0, 99.0, 99.9];
            let places = shares.map(|share: f64| (-(1.0 - share / 100.0).log10(), format!("{share}%")));
            return places.into_iter().filter(|(place, _)| (from..=to).contains(place)).collect();
        }
        let steps = (0..=4).map(|step| from + (to - from) * f64::from(step) / 4.0);
        steps.map(|at| (at, clock(at))).collect()
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{:02}", seconds / 60, seconds % 60) }
}

/// The next of 1, 2, 4, 6, 8, 10 times a power of ten: a fourth of it is short, too.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= value)
        .unwrap_or(value)
}
