//! A line chart as a self-contained SVG file or as a part of a page, legible on light and dark ground.
//!
//! Invariant: every point of every series is drawn and labelled with its value; text is escaped; nothing is loaded from
//! elsewhere.

use maud::{Markup, PreEscaped, html};

/// Size of a chart and its margins, in pixels.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 86.0;
const BOTTOM: f64 = 62.0;
/// Least distance of two labels of the x axis.
const LABEL_GAP: f64 = 40.0;
/// Steps of a linear y axis, about.
const LINEAR_STEPS: f64 = 5.0;

/// One line.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// X and y of every point.
    pub points: Vec<(f64, f64)>,
    /// Whether it is of another system, and drawn dashed.
    pub other: bool,
}

/// A chart over a logarithmic x axis.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What was measured and how.
    pub subtitle: String,
    /// What is counted along x.
    pub x: String,
    /// What is measured along y, with its unit.
    pub y: String,
    /// Whether y is logarithmic too; else it begins at 0.
    pub log_y: bool,
    /// The lines.
    pub series: Vec<Series>,
}

/// From values to pixels.
struct Scale {
    from: f64,
    until: f64,
    log: bool,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let map = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (from, until) = (map(self.from), map(self.until));
        let part = if until > from { (map(value) - from) / (until - from) } else { 0.5 };
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }
}

impl Chart {
    /// The file.
    pub fn svg(&self) -> String {
        self.markup(true).into_string() + "\n"
    }

    /// A part of a page that has [`STYLE`] once for all its charts.
    pub fn inline(&self) -> Markup {
        self.markup(false)
    }

    fn markup(&self, styled: bool) -> Markup {
        let (xs, ys) = (self.values(|point| point.0), self.values(|point| point.1));
        let x = Scale {
            from: smallest(&xs).unwrap_or(1.0) / 1.25,
            until: greatest(&xs).unwrap_or(10.0) * 1.25,
            log: true,
            start: LEFT,
            end: WIDTH - RIGHT,
        };
        let y = self.y_scale(&ys);
        html! {
            svg.plot xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH)
                height=(HEIGHT) role="img" aria-label=(self.title) {
                @if styled { style { (PreEscaped(STYLE)) } }
                rect class="ground" width=(WIDTH) height=(HEIGHT) {}
                (text("title", (LEFT, 26.0), "start", &self.title))
                (text("quiet", (LEFT, 45.0), "start", &self.subtitle))
                (self.axes(&x, &y, xs))
                (self.legend())
                @for index in 0..self.series.len() { (draw(self, index, &x, &y)) }
            }
        }
    }

    fn values(&self, of: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
        let drawn = |value: &f64| value.is_finite();
        let mut values: Vec<f64> = self.series.iter().flat_map(|series| &series.points).map(of).filter(drawn).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }

    fn y_scale(&self, ys: &[f64]) -> Scale {
        let (start, end) = (HEIGHT - BOTTOM, TOP);
        let greatest = greatest(ys).unwrap_or(1.0);
        if !self.log_y {
            let step = nice_step(greatest.max(f64::MIN_POSITIVE) / LINEAR_STEPS);
            let until = if greatest > 0.0 { (greatest * 1.1 / step).ceil() * step } else { 1.0 };
            return Scale { from: 0.0, until, log: false, start, end };
        }
        // What is not positive has no place on a logarithmic axis and is drawn at its foot.
        let least = smallest(ys).unwrap_or(1.0);
        let from = 10_f64.powf((least / 1.3).log10().floor());
        let until = 10_f64.powf((greatest.max(least) * 1.3).log10().ceil()).max(from * 10.0);
        Scale { from, until, log: true, start, end }
    }

    fn axes(&self, x: &Scale, y: &Scale, xs: Vec<f64>) -> Markup {
        let foot = HEIGHT - BOTTOM;
        let (middle_x, middle_y) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, TOP + (foot - TOP) / 2.0);
        let mut last = f64::NEG_INFINITY;
        let mut has_room = |at: f64| {
            let room = at - last >= LABEL_GAP;
            last = if room { at } else { last };
            room
        };
        html! {
            @for value in y_ticks(y) {
                (line("grid", (LEFT, y.at(value)), (WIDTH - RIGHT, y.at(value))))
                (text("label", (LEFT - 8.0, y.at(value) + 4.0), "end", &number(value)))
            }
            @for value in xs {
                @let at = x.at(value);
                (line("axis", (at, foot), (at, foot + 5.0)))
                @if has_room(at) { (text("label", (at, foot + 20.0), "middle", &number(value))) }
            }
            polyline class="axis" points={ (LEFT) "," (TOP) " " (LEFT) "," (foot) " " (WIDTH - RIGHT) "," (foot) } {}
            (text("name", (middle_x, HEIGHT - 16.0), "middle", &format!("{} (logarithmic)", self.x)))
            text class="name" text-anchor="middle" transform={ "translate(20 " (middle_y) ") rotate(-90)" } {
                (self.y) @if self.log_y { " (logarithmic)" }
            }
        }
    }

    /// Where a point's label goes: the lowest of several points on one line is labelled below it, so that lines near
    /// each other stay legible.
    fn label_y(&self, index: usize, point: (f64, f64), y: f64) -> f64 {
        if !self.log_y {
            // Zeroes of several lines meet on the axis, where nothing can stand below.
            return y - LABEL_ABOVE - 13.0 * index.min(2) as f64;
        }
        let others = self.series.iter().enumerate().filter(|(other, _)| *other != index);
        let mut above = others.flat_map(|(_, series)| &series.points).filter(|other| other.0 == point.0).peekable();
        let is_lowest = above.peek().is_some() && above.all(|other| other.1 > point.1);
        let has_room = y + LABEL_BELOW < HEIGHT - BOTTOM;
        if is_lowest && has_room { y + LABEL_BELOW } else { y - LABEL_ABOVE }
    }

    fn legend(&self) -> Markup {
        let mut next = LEFT;
        html! {
            @for (index, series) in self.series.iter().enumerate() {
                @let (class, at) = (class(index, series), next);
                (line(&class, (at, 63.0), (at + 26.0, 63.0)))
                (dot(&class, (at + 13.0, 63.0)))
                (text("label", (at + 33.0, 67.0), "start", &series.name))
                ({ next += 60.0 + 7.0 * series.name.chars().count() as f64; "" })
            }
        }
    }
}

