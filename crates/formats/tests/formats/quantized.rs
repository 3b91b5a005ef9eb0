//! Quantised layers packed by the packages that define the layouts (scripts/make_golden_layouts.py).

use crate::common::golden;
use honelm_blocks::{ScaleType, WeightData};
use honelm_formats::quantized::{self, Form, ModuleClass, ModuleShape, QuantizedFormat};
use honelm_formats::safetensors::{Safetensors, Writer};
use honelm_formats::{ElementType, FormatError, IntegerType, RawTensor, TensorSource};
use serde_json::{Value, json};

/// A layer of a golden file.
pub struct Layer {
    pub name: String,
    class: ModuleClass,
    rows: usize,
    cols: usize,
    pub settings: Value,
}

impl Layer {
    pub fn shape(&self) -> ModuleShape<'_> {
        ModuleShape { name: &self.name, class: self.class, rows: self.rows, cols: self.cols }
    }

    pub fn format(&self, file: &str) -> Box<dyn QuantizedFormat> {
        detect(file, &self.settings).unwrap()
    }
}

fn detect(file: &str, settings: &Value) -> Result<Box<dyn QuantizedFormat>, FormatError> {
    let key = if file == "mlx" { "quantization" } else { "quantization_config" };
    Ok(quantized::detect(Some(("config.json", &json!({ key: settings }))), &[])?.unwrap())
}

pub fn open(file: &str) -> (Safetensors, Vec<Layer>) {
    let source = Safetensors::open(golden(&format!("{file}.safetensors"))).unwrap();
    let layers = source.metadata().iter().find(|(key, _)| key == "layers").unwrap().1.clone();
    let layers: Vec<Value> = serde_json::from_str(&layers).unwrap();
    let layer = |layer: Value| Layer {
        name: layer["name"].as_str().unwrap().to_owned(),
        class: if layer["class"] == "Embedding" { ModuleClass::Embedding } else { ModuleClass::Linear },
        rows: layer["rows"].as_u64().unwrap() as usize,
        cols: layer["cols"].as_u64().unwrap() as usize,
        settings: layer["settings"].clone(),
    };
    (source, layers.into_iter().map(layer).collect())
}

const FILES: [&str; 6] = ["gptqmodel", "autoawq", "compressed-tensors-0.17", "compressed-tensors-0.20", "mlx", "fp8"];

#[test]
fn decodes_bit_for_bit_what_the_packages_read_back() {
    for file in FILES {
        let (source, layers) = open(file);
        for layer in &layers {
            let (name, format) = (&layer.name, layer.format(file));
            let weight = format.decode(&source, &layer.shape()).unwrap_or_else(|error| panic!("{file} {error}"));
            weight.check_finite().unwrap();
            let packed = format.packed(&source, &layer.shape()).unwrap().unwrap();
            match &weight {
                WeightData::Blocks(matrix) => assert_eq!(packed.form, Form::Blocks(matrix.encoding), "{file} {name}"),
                WeightData::Groups(matrix) => {
                    let matrix = matrix.clone().validated().unwrap();
                    assert_eq!(matrix.order.is_some(), name.contains("_act"), "{file} {name}");
                    let Form::Groups { bits, group_size, scale_type, .. } = packed.form else {
                        panic!("{file} {name}")
                    };
                    let found = (matrix.bits, matrix.group_size, matrix.scale_type);
                    assert_eq!(found, (bits, group_size, scale_type), "{file} {name}");
                }
            }
            let expected = source.matrix(&format!("{name}.expected")).unwrap();
            let (mut found, mut row) = (vec![0.0; layer.cols], vec![0.0; layer.cols]);
            for r in 0..layer.rows {
                weight.dequantize_row(r, &mut found);
                expected.dequantize_row(r, &mut row);
                let bits = |row: &[f32]| row.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&row), "{file} {name} row {r}");
            }
        }
    }
}

/// The tensors of a layer as it is stored.
fn tensors(source: &Safetensors, name: &str) -> Vec<RawTensor> {
    let own = |tensor: &&str| tensor.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    source.names().into_iter().filter(own).map(|name| source.get(name).unwrap()).collect()
}

