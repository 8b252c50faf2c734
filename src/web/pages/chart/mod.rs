//! Charts: series → one inline SVG of bounded size.
//!
//! Knows neither where samples come from nor a page. The drawing stretches to the width there is; lines and text keep
//! their size, so that it can be read on a phone. Colours are classes of the stylesheet.

mod axis;
mod line;

pub(in crate::web::pages) use line::Line;

use crate::web::pages::chart::axis::{ValueAxis, time_ticks};
use crate::web::pages::escape;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Lines that can be told apart: ten colours, each of them plain and dashed.
pub(in crate::web::pages) const MAX_LINES: usize = 20;
/// Columns of all lines together: what bounds the size of the page. A line of a chart has at most [`MAX_COLUMNS`].
const ALL_COLUMNS: usize = 2200;
const MAX_COLUMNS: usize = 1000;
/// The scale of heights.
const HEIGHT: i32 = 250;
/// Which part of the drawing is above the times, in percent.
const PLOT_PERCENT: f64 = 90.0;

/// Into how many columns each of `n_lines` lines is reduced.
pub(in crate::web::pages) fn n_columns(n_lines: usize) -> u16 {
    u16::try_from((ALL_COLUMNS / n_lines.max(1)).min(MAX_COLUMNS)).unwrap_or(u16::MAX)
}

/// Draws lines, each with its name, that were traced over the range with [`n_columns`] of their number; those beyond
/// [`MAX_LINES`] are left out. `what` says in a few words what is seen, for those who do not see it.
pub(in crate::web::pages) fn chart(
    lines: &[(&str, &Line)],
    range_ms: &RangeInclusive<i64>,
    what: &str,
) -> String {
    let width = n_columns(lines.len()) - 1;
    let lines = lines.get(..MAX_LINES).unwrap_or(lines);
    let bounds = lines.iter().filter_map(|(_, line)| line.bounds());
    let bounds = bounds.reduce(|all, own| (all.0.min(own.0), all.1.max(own.1)));
    let axis = bounds.map(|(low, high)| ValueAxis::over(low, high));
    let mut out = format!("<svg class=chart role=img aria-label=\"{}\">", escape(what));
    for tick in axis.iter().flat_map(ValueAxis::ticks) {
        let y = (1.0 - tick.at) * PLOT_PERCENT;
        let _ = write!(
            out,
            "<line class=grid x1=0 x2=\"100%\" y1=\"{y:.2}%\" y2=\"{y:.2}%\"/><text x=4 y=\"{y:.2}%\" dy=-3>{}</text>",
            tick.label
        );
    }
    let ticks = time_ticks(range_ms);
    for (idx, tick) in ticks.iter().enumerate() {
        let x = tick.at * 100.0;
        let class = if idx % 2 == 1 && ticks.len() > 4 { " class=odd" } else { "" };
        // A label has to stay inside.
        let anchor = match tick.at {
            at if at < 0.06 => "start",
            at if at > 0.94 => "end",
            _ => "middle",
        };
        let _ = write!(
            out,
            "<line class=grid x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=0 y2=\"{PLOT_PERCENT}%\"/>\
             <text{class} x=\"{x:.2}%\" y=\"98%\" text-anchor={anchor}>{}</text>",
            tick.label
        );
    }
    let _ = write!(
        out,
        "<svg width=\"100%\" height=\"{PLOT_PERCENT}%\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=none>"
    );
    let y_of = |value| axis.map_or(0, |axis| ((1.0 - axis.place(value)) * f64::from(HEIGHT)).round() as i32);
    for (idx, (name, line)) in lines.iter().enumerate() {
        let _ = write!(
            out,
            "<g class={}><title>{}</title><path d=\"{}\"/><path class=dot d=\"{}\"/><path class=end d=\"{}\"/></g>",
            class(idx),
            escape(name),
            line.path(y_of),
            line.dots(y_of),
            line.end_marks(y_of)
        );
    }
    out.push_str("</svg></svg>\n");
    out
}

/// The colour of a line, for the legend.
pub(in crate::web::pages) fn swatch(idx: usize) -> String {
    format!(
        "<svg class=swatch width=24 height=8 aria-hidden=true><g class={}><path d=\"M0 4h24\"/></g></svg>",
        class(idx)
    )
}

fn class(idx: usize) -> String {
    match idx / 10 {
        0 => format!("c{idx}"),
        _ => format!("\"c{} dashed\"", idx % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::float::stale_nan;

    const HOUR: RangeInclusive<i64> = 1_767_355_200_000..=1_767_358_800_000;

    fn every_10_s(value_of: impl Fn(i64) -> f64 + Clone) -> impl Iterator<Item = (i64, f64)> + Clone {
        (0..=360).map(move |idx| (HOUR.start() + idx * 10_000, value_of(idx)))
    }

    fn drawn(n_lines: usize, value_of: impl Fn(i64) -> f64 + Clone) -> String {
        let line = Line::trace(every_10_s(value_of), &HOUR, n_columns(n_lines));
        let names: Vec<String> = (0..n_lines).map(|idx| format!("a{{x=\"{idx}\"}}")).collect();
        let lines: Vec<(&str, &Line)> = names.iter().map(|name| (name.as_str(), &line)).collect();
        chart(&lines, &HOUR, "a")
    }

    #[test]
    fn a_chart_has_axes_lines_and_titles() {
        let svg = drawn(2, |idx| idx as f64);
        for part in [
            "aria-label=\"a\"",
            "dy=-3>0</text>",
            ">400</text>",
            "text-anchor=middle>12:30</text>",
            "text-anchor=end>13:00</text>",
            "<g class=c0><title>a{x=&quot;0&quot;}</title><path d=\"M0 250l",
            "<g class=c1><title>",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("style="), "the Content-Security-Policy forbids it");
        let ended = drawn(1, |idx| if idx == 300 { stale_nan() } else { 1.0 });
        assert!(ended.contains("<path class=end d=\"M832 0h0\"/>"), "{ended}");
        let empty = drawn(0, |_| 0.0);
        assert!(empty.contains(">12:30</text>") && !empty.contains("<path"), "{empty}");
    }

    #[test]
    fn a_chart_is_small_whatever_it_shows() {
        let alternating = |idx: i64| if idx % 2 == 0 { 1.0 } else { 250.0 };
        let broken = |idx: i64| if idx % 2 == 0 { 250.0 } else { stale_nan() };
        for n_lines in [1, 7, 20, 25] {
            for svg in [drawn(n_lines, alternating), drawn(n_lines, broken)] {
                assert!(svg.len() < 36_000, "{n_lines} lines: {} bytes", svg.len());
                assert_eq!(svg.matches("<title>").count(), n_lines.min(MAX_LINES));
            }
        }
        assert!(drawn(12, alternating).contains("<g class=\"c1 dashed\">"));
    }

    #[test]
    fn names_cannot_act() {
        let svg = chart(&[("<script>\"'", &Line::default())], &HOUR, "\"><script>");
        assert!(!svg.contains("<script>"), "{svg}");
    }
}
