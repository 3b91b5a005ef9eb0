use honelm_backend::{Activation, Backend, CacheKind, CacheSpec, CacheType, LayerCache, Outputs, Value, block_on};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_gpu::{Gpu, GpuBackend, Variants};
use honelm_testing::{Naive, assert_close, matrix};

use crate::on_every_adapter;

/// Computes linear modules for few rows, alone and fused, with `cols` columns.
fn run(b: &mut dyn Backend, cols: usize) -> Outputs {
    let data = |rows, seed| BlockMatrix::quantize(&matrix(rows, cols, seed), Encoding::F32, None).unwrap().into();
    let (w, up) = (b.upload(data(37, 1), None).unwrap(), b.upload(data(37, 2), None).unwrap());
    let gain = b.upload_vector(&matrix(1, cols, 3).data).unwrap();
    let layers = vec![LayerCache { kv_heads: 1, head_width: 4, group: 0 }];
    let spec = CacheSpec { groups: vec![CacheKind::Full], layers, page_len: 16, element: CacheType::F32 };
    let cache = b.create_cache(spec).unwrap();
    b.begin(Default::default(), &cache).unwrap();
    for rows in 1..=4 {
        let x = b.input(&matrix(rows, cols, 4));
        let y = b.linear(&x, &w);
        b.output(0, &y);
        for y in b.norm_linears(&x, &gain, 1e-5, &[&w, &up]) {
            b.output(1, &y);
        }
        let y = b.norm_gated(&x, &gain, 1e-5, &w, &up, Activation::Silu);
        b.output(2, &y);
    }
    let ticket = b.submit();
    block_on(b.read(ticket)).unwrap()
}

#[test]
fn teams_of_every_size_give_the_sums_of_the_definition() {
    on_every_adapter("teams_of_every_size_give_the_sums_of_the_definition", |gpu| {
        for cols in [8, 70, 600, 1300, 2048, 8200] {
            let expected = run(&mut Naive::new(), cols);
            let faster = gpu.report().subgroups.is_some();
            for (wide, subgroups) in [(false, false), (true, false), (false, faster), (true, faster)] {
                let gpu: Gpu = gpu.clone().with_wide_teams(wide);
                gpu.use_variants(Variants { subgroups, ..Variants::default() });
                let found = run(&mut GpuBackend::new(&gpu).unwrap(), cols);
                assert_eq!(found.len(), expected.len());
                for ((_, found), (_, expected)) in found.iter().zip(&expected) {
                    let (Value::Floats(found), Value::Floats(expected)) = (found, expected) else { panic!("tokens") };
                    assert_close(&found.data, &expected.data, 1e-5);
                }
            }
        }
    });
}
