//! Draws the comparison: a bar for each operation, as long as xen-lite's share of what upstream takes.

use super::report::{HOT_LIMIT, LIMIT, Report, Row};
use super::svg::{self, ROW, WIDTH};
use std::fmt::Write;

const TOP: usize = 84;
/// Where bars begin, and how long a bar of ratio 1 is.
const LEFT: usize = 320;
const UNIT: usize = 360;
/// Bars end here, whatever the ratio.
const LONGEST: f64 = 1.3;

const GOOD: &str = "#2a78b8";
const MIDDLE: &str = "#e0a030";
const BAD: &str = "#c03a2b";

/// The chart, an SVG file.
pub fn draw(report: &Report) -> String {
    let height = TOP + ROW * report.operations.len() + 24;
    let (all, hot) = (report.mean(false), report.mean(true));
    let mut out = svg::page(
        height,
        "Instructions on xen-lite, as a share of upstream Xen 4.17 at its cheapest",
        &format!(
            "Geometric mean {all:.2}; of the hot paths (●) {hot:.2}. Guest and hypervisor together. Shorter is better."
        ),
    );
    for (ratio, label) in [(HOT_LIMIT, "half"), (LIMIT, "as upstream")] {
        let x = place(ratio);
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\" stroke=\"#888\" stroke-dasharray=\"3 3\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>",
            TOP - 6,
            height - 16,
            TOP - 10
        );
    }
    for (i, row) in report.operations.iter().enumerate() {
        bar(&mut out, TOP + ROW * i, row);
    }
    out.push_str("</svg>\n");
    out
}

fn place(ratio: f64) -> usize {
    LEFT + (ratio.min(LONGEST) * UNIT as f64).round() as usize
}

fn bar(out: &mut String, y: usize, row: &Row) {
    let ratio = row.pair.ratio();
    let colour = match ratio {
        _ if ratio > LIMIT => BAD,
        _ if ratio > HOT_LIMIT => MIDDLE,
        _ => GOOD,
    };
    let base = y + 13;
    let end = place(ratio);
    let dot = if row.hot { "● " } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{dot}{}</text>\n\
         <rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{colour}\"/>\n\
         <text x=\"{}\" y=\"{base}\">{ratio:.2}</text>\n\
         <text x=\"{}\" y=\"{base}\" text-anchor=\"end\" fill=\"#555\">{} : {}</text>",
        LEFT - 8,
        escaped(&row.name),
        y + 3,
        end - LEFT,
        ROW - 5,
        end + 6,
        WIDTH - 16,
        row.pair.ours,
        row.pair.theirs
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn every_operation_has_a_bar() {
        let chart = draw(&example());
        // One rectangle is the background.
        assert_eq!(chart.matches("<rect").count(), 3);
        assert!(chart.contains(">50 : 200<"));
        assert!(chart.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn bars_end_inside_the_picture() {
        assert!(place(100.0) < WIDTH - 100);
    }
}
