//! Attention of all heads as one HTML file, to look at without this program and without a network.
//!
//! Script, styles and numbers stand in the file; a content security policy in it forbids everything else. All heads as
//! a grid, one large; hovering names the two tokens and the exact weight, a click on a row lists where it looks. What
//! tokens say is data: it is written as JSON with every `<` escaped, and set as text by the script.

use microtome_model::{DType, Tensor};
use serde_json::json;

use crate::component::Component;
use crate::error::{Error, Result};
use crate::method::attention::Weighting;
use crate::text_model::{TextModel, Tokens};

/// What a file of attention is about.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPage<'a> {
    /// The model.
    pub model: &'a TextModel,
    /// The prompt.
    pub tokens: &'a Tokens,
    /// Patterns of all heads, `[layer, head, query, key]`.
    pub patterns: &'a Tensor,
    /// What their entries are multiplied by.
    pub weighting: Weighting,
    /// The head shown large at first.
    pub head: Component,
}

/// Most numbers in a file; about 10 bytes each.
pub const MOST_NUMBERS: usize = 6_000_000;

/// How many numbers the file of a prompt of `len` tokens holds.
pub fn numbers(model: &TextModel, len: usize) -> usize {
    let config = model.config();
    config.n_layers * config.n_heads * (len.saturating_mul(len.saturating_add(1)) / 2)
}

impl AttentionPage<'_> {
    /// The file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past [`MOST_NUMBERS`], [`Error::NoSuchComponent`] for a head that does not exist.
    pub fn to_html(&self) -> Result<String> {
        let config = self.model.config();
        self.head.check(config)?;
        let Component::Head { layer, head } = self.head else {
            return Err(Error::NotOneHead { component: self.head.to_string() });
        };
        let found = numbers(self.model, self.tokens.ids.len());
        if found > MOST_NUMBERS {
            return Err(Error::TooLarge { what: "a file of attention", found, most: MOST_NUMBERS });
        }
        let mut patterns: Vec<Vec<f32>> = Vec::with_capacity(config.n_layers * config.n_heads);
        for layer in 0..config.n_layers {
            let heads: Vec<Vec<Vec<f32>>> = self.patterns.get(layer)?.to_dtype(DType::F32)?.to_vec3()?;
            let seen = |rows: Vec<Vec<f32>>| {
                rows.into_iter().enumerate().flat_map(|(q, row)| row.into_iter().take(q + 1)).collect()
            };
            patterns.extend(heads.into_iter().map(seen));
        }
        let title = match self.weighting {
            Weighting::Pattern => "Attention",
            Weighting::Value => "Attention weighted by values",
            Weighting::Output => "Attention weighted by what is written",
        };
        let name = self.model.about().short_name();
        let about = format!(
            "{name} · {} layers x {} heads · {} weights · microtome {}",
            config.n_layers,
            config.n_heads,
            self.model.model().processing().name(),
            env!("CARGO_PKG_VERSION"),
        );
        let data = json!({
            "title": title, "about": about, "what": self.weighting.describe(), "weighting": self.weighting.name(),
            "labels": self.tokens.labels, "layers": config.n_layers, "heads": config.n_heads,
            "chosen": layer * config.n_heads + head, "patterns": patterns,
        });
        // Inside a script element only `<` can end it; as an escape in a string JSON reads it the same.
        let data = data.to_string().replace('<', "\\u003c");
        let title = escaped(&format!("{title} · {name}"));
        Ok(include_str!("attention_page.html").replacen("@TITLE@", &title, 1).replacen("@DATA@", &data, 1))
    }
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use microtome_model::{Config, Model, Processing, Weights};

    use super::*;
    use crate::method::attention::patterns;

    fn toy() -> TextModel {
        let config = Config {
            n_layers: 2,
            n_heads: 3,
            d_model: 12,
            d_head: 4,
            d_vocab: 9,
            n_ctx: 8,
            mlp: None,
            norm: None,
        };
        let weights = Weights::random(&config, 0, 1.0).unwrap();
        TextModel::from_model("</title><i>", Model::new(config, weights, Processing::Raw).unwrap()).unwrap()
    }

    fn html(labels: &[&str]) -> String {
        let model = toy();
        let ids: Vec<u32> = (0..labels.len() as u32).collect();
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let patterns = patterns(&model, &ids).unwrap();
        let tokens = Tokens { ids, labels, bos_prepended: false };
        let head = Component::Head { layer: 1, head: 2 };
        AttentionPage {
            model: &model,
            tokens: &tokens,
            patterns: &patterns,
            weighting: Weighting::Pattern,
            head,
        }
        .to_html()
        .unwrap()
    }

    /// What the script reads.
    fn data(html: &str) -> serde_json::Value {
        let from = html.split("id=\"data\">").nth(1).unwrap();
        serde_json::from_str(from.split("</script>").next().unwrap()).unwrap()
    }

    #[test]
    fn the_file_holds_the_patterns_number_by_number() {
        let html = html(&["a", " b", "c"]);
        let data = data(&html);
        let expected = patterns(&toy(), &[0, 1, 2]).unwrap();
        for cell in 0..6 {
            let rows: Vec<Vec<f32>> =
                expected.get(cell / 3).unwrap().get(cell % 3).unwrap().to_vec2().unwrap();
            let seen: Vec<f32> = (0..3).flat_map(|q| rows[q][..=q].to_vec()).collect();
            let found: Vec<f32> = serde_json::from_value(data["patterns"][cell].clone()).unwrap();
            assert_eq!(found, seen);
        }
        assert_eq!(data["chosen"], 5);
    }

    #[test]
    fn the_file_names_no_address_and_forbids_what_it_does_not_hold() {
        let html = html(&["http:", "x"]).replace("\"http:\"", "");
        for address in ["http:", "https:", "//", "src=", "href=", "@import", "url("] {
            // Comments of the script are the only double slashes.
            let found = html.lines().filter(|line| line.contains(address) && !line.starts_with("//"));
            assert_eq!(found.collect::<Vec<_>>(), Vec::<&str>::new(), "{address}");
        }
        assert!(html.contains("default-src 'none'"));
    }

    #[test]
    fn tokens_that_look_like_html_stay_text() {
        let labels = ["</script><script>alert(1)</script>", "<!--", "\u{2028}&\"'", "@DATA@"];
        let html = html(&labels);
        assert_eq!(html.matches("<script").count(), 2);
        assert_eq!(html.matches("</script>").count(), 2);
        assert!(
            html.contains("<title>Attention · &lt;/title&gt;&lt;i&gt;</title>") || html.contains("&lt;i&gt;")
        );
        let found: Vec<String> = serde_json::from_value(data(&html)["labels"].clone()).unwrap();
        assert_eq!(found, labels);
    }

    #[test]
    fn a_file_past_the_limit_is_refused() {
        assert!(numbers(&toy(), 2000) > MOST_NUMBERS);
        assert_eq!(numbers(&toy(), 3), 36);
    }
}
