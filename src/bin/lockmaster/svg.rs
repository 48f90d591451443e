//! Pictures as SVG: what all of them share.

use std::fmt::Write;

/// Height of a line of text, in pixels.
pub(crate) const LINE: f64 = 22.0;

const STYLE: &str = "\
text { font: 12px sans-serif; fill: #222 } .dim { fill: #777 } \
.edge { stroke: #555; fill: none } .box { fill: #f5f5f5; stroke: #555 } \
.queued { fill: #ccc } .waiting { fill: #e8a33d } .running { fill: #4a86c8 } \
.success { fill: #4c9f50 } .error { fill: #c94f4f } .canceled { fill: #a05fb0 } \
.grid { stroke: #ddd } ";

/// A picture that is being drawn.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

impl Svg {
    /// Draws a rectangle of a class, which says `tip` when pointed at.
    pub(crate) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), tip: &str) {
        let ((x, y), (wide, high)) = (at, size);
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" \
             height=\"{high:.1}\" rx=\"2\"><title>{}</title></rect>",
            escaped(tip)
        ));
    }

    /// Writes a text whose baseline begins there.
    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.add(&format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    /// Draws a line of a class.
    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(&format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// Draws a curved arrow from left to right.
    pub(crate) fn arrow(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let middle = (x1 + x2) / 2.0;
        self.add(&format!(
            "<path class=\"edge\" marker-end=\"url(#tip)\" \
             d=\"M{x1:.1} {y1:.1} C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}\"/>"
        ));
    }

    fn add(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole picture, of that size.
    pub(crate) fn finish(self, wide: f64, high: f64) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
             viewBox=\"0 0 {wide:.0} {high:.0}\">\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
             markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
             <path d=\"M0 0 L8 4 L0 8 z\" fill=\"#555\"/></marker></defs>\n{}</svg>",
            self.body
        );
        text
    }
}

/// About how wide a text is drawn, in pixels.
pub(crate) fn width(text: &str) -> f64 {
    text.chars().count() as f64 * 7.0
}

/// Text that stands in an element or an attribute; what no XML may contain is replaced.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut all, c| {
        match c {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            '\n' | '\t' => all.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => all.push('\u{fffd}'),
            c => all.push(c),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_break_out_of_its_place() {
        let mut svg = Svg::default();
        svg.rect("queued", (0.0, 0.0), (1.0, 1.0), "\"><script>\u{0}&");
        let text = svg.finish(1.0, 1.0);
        assert!(text.contains("<title>&quot;&gt;&lt;script&gt;\u{fffd}&amp;</title>"), "{text}");
    }
}