fn class(index: usize, series: &Series) -> String {
    if series.other { "other".to_owned() } else { format!("line{}", index % 3) }
}

/// Pixels from a point up to its label, and down to it.
const LABEL_ABOVE: f64 = 9.0;
const LABEL_BELOW: f64 = 19.0;

fn draw(chart: &Chart, index: usize, x: &Scale, y: &Scale) -> Markup {
    let series = &chart.series[index];
    let class = class(index, series);
    let path: Vec<String> =
        series.points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1))).collect();
    html! {
        polyline class=(class) points=(path.join(" ")) {}
        @for point in &series.points {
            @let at = (x.at(point.0), y.at(point.1));
            (dot(&class, at))
            (text("value", (at.0, chart.label_y(index, *point, at.1)), "middle", &number(point.1)))
        }
    }
}

fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> Markup {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(pixels);
    html! { line class=(class) x1=(x1) x2=(x2) y1=(y1) y2=(y2) {} }
}

fn dot(class: &str, (x, y): (f64, f64)) -> Markup {
    html! { circle class={ (class) " dot" } cx=(pixels(x)) cy=(pixels(y)) r="4" {} }
}

fn text(class: &str, (x, y): (f64, f64), anchor: &str, text: &str) -> Markup {
    html! { text class=(class) x=(pixels(x)) y=(pixels(y)) text-anchor=(anchor) { (text) } }
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}

/// The smallest that is positive.
fn smallest(sorted: &[f64]) -> Option<f64> {
    sorted.iter().copied().find(|value| *value > 0.0)
}

fn greatest(sorted: &[f64]) -> Option<f64> {
    sorted.last().copied()
}

fn y_ticks(scale: &Scale) -> Vec<f64> {
    if !scale.log {
        let step = nice_step(scale.until / LINEAR_STEPS);
        return (0..=(scale.until / step).round() as u32).map(|number| f64::from(number) * step).collect();
    }
    let decades = (scale.until / scale.from).log10().round() as i32;
    let parts: &[f64] = if decades <= 1 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let tick = |decade: i32| parts.iter().map(move |part| scale.from * 10_f64.powi(decade) * part);
    (0..=decades).flat_map(tick).filter(|value| *value <= scale.until * 1.001).collect()
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let parts = [1.0, 2.0, 5.0, 10.0];
    parts.into_iter().map(|part| part * power).find(|step| *step >= least * 0.999).unwrap_or(power * 10.0)
}

/// A value with three digits that matter, and thousands apart.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        let digits = format!("{:.0}", value);
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && digit != '-' && (digits.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return grouped;
    }
    let digits = if magnitude >= 10.0 { 1 } else { 2 };
    let fixed = if magnitude < 0.01 { format!("{value:.4}") } else { format!("{value:.digits$}") };
    if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.').to_owned() } else { fixed }
}

