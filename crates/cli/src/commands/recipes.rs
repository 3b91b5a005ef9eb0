//! `honelm recipes`: the built-in compression recipes.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use honelm::{BuiltIn, RECIPES, Recipe};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm recipes", "names and descriptions"),
            ("honelm recipes best > mine.toml", "a copy to edit"),
            ("honelm optimize path/to/model --recipe mine.toml", "compress by the edited recipe"),
            ("honelm optimize path/to/model --compare gptq,mine.toml", "compare both"),
        ],
        &[
            "A recipe is a list of [[stage]] tables, each with the `kind` of a method and its settings. The files show every \
           setting with its default.",
        ],
    )
}

/// List the built-in compression recipes, or print one as TOML
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Recipes {
    /// The recipe to print
    #[arg(value_parser = names())]
    name: Option<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(RECIPES.iter().map(|recipe| PossibleValue::new(recipe.name)))
}

impl Recipes {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let named = RECIPES.iter().find(|recipe| self.name.as_deref() == Some(recipe.name));
        match (named, global.json) {
            (Some(recipe), true) => {
                let mut document = document(recipe);
                document["toml"] = json!(recipe.text);
                output::json(&document)?;
            }
            (Some(recipe), false) => output::contents(recipe.text.as_bytes())?,
            (None, true) => output::json(&RECIPES.iter().map(document).collect::<Vec<_>>())?,
            (None, false) => {
                let rows: Vec<(&str, String)> = RECIPES.iter().map(|r| (r.name, r.summary().to_owned())).collect();
                output::write(&output::facts(&rows))?;
            }
        }
        Ok(0)
    }
}

fn document(recipe: &BuiltIn) -> Value {
    let stages = Recipe::built_in(recipe.name).map(|recipe| recipe.steps);
    json!({ "name": recipe.name, "summary": recipe.summary(), "stage": stages })
}
