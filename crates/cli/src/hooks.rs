//! `microtome hooks`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::model::{Axis, Hook};

use crate::args::{ModelArgs, load};
use crate::output::print;

/// List a model's hook points with their sites and shapes
///
/// The name is what `edit` and `activations` take, the site what `patch --site` takes.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Only names that match, * and ? allowed
    #[arg(default_value = "*")]
    glob: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let model = load(&args.model.model, args.model.prepare.preparation())?;
    let mut out = format!("{:36} {:20} shape for n tokens\n", "hook", "site");
    for hook in Hook::matching(model.config(), &args.glob)? {
        let sizes = hook.shape(model.config(), 0);
        let axis = |(axis, size): (&Axis, &usize)| match axis {
            Axis::Pos => "pos n".to_owned(),
            Axis::Query => "query n".to_owned(),
            Axis::Key => "key n".to_owned(),
            Axis::Head => format!("head {size}"),
            Axis::DHead => format!("d_head {size}"),
            Axis::DModel => format!("d_model {size}"),
            Axis::DMlp => format!("d_mlp {size}"),
            Axis::DVocab => format!("d_vocab {size}"),
            Axis::One => "1".to_owned(),
        };
        let axes: Vec<String> = hook.site.axes().iter().zip(&sizes).map(axis).collect();
        out += &format!("{:36} {:20} [{}]\n", hook.to_string(), hook.site.short_name(), axes.join(", "));
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}
