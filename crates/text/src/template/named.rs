//! Named chat templates.

use crate::config::{DEFAULT_TEMPLATE, NamedTemplate};
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;

/// The name of the template for conversations with tools.
const TOOL_TEMPLATE: &str = "tool_use";

impl Tokenizer {
    /// Returns the chat template with a name. Without a name, the choice is that of transformers: `tool_use` if there
    /// are tools and such a template, otherwise the default.
    ///
    /// # Errors
    /// [`TextError::TemplateNotFound`] if there is no template of that name, or if there are several and none is the
    /// default.
    pub fn choose_template(&self, name: Option<&str>, tools: bool) -> Result<&NamedTemplate> {
        let templates = self.chat_templates();
        let named = |name: &str| templates.iter().find(|template| template.name == name);
        let chosen = match (name, templates) {
            (Some(name), _) => named(name),
            (None, [only]) => Some(only),
            (None, _) => named(TOOL_TEMPLATE).filter(|_| tools).or_else(|| named(DEFAULT_TEMPLATE)),
        };
        chosen.ok_or_else(|| TextError::TemplateNotFound {
            name: name.unwrap_or(DEFAULT_TEMPLATE).to_owned(),
            known: templates.iter().map(|template| template.name.clone()).collect(),
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::io::ErrorKind;
    use std::path::Path;

    use crate::files::required;

    use super::{NamedTemplate, Result, TextError, Tokenizer};

    /// The folder of the additional templates.
    const FOLDER: &str = "additional_chat_templates";

    impl Tokenizer {
        /// Adds the templates `additional_chat_templates/*.jinja` of a model folder, named after their files.
        pub(crate) fn with_additional_templates(mut self, dir: &Path) -> Result<Self> {
            let folder = dir.join(FOLDER);
            let io = |source| TextError::Io { path: folder.clone(), source };
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory => {
                    return Ok(self);
                }
                Err(error) => return Err(io(error)),
            };
            let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(io)?;
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "jinja"));
            paths.sort();
            for path in paths {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let source = String::from_utf8(required(path.clone())?).map_err(|_| {
                    let source = std::io::Error::new(ErrorKind::InvalidData, "not UTF-8");
                    TextError::Io { path, source }
                })?;
                self.templates.retain(|template| template.name != name);
                self.templates.push(NamedTemplate { name, source });
            }
            Ok(self)
        }
    }
}
