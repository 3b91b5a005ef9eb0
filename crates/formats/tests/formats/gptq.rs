//! GPTQ layers packed by an independent reading of the format (scripts/make_golden_gptq.py).

use crate::common::golden;
use honelm_blocks::{Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::gptq::{CheckpointFormat, Dynamic, QuantizeConfig};
use honelm_formats::quantized::{GroupFormat, ModuleClass, ModuleShape, QuantizedFormat};
use honelm_formats::safetensors::{Safetensors, Writer};
use honelm_formats::{ElementType, FormatError, IntegerType, RawTensor, TensorSource};
use honelm_tensor::AlignedVec;

/// (layer, [rows, cols], bits, group, format, act-order)
type Layer = (&'static str, [usize; 2], u8, usize, CheckpointFormat, bool);

const LAYERS: [Layer; 10] = [
    ("w4_v1", [16, 48], 4, 16, CheckpointFormat::V1, false),
    ("w4_v1_sym", [16, 48], 4, 16, CheckpointFormat::V1, false),
    ("w4_v1_act", [16, 48], 4, 16, CheckpointFormat::V1, true),
    ("w4_v1_borrow", [16, 48], 4, 16, CheckpointFormat::V1, false),
    ("w4_v2", [24, 40], 4, 16, CheckpointFormat::V2, false),
    ("w4_v2_act", [16, 48], 4, 16, CheckpointFormat::V2, true),
    ("w8_v1", [8, 32], 8, 8, CheckpointFormat::V1, false),
    ("w8_v1_borrow", [8, 32], 8, 8, CheckpointFormat::V1, false),
    ("w8_v2_act", [8, 32], 8, 8, CheckpointFormat::V2, true),
    ("w8_v2_one_group", [8, 32], 8, 32, CheckpointFormat::V2, false),
];

fn config(bits: u8, group_size: Option<usize>, checkpoint_format: CheckpointFormat) -> QuantizeConfig {
    let (dynamic, extra) = (Dynamic::default(), serde_json::Map::new());
    QuantizeConfig { bits, group_size, desc_act: false, sym: false, lm_head: false, checkpoint_format, dynamic, extra }
}

fn read(
    source: &dyn TensorSource,
    name: &str,
    (rows, cols): (usize, usize),
    config: &QuantizeConfig,
) -> Result<GroupMatrix, FormatError> {
    let module = ModuleShape { name, class: ModuleClass::Linear, rows, cols };
    match config.decode(source, &module)? {
        WeightData::Groups(matrix) => Ok(matrix),
        other => panic!("{} in place of groups", other.encoding_name()),
    }
}

fn encode(matrix: &GroupMatrix, name: &str, config: &QuantizeConfig) -> Result<Vec<RawTensor>, FormatError> {
    let module = ModuleShape { name, class: ModuleClass::Linear, rows: matrix.rows, cols: matrix.cols };
    config.encode(&module, matrix)
}

fn golden_file() -> Safetensors {
    Safetensors::open(golden("gptq.safetensors")).unwrap()
}

#[test]
fn decodes_bit_for_bit_what_an_independent_packer_wrote() {
    let file = golden_file();
    for (name, [rows, cols], bits, group, format, act_order) in LAYERS {
        let config = config(bits, Some(group), format);
        let matrix = read(&file, name, (rows, cols), &config).unwrap().validated().unwrap();
        let golden = |suffix: &str| file.get(&format!("{name}.{suffix}")).unwrap();
        assert_eq!(matrix.codes[..], golden("expected_codes").bytes[..], "{name}");
        let zeros: Vec<u8> = match &matrix.zeros {
            Zeros::Constant(z) => vec![*z; matrix.scales.len()],
            Zeros::Integer(zeros) => zeros.clone(),
            Zeros::Bias(_) => panic!("{name} has no biases"),
        };
        assert_eq!(zeros, golden("expected_zeros").bytes, "{name}");
        assert_eq!(matrix.order.is_some(), act_order, "{name}");
        let weights = file.matrix(&format!("{name}.expected_weights")).unwrap();
        let (mut found, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
        for r in 0..rows {
            matrix.dequantize_row(r, &mut found);
            weights.dequantize_row(r, &mut expected);
            let bits = |row: &[f32]| row.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{name} row {r}");
        }
    }
}

#[test]
fn encodes_the_very_bytes_it_decoded() {
    let file = golden_file();
    for (name, [rows, cols], bits, group, format, _) in LAYERS {
        let config = config(bits, Some(group), format);
        let matrix = read(&file, name, (rows, cols), &config).unwrap();
        if name.ends_with("borrow") {
            let refused = encode(&matrix, name, &config).unwrap_err();
            assert_eq!(refused.code(), "not-representable");
            assert_eq!(CheckpointFormat::for_matrices([&matrix]), CheckpointFormat::V2);
            continue;
        }
        let tensors = encode(&matrix, name, &config).unwrap();
        let module = ModuleShape { name, class: ModuleClass::Linear, rows, cols };
        let declared = config.tensor_infos(&module, ScaleType::F16).unwrap();
        for (tensor, info) in tensors.iter().zip(declared) {
            assert_eq!(tensor, &file.get(&tensor.name).unwrap());
            assert_eq!((&info.name, info.size), (&tensor.name, tensor.bytes.len() as u64));
            assert_eq!((&info.shape, &info.element), (&tensor.shape, &tensor.element));
        }
    }
}

/// A symmetric layer of 32 x 64 in groups of 32.
fn symmetric(bits: u8) -> GroupMatrix {
    GroupMatrix {
        rows: 32,
        cols: 64,
        bits,
        group_size: 32,
        scale_type: ScaleType::F16,
        codes: AlignedVec::from_slice(&(0..32 * 64).map(|i| (i % (1 << bits)) as u8).collect::<Vec<_>>()),
        scales: vec![0.5; 64],
        zeros: Zeros::Constant(1 << (bits - 1)),
        order: None,
    }
}

fn values(matrix: GroupMatrix) -> Vec<f32> {
    WeightData::Groups(matrix).dequantize().data
}

#[test]
fn zero_points_tell_v1_and_v2_apart_where_sym_is_claimed() {
    use CheckpointFormat::{Planar, V1, V2};
    let module = ModuleShape { name: "l", class: ModuleClass::Linear, rows: 32, cols: 64 };
    for bits in 2..=8 {
        let matrix = symmetric(bits);
        let with = |format, sym| QuantizeConfig { sym, ..config(bits, Some(32), format) };
        for (stored, label) in [(V1, V1), (V2, V2), (V1, V2), (V2, V1), (Planar, Planar)] {
            let tensors = encode(&matrix, "l", &with(stored, true)).unwrap();
            let source = source_of(&tensors);
            let claimed = with(label, true);
            let found = read(&source, "l", (32, 64), &claimed).unwrap();
            assert_eq!(values(found), values(matrix.clone()), "{bits} {stored:?} as {label:?}");
            let told = claimed.contradictions(&source, &module).unwrap();
            assert_eq!(told.len(), usize::from(stored != label), "{told:?}");
            assert!(told.iter().all(|told| told.contains(label.name()) && told.contains(stored.name())), "{told:?}");
            // Nothing but the label tells where weights need not be symmetric.
            let open = with(label, false);
            let same = values(read(&source, "l", (32, 64), &open).unwrap()) == values(matrix.clone());
            assert!(same == (stored == label) && open.contradictions(&source, &module).unwrap().is_empty());
        }
    }
}

#[test]
fn zero_points_and_g_idx_count_whatever_sym_and_desc_act_say() {
    let file = golden_file();
    let module = |name| ModuleShape { name, class: ModuleClass::Linear, rows: 16, cols: 48 };
    let v1 = config(4, Some(16), CheckpointFormat::V1);
    let told = |name, config: &QuantizeConfig| config.contradictions(&file, &module(name)).unwrap();
    let sym = QuantizeConfig { sym: true, ..v1.clone() };
    let found = |config| values(read(&file, "w4_v1", (16, 48), config).unwrap());
    assert_eq!(found(&sym), found(&v1));
    assert!(told("w4_v1", &sym)[0].contains("sym is true"));
    assert!(told("w4_v1", &v1).is_empty() && told("w4_v1_sym", &sym).is_empty());
    assert!(read(&file, "w4_v1_act", (16, 48), &v1).unwrap().order.is_some());
    assert!(told("w4_v1_act", &v1)[0].contains("g_idx counts"));
    assert!(told("w4_v1_act", &QuantizeConfig { desc_act: true, ..v1 }).is_empty());
}

#[test]
fn a_group_size_of_minus_one_is_one_group_a_row() {
    let file = golden_file();
    let matrix = read(&file, "w8_v2_one_group", (8, 32), &config(8, None, CheckpointFormat::V2)).unwrap();
    assert_eq!((matrix.group_size, matrix.scales.len()), (32, 8));
    let tensors = encode(&matrix, "w8_v2_one_group", &config(8, None, CheckpointFormat::V2)).unwrap();
    assert!(tensors.iter().all(|tensor| file.get(&tensor.name).unwrap() == *tensor));
}

#[test]
fn writes_v1_unless_a_zero_point_is_zero() {
    let file = golden_file();
    let format = |name: &str, shape, config: QuantizeConfig| {
        CheckpointFormat::for_matrices([&read(&file, name, shape, &config).unwrap()])
    };
    let v1 = config(4, Some(16), CheckpointFormat::V1);
    assert_eq!(format("w4_v1_sym", (16, 48), v1.clone()), CheckpointFormat::V1);
    assert_eq!(format("w4_v1", (16, 48), v1), CheckpointFormat::V1);
    assert_eq!(format("w4_v2", (24, 40), config(4, Some(16), CheckpointFormat::V2)), CheckpointFormat::V2);
}

fn source_of(tensors: &[RawTensor]) -> Safetensors {
    let mut writer = Writer::new();
    for tensor in tensors {
        writer.tensor(tensor.name.as_str(), &tensor.shape, tensor.element.clone()).unwrap();
    }
    let mut out = Vec::new();
    writer
        .write_to::<_, FormatError>(&mut out, "out", |info, sink| {
            sink.write(&tensors.iter().find(|tensor| tensor.name == info.name).unwrap().bytes)
        })
        .unwrap();
    Safetensors::parse(out, "model.safetensors").unwrap()
}

/// The layer "l" of these tensors, decoded as 4 bit, 16 x 48, groups of 16.
fn decode(tensors: &[RawTensor]) -> Result<GroupMatrix, FormatError> {
    read(&source_of(tensors), "l", (16, 48), &config(4, Some(16), CheckpointFormat::V1))
}

/// qweight, qzeros, scales, g_idx of a right layer "l".
fn layer() -> [RawTensor; 4] {
    let file = golden_file();
    ["qweight", "qzeros", "scales", "g_idx"].map(|suffix| {
        let tensor = file.get(&format!("w4_v1_act.{suffix}")).unwrap();
        RawTensor { name: format!("l.{suffix}"), ..tensor }
    })
}

#[test]
fn a_missing_g_idx_means_neighbouring_columns() {
    assert!(decode(&layer()).unwrap().order.is_some());
    assert!(decode(&layer()[..3]).unwrap().order.is_none());
}

#[test]
fn rejects_layers_that_do_not_fit_together() {
    // Without its codes a layer is a plain one.
    for missing in 0..3 {
        let tensors: Vec<_> = layer().into_iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, t)| t).collect();
        assert_eq!(decode(&tensors).unwrap_err().code(), "missing-tensor");
    }
    for wrong in 0..4 {
        let mut tensors = layer();
        tensors[wrong].shape = vec![tensors[wrong].shape.iter().product(), 1, 1];
        let error = decode(&tensors).unwrap_err();
        assert_eq!(error.code(), "shape-mismatch");
        assert!(error.to_string().contains(&tensors[wrong].name), "{error}");
    }
    for wrong in [0, 1, 3] {
        let mut tensors = layer();
        tensors[wrong].element = ElementType::Weights(Encoding::F32);
        assert_eq!(decode(&tensors).unwrap_err().code(), "unexpected-element-type");
    }
    let mut tensors = layer();
    tensors[2].element = ElementType::Integer(IntegerType::I16);
    assert_eq!(decode(&tensors).unwrap_err().code(), "unexpected-element-type");
    for (bad, shown) in [(3i32, "3"), (-1, "-1"), (i32::MIN, "-2147483648")] {
        let mut tensors = layer();
        let mut bytes = tensors[3].bytes.to_vec();
        bytes[8..12].copy_from_slice(&bad.to_le_bytes());
        tensors[3].bytes = bytes.into();
        let error = decode(&tensors).unwrap_err();
        assert_eq!(error.code(), "group-index-out-of-range");
        assert!(error.to_string().contains(&format!("column 2 in group {shown}")), "{error}");
    }
    let odd = read(&golden_file(), "w4_v1", (16, 44), &config(4, Some(16), CheckpointFormat::V1));
    assert_eq!(odd.unwrap_err().code(), "shape-mismatch");
    let planes = read(&golden_file(), "w4_v1", (16, 44), &config(5, Some(16), CheckpointFormat::Planar));
    assert_eq!(planes.unwrap_err().code(), "not-representable");
}

#[test]
fn refuses_to_write_what_the_layout_cannot_hold() {
    let right = decode(&layer()).unwrap();
    let v1 = || config(4, Some(16), CheckpointFormat::V1);
    let code = |edit: &dyn Fn(&mut GroupMatrix), config: QuantizeConfig| {
        let mut matrix = right.clone();
        edit(&mut matrix);
        encode(&matrix, "l", &config).expect_err("must be refused").code()
    };
    assert!(encode(&right, "l", &v1()).is_ok());
    let same = |_: &mut GroupMatrix| {};
    for config in [config(8, Some(16), CheckpointFormat::V1), config(4, Some(32), CheckpointFormat::V1)] {
        assert_eq!(code(&same, config), "not-representable");
    }
    assert_eq!(code(&same, QuantizeConfig { sym: true, ..v1() }), "not-representable");
    let edits: [&dyn Fn(&mut GroupMatrix); 9] = [
        &|m| m.codes[3] = 16,
        &|m| m.zeros = Zeros::Constant(0),
        &|m| m.zeros = Zeros::Constant(16),
        &|m| m.zeros = Zeros::Integer(vec![1]),
        &|m| m.zeros = Zeros::Bias(vec![0.5; m.scales.len()]),
        &|m| m.scales[0] = 0.1,
        &|m| m.scales[0] = f32::NAN,
        &|m| m.order = Some(vec![3; 48]),
        &|m| m.rows = 8,
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        assert_eq!(code(edit, v1()), "not-representable", "edit {i}");
    }
}