pub fn source_of(tensors: &[RawTensor]) -> Safetensors {
    let mut writer = Writer::new();
    for tensor in tensors {
        writer.tensor(tensor.name.as_str(), &tensor.shape, tensor.element.clone()).unwrap();
    }
    let mut out = Vec::new();
    let data = |name: &str| &tensors.iter().find(|tensor| tensor.name == name).unwrap().bytes;
    writer.write_to::<_, FormatError>(&mut out, "out", |info, sink| sink.write(data(&info.name))).unwrap();
    Safetensors::parse(out, "model.safetensors").unwrap()
}

/// The suffix and code of the error that comes of each tensor of a layer being changed by `edit`.
fn errors(file: &str, name: &str, edit: impl Fn(&mut RawTensor) -> bool) -> Vec<(String, &'static str)> {
    let (source, layers) = open(file);
    let layer = layers.iter().find(|layer| layer.name == name).unwrap();
    let right = tensors(&source, name);
    let mut found = Vec::new();
    for i in 0..right.len() {
        let mut tensors = right.clone();
        let suffix = tensors[i].name[name.len() + 1..].to_owned();
        if suffix == "expected" {
            continue;
        }
        if !edit(&mut tensors[i]) {
            tensors.remove(i);
        }
        match layer.format(file).decode(&source_of(&tensors), &layer.shape()) {
            Ok(_) => found.push((suffix, "fine")),
            Err(error) => {
                assert!(error.to_string().contains(&format!("{name}.")), "{error}");
                found.push((suffix, error.code()));
            }
        }
    }
    found
}

/// One layer of each format with all its tensors.
const WHOLE: [(&str, &str); 4] = [
    ("gptqmodel", "w3_v2_act"),
    ("autoawq", "groups"),
    ("compressed-tensors-0.17", "w4_act_asymmetric"),
    ("mlx", "w6"),
];

#[test]
fn rejects_layers_that_miss_a_tensor() {
    for (file, name) in WHOLE {
        for (suffix, code) in errors(file, name, |_| false) {
            let optional = ["g_idx", "weight_g_idx"].contains(&suffix.as_str());
            // Without its scales an MLX module is plain, and its words are no weights.
            let plain = (file, suffix.as_str()) == ("mlx", "scales");
            let expected = if optional {
                "fine"
            } else if plain {
                "unexpected-element-type"
            } else {
                "missing-tensor"
            };
            assert_eq!(code, expected, "{file} {suffix}");
        }
    }
}

#[test]
fn rejects_tensors_of_the_wrong_shape_by_name() {
    for (file, name) in WHOLE {
        let turned = |tensor: &mut RawTensor| {
            tensor.shape = vec![tensor.shape.iter().product(), 1, 1];
            true
        };
        for (suffix, code) in errors(file, name, turned) {
            assert_eq!(code, "shape-mismatch", "{file} {suffix}");
        }
    }
}

#[test]
fn rejects_tensors_of_the_wrong_type_by_name() {
    for (file, name) in WHOLE {
        let odd = |tensor: &mut RawTensor| {
            let count: usize = tensor.shape.iter().product();
            tensor.element = ElementType::Integer(IntegerType::U16);
            tensor.bytes = vec![0; 2 * count].into();
            true
        };
        for (suffix, code) in errors(file, name, odd) {
            // Any integers will do for a shape, but not these.
            let expected = if suffix == "weight_shape" { "invalid-packing" } else { "unexpected-element-type" };
            assert_eq!(code, expected, "{file} {suffix}");
        }
    }
}

#[test]
fn widths_and_group_sizes_that_tensors_contradict_are_refused() {
    // The settings of the layer, and where in them its bits and its group size stand.
    let cases = [
        ("gptqmodel", "w3_v2_act", "/bits", "/group_size"),
        ("autoawq", "groups", "/bits", "/group_size"),
        ("compressed-tensors-0.17", "w4_act_asymmetric", "/num_bits", "/group_size"),
        ("mlx", "w6", "/bits", "/group_size"),
    ];
    for (file, name, bits, group_size) in cases {
        let (source, layers) = open(file);
        let layer = layers.iter().find(|layer| layer.name == name).unwrap();
        for (path, value) in [(bits, json!(8)), (group_size, json!(8))] {
            let mut settings = layer.settings.clone();
            let mut places: Vec<&mut Value> = match settings.get_mut("config_groups").and_then(Value::as_object_mut) {
                Some(groups) => groups.values_mut().map(|group| &mut group["weights"]).collect(),
                None => vec![&mut settings],
            };
            for place in &mut places {
                // MLX gives a module settings of its own.
                let own = place.get(name).is_some();
                *(if own { &mut place[name] } else { place }).pointer_mut(path).unwrap() = value.clone();
            }
            let read = detect(file, &settings).and_then(|format| format.decode(&source, &layer.shape()));
            let code = read.expect_err(&format!("{file} {path}")).code();
            assert!(["shape-mismatch", "unsupported-quantization"].contains(&code), "{file} {path}: {code}");
        }
    }
}

