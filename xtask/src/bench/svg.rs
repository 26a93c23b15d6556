//! What the charts share: a page with a title, and pairs of bars for xen-lite and upstream.

use super::report::Pair;
use std::fmt::Write;

/// Width of every chart.
pub const WIDTH: usize = 980;
/// Height of a bar with its gap.
pub const ROW: usize = 18;
/// Where the bars of pairs begin, below title and subtitle.
pub const TOP: usize = 64;
const LONGEST: usize = 420;
const OURS: &str = "#2a78b8";
const THEIRS: &str = "#b9bec4";

/// The beginning of a chart; it ends with `</svg>`.
pub fn page(height: usize, title: &str, subtitle: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"16\" y=\"46\">{subtitle}</text>\n"
    )
}

/// Draws two bars below `y`, beginning at `left`, so that `most` is the longest; returns where the next ones go.
pub fn pair(out: &mut String, y: usize, left: usize, label: &str, pair: Pair, most: u64) -> usize {
    bar(out, y, left, label, pair.ours, most, OURS);
    bar(out, y + ROW, left, "", pair.theirs, most, THEIRS);
    y + 2 * ROW
}

fn bar(out: &mut String, y: usize, left: usize, label: &str, value: u64, most: u64, colour: &str) {
    let length = (value as f64 / most.max(1) as f64 * LONGEST as f64).round() as usize;
    let base = y + 13;
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\n\
         <rect x=\"{left}\" y=\"{}\" width=\"{length}\" height=\"{}\" fill=\"{colour}\"/>\n\
         <text x=\"{}\" y=\"{base}\">{value}</text>",
        left - 8,
        y + 2,
        ROW - 3,
        left + length + 6
    );
}
