//! Written modules, compared byte by byte with those that the packages of the formats wrote
//! (scripts/make_golden_layouts.py).

use honelm_blocks::{GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::quantized::awq::Awq;
use honelm_formats::quantized::compressed_tensors::CompressedTensors;
use honelm_formats::quantized::gptq::QuantizeConfig;
use honelm_formats::quantized::mlx::Mlx;
use honelm_formats::quantized::{GroupFormat, ModuleClass, ModuleShape, QuantizedFormat};
use honelm_formats::{FormatError, TensorSource};
use honelm_tensor::AlignedVec;
use serde_json::Value;

use crate::quantized::{Layer, open, source_of};

/// The format that writes what the package of a golden file writes.
fn writer(file: &str, settings: &Value) -> Box<dyn GroupFormat> {
    match file {
        "gptqmodel" => Box::new(QuantizeConfig::parse("test", settings).unwrap()),
        "mlx" => Box::new(Mlx::parse("test", settings).unwrap()),
        name if name.starts_with("compressed") => Box::new(CompressedTensors::parse("test", settings).unwrap()),
        _ => Box::new(Awq::parse("test", settings).unwrap()),
    }
}

const FILES: [&str; 5] = ["gptqmodel", "autoawq", "compressed-tensors-0.17", "compressed-tensors-0.20", "mlx"];

fn groups(layer: &Layer, file: &str, source: &dyn TensorSource) -> GroupMatrix {
    match layer.format(file).decode(source, &layer.shape()).unwrap() {
        WeightData::Groups(matrix) => matrix,
        WeightData::Blocks(_) => panic!("{file} {}", layer.name),
    }
}

#[test]
fn writes_the_very_bytes_that_the_packages_wrote() {
    for file in FILES {
        let (source, layers) = open(file);
        for layer in layers {
            let (name, format) = (&layer.name, writer(file, &layer.settings));
            if name.starts_with("fp8") {
                continue;
            }
            let matrix = groups(&layer, file, &source);
            if file.starts_with("compressed") && matrix.order.is_some() {
                // Versions from 0.19 read no column groups.
                let refused = format.encode(&layer.shape(), &matrix).unwrap_err();
                assert!(refused.to_string().contains("neighbouring columns"), "{refused}");
                continue;
            }
            let written = format.encode(&layer.shape(), &matrix).unwrap_or_else(|error| panic!("{file} {error}"));
            let infos = format.tensor_infos(&layer.shape(), matrix.scale_type).unwrap();
            assert_eq!(written.len(), infos.len());
            for (tensor, info) in written.iter().zip(infos) {
                assert_eq!((&tensor.name, &tensor.shape, &tensor.element), (&info.name, &info.shape, &info.element));
                assert_eq!(tensor.bytes.len() as u64, info.size, "{file} {}", tensor.name);
                if source.contains(&tensor.name) {
                    assert_eq!(tensor, &source.get(&tensor.name).unwrap(), "{file}");
                }
            }
            let own = |tensor: &&str| tensor.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'));
            for golden in source.names().into_iter().filter(own).filter(|tensor| !tensor.ends_with(".expected")) {
                assert!(written.iter().any(|tensor| tensor.name == golden), "{file} {golden}");
            }
        }
    }
}

#[test]
fn settings_are_read_back_and_name_the_plain_modules() {
    for file in FILES {
        for layer in open(file).1 {
            let format = writer(file, &layer.settings);
            let again = writer(file, &format.settings(&[]));
            assert_eq!(format!("{again:?}"), format!("{format:?}"), "{file} {}", layer.name);
            let plain = "model.layers.0.self_attn.k_proj";
            let named = format.settings(&[plain.to_owned()]).to_string().contains(plain);
            // The others find out by the tensors of a module.
            assert_eq!(named, ["awq", "compressed-tensors"].contains(&format.name()), "{file}");
        }
    }
}

/// A matrix in groups of 32 whose codes, scales and zero points all differ.
fn matrix(rows: usize, cols: usize, bits: u8, symmetric: bool) -> GroupMatrix {
    let groups = rows * cols.div_ceil(32);
    let highest = (1usize << bits) - 1;
    GroupMatrix {
        rows,
        cols,
        bits,
        group_size: 32,
        scale_type: ScaleType::F16,
        codes: AlignedVec::from_slice(&(0..rows * cols).map(|i| (i * 7 % (highest + 1)) as u8).collect::<Vec<_>>()),
        scales: (0..groups).map(|i| ScaleType::F16.round(0.001 * (i + 1) as f32)).collect(),
        zeros: if symmetric {
            Zeros::Constant(1 << (bits - 1))
        } else {
            Zeros::Integer((0..groups).map(|i| (i * 5 % (highest + 1)) as u8).collect())
        },
        order: None,
    }
}

/// The formats of 4-bit groups of 32 columns.
fn formats() -> Vec<Box<dyn GroupFormat>> {
    vec![
        Box::new(Awq { group_size: Some(32) }),
        Box::new(CompressedTensors::uniform(4, Some(32), false)),
        Box::new(Mlx::uniform(4, 32)),
    ]
}

#[test]
fn what_is_written_is_read_back_bit_for_bit() {
    for format in formats() {
        for symmetric in [false, true] {
            let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 40, cols: 96 };
            let mut matrix = matrix(40, 96, 4, symmetric);
            if format.name() == "mlx" && !symmetric {
                // Biases that are exact in F16.
                matrix.zeros = Zeros::Bias((0..120).map(|i| i as f32 / 8.0).collect());
            }
            let tensors = format.encode(&module, &matrix).unwrap();
            let again = format.decode(&source_of(&tensors), &module).unwrap();
            assert_eq!(again.dequantize().data, WeightData::Groups(matrix).dequantize().data, "{}", format.name());
        }
    }
}

