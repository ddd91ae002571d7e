//! Several pictures one below the other, as one.

/// One picture of several drawn by this module, top to bottom.
pub fn stack(pictures: &[String]) -> String {
    let sizes: Vec<(f64, f64)> =
        pictures.iter().map(|svg| (attribute(svg, "width"), attribute(svg, "height"))).collect();
    let width = sizes.iter().map(|size| size.0).fold(0.0, f64::max);
    let height: f64 = sizes.iter().map(|size| size.1).sum();
    let mut all = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        super::sheet::GROUND
    );
    let mut y = 0.0;
    for (picture, size) in pictures.iter().zip(sizes) {
        all += &picture.replacen("<svg ", &format!("<svg y=\"{y}\" "), 1);
        y += size.1;
    }
    all + "</svg>\n"
}

/// A number in the first tag of a picture; 0 where it has none.
fn attribute(svg: &str, name: &str) -> f64 {
    let tag = svg.split('>').next().unwrap_or_default();
    let value = tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{LinePlot, YScale, svg_to_png};

    #[test]
    fn a_stack_is_as_wide_as_the_widest_and_as_high_as_all_together() {
        let plot = |title: &str| LinePlot {
            title: title.to_owned(),
            subtitle: String::new(),
            x: "step".to_owned(),
            y: "loss".to_owned(),
            series: vec![],
            y_scale: YScale::Linear,
            marks: vec![],
        };
        let pictures = [plot("one").to_svg(), plot("two").to_svg()];
        let both = stack(&pictures);
        assert_eq!(attribute(&both, "width"), attribute(&pictures[0], "width"));
        let heights = pictures.iter().map(|svg| attribute(svg, "height")).sum::<f64>();
        assert_eq!(attribute(&both, "height"), heights);
        assert!(heights > 400.0 && both.matches("</svg>").count() == 3);
        assert!(svg_to_png(&both, 1.0).is_ok());
    }
}