/// The layer decoded with the numbers of its float tensors replaced.
fn with_floats(file: &str, name: &str, value: u16) -> WeightData {
    let (source, layers) = open(file);
    let layer = layers.iter().find(|layer| layer.name == name).unwrap();
    let mut tensors = tensors(&source, name);
    for tensor in &mut tensors {
        if tensor.name.ends_with("scale") || tensor.name.ends_with("scales") {
            tensor.bytes = value.to_le_bytes().repeat(tensor.bytes.len() / 2).into();
        }
    }
    layer.format(file).decode(&source_of(&tensors), &layer.shape()).unwrap()
}

#[test]
fn scales_of_zero_give_zeros_and_scales_that_are_not_finite_are_found() {
    for (file, name) in WHOLE {
        let zeros = with_floats(file, name, 0);
        zeros.check_finite().unwrap();
        if file != "mlx" {
            assert!(zeros.dequantize().data.iter().all(|&w| w == 0.0), "{file}");
        }
        // NaN and infinity of both half formats.
        for bits in [0x7fc0u16, 0x7f80, 0x7c00, 0xfc00, 0xff80] {
            let weight = with_floats(file, name, bits);
            let WeightData::Groups(matrix) = &weight else { panic!("groups") };
            let half = matrix.scale_type == ScaleType::F16;
            let infinite = if half { bits & 0x7c00 == 0x7c00 } else { bits & 0x7f80 == 0x7f80 };
            assert_eq!(weight.check_finite().is_err(), infinite, "{file} {bits:x}");
        }
    }
}

#[test]
fn column_groups_out_of_range_are_refused() {
    for (file, name) in [("gptqmodel", "w3_v2_act"), ("compressed-tensors-0.17", "w4_act_asymmetric")] {
        for bad in [4u32, u32::MAX, 1 << 31] {
            let edit = |tensor: &mut RawTensor| {
                if tensor.name.ends_with("g_idx") {
                    let mut bytes = tensor.bytes.to_vec();
                    bytes[8..12].copy_from_slice(&bad.to_le_bytes());
                    tensor.bytes = bytes.into();
                }
                true
            };
            let found = errors(file, name, edit);
            assert!(
                found.iter().any(|(suffix, code)| { suffix.ends_with("g_idx") && *code == "group-index-out-of-range" }),
                "{file} {bad}: {found:?}"
            );
        }
    }
}

#[test]
fn a_weight_g_idx_that_was_never_set_means_neighbouring_columns() {
    let (source, layers) = open("compressed-tensors-0.17");
    let layer = layers.iter().find(|layer| layer.name == "w4_act").unwrap();
    let mut tensors = tensors(&source, "w4_act");
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with("g_idx")) {
        tensor.bytes = vec![0xff; tensor.bytes.len()].into();
    }
    let weight = layer.format("compressed-tensors").decode(&source_of(&tensors), &layer.shape()).unwrap();
    assert!(matches!(weight, WeightData::Groups(matrix) if matrix.order.is_none()));
}

#[test]
fn a_weight_shape_that_is_not_the_models_is_refused() {
    let (source, layers) = open("compressed-tensors-0.20");
    let layer = layers.iter().find(|layer| layer.name == "w3_odd").unwrap();
    // The same number of words, but not what the file says it holds.
    let shape = ModuleShape { cols: layer.cols - 1, ..layer.shape() };
    let error = layer.format("compressed-tensors").decode(&source, &shape).unwrap_err();
    assert_eq!(error.code(), "invalid-packing");
    assert!(error.to_string().contains("w3_odd.weight_shape") && error.to_string().contains("[11, 50]"), "{error}");
}

#[test]
fn a_width_that_fits_two_packings_needs_a_version() {
    let (source, layers) = open("compressed-tensors-0.20");
    let layer = layers.iter().find(|layer| layer.name == "w3_odd").unwrap();
    let mut settings = layer.settings.clone();
    settings.as_object_mut().unwrap().remove("version");
    let error = detect("", &settings).unwrap().decode(&source, &layer.shape()).unwrap_err();
    assert_eq!(error.code(), "invalid-packing");
    assert!(error.to_string().contains("both packings"), "{error}");
}

