//! The `generation` tag of transformers, which marks the assistant's words for training.

use std::borrow::Cow;

/// The source with `generation` blocks turned into blocks that are always rendered. Lines and white-space marks stay.
pub(super) fn plain(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        output.push_str(before);
        rest = tag;
        let body = tag.trim_start_matches(['-', '+']);
        let (marks, body) = tag.split_at(tag.len() - body.len());
        let word = body.trim_start();
        let spaces = &body[..body.len() - word.len()];
        for (name, replacement) in [("generation", "if true"), ("endgeneration", "endif")] {
            let end = word.strip_prefix(name).map(str::trim_start);
            if let Some(end) = end.filter(|end| end.trim_start_matches(['-', '+']).starts_with("%}")) {
                output.extend([marks, spaces, replacement, " "]);
                rest = end;
            }
        }
    }
    output.push_str(rest);
    Cow::Owned(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_the_tag_into_a_block_that_is_always_rendered() {
        assert_eq!(
            plain("a{%- generation -%}b{% endgeneration %}c{% if add_generation_prompt %}"),
            "a{%- if true -%}b{% endif %}c{% if add_generation_prompt %}",
        );
    }

    #[test]
    fn leaves_variables_of_that_name_alone() {
        for source in ["{% set generation = 1 %}{{ generation }}", "{% generation", "{%", "generation {%- %}"] {
            assert_eq!(plain(source), source);
        }
    }
}