/// Style of every chart, and of nothing else on a page.
pub const STYLE: &str = "\
    .plot text{font:13px system-ui,sans-serif;fill:#24292f}.plot .title{font-size:17px;font-weight:600}\
    .plot .quiet{fill:#57606a}.plot .name{fill:#57606a}.plot .ground{fill:#fff}\
    .plot .grid{stroke:#d0d7de;stroke-width:1}.plot .axis{stroke:#57606a;stroke-width:1;fill:none}\
    .plot .line0{stroke:#0969da;stroke-width:2.5;fill:none}.plot .line1{stroke:#1a7f37;stroke-width:2.5;fill:none}\
    .plot .line2{stroke:#8250df;stroke-width:2.5;fill:none}\
    .plot .other{stroke:#bc4c00;stroke-width:2.5;stroke-dasharray:7 5;fill:none}\
    .plot .dot{stroke:none}.plot .line0.dot{fill:#0969da}.plot .line1.dot{fill:#1a7f37}\
    .plot .line2.dot{fill:#8250df}.plot .other.dot{fill:#bc4c00}\
    .plot .value{font-size:12px;stroke:#fff;stroke-width:3px;paint-order:stroke}\
    @media(prefers-color-scheme:dark){.plot text{fill:#e6edf3}.plot .quiet,.plot .name{fill:#9198a1}\
    .plot .ground{fill:#0d1117}.plot .grid{stroke:#3d444d}.plot .axis{stroke:#9198a1}.plot .line0{stroke:#4493f8}\
    .plot .line1{stroke:#3fb950}.plot .line2{stroke:#ab7df8}.plot .other{stroke:#f0883e}.plot .dot{stroke:none}\
    .plot .line0.dot{fill:#4493f8}.plot .line1.dot{fill:#3fb950}.plot .line2.dot{fill:#ab7df8}\
    .plot .other.dot{fill:#f0883e}.plot .value{stroke:#0d1117}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, log_y: bool) -> Chart {
        let series = |name: &str, points, other| Series { name: name.into(), points, other };
        Chart {
            title: "Throughput <& more>".into(),
            subtitle: "\"quoted\"".into(),
            x: "peers".into(),
            y: "operations/s".into(),
            log_y,
            series: vec![series("raftshare", points, false), series("a & b", vec![(10.0, 233.0), (100.0, 12.0)], true)],
        }
    }

    /// Every element is closed, in order, and every attribute quoted.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>'), "a stray bracket before {:?}", &rest[start..]);
            let end = rest[start..].find('>').expect("a tag ends") + start;
            let tag = &rest[start + 1..end];
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().expect("a name").to_owned());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn every_point_is_drawn_and_labelled_and_text_is_escaped() {
        for log_y in [true, false] {
            let svg = chart(vec![(1.0, 900.0), (10.0, 4_000.0), (10_000.0, 18_146.0)], log_y).svg();
            assert_well_formed(&svg);
            // One more per line is in the legend.
            assert_eq!(svg.matches("<circle class=\"line0 dot\"").count(), 3 + 1);
            assert_eq!(svg.matches("<circle class=\"other dot\"").count(), 2 + 1);
            for label in ["18,146", "233", "Throughput &lt;&amp; more&gt;", "a &amp; b", "&quot;quoted&quot;"] {
                assert!(svg.contains(label), "{label}");
            }
            assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("NaN") && !svg.contains("inf"));
        }
    }

    #[test]
    fn a_part_of_a_page_brings_no_style_and_the_style_is_of_charts_alone() {
        let chart = chart(vec![(1.0, 900.0)], true);
        let inline = chart.inline().into_string();
        assert_well_formed(&inline);
        assert!(!inline.contains("<style>") && chart.svg().contains("<style>"));
        for rule in STYLE.split(['{', '}', ',']).filter(|part| part.contains('.') && !part.contains(':')) {
            assert!(rule.starts_with(".plot "), "{rule}");
        }
    }

    #[test]
    fn the_lowest_of_several_points_is_labelled_below_if_there_is_room() {
        let chart = chart(vec![(10.0, 4_000.0), (100.0, 18.0), (500.0, 7.0)], true);
        let label = |index: usize, point, y| chart.label_y(index, point, y);
        assert!(label(0, (10.0, 4_000.0), 100.0) < 100.0 && label(1, (10.0, 233.0), 200.0) > 200.0);
        assert!(label(1, (100.0, 12.0), HEIGHT - BOTTOM - 5.0) < HEIGHT - BOTTOM - 5.0, "the axis is there");
        assert!(label(0, (500.0, 7.0), 200.0) < 200.0, "it is alone");
    }

    #[test]
    fn nothing_and_zeroes_can_be_drawn() {
        for points in [Vec::new(), vec![(1.0, 0.0)], vec![(10.0, 0.0), (10.0, 5.0)]] {
            for log_y in [true, false] {
                let mut chart = chart(points.clone(), log_y);
                chart.series.truncate(1);
                let svg = chart.svg();
                assert_well_formed(&svg);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                assert_eq!(svg.matches("<circle class=\"line0 dot\"").count(), points.len() + 1);
            }
        }
    }

    #[test]
    fn greater_values_are_further_up_and_right() {
        let scale = Scale { from: 1.0, until: 100.0, log: true, start: 300.0, end: 100.0 };
        assert!((scale.at(10.0) - 200.0).abs() < 1e-9);
        assert!(scale.at(100.0) < scale.at(50.0));
        assert_eq!(scale.at(0.0), 300.0);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.0042, 0.256, 3.5, 15.0, 99.96, 156.0, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.0042", "0.26", "3.5", "15", "100", "156", "1,234,567"]);
        assert_eq!(nice_step(0.3), 0.5);
        assert_eq!(nice_step(2_000.0), 2_000.0);
    }
}
