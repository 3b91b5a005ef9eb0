//! Fuzz targets for every parser of data from outside, one target per parser. A target takes any bytes and must
//! return: it must not panic, run without end, or use memory out of proportion to its input. Most inputs end in an
//! error.
#![forbid(unsafe_code)]

mod files;
mod private;
mod routing;
mod server;
mod text;

/// A parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the target and of its corpus folder.
    pub name: &'static str,
    /// Parses an input and uses the result as the program would.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "gguf", run: files::gguf },
    Target { name: "gguf_model", run: files::gguf_model },
    Target { name: "gguf_parts", run: files::gguf_parts },
    Target { name: "imatrix", run: files::imatrix },
    Target { name: "parquet", run: files::parquet },
    Target { name: "safetensors", run: files::safetensors },
    Target { name: "safetensors_index", run: files::safetensors_index },
    Target { name: "config", run: files::config },
    Target { name: "folder", run: files::folder },
    Target { name: "tokenizer_json", run: text::tokenizer_json },
    Target { name: "tokenizer_model", run: text::tokenizer_model },
    Target { name: "tiktoken", run: text::tiktoken },
    Target { name: "vocab_merges", run: text::vocab_merges },
    Target { name: "hub_listing", run: files::hub_listing },
    Target { name: "template", run: text::template },
    Target { name: "answer", run: text::answer },
    Target { name: "openai_requests", run: server::openai_requests },
    Target { name: "responses_requests", run: server::responses_requests },
    Target { name: "messages_requests", run: server::messages_requests },
    Target { name: "ollama_requests", run: server::ollama_requests },
    Target { name: "streams", run: server::streams },
    Target { name: "private", run: private::private },
    Target { name: "private_request", run: private::private_request },
    Target { name: "restore", run: private::restore },
    Target { name: "estimator", run: routing::estimator },
    Target { name: "traffic", run: routing::traffic },
    Target { name: "gateway_file", run: routing::gateway_file },
];

/// The separator between the files of an input that stands for several files.
const SEPARATOR: &[u8] = b"\n%%%\n";

/// Splits an input into `N` files. Missing files are empty; the last one is all the rest.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut out = [&data[data.len()..]; N];
    let mut rest = data;
    for (i, part) in out.iter_mut().enumerate() {
        let cut = (i + 1 < N).then(|| rest.windows(SEPARATOR.len()).position(|w| w == SEPARATOR)).flatten();
        match cut {
            Some(at) => (*part, rest) = (&rest[..at], &rest[at + SEPARATOR.len()..]),
            None => {
                *part = rest;
                break;
            }
        }
    }
    out
}
