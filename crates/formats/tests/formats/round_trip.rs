//! The readers read what the writers write. Files of other writers have the expected contents.

use crate::common::golden;
use bytes::Bytes;
use honelm_blocks::Encoding;
use honelm_formats::gguf::{self, Array, Gguf, Value};
use honelm_formats::safetensors::{self, Safetensors};
use honelm_formats::{ElementType, FormatError, IntegerType, TensorInfo, TensorSource};
use proptest::prelude::*;

fn content(tensor: &TensorInfo) -> Vec<u8> {
    (0..tensor.size).map(|i| (i as u8).wrapping_mul(7).wrapping_add(tensor.name.len() as u8)).collect()
}

fn write_gguf(writer: &gguf::Writer) -> Bytes {
    let mut out = Vec::new();
    writer.write_to::<_, FormatError>(&mut out, "out", |tensor, sink| sink.write(&content(tensor))).unwrap();
    assert_eq!(out.len() as u64, writer.file_size().unwrap());
    out.into()
}

fn write_safetensors(writer: &safetensors::Writer) -> Bytes {
    let mut out = Vec::new();
    writer.write_to::<_, FormatError>(&mut out, "out", |tensor, sink| sink.write(&content(tensor))).unwrap();
    assert_eq!(out.len() as u64, writer.file_size().unwrap());
    out.into()
}

fn values() -> impl Strategy<Value = Value> {
    fn both<T: Clone + std::fmt::Debug + 'static>(
        one: impl Strategy<Value = T> + Clone + 'static,
    ) -> BoxedStrategy<Value>
    where
        Value: From<T> + From<Vec<T>>,
    {
        let many = proptest::collection::vec(one.clone(), 0..5);
        prop_oneof![one.prop_map(Value::from), many.prop_map(Value::from)].boxed()
    }
    prop_oneof![
        both(any::<u8>()),
        both(any::<i8>()),
        both(any::<u16>()),
        both(any::<i16>()),
        both(any::<u32>()),
        both(any::<i32>()),
        both(any::<u64>()),
        both(any::<i64>()),
        both(-1e30f32..1e30),
        both(-1e300f64..1e300),
        both(any::<bool>()),
        both(".{0,12}"),
    ]
}

fn encodings() -> impl Strategy<Value = Encoding> {
    let known: Vec<_> = Encoding::ALL.into_iter().filter(|e| e.ggml_id().is_some()).collect();
    proptest::sample::select(known)
}

