//! A small writer of SVG: text, boxes and lines of named styles, for light and for dark pages.
//!
//! Every picture paints its own ground, so that it can be read on any page. Colours are classes,
//! and the dark ones take their place where the reader prefers a dark page.

use super::tables::push;

/// Width of all pictures.
pub(super) const WIDTH: f64 = 880.0;
/// Space at the left and right of all pictures.
pub(super) const MARGIN: f64 = 20.0;
/// Height of a line of the caption.
const CAPTION_LINE: f64 = 14.0;
/// Characters in a line of the caption.
const CAPTION_CHARS: usize = 128;

/// Names of classes, and their colours on a light and on a dark ground.
const COLOURS: &[(&str, &str, &str)] = &[
    ("ground", "#ffffff", "#0d1117"),
    ("ink", "#1f2328", "#e6edf3"),
    ("faint", "#59636e", "#9198a1"),
    ("rule", "#d1d9e0", "#2a3138"),
    ("ours", "#1a7f37", "#3fb950"),
    ("peer", "#9aa4af", "#6e7681"),
    ("goal", "#bc4c00", "#f0883e"),
    ("line0", "#1a7f37", "#3fb950"),
    ("line1", "#0969da", "#58a6ff"),
    ("line2", "#bc4c00", "#f0883e"),
    ("line3", "#8250df", "#bc8cff"),
    ("line4", "#cf222e", "#ff7b72"),
    ("line5", "#59636e", "#9198a1"),
    ("line6", "#9a6700", "#d29922"),
    ("line7", "#bf3989", "#f778ba"),
];
/// Styles of lines of data, the first for Bristlecone.
pub(super) const LINES: [&str; 8] =
    ["line0", "line1", "line2", "line3", "line4", "line5", "line6", "line7"];

/// Where a text is, seen from its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture under construction.
pub(super) struct Svg {
    body: String,
    height: f64,
}

impl Svg {
    pub(super) fn new() -> Svg {
        Svg { body: String::new(), height: 0.0 }
    }

    /// Text of a style, with its baseline at `y`. Other classes are `small`, `large` and `bold`,
    /// and `over` for a text that hides what is close behind it.
    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let (x, y) = self.point(at);
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let text = escaped(text);
        let element = format_args!("<text x=\"{x}\" y=\"{y}\"{anchor} class=\"{class}\">");
        push(&mut self.body, element);
        push(&mut self.body, format_args!("{text}</text>\n"));
    }

    /// A box of a corner and a size.
    pub(super) fn area(&mut self, at: (f64, f64), width: f64, height: f64, class: &str) {
        let (x, y) = self.point(at);
        let _below = self.point((at.0, at.1 + height));
        let (width, height) = (short(width), short(height));
        let size = format_args!("width=\"{width}\" height=\"{height}\" class=\"{class}\"/>\n");
        push(&mut self.body, format_args!("<rect x=\"{x}\" y=\"{y}\" {size}"));
    }

    /// A line through points. Classes: a colour with `stroke` behind it, `thin`, `dashed`.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|&at| {
                let (x, y) = self.point(at);
                format!("{x},{y}")
            })
            .collect();
        let points = points.join(" ");
        push(&mut self.body, format_args!("<polyline points=\"{points}\" class=\"{class}\"/>\n"));
    }

    /// Puts the caption below all that is there, and ends the picture.
    pub(super) fn finish(mut self, title: &str, caption: &[String]) -> String {
        let mut y = self.height + 24.0;
        for line in caption.iter().flat_map(|text| wrapped(text, CAPTION_CHARS)) {
            self.text((MARGIN, y), Anchor::Start, "faint small", &line);
            y += CAPTION_LINE;
        }
        let (width, height) = (WIDTH, (y + 2.0).ceil());
        let title = escaped(title);
        let Svg { body, .. } = self;
        let style = style();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>\n{style}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" class=\"ground\"/>\n{body}</svg>\n"
        )
    }

    /// Coordinates as they are written. The picture grows with them.
    fn point(&mut self, (x, y): (f64, f64)) -> (String, String) {
        self.height = self.height.max(y);
        (short(x), short(y))
    }
}

fn style() -> String {
    let mut style = String::from(
        "text { font: 12px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, \
         sans-serif }\n.small { font-size: 10.5px }\n.large { font-size: 16px }\n\
         .bold { font-weight: 600 }\n\
         polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round }\n\
         .thin { stroke-width: 1 }\n.dashed { stroke-dasharray: 4 3 }\n",
    );
    let mut dark = String::new();
    for (name, on_light, on_dark) in COLOURS {
        for (text, colour) in [(&mut style, on_light), (&mut dark, on_dark)] {
            push(text, format_args!(".{name} {{ fill: {colour} }}\n"));
            push(text, format_args!("polyline.{name}, .{name}-edge {{ stroke: {colour}; "));
            text.push_str("fill: none }\n");
        }
    }
    for (text, ground) in [(&mut style, COLOURS[0].1), (&mut dark, COLOURS[0].2)] {
        let stroke = format_args!(".over {{ stroke: {ground}; stroke-width: 3px; ");
        push(text, stroke);
        text.push_str("paint-order: stroke }\n");
    }
    push(&mut style, format_args!("@media (prefers-color-scheme: dark) {{\n{dark}}}\n"));
    style
}

/// A coordinate to a tenth of a pixel.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A text in lines of at most so many characters, unless a word is longer.
fn wrapped(text: &str, chars_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= chars_max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_as_high_as_what_it_holds() {
        let mut svg = Svg::new();
        svg.area((10.0, 20.0), 5.25, 100.0, "ours");
        svg.text((0.0, 0.0), Anchor::End, "ink", "a < b & c");
        let text = svg.finish("a title", &["a caption".to_owned()]);
        assert!(text.starts_with("<svg ") && text.contains(" height=\"160\" viewBox"), "{text}");
        assert!(text.contains("<rect x=\"10\" y=\"20\" width=\"5.2\" height=\"100\""), "{text}");
        assert!(text.contains("text-anchor=\"end\" class=\"ink\">a &lt; b &amp; c</text>"));
    }

    #[test]
    fn long_texts_are_wrapped() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrapped("", 3), Vec::<String>::new());
    }
}