#[test]
fn zero_points_of_symmetric_weights_must_be_zero() {
    let (source, layers) = open("compressed-tensors-0.20");
    let layer = layers.iter().find(|layer| layer.name == "w4_asymmetric").unwrap();
    let mut settings = layer.settings.clone();
    settings["config_groups"]["group_1"]["weights"]["symmetric"] = json!(true);
    let error = detect("", &settings).unwrap().decode(&source, &layer.shape()).unwrap_err();
    assert_eq!(error.code(), "invalid-packing");
}

#[test]
fn plain_zero_points_of_older_writers_are_read_and_checked() {
    let (source, layers) = open("compressed-tensors-0.17");
    let layer = layers.iter().find(|layer| layer.name == "w4_asymmetric").unwrap();
    let decoded = |z: i8| {
        let mut tensors = tensors(&source, &layer.name);
        for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with("zero_point")) {
            tensor.shape = vec![layer.rows, 2];
            tensor.element = ElementType::Integer(IntegerType::I8);
            tensor.bytes = vec![z.cast_unsigned(); layer.rows * 2].into();
        }
        layer.format("compressed-tensors").decode(&source_of(&tensors), &layer.shape())
    };
    let WeightData::Groups(matrix) = decoded(-3).unwrap() else { panic!("groups") };
    assert_eq!(matrix.zero(0, 0), Some(5));
    assert_eq!(decoded(8).unwrap_err().code(), "invalid-packing");
    assert_eq!(decoded(-9).unwrap_err().code(), "invalid-packing");
}

#[test]
fn modules_that_are_left_out_or_not_packed_are_plain() {
    let (source, layers) = open("compressed-tensors-0.20");
    let layer = &layers[0];
    let mut settings = layer.settings.clone();
    settings["ignore"] = json!(["re:w2"]);
    let ignoring = detect("", &settings).unwrap();
    assert_eq!(ignoring.packed(&source, &layer.shape()).unwrap(), None);
    for file in FILES {
        let (source, layers) = open(file);
        let plain = ModuleShape { name: "no.such", ..layers[0].shape() };
        assert_eq!(layers[0].format(file).packed(&source, &plain).unwrap(), None);
        if !["mlx", "fp8"].contains(&file) {
            let embedding = ModuleShape { class: ModuleClass::Embedding, ..layers[0].shape() };
            assert_eq!(layers[0].format(file).packed(&source, &embedding).unwrap(), None, "{file}");
        }
    }
}

#[test]
fn shapes_that_no_layout_can_hold_are_refused() {
    for (file, name) in WHOLE {
        let (source, layers) = open(file);
        let layer = layers.iter().find(|layer| layer.name == name).unwrap();
        for (rows, cols) in [(0, 64), (64, 0), (usize::MAX, usize::MAX), (33, 97), (1 << 40, 1 << 40)] {
            let shape = ModuleShape { rows, cols, ..layer.shape() };
            let code = layer.format(file).decode(&source, &shape).unwrap_err().code();
            assert!(["not-representable", "shape-mismatch"].contains(&code), "{file} {rows} x {cols}: {code}");
        }
    }
}

#[test]
fn fp8_that_does_not_fit_together_is_refused() {
    for (name, suffix) in [("blocks", "weight_scale_inv"), ("tensor", "weight_scale")] {
        let missing = errors("fp8", name, |_| false);
        assert!(missing.contains(&(suffix.to_owned(), "missing-tensor")), "{missing:?}");
        let turned = errors("fp8", name, |tensor| {
            tensor.shape = vec![tensor.shape.iter().product(), 1, 1, 2];
            tensor.bytes = tensor.bytes.repeat(2).into();
            true
        });
        assert!(turned.iter().all(|(_, code)| *code == "shape-mismatch"), "{turned:?}");
    }
    // NaN among the codes, and among the scales.
    for suffix in [".weight", ".weight_scale_inv"] {
        let (source, layers) = open("fp8");
        let mut tensors = tensors(&source, "blocks");
        for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with(suffix)) {
            let mut bytes = tensor.bytes.to_vec();
            bytes[..4].fill(0xff);
            tensor.bytes = bytes.into();
        }
        let weight = layers[0].format("fp8").decode(&source_of(&tensors), &layers[0].shape()).unwrap();
        assert_eq!(weight.check_finite().unwrap_err().code(), "weight-not-finite");
    }
}
