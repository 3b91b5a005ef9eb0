use super::*;
use crate::Variants;
use crate::pack::{Layout, tests::text::layouts};

fn variant(op: &'static str, constants: &[(&'static str, Constant)], format: Option<Layout>) -> Variant {
    let of_format = format.map(|_| Variants::default().format_constants());
    Variant { op, constants: constants.iter().copied().chain(of_format.into_iter().flatten()).collect(), format }
}

/// Returns every variant that the back end can request, with samples of head widths and formats.
fn variants() -> Vec<Variant> {
    use Constant::{Bool, U32};
    let mut all = vec![variant("edit", &[], None), variant("rope", &[], None)];
    let flags = [false, true];
    for flag in flags {
        all.push(variant("copy", &[("FROM_HOST", Bool(flag))], None));
        all.push(variant("sample", &[("GREEDY", Bool(flag))], None));
        for threads in [64, 256] {
            all.push(variant("norm", &[("THREADS", U32(threads)), ("CENTRED", Bool(flag))], None));
        }
    }
    for (op, f) in (0..5).flat_map(|op| (0..4).map(move |f| (op, f))) {
        all.push(variant("map", &[("OP", U32(op)), ("ACTIVATION", U32(f))], None));
    }
    for (element, per_word, rotated) in [(0, 1, false), (1, 2, false), (2, 4, false), (3, 8, false), (3, 8, true)] {
        let cache = [("ELEMENT", U32(element)), ("PER_WORD", U32(per_word))];
        all.push(variant("append", &cache, None));
        for width in [32, 96, 256] {
            let run = U32(if rotated { 1 << u32::trailing_zeros(width) } else { 1 });
            if rotated {
                all.push(variant(
                    "append_rotated",
                    &[&cache[..], &[("WIDTH", U32(width)), ("RUN", run)]].concat(),
                    None,
                ));
            }
            all.push(variant("join", &[("WIDTH", U32(width))], None));
            for (capped, split) in flags.into_iter().flat_map(|capped| flags.map(|split| (capped, split))) {
                let more = [
                    ("WIDTH", U32(width)),
                    ("RUN", run),
                    ("THREADS", U32(64)),
                    ("CAPPED", Bool(capped)),
                    ("SPLIT", Bool(split)),
                ];
                all.push(variant("attend", &[&cache[..], &more].concat(), None));
            }
        }
    }
    for format in layouts() {
        all.push(variant("embed", &[], Some(format)));
        for ordered in flags {
            for depth in [1, 2, 4] {
                all.push(variant("linear_tile", &[("DEPTH", U32(depth)), ("ORDERED", Bool(ordered))], Some(format)));
            }
            for rows in [1, 2, 4] {
                for (norm, gated) in flags.into_iter().flat_map(|norm| flags.map(|gated| (norm, gated))) {
                    let constants = [
                        ("ROWS", U32(rows)),
                        ("NORM", Bool(norm)),
                        ("GATED", Bool(gated)),
                        ("ORDERED", Bool(ordered)),
                        ("ACTIVATION", U32(rows - 1)),
                    ];
                    all.push(variant("linear_rows", &constants, Some(format)));
                }
            }
        }
    }
    let with_subgroups = |variant: &Variant| {
        SUMMING.contains(&variant.op).then(|| {
            flags.map(|within| {
                let more = [SUBGROUPS, ("WITHIN", Bool(within))];
                Variant { constants: [&variant.constants[..], &more].concat(), ..variant.clone() }
            })
        })
    };
    let faster: Vec<Variant> = all.iter().filter_map(with_subgroups).flatten().collect();
    all.extend(faster);
    all
}

#[test]
fn every_variant_is_valid_without_any_optional_feature_but_its_own() {
    for variant in variants() {
        // WGSL has unpack2x16float without any feature.
        let mut capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        capabilities.set(naga::valid::Capabilities::SUBGROUP, variant.constants.contains(&SUBGROUPS));
        let text = assemble(&variant);
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{variant:?}: {}", e.emit_to_string(&text)));
        let flags = naga::valid::ValidationFlags::all();
        let valid = naga::valid::Validator::new(flags, capabilities).validate(&module);
        valid.unwrap_or_else(|e| panic!("{variant:?}: {}", e.emit_to_string(&text)));
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup)
            .map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()))
            .sum();
        assert!(shared <= 16 << 10, "{variant:?}: {shared} bytes of workgroup memory");
        let storage = |v: &naga::GlobalVariable| matches!(v.space, naga::AddressSpace::Storage { .. });
        let buffers = module.global_variables.iter().filter(|(_, v)| storage(v)).count();
        assert!(buffers <= 6, "{variant:?}: {buffers} storage buffers");
    }
}

#[test]
fn every_source_is_part_of_a_variant() {
    let all: String = variants().iter().map(assemble).collect();
    for (name, source) in SOURCES {
        let line = source.lines().find(|line| !line.starts_with("//") && !line.is_empty()).unwrap();
        assert!(all.contains(line), "{name}");
    }
}

#[test]
fn words_are_replaced_whole() {
    assert_eq!(replace_word("COLS + MY_COLS * COLS2 - COLS", "COLS", "p.cols"), "p.cols + MY_COLS * COLS2 - p.cols");
}

#[test]
fn repeated_lines_are_numbered() {
    let text = "a\n  //!repeat N\n  let x_$ = $u;\n  //!end\nb\n";
    let expected = "a\n  let x_0 = 0u;\n  let x_1 = 1u;\nb\n";
    assert_eq!(repeated(text, &[("N", Constant::U32(2))]), expected);
}