fn elements() -> impl Strategy<Value = ElementType> {
    let integers = [IntegerType::U8, IntegerType::I16, IntegerType::I32, IntegerType::I64, IntegerType::Bool];
    let floats = [Encoding::F32, Encoding::F16, Encoding::BF16].map(ElementType::Weights);
    proptest::sample::select([&integers.map(ElementType::Integer)[..], &floats[..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn gguf_survives_writing_and_reading(
        pairs in proptest::collection::btree_map(".{0,10}", values(), 0..6),
        tensors in proptest::collection::btree_map(
            "[a-z.]{1,20}", (proptest::collection::vec(0usize..4, 0..4), encodings()), 0..6),
        alignment in proptest::sample::select(vec![None, Some(8u32), Some(32), Some(64)]),
    ) {
        let mut writer = gguf::Writer::new();
        for (key, value) in &pairs {
            writer.metadata(key.as_str(), value.clone()).unwrap();
        }
        if let Some(alignment) = alignment {
            writer.metadata("general.alignment", alignment).unwrap();
        }
        for (name, (shape, encoding)) in &tensors {
            let shape: Vec<_> = [&shape[..], &[2 * encoding.block_len()]].concat();
            writer.tensor(name.as_str(), &shape, *encoding).unwrap();
        }
        let read = Gguf::parse(write_gguf(&writer), "out").unwrap();
        let expected = pairs.iter().map(|(k, v)| (k.as_str(), v));
        prop_assert!(read.metadata.iter().filter(|(k, _)| *k != "general.alignment").eq(expected));
        prop_assert!(read.tensors().eq(writer.tensors()));
        for tensor in writer.tensors() {
            prop_assert_eq!(&read.get(&tensor.name).unwrap().bytes[..], &content(tensor)[..]);
        }
    }

    #[test]
    fn safetensors_survives_writing_and_reading_here_and_there(
        tensors in proptest::collection::btree_map(
            "[a-z\"\\\\é]{0,12}", (proptest::collection::vec(0usize..5, 0..4), elements()), 0..6),
    ) {
        let mut writer = safetensors::Writer::new();
        for (name, (shape, element)) in &tensors {
            writer.tensor(name.as_str(), shape, element.clone()).unwrap();
        }
        let bytes = write_safetensors(&writer);
        let reference = honelm_testing::SafeTensors::deserialize(&bytes).unwrap();
        let read = Safetensors::parse(bytes.clone(), "out").unwrap();
        prop_assert!(read.tensors().eq(writer.tensors()));
        for tensor in writer.tensors() {
            let found = read.get(&tensor.name).unwrap();
            prop_assert_eq!(&found.bytes[..], &content(tensor)[..]);
            prop_assert_eq!(reference.tensor(&tensor.name).unwrap().data(), &found.bytes[..]);
            let start = found.bytes.as_ptr() as usize - bytes.as_ptr() as usize;
            let width = if let ElementType::Integer(integer) = found.element {
                integer.width()
            } else {
                tensor.size as usize / tensor.shape.iter().product::<usize>().max(1)
            };
            prop_assert!(start.is_multiple_of(width.max(1)), "{} lies at {start}", tensor.name);
        }
    }
}

#[test]
fn writers_refuse_what_readers_would() {
    let mut writer = gguf::Writer::new();
    writer.metadata("k", 1u32).unwrap();
    assert_eq!(writer.metadata("k", 2u32).unwrap_err().code(), "duplicate-key");
    writer.tensor("a", &[1, 32], Encoding::Q4_0).unwrap();
    let code = |result: Result<&mut gguf::Writer, FormatError>| result.unwrap_err().code();
    assert_eq!(code(writer.tensor("a", &[1], Encoding::F32)), "duplicate-tensor");
    assert_eq!(code(writer.tensor("b", &[33], Encoding::Q4_0)), "partial-block");
    assert_eq!(code(writer.tensor("b", &[1; 5], Encoding::F32)), "too-many-dimensions");
    assert_eq!(code(writer.tensor("b", &[usize::MAX, 2], Encoding::F32)), "size-overflow");
    assert_eq!(code(writer.tensor("b", &[32], Encoding::FP8)), "not-representable");
    assert_eq!(code(writer.tensor("b".repeat(64), &[2], Encoding::F32)), "name-too-long");
    let mut writer = safetensors::Writer::new();
    let code = |result: Result<&mut safetensors::Writer, FormatError>| result.unwrap_err().code();
    writer.tensor("a", &[2], ElementType::Weights(Encoding::F16)).unwrap();
    assert_eq!(code(writer.tensor("a", &[2], ElementType::Weights(Encoding::F16))), "duplicate-tensor");
    assert_eq!(code(writer.tensor("__metadata__", &[2], ElementType::Weights(Encoding::F16))), "duplicate-tensor");
    assert_eq!(code(writer.tensor("b", &[32], ElementType::Weights(Encoding::Q4_0))), "not-representable");
    assert_eq!(code(writer.tensor("b", &[2], ElementType::Other("F8_E4M3".into()))), "not-representable");
}

#[test]
fn writers_refuse_too_little_and_too_much_data() {
    let mut writer = gguf::Writer::new();
    writer.tensor("a", &[2], Encoding::F32).unwrap();
    for wrong in [0, 7, 9] {
        let result = writer.write_to::<_, FormatError>(&mut Vec::new(), "out", |_, sink| sink.write(&vec![0; wrong]));
        assert_eq!(result.unwrap_err().code(), "size-mismatch", "{wrong} bytes");
    }
}

#[test]
fn reads_what_gguf_py_wrote() {
    let gguf = Gguf::open(golden("golden.gguf")).unwrap();
    assert_eq!(gguf.get_str("general.architecture").unwrap(), Some("llama"));
    let value = |key: &str| gguf.metadata.value(key).unwrap().clone();
    assert_eq!(value("test.u8"), Value::U8(200));
    assert_eq!(value("test.i8"), Value::I8(-100));
    assert_eq!(value("test.u16"), Value::U16(60000));
    assert_eq!(value("test.i16"), Value::I16(-30000));
    assert_eq!(value("test.u32"), Value::U32(4_000_000_000));
    assert_eq!(value("test.i32"), Value::I32(-2_000_000_000));
    assert_eq!(value("test.u64"), Value::U64((1 << 63) + 1));
    assert_eq!(value("test.i64"), Value::I64(-(1 << 62)));
    assert_eq!(value("test.f32"), Value::F32(0.1));
    assert_eq!(value("test.f64"), Value::F64(0.1));
    assert_eq!(value("test.bool"), Value::Bool(true));
    assert_eq!(value("test.string"), Value::from("grüße 🦙"));
    assert_eq!(gguf.get_array_str("test.strings").unwrap().unwrap(), ["<s>", "", "▁the"]);
    assert_eq!(gguf.get_array_f32("test.floats").unwrap().unwrap(), [0.5, -1.0, 1e10]);
    assert_eq!(gguf.get_array_i32("test.ints").unwrap().unwrap(), [1, -2, 3]);
    assert_eq!(gguf.get_array_bool("test.bools").unwrap().unwrap(), [true, false]);
    assert_eq!(gguf.get_u64("test.u8").unwrap(), Some(200));
    assert_eq!(gguf.get_array_u32("test.ints").unwrap_err().code(), "wrong-value-type");
    assert_eq!(value("test.ints"), Value::Array(Array::I32(vec![1, -2, 3])));

    let expected: Vec<f32> = (0..128).map(|i| (i as f32 - 7.0) / 4.0).collect();
    for (name, rows, cols) in [("a.f32", 3, 5), ("b.f16", 6, 4), ("d.bf16", 1, 6)] {
        let matrix = gguf.matrix(name).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (rows, cols), "{name}");
        let mut row = vec![0.0; cols];
        for (r, expected) in expected.chunks(cols).take(rows).enumerate() {
            matrix.dequantize_row(r, &mut row);
            assert_eq!(row, expected, "{name}");
        }
    }
    assert_eq!(gguf.get("b.f16").unwrap().shape, [2, 3, 4]);
    let q8 = gguf.get("c.q8_0").unwrap();
    assert_eq!((q8.element, &q8.shape[..]), (ElementType::Weights(Encoding::Q8_0), &[2, 64][..]));
    assert_eq!(gguf.integers("e.i32").unwrap(), [-1, (1 << 31) - 1]);
    assert_eq!(gguf.get("f.f64").unwrap_err().code(), "unsupported-encoding");
}

#[test]
fn reads_what_the_safetensors_package_wrote() {
    let file = Safetensors::open(golden("golden.safetensors")).unwrap();
    let mut metadata = file.metadata().to_vec();
    metadata.sort();
    assert_eq!(metadata, [("format".to_owned(), "pt".to_owned()), ("note".to_owned(), "grüße".to_owned())]);
    let matrix = file.matrix("b.f16").unwrap();
    assert_eq!((matrix.rows, matrix.cols), (6, 4));
    let mut row = [0.0; 4];
    matrix.dequantize_row(5, &mut row);
    assert_eq!(row, [3.25, 3.5, 3.75, 4.0]);
    assert_eq!(file.integers("c.i64").unwrap(), [-(1 << 62), 5]);
    assert_eq!(file.integers("d.i32").unwrap(), [-1, (1 << 31) - 1]);
    assert_eq!(file.integers("e.u8").unwrap(), [0, 255]);
    assert_eq!(file.integers("f.i8").unwrap(), [-128, 127]);
    assert_eq!(file.integers("g.bool").unwrap(), [1, 0]);
    assert_eq!(file.matrix("e.u8").unwrap_err().code(), "unexpected-element-type");
    assert_eq!(file.integers("a.f32").unwrap_err().code(), "unexpected-element-type");
    let scalar = file.matrix("h.scalar").unwrap();
    assert_eq!((scalar.rows, scalar.cols), (1, 1));
    assert_eq!(file.get("i.empty").unwrap().shape, [0, 4]);
    assert_eq!(file.get("j.f64").unwrap_err().code(), "unsupported-encoding");
}