#[test]
fn refuses_to_write_what_the_format_cannot_hold() {
    let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 40, cols: 96 };
    for format in formats() {
        let code = |edit: &dyn Fn(&mut GroupMatrix), module: &ModuleShape<'_>| {
            let mut matrix = matrix(40, 96, 4, false);
            edit(&mut matrix);
            let error: FormatError = format.encode(module, &matrix).expect_err("must be refused");
            assert!(error.to_string().contains(" cannot be written as "), "{error}");
            error.code()
        };
        let edits: [&dyn Fn(&mut GroupMatrix); 8] = [
            &|m| m.codes[3] = 16,
            &|m| m.bits = 8,
            &|m| m.group_size = 48,
            &|m| m.zeros = Zeros::Constant(16),
            &|m| m.zeros = Zeros::Integer(vec![1]),
            &|m| m.scales[0] = 0.1,
            &|m| m.scales[0] = f32::INFINITY,
            &|m| m.order = Some((0..96).map(|i| 2 - i / 32).collect()),
        ];
        for (i, edit) in edits.into_iter().enumerate() {
            assert_eq!(code(edit, &module), "not-representable", "{} edit {i}", format.name());
        }
        assert_eq!(code(&|_| {}, &ModuleShape { rows: 48, ..module }), "not-representable");
        assert_eq!(code(&|_| {}, &ModuleShape { cols: 100, ..module }), "not-representable");
        assert!(format.tensor_infos(&ModuleShape { cols: 100, ..module }, ScaleType::F16).is_err());
    }
}

#[test]
fn awq_needs_whole_words_of_output_rows() {
    let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 41, cols: 96 };
    let format = Awq { group_size: Some(32) };
    let error = format.encode(&module, &matrix(41, 96, 4, false)).unwrap_err();
    assert!(error.to_string().contains("41 output rows"), "{error}");
}

#[test]
fn symmetric_settings_refuse_other_zero_points() {
    let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 40, cols: 96 };
    for bits in [4, 8] {
        let format = CompressedTensors::uniform(bits, Some(32), true);
        assert!(format.encode(&module, &matrix(40, 96, bits, false)).is_err());
        let tensors = format.encode(&module, &matrix(40, 96, bits, true)).unwrap();
        assert!(tensors.iter().all(|tensor| tensor.name != "l.weight_zero_point"));
        let again = format.decode(&source_of(&tensors), &module).unwrap();
        assert_eq!(again.dequantize().data, WeightData::Groups(matrix(40, 96, bits, true)).dequantize().data);
    }
}

#[test]
fn mlx_rounds_the_bias_of_a_zero_point_to_the_type_of_the_scales() {
    let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 40, cols: 96 };
    for bits in [2, 3, 4, 5, 6, 8] {
        let (format, matrix) = (Mlx::uniform(bits, 32), matrix(40, 96, bits, false));
        let tensors = format.encode(&module, &matrix).unwrap();
        let WeightData::Groups(again) = format.decode(&source_of(&tensors), &module).unwrap() else { panic!("groups") };
        assert_eq!((&again.codes[..], &again.scales), (&matrix.codes[..], &matrix.scales));
        for row in 0..40 {
            for column in (0..96).step_by(32) {
                let zero = f32::from(matrix.zero(row, column).unwrap());
                let bias = ScaleType::F16.round(-matrix.scale(row, column) * zero);
                assert_eq!(again.bias(row, column), Some(bias), "{bits} bits");
            }
        }
    }
    let mut large = matrix(40, 96, 8, false);
    large.scales[0] = 60_000.0;
    large.zeros = Zeros::Constant(2);
    let error = Mlx::uniform(8, 32).encode(&module, &large).unwrap_err();
    assert!(error.to_string().contains("not a finite number"), "{error}");
}
