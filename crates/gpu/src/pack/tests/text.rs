//! Parsing and validation of every format, without an adapter.

use honelm_blocks::ScaleType;
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::super::{CodeBits, GroupLayout, GroupZeros, Layout};
use crate::Variants;
use crate::shaders::assemble_text;

/// Returns the shader that decodes a whole weight of `layout`.
pub(super) fn dequantize(layout: Layout, plain_half: bool) -> String {
    let constants = Variants { plain_half, ..Variants::default() }.format_constants().to_vec();
    assemble_text(include_str!("dequantize.wgsl"), &constants, Some(layout))
}

/// Returns one layout of every kind.
pub(crate) fn layouts() -> Vec<Layout> {
    let mut all = Layout::BLOCKS.to_vec();
    for bits in [CodeBits::Four, CodeBits::Eight] {
        for scale_type in [ScaleType::F16, ScaleType::BF16, ScaleType::F32] {
            for zeros in [GroupZeros::Constant(8), GroupZeros::Integer, GroupZeros::Bias] {
                all.push(Layout::Groups(GroupLayout { bits, group_size: 64, scale_type, zeros }));
            }
        }
    }
    all
}

#[test]
fn every_format_is_valid_wgsl_without_optional_features() {
    for (layout, plain_half) in layouts().into_iter().flat_map(|layout| [(layout, false), (layout, true)]) {
        let text = dequantize(layout, plain_half);
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{layout:?}: {}", e.emit_to_string(&text)));
        // unpack2x16float, which every WebGPU device has.
        let needed = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        Validator::new(ValidationFlags::all(), needed)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{layout:?}: {}", e.emit_to_string(&text)));
    }
}
